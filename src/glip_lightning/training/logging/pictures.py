"""One evaluated image with its detections and its ground truth, for files and loggers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from PIL import Image
from torch import Tensor

from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.types import Batch
from glip_lightning.inference.drawing import draw_boxes
from glip_lightning.ops import boxes as box_ops

LONGEST = 800  # pixels of a logged picture


@dataclass(frozen=True, slots=True)
class EvaluatedImage:
    """An image in its original frame; boxes are x1, y1, x2, y2 in its pixels, x2 = x1 + width."""

    name: str
    picture: Image.Image
    classes: list[str]
    boxes: list[list[float]]
    """Of the detections."""
    scores: list[float]
    labels: list[int]
    """Positions in ``classes``."""
    truth: list[list[float]]
    """Boxes of the ground truth."""
    truth_labels: list[int]

    def smaller(self) -> "EvaluatedImage":
        """Return the image with at most ``LONGEST`` pixels on its longer side."""
        scale = LONGEST / max(self.picture.size)
        if scale >= 1:
            return self
        picture = self.picture.copy()
        picture.thumbnail((LONGEST, LONGEST))
        return replace(
            self,
            picture=picture,
            boxes=_scaled(self.boxes, scale),
            truth=_scaled(self.truth, scale),
        )

    def drawn(self) -> Image.Image:
        """Return the image with its boxes; those of the ground truth are magenta."""
        names = [self.classes[label] for label in self.labels]
        return draw_boxes(
            self.picture, self.boxes, names, self.scores, truth=self.truth, classes=self.classes
        )


def _scaled(boxes: list[list[float]], scale: float) -> list[list[float]]:
    return [[x1 * scale, y1 * scale, x2 * scale, y2 * scale] for x1, y1, x2, y2 in boxes]


def evaluated_image(
    batch: Batch, i: int, found: Mapping[str, Tensor], dataset: DetectionDataset, threshold: float
) -> EvaluatedImage:
    """Return image ``i`` of a batch.

    Args:
        batch: of ``dataset``, its boxes in the frame of the resized images.
        i: position in the batch.
        found: boxes, scores and labels of the detections, boxes in the original frame.
        dataset: where the images come from.
        threshold: the least score of the detections that are taken.
    """
    keep = found["scores"] >= threshold
    height, width = batch["original_sizes"][i]
    _, input_height, input_width = batch["images"][i].shape
    scale_h, scale_w = height / input_height, width / input_width
    position = dataset.index.find(batch["image_ids"][i])
    return EvaluatedImage(
        name=batch["names"][i],
        picture=dataset.index.picture(position),
        classes=dataset.class_names,
        boxes=found["boxes"][keep].tolist(),
        scores=found["scores"][keep].tolist(),
        labels=found["labels"][keep].tolist(),
        truth=box_ops.to_outside(batch["boxes"][i].cpu(), scale_w, scale_h).tolist(),
        truth_labels=batch["labels"][i].tolist(),
    )
