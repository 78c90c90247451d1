"""The pre-training data: they depend on (part, seed, index) and have nothing held out.

What is held out is looked for in everything that pre-training shows or reads: in the scenes of all
its pictures, in the captions as they are made, and in the files, where they have been written.
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.grounding import GroundingDataset
from glip_lightning.shapes.generated_folder import MANIFEST
from glip_lightning.shapes.pretraining_pictures import (
    COUNTS,
    VERSION,
    captions,
    detection_name,
    scene_of,
    show,
    write_pretraining,
)
from glip_lightning.shapes.scene import Thing, Vocabulary
from glip_lightning.shapes.words import (
    CAPTION_NAMES,
    CAPTION_SHAPES,
    COLOURS,
    DETECTION_NAMES,
    HELD_OUT,
    NEW_COLOURS,
    NEW_SHAPES,
    NEW_TEXTURES,
    SHAPES,
    TEXTURES,
)
from glip_lightning.text.tokenizer import Tokenizer

SMALL = dict.fromkeys(COUNTS, 6)
TRAINED = [name for name in COUNTS if name != "combinations/held_out"]
NEW_WORDS = {*CAPTION_SHAPES, *CAPTION_NAMES, *NEW_SHAPES, *NEW_COLOURS, *NEW_TEXTURES}
WRITTEN = Path(__file__).parent.parent.parent / "runs" / ".shapes" / "pretraining"

parts, seeds, indexes = st.sampled_from(list(COUNTS)), st.integers(0, 2**31), st.integers(0, 10**6)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pretraining(tmp_path_factory.mktemp("data") / "world", counts=SMALL, size=96)


def pixels(name: str, seed: int, index: int) -> np.ndarray:
    return np.asarray(show(name, seed, index, 64).image)


@settings(max_examples=15)
@given(parts, seeds, indexes)
def test_pictures_and_captions_depend_on_part_seed_and_index_only(
    name: str, seed: int, index: int
) -> None:
    first = show(name, seed, index, 64)
    said = captions(name, seed, index, first.things)
    show(name, seed, index + 1, 64)
    again = show(name, seed, index, 64)
    assert np.array_equal(np.asarray(first.image), np.asarray(again.image))
    assert (first.things, first.boxes) == (again.things, again.boxes)
    assert captions(name, seed, index, again.things) == said
    another = next(part for part in COUNTS if part != name)
    others = [(name, seed, index + 1), (name, seed + 1, index), (another, seed, index)]
    assert not any(np.array_equal(np.asarray(first.image), pixels(*other)) for other in others)


def test_the_order_in_which_pictures_are_made_does_not_matter(tmp_path: Path, world: Path) -> None:
    """A part that is written alone, and longer, has the same pictures and lines."""
    other = write_pretraining(tmp_path / "other", counts={"grounding": 8}, size=96)
    for number in range(SMALL["grounding"]):
        name = f"grounding/{number:05}.jpg"
        assert (world / name).read_bytes() == (other / name).read_bytes()
    long, short = (
        json.loads((folder / "grounding/phrases.json").read_text()) for folder in (other, world)
    )
    assert long["images"][: len(short["images"])] == short["images"]
    assert long["annotations"][: len(short["annotations"])] == short["annotations"]


@settings(max_examples=25)
@given(parts, seeds, indexes)
def test_what_is_shown_is_what_can_be_seen(name: str, seed: int, index: int) -> None:
    shown = show(name, seed, index)
    things = scene_of(name, seed, index)[0]
    assert 1 <= len(shown.things) == len(shown.boxes)
    assert [thing for thing in things if thing in shown.things] == shown.things
    for thing, (x, y, width, height) in zip(shown.things, shown.boxes, strict=True):
        assert min(x, y) >= 0
        assert max(x + width, y + height) <= 128
        assert max(width, height) <= 1.2 * 128 * thing.diameter + 2
        assert min(width, height) >= 3


@settings(max_examples=50)
@given(seeds, indexes)
def test_pictures_of_held_out_pairs_show_some(seed: int, index: int) -> None:
    things, _ = scene_of("combinations/held_out", seed, index)
    assert all(thing.is_held_out() for thing in things[::2])


def test_detection_names() -> None:
    assert detection_name(Thing("star", "red", "dotted")) == "red star"
    assert detection_name(Thing("star", "blue")) == "star"
    assert detection_name(Thing("square", "red", "striped", "core")) == "striped square"
    drawn = [Vocabulary().draw(np.random.default_rng(seed)) for seed in range(2000)]
    assert {detection_name(thing) for thing in drawn} == {*DETECTION_NAMES}
    assert all(set(detection_name(thing).split()) <= {*thing.words.values()} for thing in drawn)


def test_files_of_boxes_are_read_without_findings(world: Path) -> None:
    def labels(name: str, things: Sequence[Thing]) -> list[str]:
        if name.startswith("detection"):
            return [detection_name(thing) for thing in things]
        if name.startswith("names"):
            single = (*SHAPES, *COLOURS, *TEXTURES)
            return [word for thing in things for word in single if word in thing.words.values()]
        pairs = [
            (attribute, thing.shape)
            for thing in things
            for attribute in (*COLOURS, *TEXTURES)
            if attribute in (thing.colour, thing.texture)
        ]
        return [
            " ".join(pair)
            for pair in pairs
            if (pair in HELD_OUT) == (name == "combinations/held_out")
        ]

    for name in SMALL.keys() - {"grounding"}:
        findings = Findings()
        index = read_coco(world / name / ANNOTATIONS, world / name, findings)
        assert list(findings) == []
        assert index.dropped() == {}
        assert len(index) == SMALL[name]
        for number in range(len(index)):
            shown = show(name, 0, number, 96)
            boxes, found = index.target(number)
            assert [index.class_names[k] for k in found.tolist()] == labels(name, shown.things)
            assert {tuple(box) for box in boxes.tolist()} <= {
                (x, y, x + w - 1, y + h - 1) for x, y, w, h in shown.boxes
            }
            assert number == index.find(number)


def test_files_of_captions_are_read_and_every_box_is_named(world: Path) -> None:
    tokenizer = Tokenizer.nano()
    for kind in ("words", "phrases"):
        findings = Findings()
        data = GroundingDataset(
            world / "grounding" / f"{kind}.json", world / "grounding", findings=findings
        )
        assert list(findings) == []
        assert data.unnamed(tokenizer) == 0
        assert len(data) == 3 * SMALL["grounding"]
        for number in range(len(data)):
            picture, which = divmod(number, 3)
            shown = show("grounding", 0, picture, 96)
            caption = captions("grounding", 0, picture, shown.things)[kind][which]
            assert data.captions[number] == caption.text
            boxes, labels = data.index.target(number)
            found = [tuple(box) for box in boxes.tolist()]
            expected = [
                ((x, y, x + w - 1, y + h - 1), spans)
                for (x, y, w, h), spans in zip(shown.boxes, caption.spans, strict=True)
                if spans
            ]
            assert (
                list(zip(found, [data.phrases[k] for k in labels.tolist()], strict=True))
                == expected
            )


def test_folders_are_written_once_for_their_settings(world: Path, tmp_path: Path) -> None:
    settings = {"kind": "pretraining", "version": VERSION, "seed": 0, "counts": SMALL, "size": 96}
    assert json.loads((world / MANIFEST).read_text()) == settings
    before = (world / MANIFEST).stat().st_mtime_ns
    write_pretraining(world, counts=SMALL, size=96)
    assert (world / MANIFEST).stat().st_mtime_ns == before
    folder = write_pretraining(tmp_path / "w", seed=1, counts={"names/test": 1}, size=64)
    assert json.loads((folder / MANIFEST).read_text())["seed"] == 1
    assert [path.name for path in (folder / "names").iterdir()] == ["test"]


def test_an_unknown_part_is_an_error_that_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(GLIPError) as caught:
        write_pretraining(tmp_path / "w", counts={"train": 3})
    assert caught.value.code == "unknown-key"
    assert all(
        part in str(caught.value) for part in ("counts", "'train'", "detection/train, grounding")
    )
    assert list(tmp_path.iterdir()) == []


# what is held out


def phrases(caption: str) -> Iterator[set[str]]:
    """The words of each phrase of a caption, in singular."""
    for phrase in re.split(r"\. | and | left of | right of | above | below ", caption):
        words = phrase.split()
        yield {
            word.removesuffix("es") if word.endswith("ses") else word.removesuffix("s")
            for word in words
        } | {*words}


def held_out(caption: str) -> list[str]:
    """Return what a text of pre-training must not have: held-out pairs in a phrase, new words."""
    found = [word for words in phrases(caption) for word in sorted(words & NEW_WORDS)]
    return found + [
        " ".join(pair)
        for words in phrases(caption)
        for pair in sorted(HELD_OUT)
        if {*pair} <= words
    ]


def test_the_search_for_what_is_held_out_finds_it() -> None:
    attribute, shape = sorted(HELD_OUT)[0]
    pair = f"{attribute} {shape}"
    for text in (
        pair,
        f"two small {attribute} {shape}s",
        f"ring. a {pair} with a core",
        f"star left of {pair} and ring",
    ):
        assert held_out(text) == [pair]
    assert held_out(f"{attribute}. {shape}") == held_out(f"{attribute} thing and {shape}") == []
    assert held_out("two wavy gears and a cyan star. flowers") == ["gear", "wavy", "cyan", "flower"]
    assert held_out("two buses and a kite") == ["bus", "kite"]
    plural = "crosses"
    other = next(a for a, s in sorted(HELD_OUT) if s == "cross")
    assert held_out(f"three {other} {plural}") == [f"{other} cross"]


def is_new(thing: Thing) -> bool:
    return thing.is_held_out() or not {*thing.words.values()}.isdisjoint(NEW_WORDS)


@pytest.mark.parametrize("name", TRAINED)
def test_no_picture_of_pretraining_has_a_held_out_thing(name: str) -> None:
    """Of the whole data; what can be seen of a picture is a part of its scene."""
    assert COUNTS["detection/train"] + COUNTS["grounding"] == 28_000
    for index in range(COUNTS[name]):
        assert not any(map(is_new, scene_of(name, 0, index)[0])), index


@pytest.mark.parametrize("seed", [0, 1])
def test_names_and_word_lists_are_of_the_trained_vocabulary(seed: int) -> None:
    assert not any(map(held_out, DETECTION_NAMES))
    things = [
        thing for index in range(200) for thing in scene_of("detection/train", seed, index)[0]
    ]
    assert not any(held_out(detection_name(thing)) for thing in things)


def assert_nothing_held_out(index: int, things: Sequence[Thing]) -> None:
    for found in captions("grounding", 0, index, things).values():
        for caption in found:
            assert not held_out(caption.text), (index, caption.text)


def test_no_caption_has_what_is_held_out() -> None:
    """1,500 pictures, each with a random part of its things, as if others were hidden."""
    for index in range(1500):
        things = scene_of("grounding", 0, index)[0]
        some = [
            thing
            for number, thing in enumerate(things)
            if number == 0 or random.Random(index + number).random() < 0.7
        ]
        assert_nothing_held_out(index, some)


@pytest.mark.slow
def test_no_caption_of_the_whole_data_has_what_is_held_out() -> None:
    """All 16,000 pictures are painted, so that the captions are those of the files."""
    for index in range(COUNTS["grounding"]):
        assert_nothing_held_out(index, show("grounding", 0, index).things)


def test_the_written_files_have_nothing_held_out() -> None:
    """The files that a training reads, where ``runs`` has them."""
    manifest = WRITTEN / MANIFEST
    if not manifest.is_file() or json.loads(manifest.read_text())["counts"] != dict(COUNTS):
        pytest.skip("the pre-training data have not been written")
    for split in ("train", "valid"):
        content = json.loads((WRITTEN / "detection" / split / ANNOTATIONS).read_text())
        assert [category["name"] for category in content["categories"]] == list(DETECTION_NAMES)
    for kind in ("words", "phrases"):
        images = json.loads((WRITTEN / "grounding" / f"{kind}.json").read_text())["images"]
        assert len(images) == 3 * COUNTS["grounding"]
        for caption in {image["caption"] for image in images}:
            assert not held_out(caption), caption
