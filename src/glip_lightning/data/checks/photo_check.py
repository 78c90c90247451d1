"""Every photo decoded once before training: a damaged one would stop a run hours later."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from glip_lightning.common.files import write_text
from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.data.images import ImageCheck, ImageFiles, check_image
from glip_lightning.data.index import Index
from glip_lightning.data.types import Split

Progress = Callable[[Iterator[None], int], Iterator[None]]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the cache knows of a file."""

    size: int  # bytes; -1 where the file is not there
    time: int  # of its last change, in ns
    check: ImageCheck


def check_photos(
    splits: Mapping[Split, Index], findings: Findings, progress: Progress, skip: bool = False
) -> dict[Split, Index]:
    """Decode each image file of all splits and report those that fail or are nearly of one colour.

    What was found is kept by path, size and time in the user's cache: a file that has not changed
    is not read again.

    Args:
        splits: what was read. Images that are not files of their own, such as rows of a table, are
            not checked here.
        findings: get an error for each split with damaged files, or with ``skip`` a warning;
            errors from reading the headers of the same files are then removed.
        progress: wraps the iterator over the files that have to be read, whose number it is told.
        skip: leave the damaged files out and go on.

    Returns:
        The splits; with ``skip`` without the images that cannot be read.
    """
    checked: dict[Split, Index] = {}
    if skip:
        findings[:] = [finding for finding in findings if finding.code != "unreadable-image"]
    known = {finding.where for finding in findings if finding.code == "unreadable-image"}
    for split, index in splits.items():
        checked[split] = index
        if not isinstance(index.source, ImageFiles):
            continue
        paths = [index.source.path(row) for row in index.rows.tolist()]
        checks = _check_files(index.source.folder, paths, progress)
        flat = [index.name(image) for image, path in enumerate(paths) if checks[path].flat]
        if flat:
            findings.add("flat-image", index.where, len(flat), items=listing(flat))
        broken = [image for image, path in enumerate(paths) if checks[path].fault]
        if not broken:
            continue
        if skip:
            items = listing(index.name(image) for image in broken)
            findings.add("skipped-image", index.where, len(broken), total=len(index), items=items)
            checked[split] = index.select(sorted(set(range(len(index))) - set(broken)))
        elif index.where not in known:
            items = listing((checks[paths[image]].fault for image in broken), "; ")
            findings.add("undecodable-image", index.where, len(broken), items=items)
    return checked


def _check_files(folder: Path, paths: Sequence[Path], progress: Progress) -> dict[Path, ImageCheck]:
    """Return what is known of each file, or what reading it says; the cache gets to know it."""
    cache = _cache_file(folder)
    known = _load(cache)
    stamps = {path: _size_and_time(path) for path in paths}
    changed = []
    for path, stamp in stamps.items():
        found = known.get(str(path))
        if found is None or (found.size, found.time) != stamp:
            changed.append(path)

    def read_changed(checks: Iterator[ImageCheck]) -> Iterator[None]:
        for path, check in zip(changed, checks, strict=True):
            known[str(path)] = _Known(*stamps[path], check)
            yield

    if changed:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for _ in progress(read_changed(pool.map(check_image, changed)), len(changed)):
                pass
        _save(cache, known)
    return {path: known[str(path)].check for path in paths}


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _cache_file(folder: Path) -> Path:
    """Return the file of the cache for a folder of images."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
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
