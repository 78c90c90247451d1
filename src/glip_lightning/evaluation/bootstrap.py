"""How much COCO AP depends on which images were measured: the AP of images drawn again, with replacement.

Detections are matched to boxes once per image; a resample only changes how often an image counts. An image that is
drawn twice counts as two images with equal boxes and detections.
"""

import zlib
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100  # per image and class
RESAMPLES = 200
DRAWS_AT_ONCE = 4_000_000  # numbers in memory: resamples x detections of a class

Truth = Mapping[str, list[dict[str, Any]]]  # a COCO dictionary
Rows = Mapping[int, np.ndarray]  # image id -> [n, 7]: image id, x, y, w, h, score, category


class ClassMatches(NamedTuple):
    """The detections of one class in falling order of their scores, matched to its boxes."""

    category: int
    scores: np.ndarray  # [D]
    images: np.ndarray  # [D] index of the image
    hit: np.ndarray  # [D, 10] found a box at this IoU
    ignored: np.ndarray  # [D, 10] found a crowd or has no area, so neither right nor wrong
    boxes: np.ndarray  # [I] boxes that are no crowd, by image


def bootstrap(truth: Truth, rows: Rows, resamples: int = RESAMPLES) -> dict[str, Any]:
    """``resamples``, their ``AP`` (null where no box was drawn), the ``interval95`` between their percentiles, and that
    of ``AP50``, ``AP50_interval95``.

    The draw depends on the images and their boxes alone: results of the same images are drawn alike and can be
    compared resample by resample, those of different tasks are independent. Images that come twice lift the AP of
    classes with few boxes, up to an interval beside the measured AP; so the APs are moved to have that as their mean.
    """
    images = sorted(rows)
    seen = set(images)
    boxes = [
        (a["image_id"], a["category_id"], *a["bbox"])
        for a in truth["annotations"]
        if a["image_id"] in seen
    ]
    rng = np.random.default_rng([len(images), zlib.crc32(repr((images, boxes)).encode())])
    once = np.ones((1, len(images)), dtype=np.int64)
    counts = np.concatenate([once, draw_counts(rng, len(images), resamples)])
    by_iou = resampled_ap(truth, rows, counts)
    aps, at_half = _centred(by_iou.mean(0)), _centred(by_iou[0])
    values = [None if np.isnan(ap) else round(float(ap), 5) for ap in aps]
    return {
        "resamples": resamples,
        "AP": values,
        "interval95": _interval95(aps),
        "AP50_interval95": _interval95(at_half),
    }


def _centred(aps: np.ndarray) -> np.ndarray:
    """The AP of all images and those of the resamples -> the latter around the former, within 0 and 1."""
    measured, resampled = aps[0], aps[1:]
    if np.isnan(resampled).all():
        return resampled
    return (resampled - np.nanmean(resampled) + measured).clip(0, 1)


def _interval95(values: np.ndarray) -> list[float] | None:
    defined = values[~np.isnan(values)]
    return np.percentile(defined, [2.5, 97.5]).round(5).tolist() if defined.size else None


def draw_counts(rng: np.random.Generator, images: int, resamples: int) -> np.ndarray:
    """How often each image is drawn [R, I] when as many are drawn as there are, with replacement."""
    if not images:
        return np.zeros((resamples, 0), dtype=np.int64)
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples)


def resampled_ap(truth: Truth, rows: Rows, counts: np.ndarray) -> np.ndarray:
    """COCO AP at each IoU [10, R] (all areas, 100 detections) when image i, in the order of the ids, counts
    ``counts[:, i]`` times: AP50 is the first row, AP the mean of all.

    Classes without a drawn box are left out of the mean over classes; nan where that is all of them.
    """
    per_class = [_class_ap(matches, counts) for matches in match(truth, rows)]
    table = np.stack(per_class) if per_class else np.full((1, len(IOUS), len(counts)), np.nan)
    defined = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        return np.where(defined, table, 0.0).sum(0) / np.where(
            defined.any(0), defined.sum(0), np.nan
        )


def match(truth: Truth, rows: Rows) -> Iterator[ClassMatches]:
    """The detections of each class that has boxes, matched as COCO does: the best score chooses first."""
    images = sorted(rows)
    place = {image_id: i for i, image_id in enumerate(images)}
    real: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for box in truth["annotations"]:
        if box["image_id"] in place:
            real.setdefault(box["category_id"], {}).setdefault(place[box["image_id"]], []).append(
                box
            )
    found = np.concatenate([np.empty((0, 7)), *(rows[image_id] for image_id in images)])
    of_image = np.repeat(np.arange(len(images)), [len(rows[image_id]) for image_id in images])
    for category, by_image in sorted(real.items()):
        chosen = found[:, 6] == category
        yield _match_class(category, found[chosen], of_image[chosen], by_image, len(images))


def _match_class(
    category: int,
    found: np.ndarray,
    of_image: np.ndarray,
    real: Mapping[int, list[dict[str, Any]]],
    images: int,
) -> ClassMatches:
    order = np.lexsort(
        (-found[:, 5], of_image)
    )  # by image, then by score; equal ones stay in order
    found, of_image = found[order], of_image[order]
    rank = np.arange(len(found)) - np.searchsorted(of_image, of_image)
    found, of_image = found[rank < MAX_DETECTIONS], of_image[rank < MAX_DETECTIONS]
    hit, ignored = (np.zeros((len(found), len(IOUS)), dtype=bool) for _ in range(2))
    boxes = np.zeros(images, dtype=np.int64)
    for image, annotations in real.items():
        boxes[image] = sum(not a.get("iscrowd") for a in annotations)
    for image, places in groupby(range(len(found)), key=lambda i: int(of_image[i])):
        if image in real:
            here = list(places)
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
    """Boxes x, y, w, h [D, 4] in falling order of their scores -> [D, 10] found a box, [D, 10] found a crowd only."""
    annotations = sorted(annotations, key=lambda a: bool(a.get("iscrowd")))
    crowd = np.array([bool(a.get("iscrowd")) for a in annotations])
    iou = _iou(found, np.array([a["bbox"] for a in annotations], dtype=np.float64), crowd)
    hit, ignored = (np.zeros((len(found), len(IOUS)), dtype=bool) for _ in range(2))
    free = np.tile(~crowd, (len(IOUS), 1))  # [10, G]; a crowd is never taken
    least = np.minimum(IOUS, 1 - 1e-10)[:, None]
    for d in np.flatnonzero(iou.max(1) >= least[0]):
        possible = np.where(free & (iou[d] >= least), iou[d], -1.0)
        best = (
            possible.shape[1] - 1 - possible[:, ::-1].argmax(1)
        )  # of equal ones the last, as COCO's loop keeps it
        hit[d] = np.take_along_axis(possible, best[:, None], 1)[:, 0] >= 0
        free[hit[d], best[hit[d]]] = False
        ignored[d] = ~hit[d] & (crowd & (iou[d] >= least)).any(1)
    return hit, ignored


def _iou(found: np.ndarray, real: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """[D, 4] and [G, 4] of x, y, w, h -> [D, G]; with a crowd the share of the detection that lies inside."""
    low = np.maximum(found[:, None, :2], real[None, :, :2])
    high = np.minimum(
        found[:, None, :2] + found[:, None, 2:], real[None, :, :2] + real[None, :, 2:]
    )
    inside = np.clip(high - low, 0, None).prod(-1)
    own, other = found[:, None, 2] * found[:, None, 3], real[None, :, 2] * real[None, :, 3]
    union = np.where(crowd, own, own + other - inside)
    return np.divide(inside, union, out=np.zeros_like(inside), where=inside > 0)


def _class_ap(matches: ClassMatches, counts: np.ndarray) -> np.ndarray:
    """AP of one class at each IoU [10, R]; nan where none of its boxes is drawn."""
    chunks = max(1, -(-counts.shape[0] * len(matches.images) // DRAWS_AT_ONCE))
    return np.concatenate(
        [_chunk_ap(matches, chunk) for chunk in np.array_split(counts, chunks)], axis=1
    )


def _chunk_ap(matches: ClassMatches, counts: np.ndarray) -> np.ndarray:
    real = (counts @ matches.boxes).astype(np.float64)
    weights = counts[:, matches.images]  # [R, D] how often each detection is there
    total = weights.cumsum(1)
    ap = np.empty((len(IOUS), len(counts)))
    for t in range(len(IOUS)):
        hits = np.flatnonzero(
            matches.hit[:, t]
        )  # recall and the envelope of the precision change here only
        skipped = weights[:, matches.ignored[:, t]].cumsum(1)
        before = np.searchsorted(np.flatnonzero(matches.ignored[:, t]), hits)
        skipped = np.concatenate(
            [np.zeros((len(counts), 1), dtype=skipped.dtype), skipped], axis=1
        )[:, before]
        right, shown = weights[:, hits].cumsum(1), total[:, hits] - skipped
        precision = np.divide(right, shown, out=np.zeros(right.shape), where=shown > 0)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            reached = np.searchsorted(
                RECALLS, right / real[:, None], side="right"
            )  # recall points up to each hit
        gained = np.diff(reached, axis=1, prepend=0)
        ap[t] = (gained * envelope).sum(1) / len(RECALLS)
    return np.where(real > 0, ap, np.nan)
