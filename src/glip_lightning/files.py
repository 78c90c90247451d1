"""Files that appear whole or not at all."""

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new path beside ``path`` to write to; renamed at the end, so that no reader ever finds a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` and to the disk."""
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def picture_names(photos: Iterable[Path]) -> Iterator[str]:
    """One file name per photo; equal stems get numbers, also where only capitals differ."""
    taken: set[str] = set()
    for photo in photos:
        name, number = f"{photo.stem}.jpg", 2
        while name.lower() in taken:
            name, number = f"{photo.stem}_{number}.jpg", number + 1
        taken.add(name.lower())
        yield name
