"""A tiny detector of another kind: a set of queries, no anchors, no NMS, auxiliary losses, a mask
of the pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_lightning.models.detector import Defaults, Detector, Features, GroundTruth, Stage
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.ops.postprocess import Detections, DetectionSettings

WIDTH, LETTERS, QUERIES, LAYERS = 8, 12, 6, 2


@dataclass(frozen=True)
class SetConfig:
    words: int


class Pixels(NamedTuple):
    values: Tensor  # [B, 3, H, W]
    mask: Tensor  # [B, H, W], 0 where padded


class SetOutputs(NamedTuple):
    logits: list[Tensor]  # of each layer [B, Q, T]
    boxes: list[Tensor]  # of each layer [B, Q, 4], centre and size in shares of the image


class SetDetector(Detector):
    def __init__(self, config: SetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(3, WIDTH, 16, stride=16)
        self.body = nn.ModuleList([nn.Conv2d(WIDTH, WIDTH, 1)])
        self.words = nn.Embedding(config.words, LETTERS)
        self.text_projection = nn.Linear(LETTERS, WIDTH)
        self.encoder = nn.Linear(WIDTH, WIDTH)
        self.queries = nn.Parameter(torch.randn(QUERIES, WIDTH))
        self.decoder = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))
        self.box = nn.Linear(WIDTH, 4)

    def padded_size(self, images: Sequence[Tensor]) -> tuple[int, int]:
        return max(x.shape[1] for x in images), max(x.shape[2] for x in images)

    def preprocess(self, images: Sequence[Tensor], size: tuple[int, int] | None = None) -> Pixels:
        size = size or self.padded_size(images)
        values, mask = torch.zeros(len(images), 3, *size), torch.zeros(len(images), *size)
        for i, image in enumerate(images):
            values[i, :, : image.shape[1], : image.shape[2]] = image / 255
            mask[i, : image.shape[1], : image.shape[2]] = 1
        return Pixels(values, mask)

    def encode_text(
        self, input_ids: Tensor, attention_mask: Tensor, embeddings: Tensor | None = None
    ) -> TextFeatures:
        letters = self.words(input_ids) if embeddings is None else embeddings
        return TextFeatures(self.text_projection(letters), attention_mask.bool())

    def _run_backbone(self, inputs: Pixels) -> Features:
        maps = self.stem(inputs.values)
        for stage in self.body:
            maps = maps + stage(maps).relu()
        valid = F.interpolate(inputs.mask[:, None], maps.shape[-2:])[:, 0]
        return [maps, valid]

    def _encode(self, features: Features, text: TextFeatures) -> Features:
        maps, valid = features
        memory = maps.flatten(2).transpose(1, 2)  # [B, N, C]
        share = (
            (memory @ text.hidden.transpose(1, 2))
            .masked_fill(~text.mask[:, None], -1e9)
            .softmax(-1)
        )
        return [memory + self.encoder(share @ text.hidden), valid.flatten(1)]

    def predict(self, features: Features, text: TextFeatures) -> SetOutputs:
        memory, valid = features
        found, logits, boxes = self.queries.expand(len(memory), -1, -1), [], []
        for layer in self.decoder:
            share = (
                (found @ memory.transpose(1, 2)).masked_fill(valid[:, None] == 0, -1e9).softmax(-1)
            )
            found = found + layer(share @ memory).relu()
            logits.append(found @ text.hidden.transpose(1, 2))
            boxes.append(self.box(found).sigmoid())
        return SetOutputs(logits, boxes)

    def losses(
        self, outputs: SetOutputs, text: TextFeatures, truth: GroundTruth
    ) -> Mapping[str, Tensor]:
        """Match each box of an image with a query of its own, the nearest that is left, in every
        layer.
        """
        losses: dict[str, Tensor] = {}
        for layer, (logits, boxes) in enumerate(zip(outputs.logits, outputs.boxes, strict=True)):
            wanted, distances = torch.zeros_like(logits), [boxes.sum() * 0]
            for i, (own, height_width) in enumerate(
                zip(truth.boxes, truth.image_sizes, strict=True)
            ):
                left = list(range(QUERIES))
                for box, tokens in zip(
                    to_shares(own, height_width), truth.positive_maps[i], strict=True
                ):
                    far = (boxes[i, left] - box).abs().sum(-1)
                    query = left.pop(int(far.argmin()))
                    distances.append(far.min())
                    wanted[i, query] = (tokens > 0).float()
            token = (
                F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
                * text.mask[:, None]
            )
            name = "" if layer == LAYERS - 1 else f"_{layer}"
            count = max(1, len(distances) - 1)
            losses |= {
                f"class{name}": token.sum() / count,
                f"box{name}": 5 * torch.stack(distances).sum() / count,
            }
        return losses

    def detections(
        self,
        outputs: SetOutputs,
        class_tokens: Sequence[Sequence[Sequence[int]]],
        image_sizes: Sequence[tuple[int, int]],
        settings: DetectionSettings,
    ) -> list[Detections]:
        found = []
        for i, (tokens, size) in enumerate(zip(class_tokens, image_sizes, strict=True)):
            probability = outputs.logits[-1][i].sigmoid()
            rows = [
                probability[:, list(t)].mean(1) if len(t) else torch.zeros(QUERIES) for t in tokens
            ]
            best = (
                torch.stack(rows, 1)
                .flatten()
                .topk(min(settings.max_detections, QUERIES * len(rows)))
            )
            queries, labels = best.indices // len(rows), best.indices % len(rows)
            found.append(
                Detections(from_shares(outputs.boxes[-1][i, queries], size), best.values, labels)
            )
        return found

    def is_finite(self, outputs: SetOutputs) -> bool:
        return not any(bool(x.isnan().any()) for x in (*outputs.logits, *outputs.boxes))

    @property
    def defaults(self) -> Defaults:
        return Defaults((64, 96), DetectionSettings(score_threshold=0.0, max_detections=5))

    @property
    def prompt_width(self) -> int:
        return WIDTH

    @property
    def word_embeddings(self) -> nn.Module:
        return self.words

    def stages(self) -> tuple[Stage, ...]:
        backbone = Stage("backbone", "maps", (self.stem, self.body), False, self._run_backbone)
        return backbone, Stage("encoder", "memory", (self.encoder,), True, self._encode)

    def parts(self) -> Mapping[str, tuple[str, ...]]:
        return {
            "vision": ("stem", "body"),
            "text": ("words", "text_projection"),
            "fusion": ("encoder",),
            "head": ("queries", "decoder", "box"),
        }

    def backbone_stages(self) -> Sequence[nn.Module]:
        return [self.stem, *self.body]

    def last_layers(self) -> Sequence[str]:
        return ("box.weight", "box.bias")


def to_shares(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Inclusive xyxy in pixels -> centre and size in shares of the image (height, width)."""
    near, far = boxes[:, :2], boxes[:, 2:] + 1
    return torch.cat([(near + far) / 2, far - near], dim=1) / torch.tensor([size[1], size[0]] * 2)


def from_shares(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The inverse, clipped to the image."""
    pixels = boxes * torch.tensor([size[1], size[0]] * 2)
    near, far = pixels[:, :2] - pixels[:, 2:] / 2, pixels[:, :2] + pixels[:, 2:] / 2 - 1
    limit = torch.tensor([size[1] - 1.0, size[0] - 1.0])
    return torch.cat([near.clamp(min=0).minimum(limit), far.clamp(min=0).minimum(limit)], dim=1)
