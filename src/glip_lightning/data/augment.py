"""Training photos in other colours and at other scales: they add what few photos do not show.

What is drawn depends on (seed, epoch, index) only, as in :mod:`glip_lightning.data.transforms`.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as colour

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.index import Index
from glip_lightning.data.sampler import random_stream
from glip_lightning.ops import boxes as box_ops

KEPT = 0.4  # a box is trained on if at least this share of its area is in view
GONE = 0.1  # and left out up to this share; a view with a share in between is drawn again
TRIES = 8  # each nearer to the whole photo, which is taken after the last one

AugmentName = Literal["light", "strong"]


@dataclass(frozen=True)
class Strength:
    """How far a photo may be changed; colours by a factor of 1 - x to 1 + x."""

    # sides of the view over those of the photo: below 1 a part of it, above 1 a canvas around it
    zoom: tuple[float, float]
    aspect: float  # the ratio of the view's sides changes by up to this factor
    brightness: float
    contrast: float
    saturation: float
    hue: float  # shift in turns of the colour circle
    grey: float  # probability of a photo without colours


STRENGTHS: dict[AugmentName, Strength] = {
    "light": Strength(
        zoom=(0.7, 1.2),
        aspect=1.15,
        brightness=0.15,
        contrast=0.15,
        saturation=0.15,
        hue=0.01,
        grey=0.0,
    ),
    "strong": Strength(
        zoom=(0.4, 1.6),
        aspect=1.3,
        brightness=0.35,
        contrast=0.35,
        saturation=0.4,
        hue=0.03,
        grey=0.05,
    ),
}


@dataclass(frozen=True)
class View:
    """A rectangle, in pixels of the photo, that training shows; it may reach beyond the photo."""

    x: int
    y: int
    width: int
    height: int
    kept: Tensor  # bool [G]: the boxes of the photo that are trained on

    def boxes(self, boxes: Tensor) -> Tensor:
        """Return the kept ones of the photo's inclusive boxes [G, 4], in the frame of the view."""
        return _to_view(boxes, self.x, self.y, self.width, self.height)[self.kept]

    def pixels(self, image: Image.Image) -> Image.Image:
        """Return the view of a photo in RGB; what lies beyond the photo has its mean colour."""
        if (self.x, self.y, self.width, self.height) == (0, 0, *image.size):
            return image
        right, bottom = (
            min(self.x + self.width, image.width),
            min(self.y + self.height, image.height),
        )
        inside = image.crop((max(self.x, 0), max(self.y, 0), right, bottom))
        if inside.size == (self.width, self.height):
            return inside
        mean = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        canvas = Image.new("RGB", (self.width, self.height), mean)
        canvas.paste(inside, (max(-self.x, 0), max(-self.y, 0)))
        return canvas


class Augment:
    """Other scales (:meth:`view`) and other colours (:meth:`recolour`) of training photos."""

    def __init__(self, name: AugmentName, seed: int = 0) -> None:
        """Make the changes of one strength.

        Raises:
            GLIPError: there is no strength with this name (``bad-value``).
        """
        if name not in STRENGTHS:
            message = f"augment={name!r}: expected null, {' or '.join(STRENGTHS)}"
            raise GLIPError(message, code="bad-value")
        self.name, self.seed = name, seed
        self.strength = STRENGTHS[name]

    def view(self, height: int, width: int, boxes: Tensor, epoch: int, index: int) -> View:
        """Draw what is shown of a photo of ``height`` x ``width`` with inclusive boxes [G, 4].

        At least one box is in view, if there is any. No box is cut to a share between :data:`GONE`
        and :data:`KEPT`: such a part would be taught as background.
        """
        rng = random_stream("crop", self.seed, epoch, index)
        for attempt in range(TRIES):
            x, y, w, h = self._rectangle(rng, height, width, 1 - attempt / TRIES)
            share = _visible_area(boxes, x, y, w, h) / box_ops.area(boxes)
            seen = _to_view(boxes, x, y, w, h)
            nonempty = (seen[:, 2] > seen[:, 0]) & (seen[:, 3] > seen[:, 1])
            kept = (share >= KEPT) & nonempty
            is_clear = (kept | (share <= GONE)).all()
            if is_clear and (kept.any() or not len(boxes)):
                return View(x, y, w, h, kept)
        return View(0, 0, width, height, torch.ones(len(boxes), dtype=torch.bool))

    def _rectangle(
        self, rng: np.random.Generator, height: int, width: int, range_left: float
    ) -> tuple[int, int, int, int]:
        """Draw x, y, width, height; ``range_left`` is the share of the ranges that is used.

        The ranges are those of the logarithms of zoom and aspect.
        """
        low, high = np.log(self.strength.zoom) * range_left
        log_zoom = rng.uniform(low, high)
        log_aspect = rng.uniform(-1, 1) * math.log(self.strength.aspect) * range_left / 2
        w = max(1, round(width * math.exp(log_zoom + log_aspect)))
        h = max(1, round(height * math.exp(log_zoom - log_aspect)))
        x, y = rng.random(2)
        return round((width - w) * x), round((height - h) * y), w, h

    def recolour(self, image: Tensor, epoch: int, index: int) -> Tensor:
        """Return an image, uint8 RGB [3, h, w], in other colours."""
        rng = random_stream("colour", self.seed, epoch, index)
        by = self.strength
        brightness, contrast, saturation, hue = rng.uniform(-1, 1, 4).tolist()
        saturation_factor = 1 + by.saturation * saturation
        if rng.random() < by.grey:
            saturation_factor = 0.0
        image = colour.adjust_brightness(image, 1 + by.brightness * brightness)
        image = colour.adjust_contrast(image, 1 + by.contrast * contrast)
        image = colour.adjust_saturation(image, saturation_factor)
        return colour.adjust_hue(image, by.hue * hue)

    def out_of_view(self, index: Index, photos: int = 200) -> tuple[int, int]:
        """Count the boxes of the first photos of an index that are out of view in the first epoch.

        Returns:
            The number of boxes out of view, which are not trained on, and that of all boxes.
        """
        kept = []
        for image in range(min(photos, len(index))):
            boxes, _ = index.target(image)
            height, width = index.size(image)
            view = self.view(height, width, torch.from_numpy(boxes), 0, image)
            kept += view.kept.tolist()
        return len(kept) - sum(kept), len(kept)


def _to_view(boxes: Tensor, x: int, y: int, width: int, height: int) -> Tensor:
    """Move inclusive boxes [G, 4] of a photo to the frame of a view, clipped to it."""
    moved = boxes - boxes.new_tensor([x, y, x, y])
    return box_ops.clip_inclusive(moved, height, width)


def _visible_area(boxes: Tensor, x: int, y: int, width: int, height: int) -> Tensor:
    """Return how many pixels [G] of inclusive boxes [G, 4] are in a view."""
    near = torch.maximum(boxes[:, :2], boxes.new_tensor([x, y]))
    far = torch.minimum(boxes[:, 2:], boxes.new_tensor([x + width - 1, y + height - 1]))
    return (far - near + 1).clamp(min=0).prod(-1)
