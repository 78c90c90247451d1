"""A teacher's boxes as a grounding file, which ``data.grounding.GroundingDataset`` reads.

Boxes of different phrases of one caption that show the same object (IoU of ``SAME_OBJECT`` and
more: a *ring* that is also a *red ring*) become one annotation. It has the characters of all these
phrases, the best box and its score. In training an anchor is assigned to one box: of two equal
boxes it would learn the words of one, and learn that the words of the other are wrong.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.formats.captioned_images import Captioned, Sentence
from glip_lightning.inference.limits import MAX_DETECTIONS
from glip_lightning.inference.pseudo_label.journal import Record
from glip_lightning.inference.pseudo_label.teacher import Row
from glip_lightning.inference.thresholds import Thresholds
from glip_lightning.ops import boxes as box_ops
from glip_lightning.ops.box_arrays import from_xywh
from glip_lightning.text.token_spans import Span

SAME_OBJECT = 0.9
CUT = "boxes beyond --max-detections"
TAKEN = 0.5  # IoU from which two boxes show one object, where a phrase has no sure box

Labelled = Iterable[tuple[Captioned, Record]]
"""Every photo with what was found in it."""


@dataclass(slots=True)
class Label:
    """One box with the characters of the caption that name it."""

    row: Row
    spans: tuple[Span, ...]


def found_in(photo: Captioned, record: Record) -> Iterator[tuple[Sentence, Sequence[Row]]]:
    """Yield each sentence of a photo with the rows that were found for it.

    Raises:
        GLIPError: the record is not what a teacher writes for these sentences.
    """
    found = record["found"]
    if len(found) != len(photo.sentences):
        raise _wrong_scores(
            photo, f"{len(found)} lists of boxes for {len(photo.sentences)} captions"
        )
    for sentence, rows in zip(photo.sentences, found, strict=True):
        phrases = len(sentence.spans or ())
        if not isinstance(rows, list) or not all(_is_row(row, phrases) for row in rows):
            raise _wrong_scores(photo, "a box that is not phrase, score, x, y, width, height")
        yield sentence, rows


def _wrong_scores(photo: Captioned, fault: str) -> GLIPError:
    cure = "remove its line from the file of scores, or give another --out"
    return GLIPError(
        f"the kept scores of {photo.file_name}: {fault}; {cure}", code="damaged-journal"
    )


def _is_row(row: object, phrases: int) -> bool:
    """Return whether ``row`` is the number of a phrase below ``phrases``, a score and a box."""
    if not isinstance(row, list) or len(row) != 6:
        return False
    if not all(type(x) in (int, float) for x in row):
        return False
    phrase, score, *box = row
    return phrase in range(phrases) and 0 <= score <= 1 and all(-1e9 < x < 1e9 for x in box)


def phrase_scores(labelled: Labelled) -> Iterable[tuple[str, float]]:
    """Yield phrase and score of every box."""
    for photo, record in labelled:
        for sentence, rows in found_in(photo, record):
            names = names_in(sentence)
            for phrase, score, *_ in rows:
                yield names[phrase], score


def grounding_content(
    labelled: Labelled, thresholds: Thresholds, keep_empty: bool, most: int = MAX_DETECTIONS
) -> tuple[dict[str, Any], Counter]:
    """Return the content of the file, and counts of captions and boxes that were kept or left out.

    Args:
        labelled: every photo with its record.
        thresholds: the least scores.
        keep_empty: keep captions without a box.
        most: the largest number of boxes of a caption; the best ones are kept.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for photo, record in labelled:
        for sentence, rows in found_in(photo, record):
            labels = choose(sentence, rows, thresholds, counts)
            counts[CUT] += len(labels[most:])
            counts["captions in which nothing was found"] += not labels
            if not labels and not keep_empty:
                continue
            image = image_entry(len(images) + 1, photo.file_name, record)
            images.append({**image, "caption": sentence.caption})
            for found in labels[:most]:
                annotations.append(_annotation(len(annotations) + 1, len(images), found))
    counts["captions kept"] = len(images)
    counts["boxes kept"] = len(annotations)
    categories = [{"supercategory": "object", "id": 1, "name": "object"}]
    return {"images": images, "annotations": annotations, "categories": categories}, counts


def choose(
    sentence: Sentence, rows: Sequence[Row], thresholds: Thresholds, counts: Counter[str]
) -> list[Label]:
    """Return the boxes of a sentence from their least score on, best first, one per object.

    ``counts`` gets how many boxes were left out or joined.
    """
    names, spans = names_in(sentence), sentence.spans or ()
    passed = [row for row in rows if row[1] >= thresholds.of(names[row[0]])]
    if thresholds.best_from is not None:
        passed += _best_of_others(rows, passed, thresholds.best_from)
    labels: list[Label] = []
    for row in sorted(passed, key=lambda row: -row[1]):
        span = spans[row[0]]
        same = _most_overlapped(row, [label.row for label in labels], SAME_OBJECT)
        if same is None:
            labels.append(Label(row, (span,)))
        else:
            labels[same].spans = _joined_spans([*labels[same].spans, span])
    counts["boxes below their threshold"] += len(rows) - len(passed)
    counts["boxes joined with another phrase's"] += len(passed) - len(labels)
    return labels


def _best_of_others(rows: Sequence[Row], passed: Sequence[Row], least: float) -> list[Row]:
    """Return the best row of each phrase that has none in ``passed``, from the score ``least`` on.

    A row whose object another phrase has is left out. For a word that the teacher does not know,
    the object that is left over is the best guess.
    """
    known = {row[0] for row in passed}
    found: dict[int, Row] = {}
    for row in sorted(rows, key=lambda row: -row[1]):
        is_new = row[1] >= least and row[0] not in known and row[0] not in found
        if is_new and _most_overlapped(row, [*passed, *found.values()], TAKEN) is None:
            found[row[0]] = row
    return list(found.values())


def names_in(sentence: Sentence) -> list[str]:
    """Return the phrases of a sentence."""
    return [sentence.caption[start:end] for start, end in sentence.spans or ()]


def _most_overlapped(row: Row, others: Sequence[Row], least: float) -> int | None:
    """Return which of the ``others`` the box of ``row`` overlaps most, with an IoU of ``least``."""
    if not others:
        return None
    rows = np.array([row, *others], dtype=np.float64)
    boxes = torch.from_numpy(from_xywh(rows[:, 2:]))
    overlap, best = box_ops.iou_matrix(boxes[:1], boxes[1:])[0].max(0)
    return int(best) if overlap >= least else None


def _joined_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return spans in ascending order; spans that overlap or touch become one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def image_entry(number: int, file_name: str, record: Record) -> dict[str, Any]:
    """Return the entry of a photo in the list of images; ``record`` has its size."""
    return {
        "id": number,
        "file_name": file_name,
        "height": record["height"],
        "width": record["width"],
    }


def _annotation(number: int, image: int, label: Label) -> dict[str, Any]:
    entry = annotation_entry(number, image, 1, label.row)
    score = entry.pop("score")
    return {**entry, "tokens_positive": [list(span) for span in label.spans], "score": score}


def annotation_entry(number: int, image: int, category: int, row: Row) -> dict[str, Any]:
    """Return the entry of a box in the list of annotations; x, y, width, height are in pixels."""
    _, score, x, y, w, h = row
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [x, y, w, h],
        "area": round(w * h, 2),
        "iscrowd": 0,
        "score": score,
    }
