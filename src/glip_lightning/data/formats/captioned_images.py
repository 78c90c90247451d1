"""Photos with sentences about them, before anybody has drawn a box.

Three kinds of files: JSON with ``images`` and ``annotations``, the caption in the annotations (COCO captions) or in
the images (MDETR); JSON lines, or a JSON list, of ``{"file_name", "caption"}``; CSV with these two columns. Beside a
caption, JSON may have ``phrases``, the characters ``[[start, end], ...]`` of what is to be found.
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
    """A caption and the characters of its phrases; None where the file does not say which they are."""

    caption: str
    spans: tuple[Span, ...] | None = None


class Captioned(NamedTuple):
    """A photo, by its name below the folder of the photos, with one sentence or more."""

    file_name: str
    sentences: tuple[Sentence, ...]


def read_captions(file: str | Path) -> list[Captioned]:
    """The photos of ``file`` in the order in which they first come, all sentences of a photo together.

    Entries whose caption is empty are left out and counted; other faults are a :class:`DataError`.
    """
    path = Path(file)
    readers: dict[str, Callable[[str], Iterable[Any]]] = {
        ".json": _json,
        ".jsonl": _lines,
        ".csv": _csv,
    }
    if path.suffix.lower() not in readers:
        raise data_error("not-captions/ending", path, known=", ".join(readers), ending=path.suffix)
    try:
        text = regular_file(path).read_text(encoding="utf-8-sig")
        rows = list(readers[path.suffix.lower()](text))
    except _NotCaptions as error:
        raise data_error("not-captions", path, reason=error) from None
    except GLIPError:
        raise
    except FileNotFoundError:
        raise data_error("missing-file", path, kind="file of captions") from None
    except (ValueError, RecursionError, csv.Error) as error:  # broken JSON, other encodings
        raise data_error("not-captions", path, reason=error) from error
    return _grouped(path, rows)


class _NotCaptions(Exception):
    """What a file lacks to be one of captions; the reader adds which file it is."""


def _json(text: str) -> Iterable[Any]:
    content = json.loads(text)
    if isinstance(content, list):
        return content
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise _NotCaptions('no list "images" at its top level')
    images = [image for image in content["images"] if isinstance(image, dict)]
    annotations = content.get("annotations") or []
    if not isinstance(annotations, list):
        raise _NotCaptions(f'"annotations" is {short(annotations)}, no list')
    sentences = [a for a in annotations if isinstance(a, dict) and "caption" in a]
    if not sentences:
        return content["images"]
    ids = [_id(image.get("id")) for image in images]
    if twice := [number for number, times in Counter(ids).items() if times > 1]:
        raise _NotCaptions(
            f"image ids that occur twice: {listing(twice)}; give every image an id of its own"
        )
    names = {number: image.get("file_name") for number, image in zip(ids, images, strict=True)}
    owners = [_id(sentence.get("image_id")) for sentence in sentences]
    if silent := len(names.keys() - set(owners)):
        log.warning("%d of %d images have no caption; they are left out", silent, len(names))
    return [
        {**sentence, "file_name": names.get(owner)}
        for sentence, owner in zip(sentences, owners, strict=True)
    ]


def _id(value: object) -> str:
    """Ids in quotes mean those without."""
    return value if isinstance(value, str) else repr(value)


def _lines(text: str) -> Iterable[Any]:
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _csv(text: str) -> Iterable[Any]:
    rows = csv.DictReader(
        io.StringIO(text, newline="")
    )  # splitlines would also cut where no line of a file ends
    if missing := {"file_name", "caption"} - set(rows.fieldnames or ()):
        raise _NotCaptions(f"no column {' and '.join(sorted(missing))} in its first line")
    return [{"file_name": row["file_name"], "caption": row["caption"]} for row in rows]


def _grouped(path: Path, rows: list[Any]) -> list[Captioned]:
    faults, blank = [], 0
    photos: dict[str, list[Sentence]] = {}
    for place, row in enumerate(rows, start=1):
        if fault := _fault(row):
            faults.append(f"number {place} ({fault})")
        elif not (row.get("caption") or "").strip():
            blank += 1
        else:
            phrases = row.get("phrases")
            spans = None if phrases is None else tuple((start, end) for start, end in phrases)
            photos.setdefault(row["file_name"], []).append(Sentence(row["caption"], spans))
    if faults:
        raise data_error(
            "bad-entry", path, count=len(faults), total=len(rows), items=listing(faults)
        )
    if blank:
        log.warning(
            "%s: %d of %d entries have no caption; they are left out", path, blank, len(rows)
        )
    if not photos:
        raise data_error("no-caption/file", path)
    return [Captioned(name, tuple(sentences)) for name, sentences in photos.items()]


def _fault(row: object) -> str | None:
    """What is wrong with an entry."""
    if not isinstance(row, dict):
        return f"{short(row)} is no object with file_name and caption"
    name, caption, phrases = row.get("file_name"), row.get("caption"), row.get("phrases")
    if name is None and "image_id" in row:
        return f"image_id {short(row['image_id'])} is that of no image with a file_name"
    if not isinstance(name, str) or not name or not is_text(name):
        return f"file_name is {short(name)}"
    if not is_below(name):
        return f"file_name {short(name)} leads out of the folder of the images"
    if caption is not None and not (isinstance(caption, str) and is_text(caption)):
        return f"caption is {short(caption)}"
    if caption is not None and len(caption) > LONGEST_TEXT:
        return f"caption has {len(caption)} characters, expected at most {LONGEST_TEXT}"
    listed = [] if phrases is None else phrases
    if not isinstance(listed, list) or not all(_is_span(span, caption or "") for span in listed):
        return f"phrases {short(phrases)} are no list of [start, end] inside the caption"
    return None


def _is_span(span: object, caption: str) -> bool:
    if not isinstance(span, list) or len(span) != 2 or any(type(x) is not int for x in span):
        return False
    start, end = span
    return 0 <= start < end <= len(caption) and bool(caption[start:end].strip())
