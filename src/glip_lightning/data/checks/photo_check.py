"""Every photo decoded once before training: a damaged one would stop a run hours later."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from glip_lightning.common.files import write_text
from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.data.images import (
    ImageCheck,
    ImageFiles,
    ImageSource,
    StoredImages,
    check_image,
)
from glip_lightning.data.index import Index
from glip_lightning.data.types import Split

Progress = Callable[[Iterator[None], int], Iterator[None]]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the cache knows of an image."""

    size: int  # bytes of the file; -1 where it is not there, 0 for rows of a table
    time: int  # of its last change, in ns
    check: ImageCheck


def check_photos(
    splits: Mapping[Split, Index], findings: Findings, progress: Progress, skip: bool = False
) -> dict[Split, Index]:
    """Decode each image of all splits and report those that fail or are nearly of one colour.

    What was found is kept in the user's cache: of files by path, size and time, of the rows of a
    table by its fingerprint. What has not changed is not read again.

    Args:
        splits: what was read. Images that are drawn, not stored, are not checked.
        findings: get an error for each split with damaged images, or with ``skip`` a warning;
            errors from reading the headers of the same images are then removed.
        progress: wraps the iterator over the images that have to be read, whose number it is told.
        skip: leave the damaged images out and go on.

    Returns:
        The splits; with ``skip`` without the images that cannot be read.
    """
    checked: dict[Split, Index] = {}
    if skip:
        findings[:] = [finding for finding in findings if finding.code != "unreadable-image"]
    known = {finding.where for finding in findings if finding.code == "unreadable-image"}
    for split, index in splits.items():
        checked[split] = index
        checks = _check_images(index.source, index.rows.tolist(), progress)
        flat = [index.name(image) for image, check in enumerate(checks) if check.flat]
        if flat:
            findings.add("flat-image", index.where, len(flat), items=listing(flat))
        broken = [image for image, check in enumerate(checks) if check.fault]
        if not broken:
            continue
        if skip:
            items = listing(index.name(image) for image in broken)
            findings.add("skipped-image", index.where, len(broken), total=len(index), items=items)
            checked[split] = index.select(sorted(set(range(len(index))) - set(broken)))
        elif index.where not in known:
            items = listing(dict.fromkeys(checks[image].fault for image in broken), "; ")
            findings.add("undecodable-image", index.where, len(broken), items=items)
    return checked


def _check_images(source: ImageSource, rows: Sequence[int], progress: Progress) -> list[ImageCheck]:
    """Return what is wrong with each image; nothing where images cannot be damaged."""
    if isinstance(source, ImageFiles):
        names = [str(source.path(row)) for row in rows]
        stamps = {name: _size_and_time(Path(name)) for name in names}
        cache = _cache_file(str(source.folder.resolve()))
        checks = _check_changed(cache, stamps, _check_file, progress)
    elif isinstance(source, StoredImages):
        names = [str(row) for row in rows]
        stamps = dict.fromkeys(names, (0, 0))  # rows with other content have another fingerprint
        cache = _cache_file(source.fingerprint)
        checks = _check_changed(cache, stamps, partial(_check_row, source), progress)
    else:
        return [ImageCheck()] * len(rows)
    return [checks[name] for name in names]


def _check_file(name: str) -> ImageCheck:
    return check_image(Path(name))


def _check_row(source: StoredImages, name: str) -> ImageCheck:
    return source.check(int(name))


def _check_changed(
    cache: Path,
    stamps: Mapping[str, tuple[int, int]],
    check: Callable[[str], ImageCheck],
    progress: Progress,
) -> dict[str, ImageCheck]:
    """Return what ``cache`` knows of each image, or what reading it says; the cache learns it."""
    known = _load(cache)
    changed = []
    for name, stamp in stamps.items():
        found = known.get(name)
        if found is None or (found.size, found.time) != stamp:
            changed.append(name)

    def read_changed(checks: Iterator[ImageCheck]) -> Iterator[None]:
        for name, found in zip(changed, checks, strict=True):
            known[name] = _Known(*stamps[name], found)
            yield

    if changed:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for _ in progress(read_changed(pool.map(check, changed)), len(changed)):
                pass
        _save(cache, known)
    return {name: known[name].check for name in stamps}


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _cache_file(place: str) -> Path:
    """Return the file of the cache for a folder of images, or for the rows of a table."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache / "glip-lightning" / "photos" / f"{name}.json"


def _load(file: Path) -> dict[str, _Known]:
    """Return what is known; nothing where the file is not there, damaged or of another version."""
    known = {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        for path, (size, time, fault, flat) in content.items():
            known[path] = _Known(int(size), int(time), ImageCheck(str(fault), bool(flat)))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return known


def _save(file: Path, known: Mapping[str, _Known]) -> None:
    content = {}
    for path, found in known.items():
        content[path] = (found.size, found.time, found.check.fault, found.check.flat)
    try:
        write_text(file, json.dumps(content))
    except OSError:  # a home that cannot be written: the next run reads the photos again
        return
