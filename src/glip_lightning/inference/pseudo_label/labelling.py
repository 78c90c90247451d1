"""A teacher over the photos of a folder that no earlier call has done.

Photos are read ahead in windows. Photos of one padded size in a window go through the detector
together. Windows and batches depend on the list of photos alone: a call that goes on finds the same
as a call that was never killed.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from glip_lightning.data.formats.captioned_images import Captioned, Sentence
from glip_lightning.inference.pseudo_label.journal import BOXES_OF_CAPTION, Journal, Record
from glip_lightning.inference.pseudo_label.teacher import STORED_MOST, PreparedPhoto, Teacher
from glip_lightning.text.noun_phrases import noun_phrases

READERS = 4  # threads that decode photos
WINDOW = 4  # batches whose photos are grouped by their size


def with_phrases(
    photos: Sequence[Captioned], teacher: Teacher, counts: Counter[str]
) -> list[Captioned]:
    """Return the photos whose sentences have phrases that the detector can find.

    Sentences without such a phrase are left out and counted.
    """
    found = []
    for photo in photos:
        sentences = [_with_phrases(sentence, teacher, counts) for sentence in photo.sentences]
        named = tuple(sentence for sentence in sentences if sentence.spans)
        counts["captions without a phrase"] += len(sentences) - len(named)
        if named:
            found.append(Captioned(photo.file_name, named))
    return found


def _with_phrases(sentence: Sentence, teacher: Teacher, counts: Counter[str]) -> Sentence:
    """Return a sentence with the phrases that have tokens: its own, or its noun phrases."""
    spans = sentence.spans
    if spans is None:
        spans = noun_phrases(sentence.caption)
    whole = sentence._replace(spans=tuple(dict.fromkeys(spans)))
    tokens = teacher.tokens(whole)
    kept = tuple(span for span, found in zip(whole.spans or (), tokens, strict=True) if found)
    counts["phrases without a token, or beyond the longest caption"] += len(tokens) - len(kept)
    return whole._replace(spans=kept)


def header(teacher: Teacher, folder: Path, photos: Sequence[Captioned]) -> dict[str, Any]:
    """Return the settings that decide which boxes are found: the first line of the journal."""
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(json.dumps(photo).encode() + b"\n")
    return {
        "pseudo-labels": 1,
        "teacher": teacher.base.name,
        "weights": teacher.base.sha256,
        "input size": list(teacher.base.input_size),
        BOXES_OF_CAPTION: STORED_MOST,
        "images": str(folder.resolve()),
        "photos and phrases": f"{len(photos)} ({digest.hexdigest()[:16]})",
    }


def find_all(
    teacher: Teacher, folder: Path, photos: Sequence[Captioned], journal: Journal, batch: int
) -> Iterator[int]:
    """Complete ``journal``, and yield after each step of how many photos it was."""
    size = batch * WINDOW
    left: list[Sequence[Captioned]] = []  # windows
    for first in range(0, len(photos), size):
        window = photos[first : first + size]
        if any(photo.file_name not in journal for photo in window):
            left.append(window)
    yield len(photos) - sum(len(window) for window in left)
    with ThreadPoolExecutor(READERS) as pool:

        def start_reading(window: Sequence[Captioned]) -> list[Future[PreparedPhoto]]:
            return [pool.submit(teacher.read, folder / photo.file_name) for photo in window]

        coming = start_reading(left[0]) if left else []
        for place, window in enumerate(left, start=1):
            reading = coming
            if place < len(left):
                coming = start_reading(left[place])
            yield from _find_window(teacher, window, reading, journal, batch)


def _find_window(
    teacher: Teacher,
    window: Sequence[Captioned],
    reading: Sequence[Future[PreparedPhoto]],
    journal: Journal,
    batch: int,
) -> Iterator[int]:
    """Add the records of a window of photos to the journal."""
    groups: dict[tuple[int, int], list[tuple[Captioned, PreparedPhoto]]] = {}
    for photo, future in zip(window, reading, strict=True):
        try:
            view = future.result()
        except (OSError, ValueError) as error:  # tried again by the next call
            journal.append([{"file_name": photo.file_name, "error": str(error)}])
            yield 1
        else:
            groups.setdefault(view.padded, []).append((photo, view))
    for group in groups.values():
        for first in range(0, len(group), batch):
            found, views = zip(*group[first : first + batch], strict=True)
            if any(photo.file_name not in journal for photo in found):
                journal.append(_records(teacher, found, views))
            yield len(found)


def _records(
    teacher: Teacher, photos: Sequence[Captioned], views: Sequence[PreparedPhoto]
) -> list[Record]:
    """Return the records of photos of one padded size."""
    records = []
    for photo, view, rows in zip(photos, views, teacher.find(views, photos), strict=True):
        height, width = view.original
        records.append(
            {"file_name": photo.file_name, "height": height, "width": width, "found": rows}
        )
    return records
