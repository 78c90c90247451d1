"""The pre-training data of the generated world, in the files that real data come in.

``detection/{train,valid}``: COCO files with a closed list of names. ``grounding``: pictures with captions whose
phrases have boxes (MDETR's format), dense lists of words in ``words.json``, phrases and sentences in ``phrases.json``.
``names/{valid,test}``: every single word that is true of a thing, as classes. ``combinations/{seen,held_out}``: pairs
of colour or texture and shape as classes, those of pre-training and those that it never shows.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from glip_lightning.common.errors import GLIPError
from glip_lightning.shapes.descriptions import Caption, phrase_list, sentence, word_list
from glip_lightning.shapes.generated_folder import (
    annotation,
    progress,
    save_picture,
    write_annotations,
    write_coco,
    written_once,
)
from glip_lightning.shapes.paint import Shown, paint_seen
from glip_lightning.shapes.scene import Thing, Vocabulary, scene
from glip_lightning.shapes.words import (
    COLOURS,
    DETECTION_NAMES,
    HELD_OUT,
    SHAPES,
    TEXTURES,
    single_names,
)

VERSION = (
    1  # raise it when pictures or captions change, so that folders of the old ones are written anew
)
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
CAPTIONS = 3  # of each kind per picture
STREAMS = {name: number for number, name in enumerate(COUNTS, start=1)}


def show(name: str, seed: int, index: int, size: int = SIZE) -> Shown:
    """Picture ``index`` of the part ``name`` of the world ``seed``: a function of these three alone."""
    things, rng = scene_of(name, seed, index)
    return paint_seen(things, rng, size)


def scene_of(name: str, seed: int, index: int) -> tuple[list[Thing], np.random.Generator]:
    """All things of a picture, seen or hidden, and the generator that goes on to paint them."""
    rng = _stream(name, seed, index)
    if name != "combinations/held_out":
        return scene(rng, Vocabulary()), rng
    return _with_held_out(scene(rng, Vocabulary(held_out=True)), rng), rng


def _stream(name: str, seed: int, index: int, number: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, STREAMS[name], index, number])


def _with_held_out(things: Sequence[Thing], rng: np.random.Generator) -> list[Thing]:
    """Every second thing at least shows a held-out pair; the others may."""
    pairs = sorted(HELD_OUT)
    changed = []
    for number, thing in enumerate(things):
        attribute, shape = pairs[rng.integers(len(pairs))]
        if number % 2 == 0:
            kind = "colour" if attribute in COLOURS else "texture"
            thing = thing._replace(shape=shape, part=None)._replace(**{kind: attribute})  # pyrefly: ignore[bad-argument-type]
        changed.append(thing)
    return changed


def captions(name: str, seed: int, index: int, things: Sequence[Thing]) -> dict[str, list[Caption]]:
    """The captions of a picture by kind: ``words``, and ``phrases``, whose last is a sentence where one fits."""
    streams = [_stream(name, seed, index, number) for number in range(1, CAPTIONS + 1)]
    words = [word_list(things, rng) for rng in streams]
    phrases = [_phrases(things, rng, number) for number, rng in enumerate(streams)]
    return {"words": words, "phrases": phrases}


def _phrases(things: Sequence[Thing], rng: np.random.Generator, number: int) -> Caption:
    found = sentence(things, rng) if number == CAPTIONS - 1 else None
    return found or phrase_list(things, rng, Vocabulary())


def write_pretraining(
    folder: str | Path, seed: int = 0, counts: Mapping[str, int] = COUNTS, size: int = SIZE
) -> Path:
    """Write the pre-training data and return their folder; what was written with the same settings is used as it is.

    ``counts``: pictures of each part; parts that it lacks are not written. ``size`` in pixels.
    """
    if unknown := sorted(counts.keys() - COUNTS.keys()):
        raise GLIPError(
            f"counts: there is no part {unknown[0]!r}; the parts are {', '.join(COUNTS)}",
            code="unknown-key",
        )
    settings = {
        "kind": "pretraining",
        "version": VERSION,
        "seed": seed,
        "counts": dict(counts),
        "size": size,
    }

    def write(fresh: Path) -> None:
        with progress("generated pictures, drawn once", sum(counts.values())) as counted:
            for name, count in counts.items():
                shown = (show(name, seed, index, size) for index in range(count))
                WRITERS[name.split("/")[0]](fresh / name, name, seed, counted(shown))

    return written_once(Path(folder), settings, write)


def _write_detection(folder: Path, name: str, seed: int, shown: Iterator[Shown]) -> None:
    write_named(folder, DETECTION_NAMES, shown, lambda thing: [detection_name(thing)])


def _write_names(folder: Path, name: str, seed: int, shown: Iterator[Shown]) -> None:
    words = [word for kind in single_names().values() for word in kind]
    write_named(
        folder, words, shown, lambda thing: [word for word in words if word in thing.words.values()]
    )


def _write_combinations(folder: Path, name: str, seed: int, shown: Iterator[Shown]) -> None:
    every = [(attribute, shape) for attribute in (*COLOURS, *TEXTURES) for shape in SHAPES]
    wanted = [pair for pair in every if (pair in HELD_OUT) == (name == "combinations/held_out")]

    def pairs(thing: Thing) -> list[str]:
        return [
            f"{attribute} {shape}"
            for attribute, shape in wanted
            if {attribute, shape} <= {*thing.words.values()}
        ]

    write_named(folder, [" ".join(pair) for pair in wanted], shown, pairs)


def detection_name(thing: Thing) -> str:
    """The one name of ``thing`` in the closed list."""
    special = [
        name
        for name in DETECTION_NAMES
        if " " in name and set(name.split()) <= {*thing.words.values()}
    ]
    return special[0] if special else thing.shape


def write_named(
    folder: Path,
    names: Sequence[str],
    shown: Iterator[Shown],
    labels: Callable[[Thing], Collection[str]],
) -> None:
    """A COCO file in which a thing comes once for each of its ``labels``, some of the ``names``."""
    write_coco(
        folder,
        names,
        (
            (
                image,
                [
                    (b, names.index(x))
                    for thing, b in zip(things, boxes, strict=True)
                    for x in labels(thing)
                ],
            )
            for image, things, boxes in shown
        ),
    )


def _write_grounding(folder: Path, name: str, seed: int, shown: Iterator[Shown]) -> None:
    images: dict[str, list[Any]] = {"words": [], "phrases": []}
    annotations: dict[str, list[Any]] = {"words": [], "phrases": []}
    for index, (picture, things, boxes) in enumerate(shown):
        entry = save_picture(folder, index, picture)
        for kind, found in captions(name, seed, index, things).items():
            for caption in found:
                image = len(images[kind])
                images[kind].append({**entry, "id": image, "caption": caption.text})
                for box, spans in zip(boxes, caption.spans, strict=True):
                    if spans:
                        row = annotation(len(annotations[kind]) + 1, image, box, 1)
                        annotations[kind].append({**row, "tokens_positive": spans})
    for kind in images:
        write_annotations(
            folder / f"{kind}.json", images[kind], annotations[kind], [{"id": 1, "name": "phrase"}]
        )


WRITERS = {
    "detection": _write_detection,
    "grounding": _write_grounding,
    "names": _write_names,
    "combinations": _write_combinations,
}
