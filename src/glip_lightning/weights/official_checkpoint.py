"""Convert official checkpoints to our weights and back, and read them without running their code.

Source of the official names: microsoft/GLIP, state dicts of configs/pretrain/*.yaml. Tensors that
the network does not use are left out when a checkpoint is read, with a log line, and made anew when
one is written. The sizes of a detector are inferred from the shapes of its tensors.
"""

import logging
import pickle
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from math import isqrt, log
from pathlib import Path

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.tensor_files import check_storage
from glip_lightning.models.build import build_detector
from glip_lightning.models.config import STRIDES, VARIANTS, GLIPConfig, TextConfig
from glip_lightning.models.detector import Detector
from glip_lightning.models.layers.swin import get_relative_position_index
from glip_lightning.ops.anchors import cell_anchor

logger = logging.getLogger(__name__)

StateDict = dict[str, Tensor]

NAMES = (
    # the beginnings of our name and of the official one; what follows them is equal. {i} stands for
    # a number, and {3r+2} for three times the number {r} of our name plus two
    ("backbone.patch_embed", "backbone.body.patch_embed"),
    ("backbone.stages.{i}", "backbone.body.layers.{i}"),
    ("backbone.norms.{i}", "backbone.body.norm{i+1}"),
    ("fpn.lateral.{i}", "backbone.fpn.fpn_inner{i+2}"),
    ("fpn.output.{i}", "backbone.fpn.fpn_layer{i+2}"),
    ("fpn.p6", "backbone.fpn.top_blocks.p6"),
    ("fpn.p7", "backbone.fpn.top_blocks.p7"),
    ("language.bert", "language_backbone.body.model"),
    ("dyhead.rounds.{r}.fusion.norm_vision", "rpn.head.dyhead_tower.{3r}.b_attn.layer_norm_v"),
    ("dyhead.rounds.{r}.fusion.norm_text", "rpn.head.dyhead_tower.{3r}.b_attn.layer_norm_l"),
    ("dyhead.rounds.{r}.fusion.gate_vision", "rpn.head.dyhead_tower.{3r}.b_attn.gamma_v"),
    ("dyhead.rounds.{r}.fusion.gate_text", "rpn.head.dyhead_tower.{3r}.b_attn.gamma_l"),
    ("dyhead.rounds.{r}.fusion.query", "rpn.head.dyhead_tower.{3r}.b_attn.attn.v_proj"),
    ("dyhead.rounds.{r}.fusion.key", "rpn.head.dyhead_tower.{3r}.b_attn.attn.l_proj"),
    (
        "dyhead.rounds.{r}.fusion.value_vision",
        "rpn.head.dyhead_tower.{3r}.b_attn.attn.values_v_proj",
    ),
    ("dyhead.rounds.{r}.fusion.value_text", "rpn.head.dyhead_tower.{3r}.b_attn.attn.values_l_proj"),
    ("dyhead.rounds.{r}.fusion.out_vision", "rpn.head.dyhead_tower.{3r}.b_attn.attn.out_v_proj"),
    ("dyhead.rounds.{r}.fusion.out_text", "rpn.head.dyhead_tower.{3r}.b_attn.attn.out_l_proj"),
    ("dyhead.rounds.{r}.text.query", "rpn.head.dyhead_tower.{3r+1}.attention.self.query"),
    ("dyhead.rounds.{r}.text.key", "rpn.head.dyhead_tower.{3r+1}.attention.self.key"),
    ("dyhead.rounds.{r}.text.value", "rpn.head.dyhead_tower.{3r+1}.attention.self.value"),
    ("dyhead.rounds.{r}.text.out", "rpn.head.dyhead_tower.{3r+1}.attention.output.dense"),
    ("dyhead.rounds.{r}.text.norm1", "rpn.head.dyhead_tower.{3r+1}.attention.output.LayerNorm"),
    ("dyhead.rounds.{r}.text.fc1", "rpn.head.dyhead_tower.{3r+1}.intermediate.dense"),
    ("dyhead.rounds.{r}.text.fc2", "rpn.head.dyhead_tower.{3r+1}.output.dense"),
    ("dyhead.rounds.{r}.text.norm2", "rpn.head.dyhead_tower.{3r+1}.output.LayerNorm"),
    ("dyhead.rounds.{r}.vision.convs.{k}", "rpn.head.dyhead_tower.{3r+2}.DyConv.{k}.conv"),
    ("dyhead.rounds.{r}.vision.norms.{k}", "rpn.head.dyhead_tower.{3r+2}.DyConv.{k}.bn"),
    ("dyhead.rounds.{r}.vision.offset", "rpn.head.dyhead_tower.{3r+2}.offset"),
    ("dyhead.rounds.{r}.vision.scale_attention", "rpn.head.dyhead_tower.{3r+2}.AttnConv.1"),
    ("dyhead.rounds.{r}.vision.relu.fc1", "rpn.head.dyhead_tower.{3r+2}.relu.fc.0"),
    ("dyhead.rounds.{r}.vision.relu.fc2", "rpn.head.dyhead_tower.{3r+2}.relu.fc.2"),
    ("grounding.text_projection", "rpn.head.dot_product_projection_text"),
    ("grounding.log_scale", "rpn.head.log_scale"),
    ("grounding.token_bias_weight", "rpn.head.bias_lang"),
    ("grounding.token_bias", "rpn.head.bias0"),
    ("grounding.box", "rpn.head.bbox_pred"),
    ("grounding.centerness", "rpn.head.centerness"),
    ("grounding.box_scales.{l}", "rpn.head.scales.{l}.scale"),
)

TUNED_PROMPT = "rpn.tunable_linear.weight"
LEFT_OUT = {
    "rpn.head.cls_logits.*": "its loss is multiplied by zero",
    "*.relative_position_index": "recomputed",
    "rpn.anchor_generator.cell_anchors.*": "recomputed",
    "*.embeddings.position_ids": "recomputed",
    "*.pooler.*": "never called",
    "*mlm_head.*": "a loss that the released configurations switch off",
    "*resizer.*": "a layer that the released configurations do not build",
    TUNED_PROMPT: "a tuned prompt, which belongs to one caption",
}
"""Official names that the network does not use, and why."""

CLASSES = 80  # columns of cls_logits in every released checkpoint (MODEL.DYHEAD.NUM_CLASSES - 1)
PRIOR = 0.01  # MODEL.RETINANET.PRIOR_PROB, sets the bias of cls_logits
BERT_HEAD_DIM = 64  # of every published BERT

NOT_IN_SHAPES = (
    "drop_path",
    "drop_block",
    "fusion_heads",
    "fusion_dropout",
    "log_scale",
    "small_start",
    "input_size",
    "pixel_mean",
    "pixel_std",
)
NOT_IN_TEXT_SHAPES = ("num_attention_heads", "layer_norm_eps", "dropout")


class CheckpointError(GLIPError):
    """A file or state dict is not the expected detector; the message lists all differences."""

    def __init__(self, message: str, *, code: str = "no-checkpoint") -> None:
        super().__init__(message, code=code)


class Inert:
    """A stand-in, which does nothing, for objects in a checkpoint that are no tensors."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


STAND_INS: dict[str, type] = {
    "yacs.config.CfgNode": OrderedDict,  # torch fills no other kind of mapping
    "argparse.Namespace": Inert,
    "numpy.dtype": Inert,
    "numpy.ndarray": Inert,
    "numpy.core.multiarray.scalar": Inert,  # the best AP so far, kept by the plateau schedule
    "numpy._core.multiarray.scalar": Inert,
    "numpy.core.multiarray._reconstruct": Inert,
    "numpy._core.multiarray._reconstruct": Inert,
}
"""Classes that an official training file may import, each with the one that is used instead.

Of other classes only those of torch are allowed.
"""


def official_name(key: str, fusion: bool) -> str:
    """Return the official name of our tensor ``key``.

    With ``fusion`` a round of the official tower is three modules, otherwise one.
    """
    for ours, official in NAMES:
        # a.{r}.b becomes a\.(?P<r>\d+)\.b, which ends where a part of the name ends
        pattern = re.sub(r"\\{(\w)\\}", r"(?P<\1>\\d+)", re.escape(ours)) + r"(?=\.|$)"
        match = re.match(pattern, key)
        if match:
            template = official if fusion else official.replace("{3r+2}", "{r}")
            return _fill(template, match.groupdict()) + key[match.end() :]
    raise CheckpointError(f"{key}: no row of the table of names fits")


def _fill(template: str, numbers: Mapping[str, str]) -> str:
    """Return an official name whose terms, such as ``{3r+2}``, are replaced by numbers."""

    def number(term: re.Match[str]) -> str:
        factor, name, shift = term.groups(default="")
        return str(int(factor or 1) * int(numbers[name]) + int(shift or 0))

    return re.sub(r"\{(\d*)([a-z])(\+\d+)?\}", number, template)


@lru_cache(maxsize=2)
def expected_shapes(config: GLIPConfig) -> dict[str, torch.Size]:
    """Return the shape of every tensor of the detector, by our names."""
    with torch.device("meta"):
        model = build_detector(config)
    return {key: tensor.shape for key, tensor in model.state_dict().items()}


def official_names(config: GLIPConfig) -> dict[str, str]:
    """Return the official name of every tensor of the detector, by our names."""
    return {key: official_name(key, config.fusion) for key in expected_shapes(config)}


def check(state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Raise CheckpointError where a state dict does not have exactly the tensors in ``shapes``.

    The message lists the missing, the unknown and the differently shaped tensors; the code is
    ``other-tensors``.
    """
    common = state.keys() & shapes.keys()
    misshapen = []
    for key in common:
        found, expected = state[key].shape, shapes[key]
        if found != expected:
            misshapen.append(f"{key} ({_shape_text(found)}, expected {_shape_text(expected)})")
    problems = {
        "missing": shapes.keys() - common,
        "unknown": state.keys() - common,
        "of another shape": misshapen,
    }
    listed = [f"{len(keys)} {kind}: {_first_ten(keys)}" for kind, keys in problems.items() if keys]
    if listed:
        message = "the tensors do not fit the detector. " + "; ".join(listed)
        raise CheckpointError(message, code="other-tensors")


def _shape_text(shape: torch.Size) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _first_ten(keys: Iterable[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def from_official(state: Mapping[str, Tensor], config: GLIPConfig) -> StateDict:
    """Return the state dict for our detector that has the tensors of an official one.

    Raises:
        CheckpointError: a tensor is unknown, missing or of another shape (``other-tensors``).
    """
    state = _without_unused(strip_module(state))
    names = official_names(config)
    check(state, {names[key]: shape for key, shape in expected_shapes(config).items()})
    return {ours: state[official] for ours, official in names.items()}


def to_official(state: Mapping[str, Tensor], config: GLIPConfig) -> StateDict:
    """Return the official state dict for ours, with the tensors that only the official model has.

    Raises:
        CheckpointError: a tensor is unknown, missing or of another shape (``other-tensors``).
    """
    check(state, expected_shapes(config))
    tensors = {official: state[ours] for ours, official in official_names(config).items()}
    return tensors | _unused_tensors(config)


def official_state(model: Detector, where: str) -> StateDict:
    """Return the state dict of an official checkpoint with the weights of ``model``.

    Args:
        model: the detector.
        where: its file or folder, for messages.

    Raises:
        GLIPError: the detector has no text encoder (``no-official-layout``).
    """
    if not model.reads_text:
        message = f"{where}: has a table of classes, but an official checkpoint needs a text "
        message += "encoder; it can only be kept as a folder"
        raise GLIPError(message, code="no-official-layout")
    if not model.config.text_encoder:
        message = f"{where}: has no text encoder, but an official checkpoint needs one; "
        message += "convert a detector that has one"
        raise GLIPError(message, code="no-official-layout")
    return to_official(model.state_dict(), model.config)


def strip_module(state: Mapping[str, Tensor]) -> StateDict:
    """Return a state dict without the prefix ``module.``, if all of its names have it.

    DistributedDataParallel adds it (model_serialization.py).
    """
    if not all(key.startswith("module.") for key in state):
        return dict(state)
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def _without_unused(state: StateDict) -> StateDict:
    """Return a state dict without the tensors that the network does not use; log what they are."""
    kept: StateDict = {}
    counts: Counter[str] = Counter()
    for key, tensor in state.items():
        patterns = [pattern for pattern in LEFT_OUT if fnmatchcase(key, pattern)]
        if patterns:
            counts[patterns[0]] += 1
        else:
            kept[key] = tensor
    for pattern, count in counts.items():
        logger.info("left out %d tensors, %s: %s", count, pattern, LEFT_OUT[pattern])
    if TUNED_PROMPT in state and state[TUNED_PROMPT].any():
        logger.warning(
            "the file holds a tuned prompt (%s), which is not applied: results will be those of "
            "the detector before prompt tuning",
            TUNED_PROMPT,
        )
    return kept


def _unused_tensors(config: GLIPConfig) -> StateDict:
    """Return the tensors that only the official model holds, as it initialises them."""
    found: StateDict = {}
    index = get_relative_position_index(config.swin_window, config.swin_window)
    for i, depth in enumerate(config.swin_depths):
        for j in range(depth):
            key = f"backbone.body.layers.{i}.blocks.{j}.attn.relative_position_index"
            found[key] = index.clone()
    for i, stride in enumerate(STRIDES):
        key = f"rpn.anchor_generator.cell_anchors.{i}"
        found[key] = torch.tensor([cell_anchor(stride)])
    positions = torch.arange(config.text.max_position_embeddings)
    found["language_backbone.body.model.embeddings.position_ids"] = positions[None]
    found["rpn.head.cls_logits.weight"] = torch.zeros(CLASSES, config.channels, 1, 1)
    bias = -log((1 - PRIOR) / PRIOR)  # every score begins as PRIOR, as the focal loss wants
    found["rpn.head.cls_logits.bias"] = torch.full((CLASSES,), bias)
    return found


def read_official(path: str | Path) -> StateDict:
    """Return the tensors under ``model`` in an official ``.pth`` file, floats as float32.

    No code in the file is ever run. Other entries, such as ``model_ema`` and ``optimizer``, are
    ignored. Files that hold the state dict alone, or under ``state_dict``, are read as well.

    Raises:
        MissingFile: there is no such file (``missing-file``).
        CheckpointError: it holds no tensors (``no-tensors``), or cannot be read (see
            :func:`load_tensors`).
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile(f"{path}: no such checkpoint file", code="missing-file")
    content = load_tensors(path)
    if isinstance(content, dict):
        content = content.get("model", content.get("state_dict", content))
    if not isinstance(content, dict) or not _holds_tensors(content):
        message = f"{path}: expected a dict of tensors, alone or under the key 'model' or "
        message += "'state_dict'"
        raise CheckpointError(message, code="no-tensors")
    check_storage(content, str(path))
    return {key: x.float() if x.is_floating_point() else x for key, x in content.items()}


def _holds_tensors(content: Mapping[str, object]) -> bool:
    return bool(content) and all(isinstance(x, Tensor) for x in content.values())


def load_tensors(path: Path) -> object:
    """Return the content of a file of torch: tensors and plain values; no code in it is run.

    Raises:
        CheckpointError: the file cannot be read. The code says why: ``web-page``, ``lfs-pointer``,
            ``unsafe-checkpoint`` (it asks for other classes), ``onnx``, else ``no-checkpoint``.
    """
    # torch uses ``stand_in`` where the file names the class ``name``
    with safe_globals([(stand_in, name) for name, stand_in in STAND_INS.items()]):
        try:
            # with mmap the optimizer state in the file is never read
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
        except Exception as error:  # a damaged or hostile pickle can fail in any way
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    """Return the error for a file that torch cannot load; ``error`` is torch's own."""
    with path.open("rb") as file:
        head = file.read(64).lstrip()
    if head.startswith(b"<"):
        message = "a web page, no checkpoint; download the file itself (.../resolve/..., not "
        message += ".../blob/...)"
        return CheckpointError(f"{path}: {message}", code="web-page")
    if head.startswith(b"version https://git-lfs"):
        message = "a Git LFS pointer, no checkpoint; run `git lfs pull` or download the file itself"
        return CheckpointError(f"{path}: {message}", code="lfs-pointer")
    forbidden = _forbidden_globals(path, error)
    if forbidden:
        message = (
            f"refused, and nothing in it was run: it asks for {', '.join(forbidden)}, which no "
            "file of weights needs. If you trust its source, write a file of tensors only where "
            "this one was made: torch.save({'model': model.state_dict()}, ...)"
        )
        return CheckpointError(f"{path}: {message}", code="unsafe-checkpoint")
    if path.suffix.lower() == ".onnx":
        message = "ONNX runs in other programs; give the folder, run or .pth file that it was made "
        message += "from"
        return CheckpointError(f"{path}: {message}", code="onnx")
    # only the first line, since the next ones advise to run the file's code
    reason = str(error).strip().partition("\n")[0]
    if isinstance(error, pickle.UnpicklingError):
        reason = "it is not a file of torch.save, or it holds more than tensors"
    return CheckpointError(f"{path}: no readable checkpoint ({type(error).__name__}: {reason})")


def _forbidden_globals(path: Path, error: Exception) -> list[str]:
    """Return the names that the file wants to import and that are not allowed.

    Files from before torch 1.6 are no zip archives; for these, only the first name is known.
    """
    try:
        return sorted(get_unsafe_globals_in_checkpoint(path))
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError):
        return re.findall(r"GLOBAL (\S+)", str(error))[:1]


def infer_config(state: Mapping[str, Tensor], text_heads: int | None = None) -> GLIPConfig:
    """Return the sizes of the detector in an official state dict.

    Shapes do not show dropout rates and the numbers of heads in fusion and text. These are taken
    from the named variant with the same shapes, or else from the defaults.

    Args:
        state: the official state dict.
        text_heads: attention heads of BERT; needed where its width is no multiple of 64.

    Raises:
        CheckpointError: it holds no GLIP detector (``no-detector``), or ``text_heads`` is needed
            (``missing-text-heads``).
    """
    try:
        found = _sizes(strip_module(state))
    except KeyError as error:
        raise CheckpointError(
            f"no GLIP detector: {error.args[0]} is missing", code="no-detector"
        ) from None
    except (IndexError, ValueError) as error:  # tensors of other ranks, sizes out of bounds
        raise CheckpointError(f"no GLIP detector: {error}", code="no-detector") from error
    same = [name for name, config in VARIANTS.items() if _same_in_shapes(config, found)]
    if same:
        logger.info("the sizes are those of %s", ", ".join(same))
        return VARIANTS[same[0]]
    width = found.text.hidden_size
    if text_heads is None and width % BERT_HEAD_DIM:
        message = f"a text encoder of width {width} does not show its number of heads; give "
        message += "text_heads"
        raise CheckpointError(message, code="missing-text-heads")
    heads = text_heads or width // BERT_HEAD_DIM
    return replace(found, text=replace(found.text, num_attention_heads=heads))


def _same_in_shapes(config: GLIPConfig, found: GLIPConfig) -> bool:
    """Return whether both configurations are equal in everything that shapes show."""
    hidden = NOT_IN_SHAPES if config.fusion else (*NOT_IN_SHAPES, "fusion_dim")
    # compare ``found`` with a copy of ``config`` that has its values where shapes show nothing
    text_values = {name: getattr(found.text, name) for name in NOT_IN_TEXT_SHAPES}
    values = {name: getattr(found, name) for name in hidden}
    copy = replace(config, text=replace(config.text, **text_values), **values)
    return copy == found


def _sizes(state: StateDict) -> GLIPConfig:
    depths, heads, offsets = [], [], []
    for i in range(_count(state, r"backbone\.body\.layers\.(\d+)\.")):
        depths.append(_count(state, rf"backbone\.body\.layers\.{i}\.blocks\.(\d+)\."))
        table = state[f"backbone.body.layers.{i}.blocks.0.attn.relative_position_bias_table"]
        rows, columns = table.shape
        offsets.append(rows)  # (2 * window - 1) squared
        heads.append(columns)
    fused = "rpn.head.dyhead_tower.0.b_attn.attn.v_proj.weight"
    return GLIPConfig(
        fusion=fused in state,
        swin_dim=state["backbone.body.patch_embed.proj.weight"].shape[0],
        swin_depths=tuple(depths),
        swin_heads=tuple(heads),
        swin_window=(isqrt(offsets[0]) + 1) // 2 if offsets else 0,
        channels=state["backbone.fpn.fpn_layer2.weight"].shape[0],
        rounds=_count(state, r"rpn\.head\.dyhead_tower\.(\d+)\.offset\.weight"),
        fusion_dim=state[fused].shape[0] if fused in state else GLIPConfig.fusion_dim,
        text=_text_sizes(state),
    )


def _text_sizes(state: StateDict) -> TextConfig:
    bert = "language_backbone.body.model."
    vocab_size, width = state[f"{bert}embeddings.word_embeddings.weight"].shape
    return TextConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=_count(state, re.escape(bert) + r"encoder\.layer\.(\d+)\."),
        intermediate_size=state[f"{bert}encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=state[f"{bert}embeddings.position_embeddings.weight"].shape[0],
        num_attention_heads=1,  # not in the shapes; fits every width
    )


def _count(state: StateDict, pattern: str) -> int:
    """Return how many different numbers the group of ``pattern`` takes at the start of names."""
    found = set()
    for key in state:
        match = re.match(pattern, key)
        if match:
            found.add(match[1])
    return len(found)
