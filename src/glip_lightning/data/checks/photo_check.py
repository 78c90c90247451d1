"""Every photo decoded once before training: one that is damaged would stop a run hours later."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from glip_lightning.common.files import write_text
from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.data.images import ImageFiles, check_image
from glip_lightning.data.index import Index
from glip_lightning.data.types import Split

State = tuple[int, int, str]
"""Bytes, time of the last change in ns, and what is wrong with a file (an empty text where nothing is)."""
Progress = Callable[[Iterator[None], int], Iterator[None]]


def check_photos(
    splits: Mapping[Split, Index], findings: Findings, progress: Progress, skip: bool = False
) -> dict[Split, Index]:
    """Decode each image file of all splits, JPEG at an eighth of its size, and report those that fail.

    What was found is kept by path, size and time in the user's cache: a file that has not changed is not read again.

    Args:
        splits: what was read; images that are no files of their own, such as rows of a table, are not checked here.
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
        if not isinstance(index.source, ImageFiles):
            continue
        paths = [index.source.path(row) for row in index.rows.tolist()]
        faults = _faults(index.source.folder, paths, progress)
        broken = [image for image, path in enumerate(paths) if faults[path]]
        if not broken:
            continue
        if skip:
            items = listing(index.name(image) for image in broken)
            findings.add("skipped-image", index.where, len(broken), total=len(index), items=items)
            checked[split] = index.select(sorted(set(range(len(index))) - set(broken)))
        elif index.where not in known:
            items = listing((faults[paths[image]] for image in broken), "; ")
            findings.add("undecodable-image", index.where, len(broken), items=items)
    return checked


def _faults(folder: Path, paths: list[Path], progress: Progress) -> dict[Path, str]:
    """What is wrong with each file: what is known of it, or what reading it says."""
    file = _kept_in(folder)
    kept = _load(file)
    states = {path: _state(path) for path in paths}
    fresh = [path for path, state in states.items() if kept.get(str(path), ())[:2] != state]
    if fresh:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            outcomes = pool.map(check_image, fresh)
            for _ in progress(_store(kept, fresh, states, outcomes), len(fresh)):
                pass
        _save(file, kept)
    return {path: kept[str(path)][2] for path in paths}


def _store(
    kept: dict[str, State],
    paths: list[Path],
    states: Mapping[Path, tuple[int, int]],
    outcomes: Iterator[str],
) -> Iterator[None]:
    for path, fault in zip(paths, outcomes, strict=True):
        kept[str(path)] = (*states[path], fault)
        yield


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _kept_in(folder: Path) -> Path:
    """The file of the cache for a folder of images."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
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
