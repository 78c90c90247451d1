"""The official image pipeline: resize to a shorter side, perhaps mirror; the boxes follow.

Normalisation and padding are the detector's (``Detector.preprocess``), on its device.

Source: microsoft/GLIP data/transforms/transforms.py:84-175, structures/bounding_box.py:110-184.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.schema import LONGEST_SIDE, SHORTEST_SIDE
from glip_lightning.data.sampler import random_stream
from glip_lightning.ops import boxes as box_ops

TEST_SIZE = 800  # INPUT.MIN_SIZE_TEST
TRAIN_SIZES = (480, 560, 640, 720, 800)  # AUGMENT.MULT_MIN_SIZE_TRAIN, which fine-tuning keeps
MAX_SIZE = 1333  # INPUT.MAX_SIZE_TRAIN, MAX_SIZE_TEST


def resize_size(height: int, width: int, min_side: int, max_side: int) -> tuple[int, int]:
    """Return height and width in pixels after resizing.

    The shorter side becomes ``min_side``, or less if the longer one would exceed ``max_side``. As
    official, also in rounding: the shorter side is rounded, the longer one cut off, so that the
    longer one may miss ``max_side`` a little. No side gets shorter than one pixel.
    """
    short, long = min(height, width), max(height, width)
    if long / short * min_side > max_side:
        min_side = max(1, round(max_side * short / long))
    if short == min_side:
        return height, width
    longer = int(min_side * long / short)
    return (longer, min_side) if width < height else (min_side, longer)


def resize_image(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Resize PIL RGB to uint8 [3, h, w] of ``size`` (h, w).

    Antialiased bilinear by PIL, bit-equal to the official implementation.
    """
    height, width = size
    if (image.width, image.height) != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def train_sizes(test_size: int) -> tuple[int, ...]:
    """Return the shorter sides to train at: the official ones below ``test_size``, and that."""
    smaller = [size for size in TRAIN_SIZES if size < test_size]
    return (*smaller, test_size)


class Transform:
    """Resize to one of ``min_sizes``, mirror with probability ``flip``.

    What is drawn depends on (seed, epoch, index) only. The defaults are those of the official
    evaluation; official training uses ``Transform(TRAIN_SIZES, flip=0.5)``.
    """

    def __init__(
        self,
        min_sizes: Sequence[int] = (TEST_SIZE,),
        max_size: int = MAX_SIZE,
        flip: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not 0 <= flip <= 1:
            raise GLIPError(f"flip={flip}: it is a probability, from 0 to 1", code="bad-value")
        self.flip, self.seed = flip, seed
        self.resize_to(min_sizes, max_size)

    def resize_to(self, min_sizes: Sequence[int], max_size: int) -> None:
        """Set the sizes in pixels from now on: the shorter side is drawn, the longer one limited.

        Raises:
            GLIPError: there is no shorter side, or a size is out of range (``bad-value``).
        """
        given = f"min_sizes={tuple(min_sizes)}, max_size={max_size}"
        if not min_sizes or min(min_sizes) < 1 or max_size < max(min_sizes):
            message = f"{given}: give at least one shorter side in pixels, none above max_size"
            raise GLIPError(message, code="bad-value")
        # the files of a run could not hold larger sizes
        if max(min_sizes) > SHORTEST_SIDE.high or max_size > LONGEST_SIDE.high:
            message = f"{given}: expected shorter sides up to {SHORTEST_SIDE.high} "
            message += f"and a longer one up to {LONGEST_SIDE.high} pixels"
            raise GLIPError(message, code="bad-value")
        self.min_sizes, self.max_size = tuple(min_sizes), max_size

    def __call__(
        self, image: Image.Image, boxes: Tensor, epoch: int, index: int
    ) -> tuple[Tensor, Tensor]:
        """Transform PIL RGB and inclusive boxes [G, 4] in its frame.

        Returns:
            uint8 [3, h, w], and inclusive boxes [G, 4] in its frame, that of the detector's input.
        """
        min_side, mirrored = self._drawn(epoch, index)
        height, width = resize_size(image.height, image.width, min_side, self.max_size)
        resized = resize_image(image, (height, width))
        boxes = box_ops.rescale(boxes, width / image.width, height / image.height)
        if mirrored:
            return resized.flip(-1), box_ops.hflip(boxes, width)
        return resized, boxes

    def size(self, height: int, width: int, epoch: int, index: int) -> tuple[int, int]:
        """Return height and width that an image of ``height`` x ``width`` gets."""
        min_side, _ = self._drawn(epoch, index)
        return resize_size(height, width, min_side, self.max_size)

    def _drawn(self, epoch: int, index: int) -> tuple[int, bool]:
        """Return the shorter side, and whether the image is mirrored."""
        rng = random_stream("view", self.seed, epoch, index)
        min_side = self.min_sizes[rng.integers(len(self.min_sizes))]
        return min_side, bool(rng.random() < self.flip)
