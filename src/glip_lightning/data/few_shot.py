"""Which images make up a few-shot subset: the official greedy rule over whole images.

Source: microsoft/GLIP data/datasets/coco.py:152-172 (COCODataset),
data/datasets/modulated_coco.py:62-79 (CocoGrounding).
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.index import Index


@dataclass(frozen=True, slots=True)
class Chosen:
    """The images of a subset."""

    images: list[int]  # positions in the index, in the order in which they were chosen
    counts: list[int]  # per class, the chosen images that show it


def few_shot(index: Index, shots: int, seed: int | None) -> Chosen:
    """Choose images that show each class ``shots`` times, or as often as there are images of it.

    Images without boxes are never chosen.

    Args:
        index: the images to choose from.
        shots: images per class.
        seed: shuffles the images first, as COCODataset does, and as the official lists of images
            were made. None keeps them in ascending id, as CocoGrounding does; so does the official
            command for fine-tuning, whatever its seed is.

    Raises:
        GLIPError: ``shots`` is below 1 (``bad-value``).
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
    counts = [0] * classes
    for image in chosen:
        for label in shown[image]:
            counts[label] += 1
    return Chosen(chosen, counts)


def take_while_needed(
    images: Sequence[int], shown: Mapping[int, Collection[int]], quotas: list[int]
) -> list[int]:
    """Return the images, in their order, that show a class whose quota is not used up.

    An image counts once for each class that it shows (crowds included), however many boxes it has,
    also for classes whose quota is used up.

    Args:
        images: in the order in which they are considered.
        shown: the classes that each image shows.
        quotas: images that each class still needs; counted down in place, also below 0.

    Raises:
        GLIPError: an image shows a class that has no quota (``bad-value``).
    """
    taken = []
    for image in images:
        if shown[image] and max(shown[image]) >= len(quotas):
            message = f"image {image} shows class {max(shown[image])}, "
            message += f"and there are {len(quotas)} classes"
            raise GLIPError(message, code="bad-value")
        if any(quotas[label] > 0 for label in shown[image]):
            taken.append(image)
            for label in shown[image]:
                quotas[label] -= 1
    return taken
