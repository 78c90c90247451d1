"""Which images make up a few-shot subset: the official greedy rule over whole images.

Source: microsoft/GLIP data/datasets/coco.py:152-172 (COCODataset), data/datasets/modulated_coco.py:62-79
(CocoGrounding).
"""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.index import Index


class Chosen(NamedTuple):
    images: list[int]  # positions in the index, in the order in which they were chosen
    counts: list[int]  # per class, the chosen images that show it


def few_shot(index: Index, shots: int, seed: int | None) -> Chosen:
    """Images of ``index`` that show each class ``shots`` times, if so many do; images without boxes never.

    ``seed`` shuffles the images first, as COCODataset does and the prepared official lists are made; None keeps
    them in ascending id, as CocoGrounding does and so the official fine-tuning command, whatever its seed.
    """
    if shots < 1:
        message = f"shots={shots}: a subset has at least one image per class"
        raise GLIPError(message, code="bad-value")
    shown = {image: set(index.boxes_of(image).labels.tolist()) for image in range(len(index))}
    images = index.with_boxes()
    if seed is not None:
        random.Random(seed).shuffle(images)
    classes = len(index.class_names)
    chosen = take_while_needed(images, shown, [shots] * classes)
    return Chosen(chosen, [sum(k in shown[image] for image in chosen) for k in range(classes)])


def take_while_needed(
    images: Sequence[int], shown: Mapping[int, Collection[int]], quotas: list[int]
) -> list[int]:
    """The images, in this order, that show at least one class whose quota is not used up.

    An image counts once for each class that it shows (crowds included), however many boxes it has, also for
    classes whose quota is used up. ``quotas[k]``, counted down in place, is that of class k.
    """
    taken = []
    for image in images:
        if shown[image] and max(shown[image]) >= len(quotas):
            message = f"image {image} shows class {max(shown[image])}, and there are {len(quotas)} classes"
            raise GLIPError(message, code="bad-value")
        if any(quotas[k] > 0 for k in shown[image]):
            taken.append(image)
            for k in shown[image]:
                quotas[k] -= 1
    return taken
