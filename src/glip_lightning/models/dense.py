"""The common part of Dynamic Head and GLIP.

It has Swin, a pyramid, a tower of dynamic convolutions, and dense predictions on its maps.

Sources: microsoft/GLIP modeling/detector/generalized_vl_rcnn.py, modeling/rpn/vldyhead.py,
modeling/rpn/loss.py, data/transforms/transforms.py:151-175.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.config import SIZE_DIVISOR, STRIDES, GLIPConfig
from glip_lightning.models.detector import (
    Defaults,
    Detector,
    Features,
    GroundTruth,
    OptimizerRule,
    Stage,
)
from glip_lightning.models.layers.deform_conv import DeformConv
from glip_lightning.models.layers.fpn import FPN
from glip_lightning.models.layers.grounding_head import GroundingHead
from glip_lightning.models.layers.swin import Swin
from glip_lightning.models.layers.tower import DyHead
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.ops.anchors import grid_anchors
from glip_lightning.ops.dense_outputs import DenseOutputs
from glip_lightning.ops.losses import build_targets, detection_losses
from glip_lightning.ops.postprocess import Detections, DetectionSettings, PostProcess

BIAS_LR_FACTOR = 2.0  # SOLVER.BIAS_LR_FACTOR; biases are not decayed (SOLVER.WEIGHT_DECAY_BIAS)
LAST_LAYERS = (
    "log_scale",
    "token_bias_weight",
    "token_bias",
    "text_projection.weight",
    "text_projection.bias",
    "box.weight",
    "box.bias",
    "centerness.weight",
    "centerness.bias",
)
"""Parameters of the grounding head that a linear probe trains.

The five scales of the boxes are frozen in the official linear probe, too."""


class NoLanguage(nn.Module):
    """The place of a text encoder that was left out: only tuned prompts run without one."""

    @override
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        message = "this detector has no text encoder: it only runs tuned prompts "
        message += "(glip predict --prompt FILE)"
        raise GLIPError(message, code="no-text-encoder")


class DenseDetector(Detector, tags=["glip"]):
    """A detector that scores every position of the maps P3..P7 against every token.

    Every position gets a box and a centerness, too. A subclass builds the five modules below. Its
    features are P3..P7, each [B, C, H, W]; after the tower they end with the text [B, T, D] where
    the tower changes it.
    """

    adapted_layers: ClassVar[tuple[type[nn.Module], ...]] = (nn.Linear, DeformConv)
    config: GLIPConfig
    backbone: Swin
    fpn: FPN
    language: nn.Module
    dyhead: DyHead
    grounding: GroundingHead

    def padded_size(self, images: Sequence[Tensor]) -> tuple[int, int]:
        """Return the largest height and width of the images, up to multiples of 32.

        Source: image_list.py:29-68.
        """
        height = max(x.shape[1] for x in images)
        width = max(x.shape[2] for x in images)
        return height + -height % SIZE_DIVISOR, width + -width % SIZE_DIVISOR

    def preprocess(self, images: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Return RGB images, uint8 [3, h, w] of any sizes, as one normalised batch [B, 3, H, W].

        Channels become BGR, then mean and deviation apply, then zeros fill the batch to the right
        and below up to ``size`` (H, W), by default that of :meth:`padded_size`
        (data/transforms/transforms.py:151-175).
        """
        device = self.device
        height, width = size or self.padded_size(images)
        mean = torch.tensor(self.config.pixel_mean, device=device).view(3, 1, 1)
        std = torch.tensor(self.config.pixel_std, device=device).view(3, 1, 1)
        batch = torch.zeros(len(images), 3, height, width, device=device)
        for row, image in zip(batch, images, strict=True):
            bgr = image.to(device, non_blocking=True).flip(0).float()
            row[:, : image.shape[1], : image.shape[2]] = (bgr - mean) / std
        return batch

    def _run_pyramid(self, inputs: Tensor) -> Features:
        """Return P3..P7 of preprocessed images [B, 3, H, W]."""
        return self.fpn(self.backbone(inputs))

    def _run_tower(self, levels: Features, text: TextFeatures | None = None) -> Features:
        """Return P3..P7 after the tower, then the text if the tower reads it."""
        levels, read = self.dyhead(levels, text)
        return levels if read is None else [*levels, read.hidden]

    def predict(self, features: Features, text: TextFeatures) -> DenseOutputs:
        """Return the predictions from the features after the tower: the last layers."""
        # without fusion the head reads the text encoder's output with padding zeroed, else the
        # fused text as it is
        if self.config.fusion:
            *levels, hidden = features
        else:
            levels, hidden = features, text.hidden * text.mask[..., None]
        sizes = tuple((x.shape[-2], x.shape[-1]) for x in levels)
        logits, deltas, centerness = self.grounding(levels, hidden)
        anchors = grid_anchors(sizes, STRIDES, logits.device)
        return DenseOutputs(logits, deltas, centerness, anchors, sizes)

    def losses(
        self, outputs: DenseOutputs, text: TextFeatures, truth: GroundTruth
    ) -> Mapping[str, Tensor]:
        """Return the token focal loss, GIoU and centerness losses over ATSS assignments.

        They are computed in :mod:`glip_lightning.ops.losses`.
        """
        targets = build_targets(outputs, truth.boxes, truth.positive_maps)
        return detection_losses(outputs, text.mask, targets)._asdict()

    def detections(
        self,
        outputs: DenseOutputs,
        class_tokens: Sequence[Sequence[Sequence[int]]],
        image_sizes: Sequence[tuple[int, int]],
        settings: DetectionSettings,
    ) -> list[Detections]:
        """Return the best (position, class) pairs of every level after class-wise NMS.

        ``settings`` are a :class:`PostProcess`.
        """
        assert isinstance(settings, PostProcess), (
            f"{type(self).__name__} suppresses by PostProcess, not by {settings}"
        )
        return settings(outputs, class_tokens, image_sizes)

    @override
    def is_finite(self, outputs: DenseOutputs) -> bool:
        numbers = (outputs.logits, outputs.centerness, outputs.deltas)
        return not any(bool(x.isnan().any()) for x in numbers)

    @property
    @override
    def defaults(self) -> Defaults:
        return Defaults(self.config.input_size, PostProcess(), self.config.rates)

    @property
    @override
    def prompt_width(self) -> int:
        return self.config.text.hidden_size

    @property
    @override
    def device(self) -> torch.device:
        return self.grounding.log_scale.device

    def stages(self) -> tuple[Stage, ...]:
        """Return "pyramid" (P3..P7) and "tower" (all before the last layers)."""
        pyramid = Stage(
            name="pyramid",
            holds="P3..P7",
            modules=(self.backbone, self.fpn),
            reads_text=False,
            run=self._run_pyramid,
        )
        tower = Stage(
            name="tower",
            holds="all before the last layers",
            modules=(self.dyhead,),
            reads_text=self.config.fusion,
            run=self._run_tower,
        )
        return pyramid, tower

    def parts(self) -> Mapping[str, tuple[str, ...]]:
        """Return the four parts; without fusion (variant A, Dynamic Head) that part is empty."""
        fusion, head = [], []
        for r in range(self.config.rounds):
            head.append(f"dyhead.rounds.{r}.vision")
            if self.config.fusion:
                fusion += [f"dyhead.rounds.{r}.fusion", f"dyhead.rounds.{r}.text"]
        return {
            "vision": ("backbone", "fpn"),
            "text": ("language",),
            "fusion": tuple(fusion),
            "head": (*head, "grounding"),
        }

    def backbone_stages(self) -> Sequence[nn.Module]:
        """Return the patch embedding and the four stages with their merging.

        The norms of the outputs are no part of them.
        """
        return [self.backbone.patch_embed, *self.backbone.stages]

    def last_layers(self) -> Sequence[str]:
        """Return the names of the last layers' parameters and of the table of classes.

        The layers are projection of the text, boxes, centerness, scale and biases of the logits.
        """
        grounding = [f"grounding.{name}" for name in LAST_LAYERS]
        return [*grounding, *self.class_parameters()]

    def optimizer_rule(self, name: str) -> OptimizerRule:
        """Return the official rule (solver/build.py:8-55).

        Parameters with "bias" anywhere in their names learn at twice the rate and are not decayed.
        So do tables of relative positions and the two biases of the grounding head. Weights of
        norms are decayed.
        """
        rule = super().optimizer_rule(name)
        if "bias" not in name:
            return rule
        return OptimizerRule(f"{rule.group}_bias", rule.text, BIAS_LR_FACTOR, decay=False)
