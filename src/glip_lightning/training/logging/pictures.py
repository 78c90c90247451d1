"""One evaluated image with what was found on it and what is there, for files and loggers."""

from collections.abc import Mapping
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.types import Batch
from glip_lightning.inference.drawing import draw_boxes
from glip_lightning.ops import boxes as box_ops

LONGEST = 800  # pixels of a logged picture


class EvaluatedImage(NamedTuple):
    """An image in its original frame; boxes are x1, y1, x2, y2 in its pixels, x2 = x1 + width."""

    name: str
    picture: Image.Image
    classes: list[str]
    boxes: list[list[float]]
    scores: list[float]
    labels: list[int]
    truth: list[list[float]]
    truth_labels: list[int]

    def smaller(self) -> "EvaluatedImage":
        """At most ``LONGEST`` pixels long: what is looked at, not what is measured."""
        scale = LONGEST / max(self.picture.size)
        if scale >= 1:
            return self
        picture = self.picture.copy()
        picture.thumbnail((LONGEST, LONGEST))
        boxes, truth = (
            [[x * scale for x in box] for box in group] for group in (self.boxes, self.truth)
        )
        return self._replace(picture=picture, boxes=boxes, truth=truth)

    def drawn(self) -> Image.Image:
        """The image with its boxes; the true ones are magenta."""
        names = [self.classes[label] for label in self.labels]
        return draw_boxes(
            self.picture, self.boxes, names, self.scores, truth=self.truth, classes=self.classes
        )


def evaluated_image(
    batch: Batch, i: int, found: Mapping[str, Tensor], dataset: DetectionDataset, threshold: float
) -> EvaluatedImage:
    """Image ``i`` of ``batch`` with its detections ``found`` (original frame) from score ``threshold`` on."""
    keep = found["scores"] >= threshold
    height, width = batch["original_sizes"][i]
    scale_h, scale_w = height / batch["images"][i].shape[1], width / batch["images"][i].shape[2]
    return EvaluatedImage(
        name=batch["names"][i],
        picture=dataset.index.picture(dataset.index.find(batch["image_ids"][i])),
        classes=dataset.class_names,
        boxes=found["boxes"][keep].tolist(),
        scores=found["scores"][keep].tolist(),
        labels=found["labels"][keep].tolist(),
        truth=box_ops.to_outside(batch["boxes"][i].cpu(), scale_w, scale_h).tolist(),
        truth_labels=batch["labels"][i].tolist(),
    )
