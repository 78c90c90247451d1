"""What a teacher has found so far: a file of JSON lines with which a killed program goes on.

Lines are only added. The first line holds the settings, every other line is the record of one
photo. Of two records of a photo, the later one counts.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.common.schema import parse_json

BOXES_OF_CAPTION = "boxes of a caption"
"""A key of the header that journals of version 0.1 do not have.

They hold as many boxes as the detector finds in an evaluation.
"""

Record = dict[str, Any]
"""``file_name`` and either ``error`` or ``height``, ``width`` and ``found``, rows by sentence."""


class Journal:
    """Records by ``file_name``. They stay on the disk; only their places are in memory."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Go on with the file at ``path``, or begin it.

        Raises:
            GLIPError: another process is writing the file (code ``journal-in-use``), it is no
                journal (``not-a-journal``), a line is damaged (``damaged-journal``), or it has
                another header (``other-journal``). The ``teacher`` of the header is a name for
                people and may differ.
        """
        self.path, self.header = path, json.loads(json.dumps(header))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(path.name + ".lock"), blocking=False)
        try:
            self._lock.acquire()
        except Timeout:
            message = f"{path}: another process is writing it; "
            message += "wait for its end, or give another --out"
            raise GLIPError(message, code="journal-in-use") from None
        self._places: dict[str, int] = {}  # of good records
        self._failed: dict[str, str] = {}
        try:
            self._file = (regular_file(path) if path.exists() else path).open("a+b")
            self._read()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()

    def __contains__(self, file_name: str) -> bool:
        """Return whether the photo has been done; a photo that could not be read has not."""
        return file_name in self._places

    @property
    def failed(self) -> list[str]:
        """The messages about photos that could not be read."""
        return list(self._failed.values())

    def get(self, file_name: str) -> Record:
        """Return the record of a photo that has been done."""
        self._file.seek(self._places[file_name])
        return json.loads(self._file.readline())

    def append(self, records: Iterable[Record]) -> None:
        """Add records in one write. The next reader drops a line that a kill has cut off."""
        place = self._file.seek(0, 2)
        lines = []
        for record in records:
            lines.append(json.dumps(record, separators=(",", ":")).encode() + b"\n")
            self._note(record, place)
            place += len(lines[-1])
        self._file.write(b"".join(lines))
        self._file.flush()

    def _note(self, record: Record, place: int) -> None:
        name = record["file_name"]
        if "error" in record:
            self._failed[name] = record["error"]
        else:
            self._failed.pop(name, None)
            self._places[name] = place

    def _read(self) -> None:
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):  # a kill has cut it off
                is_ours = json.dumps(self.header).encode().startswith(line)
                if number == 1 and not is_ours:
                    raise self._damaged(number)
                break
            if number == 1:
                self._check_header(self._parsed(line, number))
            else:
                self._note(self._parsed(line, number), end)
            end += len(line)
        self._file.truncate(end)
        if end == 0:
            self._file.write(json.dumps(self.header).encode() + b"\n")
            self._file.flush()

    def _parsed(self, line: bytes, number: int) -> Record:
        """Return the header or the record in a line; its boxes are checked where they are used."""
        try:
            record = parse_json(line.decode("utf-8"), f"line {number}")
        except ValueError:
            raise self._damaged(number) from None
        if not isinstance(record, dict) or (number > 1 and not _is_record(record)):
            raise self._damaged(number)
        return record

    def _damaged(self, number: int) -> GLIPError:
        if number == 1:
            message = f"{self.path}: its first line is no header of pseudo-labels; "
            message += "remove the file, or give another --out"
            return GLIPError(message, code="not-a-journal")
        message = f"{self.path}: line {number} is damaged; remove that line, or give another --out"
        return GLIPError(message, code="damaged-journal")

    def _check_header(self, found: Record) -> None:
        """Raise GLIPError if the journal was made with another teacher or other settings."""
        ours = dict(self.header)
        if BOXES_OF_CAPTION not in found:
            ours.pop(BOXES_OF_CAPTION, None)
        apart = [key for key in ours if key != "teacher" and found.get(key) != ours[key]]
        if apart:
            there = ", ".join(f"{key} {found.get(key)}" for key in apart)
            here = ", ".join(f"{key} {ours[key]}" for key in apart)
            message = f"{self.path}: holds what {found.get('teacher')} found with {there}; "
            message += (
                f"this command ({ours.get('teacher')}) has {here}. Give the same again to go "
            )
            message += "on, another --out to begin anew beside it, or remove the file"
            raise GLIPError(message, code="other-journal")


def _is_record(record: Mapping[str, Any]) -> bool:
    """Return whether a record names a photo, and has an error or the photo's size and rows."""
    if not isinstance(record.get("file_name"), str):
        return False
    if "error" in record:
        return isinstance(record["error"], str)
    for size in (record.get("height"), record.get("width")):
        if type(size) is not int or not 0 < size < 2**31:
            return False
    return isinstance(record.get("found"), list)
