"""Every photo decoded once before training: one that is damaged would stop a run hours later."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from glip_lightning.common.files import write_text
from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.data.images import ImageFiles, ImageSource, StoredImages, check_image
from glip_lightning.data.index import Index
from glip_lightning.data.types import Split

State = tuple[int, int, str]
"""Bytes, time of the last change in ns, and what is wrong with a file (an empty text where nothing is)."""
Progress = Callable[[Iterator[None], int], Iterator[None]]


def check_photos(
    splits: Mapping[Split, Index], findings: Findings, progress: Progress, skip: bool = False
) -> dict[Split, Index]:
    """Decode each image of all splits, JPEG at an eighth of its size, and report those that fail.

    What was found is kept in the user's cache, of files by path, size and time, of the rows of a
    table by its fingerprint: what has not changed is not read again.

    Args:
        splits: what was read; images that are drawn, not stored, are not checked.
        findings: gets an error for each split with damaged files, or with ``skip`` a warning; errors of readers about
            the same files are then taken out.
        progress: wraps the iterator over the files that have to be read, whose number it is told.
        skip: go on without the damaged files.

    Returns:
        The splits, with ``skip`` without the images that cannot be read.
    """
    checked: dict[Split, Index] = {}
    if skip:
        findings[:] = [finding for finding in findings if finding.code != "unreadable-image"]
    known = {finding.where for finding in findings if finding.code == "unreadable-image"}
    for split, index in splits.items():
        checked[split] = index
        faults = _faults(index.source, index.rows.tolist(), progress)
        broken = [image for image, fault in enumerate(faults) if fault]
        if not broken:
            continue
        if skip:
            items = listing(index.name(image) for image in broken)
            findings.add("skipped-image", index.where, len(broken), total=len(index), items=items)
            checked[split] = index.select(sorted(set(range(len(index))) - set(broken)))
        elif index.where not in known:
            items = listing(dict.fromkeys(faults[image] for image in broken), "; ")
            findings.add("undecodable-image", index.where, len(broken), items=items)
    return checked


def _faults(source: ImageSource, rows: list[int], progress: Progress) -> list[str]:
    """Return what is wrong with each image, an empty text where nothing is or where it cannot be damaged."""
    if isinstance(source, ImageFiles):
        paths = [source.path(row) for row in rows]
        states = {str(path): _state(path) for path in paths}
        file = _kept_in(str(source.folder.resolve()))
        found = _checked(file, states, lambda path: check_image(Path(path)), progress)
        return [found[str(path)] for path in paths]
    if isinstance(source, StoredImages):
        states = {
            str(row): (0, 0) for row in rows
        }  # rows with another content: another fingerprint
        file = _kept_in(source.fingerprint)
        found = _checked(file, states, lambda row: source.check(int(row)), progress)
        return [found[str(row)] for row in rows]
    return [""] * len(rows)


def _checked(
    file: Path,
    states: Mapping[str, tuple[int, int]],
    check: Callable[[str], str],
    progress: Progress,
) -> dict[str, str]:
    """Return what is wrong with each image: what ``file`` knows of it, or what reading it says."""
    kept = _load(file)
    fresh = [name for name, state in states.items() if kept.get(name, ())[:2] != state]
    if fresh:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            outcomes = pool.map(check, fresh)
            for _ in progress(_store(kept, fresh, states, outcomes), len(fresh)):
                pass
        _save(file, kept)
    return {name: kept[name][2] for name in states}


def _store(
    kept: dict[str, State],
    names: list[str],
    states: Mapping[str, tuple[int, int]],
    outcomes: Iterator[str],
) -> Iterator[None]:
    for name, fault in zip(names, outcomes, strict=True):
        kept[name] = (*states[name], fault)
        yield


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _kept_in(place: str) -> Path:
    """Return the file of the cache for a folder of images, or for the rows of a table."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache / "glip-lightning" / "photos" / f"{name}.json"


def _load(file: Path) -> dict[str, State]:
    """What is known; nothing where the file is not there or is damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {
            path: (int(size), int(time), str(fault))
            for path, (size, time, fault) in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _save(file: Path, kept: Mapping[str, State]) -> None:
    try:
        write_text(file, json.dumps(kept))
    except OSError:  # a home that cannot be written: the next run reads the photos again
        return
