"""Run our detector on the inputs of a reference model and name tensors as the reference does."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from glip_lightning.models.config import GLIPConfig, TextConfig
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.layers import tower as dyhead
from glip_lightning.models.layers.fpn import DropBlock
from glip_lightning.ops import boxes as box_ops
from glip_lightning.ops.dense_outputs import DenseOutputs
from glip_lightning.ops.losses import Targets, build_targets, detection_losses
from glip_lightning.ops.postprocess import Detections
from glip_lightning.weights.official_checkpoint import from_official

LEVELS = ("p3", "p4", "p5", "p6", "p7")

NOT_BUILT = {
    "head.cls_logits": "its loss is multiplied by zero, its output only counts score columns",
    "anchors.visibility": "ATSS reads every anchor, visible or not: nothing uses the flag",
}
"""Reference tensors without a counterpart, each with its reason."""


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def reference_config(folder: Path) -> GLIPConfig:
    dims = read_json(folder / "config.json")
    bert, sizes = dims["bert_config"], dims["dims"]
    return GLIPConfig(
        fusion="VLFuse" in dims["tower"],
        swin_dim=sizes["embed_dim"],
        swin_depths=sizes["depths"],
        swin_heads=sizes["heads"],
        swin_window=sizes["window"],
        channels=sizes["channels"],
        rounds=sizes["num_convs"],
        text=TextConfig(
            vocab_size=bert["vocab_size"],
            hidden_size=bert["hidden_size"],
            num_hidden_layers=bert["num_hidden_layers"],
            num_attention_heads=bert["num_attention_heads"],
            intermediate_size=bert["intermediate_size"],
            max_position_embeddings=bert["max_position_embeddings"],
            layer_norm_eps=bert["layer_norm_eps"],
        ),
    )


def without_randomness(model: nn.Module) -> nn.Module:
    """Switch off what the reference switched off in training: dropout, drop path, DropBlock."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, DropBlock) or type(module).__name__ == "DropPath":
            module.drop_prob = 0.0
    return model


def load_reference_model(folder: Path) -> GLIP:
    config = reference_config(folder)
    model = GLIP(config)
    model.load_state_dict(from_official(load_file(folder / "weights.safetensors"), config))
    return without_randomness(model)


def assert_stage(ours: Tensor, theirs: Tensor, noise: float, mask: Tensor, name: str) -> None:
    """Equal within 10 times the recorded noise, at least 5e-6 of the largest value; padded tokens
    excepted.
    """
    ours, theirs = real_tokens(ours, theirs, mask, name)
    assert ours.shape == theirs.shape
    tolerance = max(10 * noise, 5e-6 * theirs.abs().max().item())
    assert (ours - theirs).abs().max().item() <= tolerance


def real_tokens(ours: Tensor, theirs: Tensor, mask: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Drop what belongs to padded tokens: rows of text features, columns of the logits."""
    length = int(mask.sum(1).max())
    keep = mask[:, :length].bool()
    if name == "lang.masks":
        return ours[:, :length].float(), theirs[:, :length].float()
    if name.startswith(("bert.", "lang.hidden", "lang.embedded")) or name.endswith(".hidden"):
        return ours[:, :length][keep], theirs[:, :length][keep]
    if name.startswith("head.dot_product_logits"):
        columns = keep[:, None].expand(-1, theirs.shape[1], -1)
        return ours[..., :length][columns], theirs[..., :length][columns]
    return ours, theirs


class Stages:
    """Records the output of every stage of a model under the reference's names, in its layouts."""

    def __init__(self, model: GLIP) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._watch(
            model.backbone.patch_embed, lambda x: {"swin.patch_embed": x.permute(0, 3, 1, 2)}
        )
        for i, stage in enumerate(model.backbone.stages):
            for j, block in enumerate(stage.blocks):
                self._watch(block, self._block(i, j))
            if stage.downsample is not None:
                self._watch(
                    stage.downsample, lambda x, i=i: {f"swin.layer{i}.downsample": x.flatten(1, 2)}
                )
            self._watch(
                stage, lambda x, i=i: {"swin.stage2": x.permute(0, 3, 1, 2)} if i == 0 else {}
            )
        self._watch(
            model.backbone, lambda maps: {f"swin.stage{i + 3}": x for i, x in enumerate(maps)}
        )
        self._watch(model.fpn, lambda maps: self._levels("fpn", maps))
        self._watch(model.language.bert.embeddings, lambda x: {"bert.embeddings": x})
        for i, layer in enumerate(model.language.bert.encoder.layer):
            self._watch(
                layer, lambda x, i=i: {f"bert.layer{i}": x[0] if isinstance(x, tuple) else x}
            )
        self._watch(model.language, self._language)
        for r, tower_round in enumerate(model.dyhead.rounds):
            self._round(r, tower_round)
        self._watch(model.grounding, self._head)

    def _watch(self, module: nn.Module, read: Callable) -> None:
        module.register_forward_hook(
            lambda _module, _inputs, output: self.tensors.update(read(output))
        )

    @staticmethod
    def _levels(name: str, maps: list[Tensor]) -> dict[str, Tensor]:
        return {f"{name}.{level}": x for level, x in zip(LEVELS, maps, strict=True)}

    @staticmethod
    def _block(i: int, j: int) -> Callable:
        return lambda x: {f"swin.layer{i}.block{j}": x.flatten(1, 2)}

    @staticmethod
    def _language(text) -> dict[str, Tensor]:
        mask = text.mask[..., None].to(text.hidden.dtype)
        embedded = text.hidden * mask
        return {
            "lang.hidden": text.hidden,
            "lang.embedded": embedded,
            "lang.masks": text.mask.long(),
            "lang.aggregate": embedded.sum(1) / mask.sum(1),
        }

    def _round(self, r: int, tower_round: dyhead.Round) -> None:
        last = r
        if tower_round.fusion is not None:
            last = 3 * r + 2
            self._watch(tower_round.fusion, lambda out: self._fusion(f"tower{3 * r}.VLFuse", out))
            self._watch(
                tower_round.text, lambda x: {f"tower{3 * r + 1}.BertEncoderLayer.hidden": x}
            )
        self._watch(tower_round.vision, lambda maps: self._levels(f"tower{last}.DyConv", maps))
        offsets: list[Tensor] = []

        def collect(x: Tensor) -> dict[str, Tensor]:
            offsets.append(x)
            if len(offsets) < len(LEVELS):
                return {}
            maps, offsets[:] = list(offsets), []
            return self._levels(f"tower{last}.DyConv.offset_mask_raw", maps)

        self._watch(tower_round.vision.offset, collect)

    def _fusion(self, name: str, out: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        sizes = [self.tensors[f"fpn.{level}"].shape[-2:] for level in LEVELS]
        return self._levels(name, dyhead.split_levels(out[0], sizes)) | {f"{name}.hidden": out[1]}

    def _head(self, out: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        sizes = [self.tensors[f"fpn.{level}"].shape[-2:] for level in LEVELS]
        counts = [h * w for h, w in sizes]
        logits, deltas, centerness = out
        named = self._levels("head.dot_product_logits", list(logits.split(counts, dim=1)))
        named |= self._levels("head.bbox_reg", dyhead.split_levels(deltas, sizes))
        return named | self._levels(
            "head.centerness", dyhead.split_levels(centerness[..., None], sizes)
        )


class Reference:
    """One reference model: our detector with its weights, and everything that is compared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = load_file(folder / "inputs.safetensors")
        self.facts = read_json(folder / "inputs.json")
        self.noise = read_json(folder / "fp32_noise.json")
        self._evaluated: tuple[dict[str, Tensor], DenseOutputs] | None = None
        self._trained: SimpleNamespace | None = None

    def text(self, mode: str, length: int | None = None) -> tuple[Tensor, Tensor]:
        """Token ids and mask of a mode, as long as the longest caption (or ``length``)."""
        mask = self.inputs[f"{mode}.attention_mask"]
        length = length or int(mask.sum(1).max())
        return self.inputs[f"{mode}.input_ids"][:, :length], mask[:, :length]

    def evaluate(self) -> tuple[dict[str, Tensor], DenseOutputs]:
        """Every stage in eval mode, by the reference's names."""
        if self._evaluated is None:
            model = load_reference_model(self.folder).eval()
            stages = Stages(model)
            with torch.no_grad():
                outputs = model(self.inputs["images"], model.encode_text(*self.text("eval")))
            stages.tensors |= Stages._levels(
                "anchors", list(outputs.anchors.split(outputs.level_counts))
            )
            self._evaluated = stages.tensors, outputs
        return self._evaluated

    def train(self) -> SimpleNamespace:
        """Stages, targets, losses and gradients (by official names) of one training step."""
        if self._trained is None:
            model = load_reference_model(self.folder).train()
            stages = Stages(model)
            text = model.encode_text(*self.text("train"))
            outputs = model(self.inputs["images"], text)
            losses = detection_losses(outputs, text.mask, self.targets(outputs))
            losses.total.backward()
            self._trained = SimpleNamespace(
                stages=stages.tensors, outputs=outputs, losses=losses, model=model
            )
        return self._trained

    def boxes(self) -> list[Tensor]:
        return [self.inputs[f"boxes_{i}"] for i in range(len(self.facts["train"]))]

    def targets(self, outputs: DenseOutputs) -> Targets:
        boxes = self.boxes()
        rows = self.inputs["positive_map"][:, : outputs.logits.shape[2]].split(
            [len(b) for b in boxes]
        )
        return build_targets(outputs, boxes, rows)

    def padded_targets(self) -> Targets:
        """The targets of a text padded to 256 tokens, as the reference has it."""
        outputs = self.train().outputs
        images, positions, _ = outputs.logits.shape
        return self.targets(outputs._replace(logits=torch.zeros(images, positions, 256)))


def class_tokens(ref: Reference) -> list[list[int]]:
    tokens = ref.facts["eval_positive_map_label_to_token"]
    return [tokens.get(str(label + 1), []) for label in range(len(ref.facts["classes"]))]


def assert_same_detections(ours: Detections, theirs: Detections) -> None:
    """One to one: IoU above 0.999, scores within 1e-4, same label."""
    assert len(ours.scores) == len(theirs.scores)
    same = box_ops.iou_matrix(ours.boxes, theirs.boxes) > 0.999
    same &= (ours.scores[:, None] - theirs.scores[None]).abs() < 1e-4
    same &= ours.labels[:, None] == theirs.labels[None]
    partner = {}
    for i in range(len(ours.scores)):
        free = [j for j in same[i].nonzero().flatten().tolist() if j not in partner]
        assert free, (
            f"no partner for {ours.labels[i]} {ours.scores[i]:.4f} {ours.boxes[i].tolist()}"
        )
        best = min(free, key=lambda j: (ours.boxes[i] - theirs.boxes[j]).abs().sum().item())
        partner[best] = i
