"""A teacher over a folder of photos, as far as an earlier call has not been there.

Photos are read ahead in windows, those of one padded size in a window are found together. Windows and batches depend
on the list of photos alone, so that one that goes on finds the same as one that was never killed.
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
WINDOW = 4  # batches: of so many photos, those of one size are put together


def with_phrases(
    photos: Sequence[Captioned], teacher: Teacher, counts: Counter[str]
) -> list[Captioned]:
    """Every sentence with the phrases that the detector can find; sentences without one are left out and counted."""
    found = []
    for photo in photos:
        sentences = [_with_phrases(sentence, teacher, counts) for sentence in photo.sentences]
        named = tuple(sentence for sentence in sentences if sentence.spans)
        counts["captions without a phrase"] += len(sentences) - len(named)
        if named:
            found.append(Captioned(photo.file_name, named))
    return found


def _with_phrases(sentence: Sentence, teacher: Teacher, counts: Counter[str]) -> Sentence:
    spans = tuple(noun_phrases(sentence.caption)) if sentence.spans is None else sentence.spans
    whole = sentence._replace(spans=tuple(dict.fromkeys(spans)))
    tokens = teacher.tokens(whole)
    kept = tuple(span for span, found in zip(whole.spans or (), tokens, strict=True) if found)
    counts["phrases without a token, or beyond the longest caption"] += len(tokens) - len(kept)
    return whole._replace(spans=kept)


def header(teacher: Teacher, folder: Path, photos: Sequence[Captioned]) -> dict[str, Any]:
    """What decides what is found; a journal of something else is not gone on with."""
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
    """Complete ``journal``; after each step, how many photos it was about."""
    size = batch * WINDOW
    windows = [photos[start : start + size] for start in range(0, len(photos), size)]
    left = [window for window in windows if not all(photo.file_name in journal for photo in window)]
    yield len(photos) - sum(map(len, left))
    with ThreadPoolExecutor(READERS) as pool:

        def start(window: Sequence[Captioned]) -> list[Future[PreparedPhoto]]:
            return [pool.submit(teacher.read, folder / photo.file_name) for photo in window]

        coming = start(left[0]) if left else []
        for place, window in enumerate(left, start=1):
            reading, coming = coming, start(left[place]) if place < len(left) else []
            yield from _find_window(teacher, window, reading, journal, batch)


def _find_window(
    teacher: Teacher,
    window: Sequence[Captioned],
    reading: Sequence[Future[PreparedPhoto]],
    journal: Journal,
    batch: int,
) -> Iterator[int]:
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
            if not all(photo.file_name in journal for photo in found):
                journal.append(_records(teacher, found, views))
            yield len(found)


def _records(
    teacher: Teacher, photos: Sequence[Captioned], views: Sequence[PreparedPhoto]
) -> list[Record]:
    rows = teacher.find(views, photos)
    return [
        {
            "file_name": photo.file_name,
            "height": view.original[0],
            "width": view.original[1],
            "found": found,
        }
        for photo, view, found in zip(photos, views, rows, strict=True)
    ]
