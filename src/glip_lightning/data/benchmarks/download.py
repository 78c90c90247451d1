"""``glip download``: the official zip files of ODinW, unpacked to where :func:`~.odinw.find_task` looks.

In ROOT/odinw/.downloads stands, for each zip file, what has arrived of it (``.part``), a lock, and for good a record
of its SHA-256 and of the files that it held. A later download of the same zip file has to have the same SHA-256.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from huggingface_hub import get_token
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from glip_lightning.common.files import regular_file, replacing, write_text
from glip_lightning.common.schema import Items, Keys, Mapped, Text, Whole, parse_json
from glip_lightning.data.benchmarks.fetch import Part, Report, fetch_zip
from glip_lightning.data.benchmarks.odinw import ODinWTask, find_task, get_task, task_names
from glip_lightning.data.benchmarks.unpack import crc_of, unpack
from glip_lightning.data.checks.findings import listing

log = logging.getLogger(__name__)

_RECORD = Keys(
    {"url": Text(), "sha256": Text(64), "files": Mapped(Items(Whole(0, 2**63), 2, 2), 10_000_000)}  # size, CRC
)

HUB = "https://huggingface.co"
HUB_FOLDER = "GLIPModel/GLIP/resolve/main/odinw_35"  # odinw/download.py names it with /tree/, which gives a web page
MIRROR_VARIABLE = "GLIP_ODINW_MIRROR"


def download(names: Sequence[str], root: str | Path, mirror: str | None = None, pause: float = 1.0) -> list[Path]:
    """Get tasks by name, or those of ``odinw13`` or ``odinw35``; the folder of each below ``root``.

    ``mirror`` is the address of a folder with the zip files, by default that of the environment variable
    GLIP_ODINW_MIRROR, else the official one on the Hub. Tasks that are there are verified against the record of
    their download. A task that fails does not keep the others from being fetched; ``pause`` as in ``fetch_zip``.

    Raises:
        ValueError: a wrong name, before anything is fetched.
        OSError: what failed, with all reasons.
    """
    chosen = _tasks(names)
    source, token = _source(mirror)
    archives = dict.fromkeys(task.zip for task in chosen)
    failed = []
    for archive in archives:
        try:
            _get(Path(root), archive, [task for task in chosen if task.zip == archive], source, token, pause)
        except (OSError, ValueError) as error:
            failed.append(str(error))
            log.error("%s: failed", archive)
    if failed:
        raise OSError("\n".join([f"{len(failed)} of {len(archives)} zip files failed:", *failed]))
    return [find_task(root, task.name) for task in chosen]


def _tasks(names: Sequence[str]) -> list[ODinWTask]:
    """Each once, in the order of their names."""
    chosen = {}
    for name in names:
        for known in task_names(name) if name in ("odinw13", "odinw35") else [name]:
            task = get_task(known)
            chosen[task.name] = task
    return list(chosen.values())


def _source(mirror: str | None) -> tuple[str, str | None]:
    """Address of the folder of zip files, and the Hub's token if it is the Hub."""
    mirror = mirror or os.environ.get(MIRROR_VARIABLE)
    if mirror:
        if not mirror.startswith(("http://", "https://")) or any(map(str.isspace, mirror)):
            raise ValueError(
                f"mirror {mirror!r}: give the http or https address of a folder with the zip files "
                f"(--mirror or {MIRROR_VARIABLE})"
            )
        return mirror.rstrip("/"), None
    hub = os.environ.get("HF_ENDPOINT") or HUB
    return f"{hub.rstrip('/')}/{HUB_FOLDER}", get_token()


def _get(root: Path, archive: str, tasks: list[ODinWTask], source: str, token: str | None, pause: float) -> None:
    """Verify the tasks of one zip file, or fetch it."""
    control = root / "odinw" / ".downloads"
    control.mkdir(parents=True, exist_ok=True)
    record = control / f"{archive}.json"
    with _locked(control / f"{archive}.lock", archive):
        if all(_is_there(root, task) for task in tasks):
            Part(control / archive).remove()  # of a process that was killed at its very end
            return _verify(root, archive, tasks, record)
        top = archive.removesuffix(".zip")
        target = root / "odinw" / top
        if target.exists():
            absent = ", ".join(task.name for task in tasks if not _is_there(root, task))
            raise FileExistsError(
                f"{target}: exists, but without the annotations of {absent}; move it away, then download again"
            )
        url = f"{source}/{archive}"
        with _progress(archive) as report:
            part = fetch_zip(url, control / archive, token, report, pause)
        _install(url, part, top, target, tasks, record)
        log.info("%s: unpacked to %s", archive, target)


@contextmanager
def _locked(file: Path, archive: str) -> Iterator[None]:
    """One process at a time; the system gives the lock back when a process dies."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s: another process is downloading it; waiting", archive)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_there(root: Path, task: ODinWTask) -> bool:
    try:
        return find_task(root, task.name).is_dir()
    except FileNotFoundError:
        return False


def _install(url: str, part: Part, top: str, target: Path, tasks: list[ODinWTask], record: Path) -> None:
    """Check what arrived, record it, unpack it; what is not right is fetched anew next time."""
    for left in target.parent.glob(f".glip-*-{top}"):  # of an unpacking that was killed
        shutil.rmtree(left)
    try:
        with part.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        _check_known(url, sha256, record)
        with replacing(target) as fresh:
            files = unpack(part.path, top, fresh)
            _check_tasks(url, fresh, tasks)
            content = {"url": url, "sha256": sha256, "bytes": part.size, "files": files}
            write_text(record, json.dumps(content, ensure_ascii=False))
    except ValueError as error:
        part.remove()
        raise ValueError(f"{url}: {error}") from error
    part.remove()


def _check_known(url: str, sha256: str, record: Path) -> None:
    known = _read(record)
    if known and known["sha256"] != sha256:
        raise ValueError(
            f"its SHA-256 is {sha256}, but that of the first download from {known['url']} was {known['sha256']}; "
            f"name another mirror, or delete {record} if the new file is right"
        )


def _check_tasks(url: str, folder: Path, tasks: list[ODinWTask]) -> None:
    """``folder`` is the first one of the tasks' ``dir``."""
    for task in tasks:
        below = folder.joinpath(*task.dir.split("/")[1:])
        if not any((below / file).is_file() for file in task.splits.values()):
            raise ValueError(
                f"no annotations in {task.dir}/{task.splits['train']}; it is not the zip file of {task.name}"
            )


def _verify(root: Path, archive: str, tasks: list[ODinWTask], record: Path) -> None:
    """Compare the files of a complete task with what its zip file held."""
    places = ", ".join(str(find_task(root, task.name)) for task in tasks)
    known = _read(record)
    folder = root / "odinw" / archive.removesuffix(".zip")
    if known is None or not all(find_task(root, task.name).is_relative_to(folder) for task in tasks):
        log.info("%s: there already, in %s; not downloaded by glip, so there is nothing to verify", archive, places)
        return
    wrong = [name for name, (size, crc) in known["files"].items() if not _same(folder / name, size, crc)]
    if wrong:
        raise ValueError(
            f"{folder}: {len(wrong)} of {len(known['files'])} files are missing or not as downloaded: "
            f"{listing(wrong, 3)}; move the folder away, then download again"
        )
    log.info("%s: there already, in %s; all %d files are as downloaded", archive, places, len(known["files"]))


def _same(file: Path, size: int, crc: int) -> bool:
    return file.is_file() and file.stat().st_size == size and crc_of(file) == crc


def _read(record: Path) -> dict[str, Any] | None:
    if not record.exists():
        return None
    try:
        content = parse_json(regular_file(record).read_text(encoding="utf-8"), str(record))
        found = {key: content[key] for key in _RECORD.fields}
        _RECORD.check(found, str(record))
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{record}: not a record of a download ({error}); delete it to go on without") from error


@contextmanager
def _progress(archive: str) -> Iterator[Report]:
    """A bar on stderr where there is a terminal."""
    console = Console(stderr=True)
    columns = TextColumn(archive), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(archive, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
