"""Photos with captions, before anybody has drawn a box.

Three kinds of files are read:

- JSON with ``images`` and ``annotations``. The caption is in the annotations (COCO captions) or in
  the images (MDETR).
- JSON lines, or a JSON list, of ``{"file_name", "caption"}``.
- CSV with these two columns.

Beside a caption, JSON may have ``phrases``: the characters ``[[start, end], ...]`` of what is to be
found.
"""

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import is_text
from glip_lightning.common.files import regular_file
from glip_lightning.common.schema import LONGEST_TEXT
from glip_lightning.data.checks.findings import data_error, listing, short
from glip_lightning.data.images import is_below
from glip_lightning.text.token_spans import Span

log = logging.getLogger(__name__)


class Sentence(NamedTuple):
    """A caption, and the characters of its phrases; None where the file does not give them."""

    caption: str
    spans: tuple[Span, ...] | None = None


class Captioned(NamedTuple):
    """A photo, by its name below the folder of the photos, with one sentence or more."""

    file_name: str
    sentences: tuple[Sentence, ...]


def read_captions(file: str | Path) -> list[Captioned]:
    """Read the photos of ``file`` in the order in which they first come, with all their sentences.

    Entries whose caption is empty are left out and counted.

    Raises:
        DataError: the file is missing, is none of the three kinds, or has a faulty entry.
    """
    path = Path(file)
    readers: dict[str, Callable[[str], Iterable[Any]]] = {
        ".json": _json_rows,
        ".jsonl": _json_lines,
        ".csv": _csv_rows,
    }
    read_rows = readers.get(path.suffix.lower())
    if read_rows is None:
        raise data_error("not-captions/ending", path, known=", ".join(readers), ending=path.suffix)
    try:
        text = regular_file(path).read_text(encoding="utf-8-sig")
        rows = list(read_rows(text))
    except _NotCaptions as error:
        raise data_error("not-captions", path, reason=error) from None
    except GLIPError:
        raise
    except FileNotFoundError:
        raise data_error("missing-file", path, kind="file of captions") from None
    except (ValueError, RecursionError, csv.Error) as error:  # broken JSON, other encodings
        raise data_error("not-captions", path, reason=error) from error
    return _by_photo(path, rows)


class _NotCaptions(Exception):
    """What a file lacks to be one of captions; :func:`read_captions` adds the name of the file."""


def _json_rows(text: str) -> Iterable[Any]:
    content = json.loads(text)
    if isinstance(content, list):
        return content
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise _NotCaptions('no list "images" at its top level')
    annotations = content.get("annotations") or []
    if not isinstance(annotations, list):
        raise _NotCaptions(f'"annotations" is {short(annotations)}, no list')
    sentences = [entry for entry in annotations if isinstance(entry, dict) and "caption" in entry]
    if not sentences:
        return content["images"]
    images = [image for image in content["images"] if isinstance(image, dict)]
    ids = [_comparable_id(image.get("id")) for image in images]
    twice = [number for number, times in Counter(ids).items() if times > 1]
    if twice:
        message = f"image ids that occur twice: {listing(twice)}; give every image an id of its own"
        raise _NotCaptions(message)
    names = {number: image.get("file_name") for number, image in zip(ids, images, strict=True)}
    rows = []
    silent = set(names)
    for sentence in sentences:
        owner = _comparable_id(sentence.get("image_id"))
        silent.discard(owner)
        rows.append({**sentence, "file_name": names.get(owner)})
    if silent:
        log.warning("%d of %d images have no caption; they are left out", len(silent), len(names))
    return rows


def _comparable_id(value: object) -> str:
    """Return an id as text: ids in quotes mean those without."""
    return value if isinstance(value, str) else repr(value)


def _json_lines(text: str) -> Iterable[Any]:
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _csv_rows(text: str) -> Iterable[Any]:
    # splitlines would also cut where no line of a file ends
    rows = csv.DictReader(io.StringIO(text, newline=""))
    missing = {"file_name", "caption"} - set(rows.fieldnames or ())
    if missing:
        raise _NotCaptions(f"no column {' and '.join(sorted(missing))} in its first line")
    return [{"file_name": row["file_name"], "caption": row["caption"]} for row in rows]


def _by_photo(path: Path, rows: list[Any]) -> list[Captioned]:
    faults: list[str] = []
    blank = 0
    photos: dict[str, list[Sentence]] = {}
    for place, row in enumerate(rows, start=1):
        fault = _fault(row)
        if fault is not None:
            faults.append(f"number {place} ({fault})")
            continue
        caption, phrases = row.get("caption"), row.get("phrases")
        if caption is None or not caption.strip():
            blank += 1
            continue
        spans = None
        if phrases is not None:
            spans = tuple((start, end) for start, end in phrases)
        photos.setdefault(row["file_name"], []).append(Sentence(caption, spans))
    if faults:
        items, total = listing(faults), len(rows)
        raise data_error("bad-entry", path, len(faults), total=total, items=items)
    if blank:
        message = "%s: %d of %d entries have no caption; they are left out"
        log.warning(message, path, blank, len(rows))
    if not photos:
        raise data_error("no-caption/file", path)
    return [Captioned(name, tuple(sentences)) for name, sentences in photos.items()]


def _fault(row: object) -> str | None:
    """Return what is wrong with an entry, None if nothing is."""
    if not isinstance(row, dict):
        return f"{short(row)} is no object with file_name and caption"
    name = row.get("file_name")
    if name is None and "image_id" in row:
        return f"image_id {short(row['image_id'])} is that of no image with a file_name"
    if not isinstance(name, str) or not name or not is_text(name):
        return f"file_name is {short(name)}"
    if not is_below(name):
        return f"file_name {short(name)} leads out of the folder of the images"
    return _caption_fault(row.get("caption"), row.get("phrases"))


def _caption_fault(given: object, phrases: object) -> str | None:
    """Return what is wrong with the caption of an entry or its phrases; both may be missing."""
    caption = "" if given is None else given
    if not isinstance(caption, str) or not is_text(caption):
        return f"caption is {short(caption)}"
    if len(caption) > LONGEST_TEXT:
        return f"caption has {len(caption)} characters, expected at most {LONGEST_TEXT}"
    listed = [] if phrases is None else phrases
    if not isinstance(listed, list) or not all(_is_span(span, caption) for span in listed):
        return f"phrases {short(phrases)} are no list of [start, end] inside the caption"
    return None


def _is_span(span: object, caption: str) -> bool:
    match span:
        case [start, end] if type(start) is int and type(end) is int:
            return 0 <= start < end <= len(caption) and bool(caption[start:end].strip())
    return False
