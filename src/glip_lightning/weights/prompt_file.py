"""A tuned prompt as one small file: the final text features of a task, and their detector.

The file is safetensors: ``features.<k>`` float32 [T, D] and ``mask.<k>`` bool [T] of caption k. All
else is JSON in its metadata. Whoever has it needs no text encoder.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.files import write_bytes
from glip_lightning.common.schema import (
    BASE,
    CLASS_NAMES,
    MOST_CLASSES,
    PHRASES,
    Items,
    Keys,
    Text,
    Whole,
    check_format,
    class_names,
    parse_json,
)
from glip_lightning.common.tensor_files import check_tensors, read_tensors
from glip_lightning.models.detector import Detector
from glip_lightning.models.query import Query
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.captions import Prompt
from glip_lightning.text.phrases import Phrase
from glip_lightning.weights.base_model import Base, check_base, read_base
from glip_lightning.weights.run_files import PROMPT_NAME

KEY, FORMAT = "glip_lightning.prompt", 1

LARGEST_FEATURE = 1e6
"""Features of BERT are below 20. Squares of much larger ones are infinite: nothing is found."""

_TOKENS = Items(Whole(0, MAX_TOKENS - 1), 0, MAX_TOKENS)
_CAPTION = Keys(
    {
        "caption": Text(),
        "tokens": Items(_TOKENS, 1, MOST_CLASSES),
        "classes": Items(Whole(0, MOST_CLASSES - 1), 1, MOST_CLASSES),
    }
)
_PROMPT = Keys(
    {
        "format": Whole(FORMAT, FORMAT),
        "tuning": Text(),
        "base": BASE,
        "classes": PHRASES,
        "names": CLASS_NAMES,
        "captions": Items(_CAPTION, 1, MOST_CLASSES),
    },
    optional=("names",),
)


@dataclass(frozen=True, slots=True)
class TunedPrompt:
    """Classes with their final text features (on the CPU)."""

    query: Query
    tuning: str  # class and settings, for people to read
    base: Base


def save_prompt(path: Path, prompt: TunedPrompt) -> None:
    """Write the file at once or not at all."""
    query = prompt.query
    tensors: dict[str, torch.Tensor] = {}
    for k, text in enumerate(query.texts):
        tensors[f"features.{k}"] = text.hidden[0].detach().to("cpu", torch.float32).contiguous()
        tensors[f"mask.{k}"] = text.mask[0].cpu().contiguous()
    content: dict[str, Any] = {
        "format": FORMAT,
        "tuning": prompt.tuning,
        "base": asdict(prompt.base),
        "classes": [phrase._asdict() for phrase in query.phrases],
        "captions": [part._asdict() for part in query.prompts],
    }
    if query.names:
        content["names"] = query.names
    write_bytes(path, save(tensors, {KEY: json.dumps(content)}))


def load_prompt(path: str | Path) -> TunedPrompt:
    """Read a file of :func:`save_prompt`.

    Raises:
        MissingFile: there is no such file (``missing-file``).
        GLIPError: the file is damaged or holds something else; the message says what.
    """
    if not Path(path).is_file():
        message = f"{path}: no such tuned prompt; a run with PromptTuning leaves {PROMPT_NAME}"
        raise MissingFile(message, code="missing-file")
    where = f"{path}: not a tuned prompt of glip-lightning"
    metadata, tensors = read_tensors(Path(path), where)
    if KEY not in metadata:
        raise GLIPError(f"{where}: its metadata have no {KEY}", code="missing-key")
    content = parse_json(metadata[KEY], where)
    check_format(content, FORMAT, where)
    _PROMPT.check(content, where)
    _check_classes(content, where)
    _check_texts(tensors, len(content["captions"]), where)
    query = _read_query(content, tensors, where)
    return TunedPrompt(query, content["tuning"], read_base(content["base"]))


def _check_classes(content: Mapping[str, Any], where: str) -> None:
    """Raise GLIPError unless each class stands in exactly one caption.

    Otherwise it would never be found, or be found twice.
    """
    placed: dict[int, str] = {}
    last = Whole(0, len(content["classes"]) - 1)
    for k, part in enumerate(content["captions"]):
        if len(part["classes"]) != len(part["tokens"]):
            found = f"{len(part['classes'])} classes and the tokens of {len(part['tokens'])}"
            message = f"{where}: captions[{k}] has {found}, expected as many"
            raise GLIPError(message, code="bad-value")
        for place, index in enumerate(part["classes"]):
            key = f"captions[{k}].classes[{place}]"
            last.check(index, where, key)
            if index in placed:
                message = f"{where}: {key} is {index}, which {placed[index]} is already"
                raise GLIPError(message, code="bad-value")
            placed[index] = key
    missing = sorted(set(range(len(content["classes"]))) - placed.keys())
    if missing:
        message = f"{where}: classes[{missing[0]}] is in none of the captions"
        raise GLIPError(message, code="bad-value")


def _check_texts(tensors: Mapping[str, torch.Tensor], captions: int, where: str) -> None:
    """Raise GLIPError unless each caption has features and a mask, finite and of one width."""
    names = set()
    for k in range(captions):
        names |= {f"features.{k}", f"mask.{k}"}
    problems = {"missing": names - tensors.keys(), "unknown": tensors.keys() - names}
    for kind, keys in problems.items():
        if keys:
            raise GLIPError(f"{where}: the tensor {min(keys)} is {kind}", code=f"{kind}-key")
    width = tensors["features.0"].shape[-1] if tensors["features.0"].ndim else 0
    for k in range(captions):
        hidden, mask = tensors[f"features.{k}"], tensors[f"mask.{k}"]
        tokens = len(mask) if mask.ndim else 0
        _check_tensor(hidden, torch.float32, (tokens, width), f"{where}: features.{k}")
        _check_tensor(mask, torch.bool, tuple(hidden.shape[:1]), f"{where}: mask.{k}")
        if not 1 <= tokens <= MAX_TOKENS or not width or not mask.any():
            found = f"{tokens} tokens ({int(mask.sum())} of them used) of width {width}"
            message = f"{where}: caption {k} has {found}, expected 1 to {MAX_TOKENS} tokens"
            raise GLIPError(message, code="bad-tensor")
        check_tensors({f"features.{k}": hidden}, where)
        largest = float(hidden.abs().max())
        if largest > LARGEST_FEATURE:
            message = f"{where}: features.{k} has the number {largest:g}, expected at most "
            message += f"{LARGEST_FEATURE:g}"
            raise GLIPError(message, code="bad-tensor")


def _check_tensor(
    tensor: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...], where: str
) -> None:
    if tensor.dtype != dtype or tensor.shape != shape:
        found, expected = f"{tensor.dtype} {tuple(tensor.shape)}", f"{dtype} {shape}"
        raise GLIPError(
            f"{where} is {found}, expected {expected}".replace("torch.", ""), code="bad-tensor"
        )


def _read_query(
    content: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], where: str
) -> Query:
    prompts, texts = [], []
    for k, part in enumerate(content["captions"]):
        hidden, mask = tensors[f"features.{k}"], tensors[f"mask.{k}"]
        for place, group in enumerate(part["tokens"]):
            outside = [token for token in group if token >= len(mask) or not mask[token]]
            if outside:
                message = f"{where}: captions[{k}].tokens[{place}] has {outside[0]}, no token of a "
                message += f"caption of {int(mask.sum())}"
                raise GLIPError(message, code="bad-value")
        tokens = tuple(map(tuple, part["tokens"]))
        prompts.append(Prompt(part["caption"], tokens, tuple(part["classes"])))
        texts.append(TextFeatures(hidden[None], mask[None]))
    phrases = tuple(Phrase(**phrase) for phrase in content["classes"])
    return Query(phrases, tuple(prompts), tuple(texts), class_names(content, "classes", where))


def check_prompt(file: str, prompt: TunedPrompt, model: Detector, name: str) -> None:
    """Raise GLIPError if ``prompt`` was made for another detector than ``model``.

    Args:
        file: of the prompt, for the message.
        prompt: its content.
        model: the detector that it is used with.
        name: of ``model``.

    Raises:
        GLIPError: with the code ``other-base`` or ``bad-tensor``.
    """
    check_base(file, prompt.base, model, name, text=False)
    found, expected = prompt.query.texts[0].hidden.shape[-1], model.prompt_width
    if found != expected:
        message = f"{file}: not a tuned prompt of glip-lightning: features of width {found}, "
        message += f"{name} has {expected}"
        raise GLIPError(message, code="bad-tensor")


def on_device(query: Query, device: torch.device) -> Query:
    """Return the query with its text features on ``device``."""
    return replace(query, texts=tuple(text.to(device) for text in query.texts))
