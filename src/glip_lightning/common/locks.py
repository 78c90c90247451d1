"""One process at a time in a folder.

The operating system releases a lock when its process ends, also when it is killed.
"""

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
    """A lock on a folder, held through ``folder/.lock``; the file stays for the next process."""

    def __init__(self) -> None:
        self._file: FileIO | None = None
        self._made_folder = False
        self.exclusive = False
        """Whether no other process can hold the folder: False on file systems without locks."""

    def hold(self, folder: Path) -> None:
        """Take the lock of ``folder``; a folder that does not exist is made.

        Nothing but the lock file is touched. A file system without locks gives a warning.

        Raises:
            GLIPError: another process holds the folder (code ``folder-in-use``).
        """
        if self._file is not None:
            return
        self._made_folder = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOCK_NAME
        while self._file is None:
            file = path.open("ab", buffering=0)
            try:
                _lock(file)
            except (BlockingIOError, PermissionError):
                file.close()
                message = f"{folder}: another process is working in this folder; "
                message += "wait for its end, or choose another folder"
                raise GLIPError(message, code="folder-in-use") from None
            except OSError as error:
                file.close()
                warning = "%s: no locks here (%s): make sure that no other process works in it"
                log.warning(warning, folder, error.strerror)
                return
            if _is_at(file, path):
                self._file = file
                self.exclusive = True
                _held.add(file)
            else:  # its last owner removed the file after we had opened it
                file.close()

    def release(self) -> None:
        """Release the lock; remove the folder if :meth:`hold` made it and it is still empty."""
        if self._file is None:
            return
        path = Path(self._file.name)
        names = [other.name for other in path.parent.iterdir()]
        if self._made_folder and names == [LOCK_NAME]:
            with suppress(OSError):  # another process was faster, or Windows keeps open files
                path.unlink()
                path.parent.rmdir()
        _held.discard(self._file)
        self._file.close()
        self._file = None
        self.exclusive = False


def _is_at(file: FileIO, path: Path) -> bool:
    """Return whether the open file still has that name."""
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
        """Close the locks in a child process: it may live on for seconds after its parent."""
        for file in _held:
            file.close()

    os.register_at_fork(after_in_child=_leave_to_parent)
