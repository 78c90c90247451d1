"""Files and folders that appear whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new path beside ``target`` for a file or a folder; at the end it takes the target's place.

    No reader ever finds a part, and after an error everything is as it was.
    """
    target = target.resolve()  # of a link, what it points to
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (target.with_name(f".{uuid.uuid4().hex[:8]}.{target.name}") for _ in range(2))
    try:
        yield fresh
        if target.is_dir():
            target.rename(old)
        fresh.replace(target)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        for path in (fresh, old):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


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
