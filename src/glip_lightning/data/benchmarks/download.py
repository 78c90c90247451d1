"""``glip download``: the official zip files of ODinW, unpacked where they are looked for later.

:func:`~.odinw.find_task` says where that is. ROOT/odinw/.downloads holds for each zip file what has
arrived of it (``.part``), a lock, and for good a record of its SHA-256 and of the files that it
held. A later download of the same zip file has to have the same SHA-256. The zip file itself is
removed when it is unpacked.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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

_SIZE_AND_CRC = Items(Whole(0, 2**63), 2, 2)
_RECORD = Keys({"url": Text(), "sha256": Text(64), "files": Mapped(_SIZE_AND_CRC, 10_000_000)})

REPOSITORY, FOLDER = "GLIPModel/GLIP", "odinw_35"  # odinw/download.py of the official code


def download_tasks(
    names: Sequence[str], root: str | Path, source: str | Path | None = None
) -> list[Path]:
    """Download tasks and return the folder of each below ``root``.

    Tasks that are there are verified against the record of their download. A task that fails does
    not keep the others from being downloaded.

    Args:
        names: of tasks, or ``odinw13`` or ``odinw35`` for all tasks of a benchmark.
        root: folder of the data.
        source: folder that has the zip files. None: they come from the Hub, or from the mirror of
            it that the environment variable HF_ENDPOINT names.

    Raises:
        GLIPError: a name is wrong; nothing is downloaded.
        GLIPError: a zip file failed; the message has all reasons. The code is that of the failures
            if they have the same one, else ``download-failed``.
    """
    chosen = _chosen_tasks(names)
    archives: dict[str, list[ODinWTask]] = {}
    for task in chosen:
        archives.setdefault(task.zip, []).append(task)
    failed: list[Exception] = []
    for name, tasks in archives.items():
        try:
            _Archive(Path(root), name, tasks).get(Path(source) if source else None)
        except (OSError, ValueError) as error:
            failed.append(error)
            log.error("%s: failed", name)
    if failed:
        reasons = "\n".join(str(error) for error in failed)
        codes = {getattr(error, "code", "download-failed") for error in failed}
        code = codes.pop() if len(codes) == 1 else "download-failed"
        message = f"{len(failed)} of {len(archives)} zip files failed:\n{reasons}"
        raise GLIPError(message, code=code)
    return [find_task(root, task.name) for task in chosen]


def _chosen_tasks(names: Sequence[str]) -> list[ODinWTask]:
    """Return each task once, in the order of the names."""
    chosen: dict[str, ODinWTask] = {}
    for name in names:
        members = odinw_names(name) if name in ("odinw13", "odinw35") else [name]
        for member in members:
            task = odinw_task(member)
            chosen[task.name] = task
    return list(chosen.values())


@dataclass(frozen=True)
class _Archive:
    """A zip file, which holds one task or the variants of one."""

    root: Path
    name: str
    tasks: list[ODinWTask]

    @property
    def control(self) -> Path:
        """The folder of records, locks and parts."""
        return self.root / "odinw" / ".downloads"

    @property
    def record(self) -> Path:
        """The record of the first download."""
        return self.control / f"{self.name}.json"

    @property
    def target(self) -> Path:
        """The folder to which the zip file is unpacked."""
        return self.root / "odinw" / self.name.removesuffix(".zip")

    def get(self, source: Path | None) -> None:
        """Verify the tasks if they are there, else get the zip file and unpack it.

        Args:
            source: folder that has the zip file; None for the Hub.

        Raises:
            GLIPError: the files of a task changed; or the zip file cannot be had, is another one
                than at the first download, or cannot be unpacked.
        """
        self.control.mkdir(parents=True, exist_ok=True)
        with _locked(self.control / f"{self.name}.lock", self.name):
            known = _read_record(self.record)
            absent = [task.name for task in self.tasks if not _is_there(self.root, task)]
            if not absent:
                self._remove()  # of a process that was killed at its very end
                self._verify(known)
                return
            if self.target.exists():
                message = f"{self.target}: exists, but without the annotations of "
                message += f"{', '.join(absent)}; move it away, then download again"
                raise GLIPError(message, code="file-exists")
            if source is None:
                url = hf_hub_url(REPOSITORY, f"{FOLDER}/{self.name}")
                file = self.control / self.name
                # the zip file is there if a process was killed while it was unpacked
                sha256 = digest(file) if file.exists() else _fetch_from_hub(url, file)
            else:
                file = source / self.name
                url = str(file)
                sha256 = _digest_of_own(file)
            try:
                self._check_known(sha256, known)
                self._install(file, url, sha256)
            except GLIPError as error:  # the zip file is not what it should be
                self._remove()
                raise GLIPError(f"{url}: {error}", code=error.code) from error
            self._remove()
            log.info("%s: unpacked to %s", self.name, self.target)

    def _remove(self) -> None:
        """Remove the zip file and its parts; the user's own zip files are in another folder."""
        for file in (self.control / self.name, *self.control.glob(f"{self.name}.*part*")):
            file.unlink(missing_ok=True)

    def _check_known(self, sha256: str, known: dict[str, Any] | None) -> None:
        """Raise GLIPError if the first download had another SHA-256."""
        if known and known["sha256"] != sha256:
            raise GLIPError(
                f"its SHA-256 is {sha256}, but that of the first download from {known['url']} was "
                f"{known['sha256']}; get it from elsewhere (HF_ENDPOINT, --from), or delete "
                f"{self.record} if the new file is right",
                code="wrong-digest",
            )

    def _install(self, file: Path, url: str, sha256: str) -> None:
        """Unpack the zip file, whole or not at all, and record what it held."""
        about = {"url": url, "sha256": sha256, "bytes": file.stat().st_size}
        # what a process left that was killed while it unpacked
        for left in self.target.parent.glob(f".glip-*-{self.target.name}"):
            shutil.rmtree(left)
        with replacing(self.target) as fresh:
            files = unpack(file, self.target.name, fresh)
            _check_tasks(fresh, self.tasks)
            write_text(self.record, json.dumps(about | {"files": files}, ensure_ascii=False))

    def _verify(self, known: dict[str, Any] | None) -> None:
        """Compare the files of complete tasks with what their zip file held."""
        folders = [find_task(self.root, task.name) for task in self.tasks]
        places = ", ".join(str(folder) for folder in folders)
        if known is None or not all(folder.is_relative_to(self.target) for folder in folders):
            message = (
                "%s: there already, in %s; not downloaded by glip, so there is nothing to verify"
            )
            log.info(message, self.name, places)
            return
        files = known["files"]
        wrong = []
        for name, (size, crc) in files.items():
            file = self.target / name
            if not file.is_file() or file.stat().st_size != size or crc_of(file) != crc:
                wrong.append(name)
        if wrong:
            raise GLIPError(
                f"{self.target}: {len(wrong)} of {len(files)} files are missing or not as "
                f"downloaded: {listing(wrong)}; move the folder away, then download again",
                code="changed-files",
            )
        message = "%s: there already, in %s; all %d files are as downloaded"
        log.info(message, self.name, places, len(files))


@contextmanager
def _locked(file: Path, archive: str) -> Iterator[None]:
    """Let one process at a time download and unpack a zip file.

    The system gives the lock back when a process dies.
    """
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


def _digest_of_own(file: Path) -> str:
    if not file.exists():
        message = f"{file}: there is no such zip file in the folder of --from"
        raise GLIPError(message, code="file-not-found")
    return digest(regular_file(file))


def _fetch_from_hub(url: str, file: Path) -> str:
    """Download a file from the Hub and return its SHA-256."""
    otherwise = f"a copy works the same: get {url} another way and name its folder with --from"
    try:
        found = get_hf_file_metadata(url, retry_on_errors=True)
    except Exception as error:  # as in fetch
        raise GLIPError(f"{url}: {reason(error)}; {otherwise}", code="download-failed") from error
    if found.size is None or found.etag is None or found.commit_hash is None:
        raise GLIPError(
            f"{url}: the answer is not that of a Hub: check HF_ENDPOINT, and whether a proxy or a "
            f"log-in stands in between; {otherwise}",
            code="download-failed",
        )
    free = shutil.disk_usage(file.parent).free
    needed = 2 * found.size  # the unpacked pictures are as large as the zip file, or more
    if free < needed:
        raise GLIPError(
            f"{file.parent}: {free / 1e9:.1f} GB are free, but {url} needs {needed / 1e9:.1f} GB "
            "for the zip file and what is in it; make room or choose another --root",
            code="disk-too-small",
        )
    sha256 = None
    if re.fullmatch("[0-9a-f]{64}", found.etag):  # the Hub gives the SHA-256 of large files
        sha256 = found.etag
    return fetch(url, file, found.size, sha256, build_hf_headers())


def _check_tasks(folder: Path, tasks: list[ODinWTask]) -> None:
    """Raise GLIPError if a task has no annotations in ``folder``, the first part of its ``dir``."""
    for task in tasks:
        below = folder.joinpath(*task.dir.split("/")[1:])
        if not any((below / file).is_file() for file in task.splits.values()):
            message = f"no annotations in {task.dir}/{task.splits['train']}"
            message += f"; it is not the zip file of {task.name}"
            raise GLIPError(message, code="wrong-archive")


def _read_record(record: Path) -> dict[str, Any] | None:
    """Return the record of a download, None if there is none."""
    if not record.exists():
        return None
    try:
        content = parse_json(regular_file(record).read_text(encoding="utf-8"), str(record))
        found = {key: content[key] for key in _RECORD.fields}
        _RECORD.check(found, str(record))
        return found
    except (ValueError, KeyError, TypeError) as error:
        message = f"{record}: not a record of a download ({error}); delete it to go on without"
        raise GLIPError(message, code="damaged-record") from error
