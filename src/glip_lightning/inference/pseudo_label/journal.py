"""What a teacher has found so far: an append-only file of JSON lines that a killed program goes on with.

The first line says what the rest was made with, every other line is the record of one photo. Of two records of a
photo the later one holds.
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
"""Journals of version 0.1 do not say it; they hold as many boxes as the detector finds in an evaluation."""

Record = dict[str, Any]
"""``file_name`` and either ``error`` or ``height``, ``width`` and ``found``: rows for each sentence."""


class Journal:
    """Records by ``file_name``; they stay on the disk, only their places are in memory."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Go on with the file at ``path``, or begin it; one of another ``header`` is an error that names both.

        Its ``teacher`` is a name for people, which may differ.
        """
        self.path, self.header = path, json.loads(json.dumps(header))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(path.name + ".lock"), blocking=False)
        try:
            self._lock.acquire()
        except Timeout:
            message = (
                f"{path}: another process is writing it; wait for its end, or give another --out"
            )
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
        """Whether the photo has been done; one that could not be read has not."""
        return file_name in self._places

    @property
    def failed(self) -> list[str]:
        """Why photos could not be read."""
        return list(self._failed.values())

    def get(self, file_name: str) -> Record:
        self._file.seek(self._places[file_name])
        return json.loads(self._file.readline())

    def append(self, records: Iterable[Record]) -> None:
        """Add records in one write; a line that a kill cuts off is dropped by the next reader."""
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
        end, number = 0, 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):  # half-written
                self._check_begun(line, number)
                break
            if number == 1:
                self._check(self._parsed(line, number))
            else:
                self._note(self._parsed(line, number), end)
            end += len(line)
        self._file.truncate(end)
        if end == 0:
            self._file.write(json.dumps(self.header).encode() + b"\n")
            self._file.flush()

    def _check_begun(self, line: bytes, number: int) -> None:
        """Raise an error for a first line without an end unless it is the start of ours: the file is another's."""
        if number == 1 and not json.dumps(self.header).encode().startswith(line):
            raise self._damaged(number)

    def _parsed(self, line: bytes, number: int) -> Record:
        """Return what a line holds: the header, or a record; its boxes are checked where they are used."""
        try:
            record = parse_json(line.decode("utf-8"), f"line {number}")
        except ValueError:
            raise self._damaged(number) from None
        if not isinstance(record, dict) or (number > 1 and not _is_record(record)):
            raise self._damaged(number)
        return record

    def _damaged(self, number: int) -> GLIPError:
        what = (
            "its first line is no header of pseudo-labels"
            if number == 1
            else f"line {number} is damaged"
        )
        cure = f"remove {'the file' if number == 1 else 'that line'}, or give another --out"
        return GLIPError(
            f"{self.path}: {what}; {cure}",
            code="not-a-journal" if number == 1 else "damaged-journal",
        )

    def _check(self, found: Record) -> None:
        ours = {
            key: value
            for key, value in self.header.items()
            if key in found or key != BOXES_OF_CAPTION
        }
        apart = [key for key in ours if key != "teacher" and found.get(key) != ours[key]]
        if apart:
            there = ", ".join(f"{key} {found.get(key)}" for key in apart)
            here = ", ".join(f"{key} {ours[key]}" for key in apart)
            message = (
                f"{self.path}: holds what {found.get('teacher')} found with {there}; this command "
            )
            message += f"({ours.get('teacher')}) has {here}. Give the same again to go on, another --out to begin anew "
            message += "beside it, or remove the file"
            raise GLIPError(message, code="other-journal")


def _is_record(record: Mapping[str, Any]) -> bool:
    """Return whether a photo is named, with a reason why it could not be read, or with its size and rows."""
    if not isinstance(record.get("file_name"), str):
        return False
    if "error" in record:
        return isinstance(record["error"], str)
    sizes, found = [record.get("height"), record.get("width")], record.get("found")
    return all(type(size) is int and 0 < size < 2**31 for size in sizes) and isinstance(found, list)
