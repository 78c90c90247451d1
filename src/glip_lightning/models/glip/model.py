"""GLIP as one module: images and text in, logits, boxes and centerness out.

Source: microsoft/GLIP modeling/detector/generalized_vl_rcnn.py. No tokenizer, no targets and no state
between calls: ``encode_text`` once per distinct caption, ``forward`` per batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from glip_lightning.common.tensor_files import check_tensors
from glip_lightning.models.config import SIZE_DIVISOR, STRIDES, GLIPConfig
from glip_lightning.models.dynamic_head.class_table import ClassTable
from glip_lightning.models.glip.fpn import FPN
from glip_lightning.models.glip.grounding_head import GroundingHead
from glip_lightning.models.glip.language import Language, NoLanguage
from glip_lightning.models.glip.small_start import start_small
from glip_lightning.models.glip.swin import Swin
from glip_lightning.models.glip.tower import DyHead
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.ops.anchors import grid_anchors
from glip_lightning.ops.outputs import Outputs


class GLIP(nn.Module, PyTorchModelHubMixin, library_name="glip-lightning", tags=["object-detection", "glip"]):
    """The detector. ``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` come from the Hub mixin."""

    def __init__(self, config: GLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Swin(config)
        self.fpn = FPN(self.backbone.channels, config.channels, config.drop_block)
        self.language = _language(config)
        self.dyhead = DyHead(config)
        self.grounding = GroundingHead(config)
        if config.small_start:
            start_small(self)

    @classmethod
    def _from_pretrained(cls, *, strict: bool = True, **kwargs: Any) -> "GLIP":
        """The mixin's, but strict: a missing tensor must not keep its initial value unnoticed, and all are finite."""
        model = super()._from_pretrained(strict=strict, **kwargs)
        check_tensors(model.state_dict(), str(kwargs.get("model_id", "the detector")))
        return model

    def preprocess(self, images: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """RGB images, uint8 [3, h, w] of any sizes -> one normalised batch [B, 3, H, W].

        Channels become BGR, then mean and deviation, then zeros to the right and below up to ``size`` (H, W), that
        of :func:`padded_size` if not given (data/transforms/transforms.py:151-175).
        """
        device = self.grounding.log_scale.device
        height, width = size or padded_size(images)
        mean = torch.tensor(self.config.pixel_mean, device=device).view(3, 1, 1)
        std = torch.tensor(self.config.pixel_std, device=device).view(3, 1, 1)
        batch = torch.zeros(len(images), 3, height, width, device=device)
        for row, image in zip(batch, images, strict=True):
            bgr = image.to(device, non_blocking=True).flip(0).float()
            row[:, : image.shape[1], : image.shape[2]] = (bgr - mean) / std
        return batch

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        """Token ids and mask [U, T] of the distinct captions -> their features [U, T, D].

        With a table of classes the ids are its rows, which captions of :class:`.ClassTokenizer` are.
        """
        return self.language(input_ids, attention_mask)

    def encode_images(self, images: Tensor) -> list[Tensor]:
        """Preprocessed images [B, 3, H, W] -> P3..P7; no text is involved yet."""
        return self.fpn(self.backbone(images))

    def detect(self, levels: list[Tensor], text: TextFeatures) -> Outputs:
        """Pyramid P3..P7 and text features of the same batch -> predictions."""
        return self.predict(*self.dyhead(levels, text))

    def predict(self, levels: list[Tensor], text: TextFeatures) -> Outputs:
        """The last layers: levels and text features as the tower leaves them -> predictions."""
        sizes = tuple((x.shape[-2], x.shape[-1]) for x in levels)
        # variant A reads BERT's output with padding zeroed, the others the fused text as it is
        hidden = text.hidden if self.config.fusion else text.hidden * text.mask[..., None]
        logits, deltas, centerness = self.grounding(levels, hidden)
        anchors = grid_anchors(sizes, STRIDES, logits.device)
        return Outputs(logits, deltas, centerness, anchors, sizes)

    def forward(self, images: Tensor, text: TextFeatures) -> Outputs:
        """Preprocessed images [B, 3, H, W] and the text features [B, T, D] of each -> predictions."""
        return self.detect(self.encode_images(images), text)


def _language(config: GLIPConfig) -> nn.Module:
    if not config.text_encoder:
        return NoLanguage()
    return ClassTable(config.classes, config.text.hidden_size) if config.classes else Language(config.text)


def padded_size(images: Sequence[Tensor]) -> tuple[int, int]:
    """Height and width of a batch: the largest of its images, up to multiples of 32 (image_list.py:29-68)."""
    height, width = (max(x.shape[axis] for x in images) for axis in (1, 2))
    return height + -height % SIZE_DIVISOR, width + -width % SIZE_DIVISOR
