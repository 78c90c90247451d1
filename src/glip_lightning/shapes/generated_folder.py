"""Folders of generated files, which are written once and used again for the same settings."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image
from rich.console import Console
from rich.progress import Progress

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import remove_parts
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.shapes.descriptions import Caption
from glip_lightning.shapes.paint import Box

MANIFEST = "shapes.json"


def written_once(
    folder: Path, settings: Mapping[str, object], write: Callable[[Path], None]
) -> Path:
    """Return ``folder`` with the files that ``write`` puts into a new folder.

    A folder with the same ``settings`` is used as it is. One with the same "kind" and "seed" but
    another "version" is written anew. The new folder appears only when it is complete, so several
    processes may call this at once.

    Raises:
        GLIPError: the folder has other content, which is left alone (code ``folder-taken``), or its
            settings cannot be read (``unreadable-json``).
    """
    known = _settings(folder)
    if known == settings:
        return folder
    if known is None and folder.exists() and any(folder.iterdir()):
        message = f"{folder}: holds other files than generated pictures; "
        raise GLIPError(f"{message}choose a new or empty folder", code="folder-taken")
    if known is not None:
        keys = {**settings, **known}
        differ = [key for key in keys if known.get(key) != settings.get(key)]
        if "version" not in differ or "kind" in differ or "seed" in differ:
            others = ", ".join(f"{key} {known.get(key)}, not {settings.get(key)}" for key in differ)
            message = f"{folder}: holds pictures of other settings ({others}); "
            raise GLIPError(f"{message}choose another folder or remove it", code="folder-taken")
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_parts(folder.parent)
    unfinished = folder.with_name(f".glip-{uuid4().hex[:8]}-{folder.name}")
    try:
        new = unfinished / "new"
        new.mkdir(parents=True)
        write(new)
        (new / MANIFEST).write_text(json.dumps(settings), encoding="utf-8")
        _replace(folder, new, unfinished / "old", settings)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _settings(folder: Path) -> dict[str, Any] | None:
    """Return the settings of a folder of generated files; None for any other folder."""
    manifest = folder / MANIFEST
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        message = f"{manifest}: not readable ({error}); choose another folder or remove it"
        raise GLIPError(message, code="unreadable-json") from error
    return found if isinstance(found, dict) else None


def _replace(folder: Path, new: Path, old: Path, settings: Mapping[str, object]) -> None:
    if _settings(folder) not in (None, settings):
        with suppress(FileNotFoundError):  # another process was faster
            # A rename takes the old files at once; to remove them one by one could also remove
            # what the other process has just put there.
            folder.rename(old)
    try:
        new.replace(folder)
    except OSError:  # another process was faster
        if _settings(folder) != settings:
            raise


def written_parts(
    folder: Path,
    known: Collection[str],
    write_part: Callable[[Path, str, Iterable[int]], None],
    *,
    kind: str,
    version: int,
    seed: int,
    counts: Mapping[str, int],
    size: int,
) -> Path:
    """Return ``folder`` with pictures in parts, as :func:`written_once` does.

    Args:
        folder: a new or empty one.
        known: all parts that there are.
        write_part: writes into a folder the pictures of a part with these numbers.
        kind: what the folder holds; this and the following are its settings.
        version: of the pictures.
        seed: of the world.
        counts: pictures of each part.
        size: of each side, in pixels.

    Raises:
        GLIPError: there is no such part (code ``unknown-key``), a part without pictures
            (``bad-value``), or what :func:`written_once` refuses.
    """
    _check_counts(counts, known)
    settings = {
        "kind": kind,
        "version": version,
        "seed": seed,
        "counts": dict(counts),
        "size": size,
    }

    def write(fresh: Path) -> None:
        with progress("generated pictures, drawn once", sum(counts.values())) as counted:
            for name, count in counts.items():
                write_part(fresh / name, name, counted(range(count)))

    return written_once(folder, settings, write)


def _check_counts(counts: Mapping[str, int], known: Collection[str]) -> None:
    """Raise GLIPError for a part that is unknown (``unknown-key``) or empty (``bad-value``)."""
    for name, count in counts.items():
        if name not in known:
            message = f"counts: there is no part {name!r}; the parts are {', '.join(known)}"
            raise GLIPError(message, code="unknown-key")
        if count < 1:
            message = (
                f"counts: {count} pictures of {name!r}, expected 1 or more; leave the part out"
            )
            raise GLIPError(message, code="bad-value")


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[Iterable[Any]], Iterator[Any]]]:
    """Yield a function that shows a bar of the items of an iterable while they are used.

    There is a bar on a terminal only.
    """
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)

        def counted(items: Iterable[Any]) -> Iterator[Any]:
            for item in items:
                yield item
                bar.advance(task)

        yield counted


def save_picture(folder: Path, number: int, picture: Image.Image) -> dict[str, Any]:
    """Write a picture to ``folder`` and return its entry in an annotation file."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{number:05}.jpg"
    picture.save(folder / name, quality=92)
    return {"id": number, "file_name": name, "width": picture.width, "height": picture.height}


def annotation(number: int, image: int, box: Box, category: int) -> dict[str, Any]:
    """Return a COCO annotation with the id ``number``."""
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
    }


def write_coco(
    folder: Path,
    names: Sequence[str],
    pictures: Iterable[tuple[Image.Image, Iterable[tuple[Box, int]]]],
) -> list[dict[str, Any]]:
    """Write a split in the layout of ODinW, and return the entries of its pictures.

    Args:
        folder: of the split.
        names: of the classes.
        pictures: each with its boxes, and of each box the index of its class in ``names``.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (picture, boxes) in enumerate(pictures):
        images.append(save_picture(folder, number, picture))
        for box, label in boxes:
            annotations.append(annotation(len(annotations) + 1, number, box, label + 1))
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    write_annotations(folder / ANNOTATIONS, images, annotations, categories)
    return images


Captioned = tuple[dict[str, Any], Sequence[Box], Mapping[str, Sequence[Caption]]]
"""The entry of a picture in an annotation file, the box of each thing, and captions by kind."""


def write_captions(folder: Path, pictures: Iterable[Captioned]) -> None:
    """Write a grounding file (MDETR) for each kind of caption, such as ``words.json``.

    Each caption is an image of its own there. The pictures themselves are in ``folder`` already.
    """
    images: defaultdict[str, list[Any]] = defaultdict(list)
    annotations: defaultdict[str, list[Any]] = defaultdict(list)
    for entry, boxes, captions in pictures:
        for kind, found in captions.items():
            for caption in found:
                image = len(images[kind])
                images[kind].append({**entry, "id": image, "caption": caption.text})
                for box, spans in zip(boxes, caption.spans, strict=True):
                    if spans:
                        row = annotation(len(annotations[kind]) + 1, image, box, 1)
                        annotations[kind].append({**row, "tokens_positive": spans})
    categories = [{"id": 1, "name": "phrase"}]
    for kind in images:
        write_annotations(folder / f"{kind}.json", images[kind], annotations[kind], categories)


def write_annotations(
    file: Path, images: list[Any], annotations: list[Any], categories: list[Any]
) -> None:
    """Write an annotation file in the format of COCO."""
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content), encoding="utf-8")
