"""One process at a time in a folder. The system gives a lock back when its process ends, however it ends."""

import logging
import os
import sys
from contextlib import suppress
from io import FileIO
from pathlib import Path

from glip_lightning.common.errors import GLIPError

log = logging.getLogger(__name__)

LOCK_NAME = ".lock"

_held: set[FileIO] = set()
"""The open lock files of this process."""


class FolderLock:
    """Holds ``folder/.lock`` until :meth:`release`; the file stays there for the next process."""

    def __init__(self) -> None:
        self._file: FileIO | None = None
        self._made = False  # the folder, for this lock
        self.exclusive = False
        """Whether it is certain that no other process has the folder."""

    def hold(self, folder: Path) -> None:
        """Take the lock of ``folder``, which is made if it is not there; nothing else in it is touched.

        A file system without locks gives a warning.

        Raises:
            GLIPError: another process has the folder (code ``folder-in-use``).
        """
        if self._file is not None:
            return
        self._made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOCK_NAME
        while self._file is None:
            file = path.open("ab", buffering=0)
            try:
                _lock(file)
            except (BlockingIOError, PermissionError):
                file.close()
                raise GLIPError(
                    f"{folder}: another process is working in this folder; wait for its end, or choose another folder",
                    code="folder-in-use",
                ) from None
            except OSError as error:
                file.close()
                why = error.strerror
                log.warning(
                    "%s: no locks here (%s): make sure that no other process works in it",
                    folder,
                    why,
                )
                return
            if _is_at(file, path):
                self._file, self.exclusive = file, True
                _held.add(file)
            else:  # its last owner has removed it after we had opened it
                file.close()

    def release(self) -> None:
        """Give the lock back, and remove a folder that was made for it if nothing came into it."""
        if self._file is None:
            return
        path = Path(self._file.name)
        if self._made and [other.name for other in path.parent.iterdir()] == [LOCK_NAME]:
            with suppress(OSError):  # another process was faster, or Windows keeps open files
                path.unlink()
                path.parent.rmdir()
        _held.discard(self._file)
        self._file.close()
        self._file, self.exclusive = None, False


def _is_at(file: FileIO, path: Path) -> bool:
    """Whether the open file is still the one with that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: FileIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: FileIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _leave_to_parent() -> None:
        """Close the locks in a child process: it may outlive a parent that was killed for some seconds."""
        for file in _held:
            file.close()

    os.register_at_fork(after_in_child=_leave_to_parent)
