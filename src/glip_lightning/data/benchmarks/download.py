"""``glip download``: the official zip files of ODinW, unpacked to where :func:`~.odinw.find_task` looks.

In ROOT/odinw/.downloads stands, for each zip file, what has arrived of it (``.part``), a lock, and for good a record
of its SHA-256 and of the files that it held. A later download of the same zip file has to have the same SHA-256. The
zip file itself is removed when it is unpacked.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.utils import build_hf_headers

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file, replacing, write_text
from glip_lightning.common.schema import Items, Keys, Mapped, Text, Whole, parse_json
from glip_lightning.data.benchmarks.fetch import digest, fetch, reason
from glip_lightning.data.benchmarks.odinw import ODinWTask, find_task, odinw_names, odinw_task
from glip_lightning.data.benchmarks.unpack import crc_of, unpack
from glip_lightning.data.checks.findings import listing

log = logging.getLogger(__name__)

_RECORD = Keys(
    {
        "url": Text(),
        "sha256": Text(64),
        "files": Mapped(Items(Whole(0, 2**63), 2, 2), 10_000_000),
    }  # size, CRC
)

REPOSITORY, FOLDER = "GLIPModel/GLIP", "odinw_35"  # odinw/download.py of the official code names it


def download_tasks(
    names: Sequence[str], root: str | Path, source: str | Path | None = None
) -> list[Path]:
    """Get tasks by name, or those of ``odinw13`` or ``odinw35``; the folder of each below ``root``.

    ``source`` is a folder that has the zip files; without it they come from the Hub (or the mirror of it that the
    environment variable HF_ENDPOINT names). Tasks that are there are verified against the record of their download.
    A task that fails does not keep the others from being fetched.

    Raises:
        GLIPError: a wrong name, before anything is fetched.
        GLIPError: what failed, with all reasons; the code is that of the failures if they have the same one, else
            ``download-failed``.
    """
    chosen = _tasks(names)
    archives = dict.fromkeys(task.zip for task in chosen)
    failed: list[Exception] = []
    for archive in archives:
        tasks = [task for task in chosen if task.zip == archive]
        try:
            _get(Path(root), archive, tasks, Path(source) if source else None)
        except (OSError, ValueError) as error:
            failed.append(error)
            log.error("%s: failed", archive)
    if failed:
        codes = {getattr(error, "code", "download-failed") for error in failed}
        lines = [f"{len(failed)} of {len(archives)} zip files failed:", *map(str, failed)]
        raise GLIPError(
            "\n".join(lines), code=codes.pop() if len(codes) == 1 else "download-failed"
        )
    return [find_task(root, task.name) for task in chosen]


def _tasks(names: Sequence[str]) -> list[ODinWTask]:
    """Each once, in the order of their names."""
    chosen = {}
    for name in names:
        for known in odinw_names(name) if name in ("odinw13", "odinw35") else [name]:
            task = odinw_task(known)
            chosen[task.name] = task
    return list(chosen.values())


def _get(root: Path, archive: str, tasks: list[ODinWTask], source: Path | None) -> None:
    """Verify the tasks of one zip file if they are there, else get and unpack it."""
    control = root / "odinw" / ".downloads"
    control.mkdir(parents=True, exist_ok=True)
    record = control / f"{archive}.json"
    with _locked(control / f"{archive}.lock", archive):
        known = _read(record)
        if all(_is_there(root, task) for task in tasks):
            _remove(control, archive)  # of a process that was killed at its very end
            return _verify(root, archive, tasks, known)
        top = archive.removesuffix(".zip")
        target = root / "odinw" / top
        if target.exists():
            absent = ", ".join(task.name for task in tasks if not _is_there(root, task))
            raise GLIPError(
                f"{target}: exists, but without the annotations of {absent}; move it away, then download again",
                code="file-exists",
            )
        if source is None:
            url = hf_hub_url(REPOSITORY, f"{FOLDER}/{archive}")
            file = control / archive
            sha256 = (
                digest(file) if file.exists() else _fetch(url, file)
            )  # there: killed while it was unpacked
        else:
            file = source / archive
            url = str(file)
            sha256 = _digest_of_own(file)
        try:
            _check_known(sha256, known, record)
            _install(
                file,
                target,
                tasks,
                record,
                {"url": url, "sha256": sha256, "bytes": file.stat().st_size},
            )
        except GLIPError as error:  # the zip file is not what it should be
            _remove(control, archive)
            raise GLIPError(f"{url}: {error}", code=error.code) from error
        _remove(control, archive)
        log.info("%s: unpacked to %s", archive, target)


@contextmanager
def _locked(file: Path, archive: str) -> Iterator[None]:
    """One process at a time, from the request to the unpacked folder; the system gives it back when a process dies."""
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


def _remove(control: Path, archive: str) -> None:
    """Remove a zip file and its parts; the folder of the user's own zip files is another one."""
    for file in (control / archive, *control.glob(f"{archive}.*part*")):
        file.unlink(missing_ok=True)


def _digest_of_own(file: Path) -> str:
    if not file.exists():
        raise GLIPError(
            f"{file}: there is no such zip file in the folder of --from", code="file-not-found"
        )
    return digest(regular_file(file))


def _fetch(url: str, file: Path) -> str:
    """Get a file from the Hub; its SHA-256."""
    otherwise = f"a copy works the same: get {url} another way and name its folder with --from"
    try:
        found = get_hf_file_metadata(url, retry_on_errors=True)
    except Exception as error:  # as in fetch
        raise GLIPError(f"{url}: {reason(error)}; {otherwise}", code="download-failed") from error
    if found.size is None or found.etag is None or found.commit_hash is None:
        raise GLIPError(
            f"{url}: the answer is not that of a Hub: check HF_ENDPOINT, and whether a proxy or a log-in stands in "
            f"between; {otherwise}",
            code="download-failed",
        )
    free = shutil.disk_usage(file.parent).free
    if free < 2 * found.size:  # the unpacked pictures are as large as the zip file, or more
        raise GLIPError(
            f"{file.parent}: {free / 1e9:.1f} GB are free, but {url} needs {2 * found.size / 1e9:.1f} GB for the zip "
            "file and what is in it; make room or choose another --root",
            code="disk-too-small",
        )
    known = re.fullmatch("[0-9a-f]{64}", found.etag)  # the Hub gives the SHA-256 of large files
    return fetch(url, file, found.size, known[0] if known else None, build_hf_headers())


def _check_known(sha256: str, known: dict[str, Any] | None, record: Path) -> None:
    if known and known["sha256"] != sha256:
        raise GLIPError(
            f"its SHA-256 is {sha256}, but that of the first download from {known['url']} was {known['sha256']}; "
            f"get it from elsewhere (HF_ENDPOINT, --from), or delete {record} if the new file is right",
            code="wrong-digest",
        )


def _install(
    archive: Path, target: Path, tasks: list[ODinWTask], record: Path, about: dict[str, Any]
) -> None:
    """Unpack the zip file to ``target``, whole or not at all, and record what it held."""
    for left in target.parent.glob(f".glip-*-{target.name}"):  # of an unpacking that was killed
        shutil.rmtree(left)
    with replacing(target) as fresh:
        files = unpack(archive, target.name, fresh)
        _check_tasks(fresh, tasks)
        write_text(record, json.dumps(about | {"files": files}, ensure_ascii=False))


def _check_tasks(folder: Path, tasks: list[ODinWTask]) -> None:
    """``folder`` is the first one of the tasks' ``dir``."""
    for task in tasks:
        below = folder.joinpath(*task.dir.split("/")[1:])
        if not any((below / file).is_file() for file in task.splits.values()):
            raise GLIPError(
                f"no annotations in {task.dir}/{task.splits['train']}; it is not the zip file of {task.name}",
                code="wrong-archive",
            )


def _verify(root: Path, archive: str, tasks: list[ODinWTask], known: dict[str, Any] | None) -> None:
    """Compare the files of a complete task with what its zip file held."""
    places = ", ".join(str(find_task(root, task.name)) for task in tasks)
    folder = root / "odinw" / archive.removesuffix(".zip")
    if known is None or not all(
        find_task(root, task.name).is_relative_to(folder) for task in tasks
    ):
        log.info(
            "%s: there already, in %s; not downloaded by glip, so there is nothing to verify",
            archive,
            places,
        )
        return
    wrong = [
        name for name, (size, crc) in known["files"].items() if not _same(folder / name, size, crc)
    ]
    if wrong:
        raise GLIPError(
            f"{folder}: {len(wrong)} of {len(known['files'])} files are missing or not as downloaded: "
            f"{listing(wrong)}; move the folder away, then download again",
            code="changed-files",
        )
    log.info(
        "%s: there already, in %s; all %d files are as downloaded",
        archive,
        places,
        len(known["files"]),
    )


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
        raise GLIPError(
            f"{record}: not a record of a download ({error}); delete it to go on without",
            code="damaged-record",
        ) from error
