"""Folders of generated files: written once, used by all that ask for the same."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from glip_lightning.shapes.paint import Box

MANIFEST = "shapes.json"


def written_once(
    folder: Path, settings: Mapping[str, object], write: Callable[[Path], None]
) -> Path:
    """``folder`` with what ``write`` puts into a new one.

    A folder written with the same ``settings`` is used as it is, one of the same "kind" and "seed" but of an older or
    newer "version" is written anew, any other one is left alone: GLIPError. It appears at once when complete, so
    that processes may call this side by side.
    """
    known = _settings(folder)
    if known == settings:
        return folder
    if known is None and folder.exists() and any(folder.iterdir()):
        raise GLIPError(
            f"{folder}: holds other files than generated pictures; choose a new or empty folder",
            code="folder-taken",
        )
    if known is not None:
        differ = [key for key in {**settings, **known} if known.get(key) != settings.get(key)]
        if "version" not in differ or {"kind", "seed"} & {*differ}:
            others = ", ".join(f"{key} {known.get(key)}, not {settings.get(key)}" for key in differ)
            text = f"{folder}: holds pictures of other settings ({others}); choose another folder or remove it"
            raise GLIPError(text, code="folder-taken")
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
    """With which settings the folder was written; None if it is none of ours."""
    manifest = folder / MANIFEST
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise GLIPError(
            f"{manifest}: not readable ({error}); choose another folder or remove it",
            code="unreadable-json",
        ) from error
    return found if isinstance(found, dict) else None


def _replace(folder: Path, new: Path, old: Path, settings: Mapping[str, object]) -> None:
    if _settings(folder) not in (None, settings):
        with suppress(FileNotFoundError):  # another process was faster
            folder.rename(
                old
            )  # at once: what that process puts there must not be removed file by file
    try:
        new.replace(folder)
    except OSError:  # as above
        if _settings(folder) != settings:
            raise


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[Iterable[Any]], Iterator[Any]]]:
    """A function that counts items on a bar as they are used; the bar is shown on a terminal alone."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)

        def counted(items: Iterable[Any]) -> Iterator[Any]:
            for item in items:
                yield item
                bar.advance(task)

        yield counted


def save_picture(folder: Path, number: int, picture: Image.Image) -> dict[str, Any]:
    """Its entry in an annotation file."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{number:05}.jpg"
    picture.save(folder / name, quality=92)
    return {"id": number, "file_name": name, "width": picture.width, "height": picture.height}


def annotation(number: int, image: int, box: Box, category: int) -> dict[str, Any]:
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
) -> None:
    """A split in the layout of ODinW: pictures with their boxes and, of each, the index of its class in ``names``."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (picture, boxes) in enumerate(pictures):
        images.append(save_picture(folder, number, picture))
        for box, label in boxes:
            annotations.append(annotation(len(annotations) + 1, number, box, label + 1))
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    write_annotations(folder / ANNOTATIONS, images, annotations, categories)


def write_annotations(
    file: Path, images: list[Any], annotations: list[Any], categories: list[Any]
) -> None:
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content), encoding="utf-8")
