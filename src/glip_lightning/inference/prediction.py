"""Detections of a photo as numbers, as a picture, and in the forms of other libraries."""

import io
import sys
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torchvision.ops import box_convert

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import replacing
from glip_lightning.data.images import read_image, to_rgb
from glip_lightning.inference.drawing import draw_boxes

Photo = str | Path | Image.Image | np.ndarray
"""A file, a PIL image, or an RGB array uint8 [h, w, 3]."""


@dataclass
class Prediction:
    """What was found in one photo, best first; all tensors are on the CPU."""

    boxes: Tensor
    """float [n, 4]: outside corners x1, y1, x2, y2 in pixels of the photo as it is seen.

    The EXIF orientation of a file is applied.
    """
    scores: Tensor  # [n]
    labels: Tensor  # int64 [n], 0-based class index
    names: list[str]  # the name of each detection's class
    size: tuple[int, int]  # height, width of the photo
    classes: list[str]  # all names that were looked for, in the order of the labels
    photo: Photo = field(repr=False)  # as it was given
    best_score: float = 0.0
    """The best score of all boxes, also of those below the threshold; 0 if no class scores 0.05."""
    cut: int = 0  # detections beyond the largest number, which are left out

    def __len__(self) -> int:
        """Return how many detections there are."""
        return len(self.names)

    def rows(self) -> list[dict[str, object]]:
        """Return plain rows for JSON: class id (from 0), name, score, box as x1, y1, x2, y2."""
        found: list[dict[str, object]] = []
        for k, name in enumerate(self.names):
            found.append(
                {
                    "class_id": int(self.labels[k]),
                    "name": name,
                    "score": round(float(self.scores[k]), 6),
                    "box": [round(x, 2) for x in self.boxes[k].tolist()],
                }
            )
        return found

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """Return COCO results: image id, category id (from 1), box, score.

        A box is x, y, width, height in pixels.
        """
        found = []
        boxes = box_convert(self.boxes.double().reshape(-1, 4), "xyxy", "xywh").tolist()
        for box, score, label in zip(
            boxes, self.scores.tolist(), self.labels.tolist(), strict=True
        ):
            found.append(
                {
                    "image_id": image_id,
                    "category_id": label + 1,
                    "bbox": [round(x, 2) for x in box],
                    "score": round(score, 6),
                }
            )
        return found

    def to_supervision(self) -> Any:
        """Return ``supervision.Detections`` with ``class_name`` in its data.

        Raises:
            GLIPError: supervision is not installed (code ``not-installed``).
        """
        if find_spec("supervision") is None:
            message = "to_supervision: supervision is not installed: pip install supervision"
            raise GLIPError(message, code="not-installed")
        return import_module("supervision").Detections(
            xyxy=self.boxes.numpy().reshape(-1, 4),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy(),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def draw(self) -> Image.Image:
        """Return the photo with its boxes as an RGB picture; a file is read again."""
        boxes, scores = self.boxes.tolist(), self.scores.tolist()
        return draw_boxes(as_image(self.photo), boxes, self.names, scores, classes=self.classes)

    def save(self, path: str | Path) -> Path:
        """Save the photo with its boxes; the ending of ``path`` says in which format.

        Raises:
            GLIPError: an ending that stands for no format of pictures (code ``unknown-ending``).
        """
        target = Path(path)
        if target.suffix.lower() not in Image.registered_extensions():
            message = f"{target}: its ending stands for no format of pictures; "
            message += "give a name that ends with .jpg or .png"
            raise GLIPError(message, code="unknown-ending")
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as fresh:
            self.draw().save(fresh, quality=92)
        return target

    def show(self) -> None:
        """Show the photo with its boxes: below the cell of a notebook, else in a viewer."""
        shell = sys.modules.get("IPython")  # a notebook has imported it
        if shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None:
            import_module("IPython.display").display(self.draw())
        else:
            self.draw().show()

    def _repr_png_(self) -> bytes:
        """Return the PNG file that a notebook shows for a prediction."""
        file = io.BytesIO()
        self.draw().save(file, format="PNG")
        return file.getvalue()


def as_image(photo: Photo) -> Image.Image:
    """Return a photo as PIL RGB; a file is turned as its EXIF orientation says.

    Raises:
        GLIPError: a file that is no readable image, or an array of another kind (code
            ``not-an-image``).
    """
    if isinstance(photo, str | Path):
        return read_image(Path(photo), upright=True)
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            text = f"array {photo.dtype} {photo.shape}: give RGB, uint8 [height, width, 3]"
            raise GLIPError(text, code="not-an-image")
        return Image.fromarray(photo)
    if not isinstance(photo, Image.Image):
        text = f"{type(photo).__name__}: no photo; "
        text += "give a path, a PIL image, an RGB array, or a list of them"
        raise GLIPError(text, code="not-an-image")
    return to_rgb(photo)
