"""Boxes of annotation files as numpy arrays, so that data can be checked without torch.

Corners are inclusive, as in :mod:`glip_lightning.ops.boxes`: x2 is the last pixel that belongs to
the box.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def outside_from_xywh(boxes: Floats) -> Floats:
    """Return COCO ``x, y, width, height`` [G, 4] as outside corners [G, 4], as pictures are drawn.

    Outside corners lie around the last pixel of a box: ``x2 = x + width``. Frame and type stay.
    """
    corners = boxes.copy()
    corners[:, 2:] += boxes[:, :2]
    return corners


def from_xywh(boxes: Floats) -> Floats:
    """Return COCO ``x, y, width, height`` [G, 4] as inclusive corners [G, 4].

    The frame and the type of the numbers stay as they are.
    """
    corners = outside_from_xywh(boxes)
    corners[:, 2:] -= 1
    return corners


def clip_to_images(boxes: Floats, sizes: NDArray[np.int64]) -> Floats:
    """Return inclusive corners [G, 4] clipped to the pixels of their images.

    ``sizes`` are height and width, [G, 2], or [2] where all boxes are in one image.
    """
    last = sizes[..., [1, 0, 1, 0]].astype(boxes.dtype) - 1
    return np.minimum(np.maximum(boxes, 0), last)


def nonempty(boxes: Floats) -> NDArray[np.bool_]:
    """Return the mask [G] of the boxes with ``x2 > x1`` and ``y2 > y1``.

    The official code keeps these boxes only.
    """
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
