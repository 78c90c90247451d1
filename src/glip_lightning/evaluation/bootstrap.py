"""The bootstrap over images: how much COCO AP depends on which images were measured.

AP is measured again on images that are drawn from the measured ones, with replacement. Detections
are matched to boxes once per image; a resample only changes how often an image counts. An image
that is drawn twice counts as two images with equal boxes and detections.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100  # per image and class
RESAMPLES = 200
DRAWS_AT_ONCE = 4_000_000  # numbers in memory: resamples x detections of a class

Truth = Mapping[str, list[dict[str, Any]]]  # a COCO dictionary
Rows = Mapping[int, np.ndarray]  # image id -> [n, 7]: image id, x, y, w, h, score, category


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """The detections of one class in falling order of their scores, matched to its boxes."""

    category: int
    scores: np.ndarray  # [D]
    images: np.ndarray  # [D] index of the image
    hit: np.ndarray  # [D, 10] found a box at this IoU
    ignored: np.ndarray  # [D, 10] found a crowd or has no area, so neither right nor wrong
    boxes: np.ndarray  # [I] number of boxes that are no crowd, by image


def bootstrap(truth: Truth, rows: Rows, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return how far AP spreads over resamples of the images.

    The draw depends on the images and their boxes alone. So results on the same images have the
    same draws and can be compared resample by resample, and those of different tasks are
    independent. Images that come twice raise the AP of classes with few boxes, so that the interval
    could lie beside the measured AP. Therefore all APs are shifted until their mean is the measured
    AP.

    Args:
        truth: a COCO dictionary.
        rows: detections by image id (:data:`Rows`).
        resamples: number of draws.

    Returns:
        ``resamples``; their ``AP`` (None where no box was drawn); ``interval95``, the 2.5th and
        97.5th percentile of these; ``AP50_interval95``, the same of AP50.
    """
    images = sorted(rows)
    seen = set(images)
    boxes = [
        (each["image_id"], each["category_id"], *each["bbox"])
        for each in truth["annotations"]
        if each["image_id"] in seen
    ]
    digest = zlib.crc32(repr((images, boxes)).encode())
    rng = np.random.default_rng([len(images), digest])
    once = np.ones((1, len(images)), dtype=np.int64)
    counts = np.concatenate([once, draw_counts(rng, len(images), resamples)])
    by_iou = resampled_ap(truth, rows, counts)
    aps = _shifted(by_iou.mean(0))
    ap50s = _shifted(by_iou[0])
    return {
        "resamples": resamples,
        "AP": [None if np.isnan(ap) else round(float(ap), 5) for ap in aps],
        "interval95": _interval95(aps),
        "AP50_interval95": _interval95(ap50s),
    }


def _shifted(aps: np.ndarray) -> np.ndarray:
    """Return the resampled APs [R], shifted until their mean is the measured AP, within 0 and 1.

    The first of ``aps`` [1 + R] is the measured AP.
    """
    measured = aps[0]
    resampled = aps[1:]
    if np.isnan(resampled).all():
        return resampled
    return (resampled - np.nanmean(resampled) + measured).clip(0, 1)


def _interval95(values: np.ndarray) -> list[float] | None:
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    return np.percentile(defined, [2.5, 97.5]).round(5).tolist()


def draw_counts(rng: np.random.Generator, images: int, resamples: int) -> np.ndarray:
    """Return how often each image is drawn [R, I]: I draws with replacement per resample."""
    if not images:
        return np.zeros((resamples, 0), dtype=np.int64)
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples)


def resampled_ap(truth: Truth, rows: Rows, counts: np.ndarray) -> np.ndarray:
    """Return COCO AP at each IoU [10, R] for all areas and 100 detections.

    AP50 is the first row, AP the mean of all rows. Classes without a drawn box are left out of the
    mean over classes; AP is nan where all classes are.

    Args:
        truth: a COCO dictionary.
        rows: detections by image id (:data:`Rows`).
        counts: ``counts[:, i]`` [R] is how often image i counts, in ascending order of the ids.
    """
    per_class = [_class_ap(matches, counts) for matches in match_detections(truth, rows)]
    if not per_class:
        return np.full((len(IOUS), len(counts)), np.nan)
    table = np.stack(per_class)  # [K, 10, R]
    defined = ~np.isnan(table)
    classes = np.where(defined.any(0), defined.sum(0), np.nan)
    with np.errstate(invalid="ignore"):
        return np.where(defined, table, 0.0).sum(0) / classes


def match_detections(truth: Truth, rows: Rows) -> Iterator[ClassMatches]:
    """Match detections to boxes as COCO does: the detection with the best score chooses first.

    Yields:
        The detections of each class that has boxes, in ascending order of the categories.
    """
    images = sorted(rows)
    place = {image_id: i for i, image_id in enumerate(images)}
    by_class: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for box in truth["annotations"]:
        if box["image_id"] in place:
            by_image = by_class.setdefault(box["category_id"], {})
            by_image.setdefault(place[box["image_id"]], []).append(box)
    found = np.concatenate([np.empty((0, 7)), *(rows[image_id] for image_id in images)])
    found_per_image = [len(rows[image_id]) for image_id in images]
    of_image = np.repeat(np.arange(len(images)), found_per_image)
    for category, by_image in sorted(by_class.items()):
        chosen = found[:, 6] == category
        yield _match_class(category, found[chosen], of_image[chosen], by_image, len(images))


def _match_class(
    category: int,
    found: np.ndarray,
    of_image: np.ndarray,
    real: Mapping[int, list[dict[str, Any]]],
    images: int,
) -> ClassMatches:
    # by image, then by score; equal scores stay in order
    order = np.lexsort((-found[:, 5], of_image))
    found, of_image = found[order], of_image[order]
    rank = np.arange(len(found)) - np.searchsorted(of_image, of_image)
    kept = rank < MAX_DETECTIONS
    found, of_image = found[kept], of_image[kept]
    hit = np.zeros((len(found), len(IOUS)), dtype=bool)
    ignored = np.zeros((len(found), len(IOUS)), dtype=bool)
    boxes = np.zeros(images, dtype=np.int64)
    for image, annotations in real.items():
        boxes[image] = sum(not each.get("iscrowd") for each in annotations)
    for image, group in groupby(range(len(found)), key=of_image.__getitem__):
        if image in real:
            here = list(group)
            hit[here], ignored[here] = _match_image(found[here, 1:5], real[image])
    area = found[:, 3] * found[:, 4]
    ignored |= ~hit & (area < 0)[:, None]  # outside COCO's range of areas
    order = np.argsort(-found[:, 5], kind="stable")
    return ClassMatches(
        category, found[order, 5], of_image[order], hit[order], ignored[order], boxes
    )


def _match_image(
    found: np.ndarray, annotations: list[dict[str, Any]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return which detections of an image found a box, and which a crowd only, both [D, 10].

    ``found`` are boxes x, y, w, h [D, 4] in falling order of their scores.
    """
    annotations = sorted(annotations, key=_is_crowd)
    crowd = np.array([_is_crowd(each) for each in annotations])
    boxes = np.array([each["bbox"] for each in annotations], dtype=np.float64)
    iou = _iou(found, boxes, crowd)
    hit = np.zeros((len(found), len(IOUS)), dtype=bool)
    ignored = np.zeros((len(found), len(IOUS)), dtype=bool)
    free = np.tile(~crowd, (len(IOUS), 1))  # [10, G]; a crowd is never taken
    least = np.minimum(IOUS, 1 - 1e-10)[:, None]
    for d in np.flatnonzero(iou.max(1) >= least[0]):
        possible = np.where(free & (iou[d] >= least), iou[d], -1.0)
        # the last of equal ones, since COCO's loop keeps it
        best = possible.shape[1] - 1 - possible[:, ::-1].argmax(1)
        hit[d] = np.take_along_axis(possible, best[:, None], 1)[:, 0] >= 0
        free[hit[d], best[hit[d]]] = False
        ignored[d] = ~hit[d] & (crowd & (iou[d] >= least)).any(1)
    return hit, ignored


def _is_crowd(annotation: Mapping[str, Any]) -> bool:
    return bool(annotation.get("iscrowd"))


def _iou(found: np.ndarray, real: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return the IoU [D, G] of boxes x, y, w, h [D, 4] and [G, 4].

    With a crowd it is the share of the detection that lies inside.
    """
    found_near, found_size = found[:, None, :2], found[:, None, 2:]
    real_near, real_size = real[None, :, :2], real[None, :, 2:]
    low = np.maximum(found_near, real_near)
    high = np.minimum(found_near + found_size, real_near + real_size)
    inside = np.clip(high - low, 0, None).prod(-1)
    found_area = found[:, None, 2] * found[:, None, 3]
    real_area = real[None, :, 2] * real[None, :, 3]
    union = np.where(crowd, found_area, found_area + real_area - inside)
    return np.divide(inside, union, out=np.zeros_like(inside), where=inside > 0)


def _class_ap(matches: ClassMatches, counts: np.ndarray) -> np.ndarray:
    """Return the AP of one class at each IoU [10, R]; nan where none of its boxes is drawn."""
    chunks = max(1, -(-counts.shape[0] * len(matches.images) // DRAWS_AT_ONCE))
    parts = [_chunk_ap(matches, chunk) for chunk in np.array_split(counts, chunks)]
    return np.concatenate(parts, axis=1)


def _chunk_ap(matches: ClassMatches, counts: np.ndarray) -> np.ndarray:
    """Return :func:`_class_ap` for some of the resamples."""
    real = (counts @ matches.boxes).astype(np.float64)
    weights = counts[:, matches.images]  # [R, D] how often each detection is there
    total = weights.cumsum(1)
    ap = np.empty((len(IOUS), len(counts)))
    nothing = np.zeros((len(counts), 1), dtype=total.dtype)
    for t in range(len(IOUS)):
        # recall and the envelope of the precision change at hits only
        hits = np.flatnonzero(matches.hit[:, t])
        skipped = weights[:, matches.ignored[:, t]].cumsum(1)
        skipped = np.concatenate([nothing, skipped], axis=1)
        skipped_before = np.searchsorted(np.flatnonzero(matches.ignored[:, t]), hits)
        right = weights[:, hits].cumsum(1)
        shown = total[:, hits] - skipped[:, skipped_before]
        precision = np.divide(right, shown, out=np.zeros(right.shape), where=shown > 0)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = right / real[:, None]
        reached = np.searchsorted(RECALLS, recall, side="right")  # recall points up to each hit
        gained = np.diff(reached, axis=1, prepend=0)
        ap[t] = (gained * envelope).sum(1) / len(RECALLS)
    return np.where(real > 0, ap, np.nan)
