"""The pre-training data of the generated world, in the file formats of real data.

* ``detection/{train,valid}``: COCO files with a closed list of names. * ``grounding``: pictures
with captions whose phrases have boxes (MDETR's format). ``words.json`` has
  dense lists of words, ``phrases.json`` phrases and sentences.
* ``names/{valid,test}``: classes are the single words; a thing has all that are true of it.
* ``combinations/{seen,held_out}``: classes are pairs of a colour or texture and a shape: those of
  pre-training, and those that it never shows.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from glip_lightning.shapes.descriptions import CAPTIONS, Caption, random_captions
from glip_lightning.shapes.generated_folder import (
    Captioned,
    save_picture,
    write_captions,
    write_coco,
    written_parts,
)
from glip_lightning.shapes.paint import Box, Shown, paint_seen
from glip_lightning.shapes.scene import Thing, Vocabulary, scene
from glip_lightning.shapes.words import (
    COLOURS,
    DETECTION_NAMES,
    HELD_OUT,
    SHAPES,
    TEXTURES,
    single_names,
)

VERSION = 1
"""Raise it when pictures or captions change, so that folders of the old ones are written anew."""

SIZE = 128  # pixels
COUNTS: Mapping[str, int] = MappingProxyType(
    {
        "detection/train": 12_000,
        "grounding": 16_000,
        "detection/valid": 200,
        "names/valid": 150,
        "names/test": 400,
        "combinations/seen": 400,
        "combinations/held_out": 400,
    }
)
STREAMS = {name: number for number, name in enumerate(COUNTS, start=1)}


def show(name: str, seed: int, index: int, size: int = SIZE) -> Shown:
    """Return picture ``index`` of the part ``name`` of the world ``seed``.

    It depends on the arguments alone. ``size`` is each side in pixels.
    """
    things, rng = scene_of(name, seed, index)
    return paint_seen(things, rng, size)


def scene_of(name: str, seed: int, index: int) -> tuple[list[Thing], np.random.Generator]:
    """Return all things of a picture, seen or hidden, and the generator that then paints them."""
    rng = _stream(name, seed, index)
    if name != "combinations/held_out":
        return scene(rng, Vocabulary()), rng
    things = scene(rng, Vocabulary(held_out=True))
    return _with_held_out(things, rng), rng


def _stream(name: str, seed: int, index: int, number: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, STREAMS[name], index, number])


def _with_held_out(things: Sequence[Thing], rng: np.random.Generator) -> list[Thing]:
    """Return the things, every second of which now has a held-out pair; the others may have one."""
    pairs = sorted(HELD_OUT)
    changed = []
    for number, thing in enumerate(things):
        attribute, shape = pairs[rng.integers(len(pairs))]
        if number % 2 == 0:
            kind = "colour" if attribute in COLOURS else "texture"
            words = {"shape": shape, kind: attribute}
            thing = replace(thing, part=None, **words)  # pyrefly: ignore[bad-argument-type]
        changed.append(thing)
    return changed


def captions(name: str, seed: int, index: int, things: Sequence[Thing]) -> dict[str, list[Caption]]:
    """Return the captions of a picture: lists of ``words``, and of ``phrases``.

    The last of the phrases is a sentence where a relation is clear.
    """
    streams = [_stream(name, seed, index, number) for number in range(1, CAPTIONS + 1)]
    return random_captions(things, streams, Vocabulary())


def write_pretraining(
    folder: str | Path, seed: int = 0, counts: Mapping[str, int] = COUNTS, size: int = SIZE
) -> Path:
    """Write the pre-training data and return their folder.

    A folder with equal settings is used as it is.

    Args:
        folder: a new or empty one.
        seed: of the world.
        counts: pictures of each part; a part without a count is not written.
        size: of each side, in pixels.

    Raises:
        GLIPError: there is no such part (code ``unknown-key``), a part without pictures
            (``bad-value``), or the folder has other content (``folder-taken``).
    """

    def write_part(fresh: Path, name: str, indices: Iterable[int]) -> None:
        shown = (show(name, seed, index, size) for index in indices)
        WRITERS[name.split("/")[0]](fresh, name, seed, shown)

    return written_parts(
        Path(folder),
        COUNTS,
        write_part,
        kind="pretraining",
        version=VERSION,
        seed=seed,
        counts=counts,
        size=size,
    )


def _write_detection(folder: Path, name: str, seed: int, shown: Iterator[Shown]) -> None:
    def labels(thing: Thing) -> list[str]:
        return [detection_name(thing)]

    write_named(folder, DETECTION_NAMES, shown, labels)


def _write_names(folder: Path, name: str, seed: int, shown: Iterator[Shown]) -> None:
    words = list(itertools.chain.from_iterable(single_names().values()))

    def labels(thing: Thing) -> list[str]:
        return [word for word in words if word in thing.words.values()]

    write_named(folder, words, shown, labels)


def _write_combinations(folder: Path, name: str, seed: int, shown: Iterator[Shown]) -> None:
    is_held_out = name == "combinations/held_out"
    every = itertools.product((*COLOURS, *TEXTURES), SHAPES)
    pairs = [pair for pair in every if (pair in HELD_OUT) == is_held_out]

    def labels(thing: Thing) -> list[str]:
        words = set(thing.words.values())
        return [" ".join(pair) for pair in pairs if words.issuperset(pair)]

    write_named(folder, [" ".join(pair) for pair in pairs], shown, labels)


def detection_name(thing: Thing) -> str:
    """Return the name of ``thing`` in the closed list."""
    words = set(thing.words.values())
    for name in DETECTION_NAMES:
        if " " in name and words.issuperset(name.split()):
            return name
    return thing.shape


def write_named(
    folder: Path,
    names: Sequence[str],
    shown: Iterable[Shown],
    labels: Callable[[Thing], Collection[str]],
) -> None:
    """Write a split in which a thing has one box for each of its labels.

    Args:
        folder: of the split.
        names: of the classes.
        shown: the pictures.
        labels: returns the labels of a thing, some of the ``names``.
    """

    def pictures() -> Iterator[tuple[Image.Image, list[tuple[Box, int]]]]:
        for each in shown:
            rows = []
            for thing, box in zip(each.things, each.boxes, strict=True):
                rows += [(box, names.index(label)) for label in labels(thing)]
            yield each.image, rows

    write_coco(folder, names, pictures())


def _write_grounding(folder: Path, name: str, seed: int, shown: Iterator[Shown]) -> None:
    def captioned() -> Iterator[Captioned]:
        for index, each in enumerate(shown):
            entry = save_picture(folder, index, each.image)
            yield entry, each.boxes, captions(name, seed, index, each.things)

    write_captions(folder, captioned())


WRITERS = {
    "detection": _write_detection,
    "grounding": _write_grounding,
    "names": _write_names,
    "combinations": _write_combinations,
}
