"""Few images of a large set, chosen as the official code chooses them, so that results compare.

The choice is greedy and by image, not by box: every category has a counter that starts at ``shots``; an image is
taken if the counter of any of its categories is above zero, and then the counters of all its categories fall by
one, also below zero. All boxes of a taken image are used.

Source: microsoft/GLIP data/datasets/coco.py:135-172 (COCODataset) and data/datasets/modulated_coco.py:45-79
(CocoGrounding, which the official fine-tuning command uses, whatever its seed).
"""

import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class ImageCategories(NamedTuple):
    """What the choice has to know of an image that may be trained on."""

    image_id: int
    categories: frozenset[int]  # the file's ids of all its annotations, crowds and degenerate boxes included


class Choice(NamedTuple):
    image_ids: list[int]  # in the order in which they were taken
    images_per_category: dict[int, int]  # chosen images that show it; less than the shots if there are no more


def usable_images(
    image_ids: np.ndarray, images: np.ndarray, xywh: np.ndarray, categories: np.ndarray
) -> list[ImageCategories]:
    """The images that the official code trains on, in ascending id: those with a box more than a pixel wide and high.

    ``image_ids`` [N]; of each of M annotations, none left out, ``images`` [M] is the index of its image in
    ``image_ids``, ``xywh`` [M, 4] its box in pixels and ``categories`` [M] its category id in the file.
    """
    found: dict[int, set[int]] = {}
    for image, category in zip(images.tolist(), categories.tolist(), strict=True):
        found.setdefault(image, set()).add(category)
    usable = np.unique(images[(xywh[:, 2:] > 1).all(axis=1)]).tolist()
    return sorted(ImageCategories(int(image_ids[image]), frozenset(found[image])) for image in usable)


def choose_images(
    images: Sequence[ImageCategories], category_ids: Sequence[int], shots: int, seed: int | None
) -> Choice:
    """Choose from ``images`` (see :func:`usable_images`), whose file lists the categories ``category_ids``.

    With a ``seed`` as COCODataset: images shuffled by it (0: not shuffled), one counter per category of the file.
    ``None`` as CocoGrounding: images as they come, one counter per number up to the largest category id. Category c
    has counter c - 1, and category 0 the last one; both are the same for categories 1 to K.

    Raises:
        ValueError: ``shots`` below one; a category without a counter, where the official code fails as well.
    """
    if shots < 1:
        raise ValueError(f"shots={shots}: choose at least one image per class, or use all of them")
    counters = max(category_ids, default=0) if seed is None else len(category_ids)
    _check_counters({c for image in images for c in image.categories}, counters, seed)
    order = list(images)
    if seed:
        random.Random(seed).shuffle(order)
    missing = [shots] * counters
    chosen = []
    for image in order:
        if any(missing[c - 1] > 0 for c in image.categories):
            chosen.append(image)
            for c in image.categories:
                missing[c - 1] -= 1
    shown = Counter(c for image in chosen for c in image.categories)
    return Choice([image.image_id for image in chosen], {c: shown[c] for c in category_ids})


def _check_counters(used: set[int], counters: int, seed: int | None) -> None:
    for category in sorted(used):
        if not 0 <= category <= counters or not counters:
            rule = "up to the largest id (seed null)" if seed is None else f"per category (seed {seed})"
            other = "choose with a seed" if seed is None else "choose without a seed (null)"
            raise ValueError(
                f"category {category} has none of the {counters} counters of the official few-shot choice, one {rule}; "
                f"number the categories of the annotation file from 1 without gaps, or {other}"
            )
