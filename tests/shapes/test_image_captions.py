"""Pictures with captions and no boxes: what the student learns from through its teacher."""

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.captioned_images import read_captions
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.shapes import image_captions
from glip_lightning.shapes.descriptions import Description
from glip_lightning.shapes.generated_folder import MANIFEST
from glip_lightning.shapes.image_captions import (
    COUNT,
    FILE,
    STREAM,
    VERSION,
    captioned_picture,
    name_of,
    random_caption,
    random_things,
    write_caption_words,
    write_image_captions,
)
from glip_lightning.shapes.pretraining_pictures import SIZE
from glip_lightning.shapes.scene import Thing, Vocabulary
from glip_lightning.shapes.styles import STYLES
from glip_lightning.shapes.words import (
    CAPTION_NAMES,
    CAPTION_SHAPES,
    COLOURS,
    HELD_OUT,
    NEW_COLOURS,
    NEW_SHAPES,
    NEW_TEXTURES,
    SHAPES,
)
from glip_lightning.text.noun_phrases import noun_phrases

WRITTEN = Path(__file__).parent.parent.parent / "runs" / ".shapes" / "captions"
FILLING = {
    "a",
    "with",
    "and",
    "left",
    "right",
    "of",
    "above",
    "below",
    "thing",
    "two",
    "three",
    "four",
    "five",
    "six",
}


def singular(word: str) -> str:
    return {
        f"{s}es" if s.endswith("s") else f"{s}s": s
        for s in (*SHAPES, *CAPTION_SHAPES, *CAPTION_NAMES, "thing")
    }.get(word, word)


def test_no_scene_has_what_is_held_out() -> None:
    """All of them; that a caption says what is true of its scene alone is another test."""
    new, seen = {*NEW_SHAPES, *NEW_COLOURS, *NEW_TEXTURES}, set()
    for index in range(COUNT):
        for thing in random_things(np.random.default_rng([0, STREAM, index])):
            assert not thing.is_held_out()
            assert not {*thing.words.values()} & new
            seen.add(thing.shape)
    assert seen == {*SHAPES, *CAPTION_SHAPES}


@pytest.fixture(scope="module")
def captions() -> list[str]:
    return [captioned_picture(0, index)[1] for index in range(150)]


def assert_known(caption: str) -> None:
    words = {singular(word) for word in re.findall(r"\w+", caption)}
    assert words <= {*Vocabulary().words, *CAPTION_SHAPES, *CAPTION_NAMES} | FILLING, caption
    for phrase in re.split(r", | and | left of | right of | above | below ", caption):
        named = [singular(word) for word in phrase.split()]
        said = [*named, *(CAPTION_NAMES[word]["shape"] for word in named if word in CAPTION_NAMES)]
        assert not {(a, s) for a in said for s in said} & HELD_OUT, caption


@pytest.mark.parametrize(
    "pair", ["red heart", "a striped crater", "two purple kites", "a star left of blue buses"]
)
def test_the_search_for_what_is_held_out_finds_it(pair: str) -> None:
    with pytest.raises(AssertionError):
        assert_known(pair)
    assert_known("a yellow kite and two dotted craters")


@pytest.mark.slow
def test_no_caption_of_the_whole_data_has_what_is_held_out() -> None:
    """All painted as they are written, so that every caption is the one of the file."""
    for index in range(COUNT):
        assert_known(captioned_picture(0, index)[1])


def test_the_written_file_has_nothing_held_out() -> None:
    """The one that a teacher labels, where ``runs`` has it."""
    settings = {"kind": "captions", "version": VERSION, "seed": 0, "count": COUNT, "size": SIZE}
    if (
        not (WRITTEN / MANIFEST).is_file()
        or json.loads((WRITTEN / MANIFEST).read_text()) != settings
    ):
        pytest.skip("the pictures with captions have not been written")
    images = json.loads((WRITTEN / FILE).read_text())["images"]
    assert len(images) > 0.99 * COUNT
    for image in images:
        assert_known(image["caption"])


def test_captions_say_known_words_and_no_held_out_pair(captions: list[str]) -> None:
    for caption in captions:
        assert_known(caption)
    said = {singular(word) for caption in captions for word in re.findall(r"\w+", caption)}
    assert said >= {*CAPTION_SHAPES, *CAPTION_NAMES}


def test_captions_say_what_is_true() -> None:
    """Of every thing that a phrase means; a name is said of what looks so, mostly."""
    said, silent = Counter[str](), Counter[str]()
    for index in range(600):
        rng = np.random.default_rng(index)
        things = random_things(rng)
        caption = random_caption(things, rng)
        for thing, spans in zip(things, caption.spans, strict=True):
            words = {
                singular(word) for start, end in spans for word in caption.text[start:end].split()
            }
            assert words - FILLING <= {*thing.words.values(), name_of(thing)}, caption
            for name, looks in CAPTION_NAMES.items():
                is_one = looks.items() <= thing.words.items()
                assert is_one or name not in words, caption
                said[name] += name in words
                silent[name] += is_one and name not in words
    assert all(said[name] > silent[name] > 10 for name in CAPTION_NAMES)


def test_what_has_no_colour_has_no_name_of_a_colour() -> None:
    thing = Thing("diamond", "", texture=None)
    assert name_of(thing) is None
    assert name_of(replace(thing, colour="yellow")) == "kite"


def test_no_two_names_look_alike() -> None:
    """One of the looks says of a kind what the other does not."""
    for one, other in combinations(CAPTION_NAMES.values(), 2):
        assert any(one[kind] != other[kind] for kind in one.keys() & other.keys())


def test_a_description_fits_what_all_of_it_is_true_of() -> None:
    kite = Thing("diamond", "yellow", texture=None)
    assert Description({"colour": "yellow"}, "kite").fits(kite)
    assert not Description({"colour": "red"}, "kite").fits(kite)
    assert not Description({}, "bus").fits(kite)


def test_the_chunker_finds_what_captions_name(captions: list[str]) -> None:
    for caption in captions:
        found = {
            singular(word)
            for start, end in noun_phrases(caption)
            for word in caption[start:end].split()
        }
        said = {singular(word) for word in re.findall(r"\w+", caption)} - FILLING
        assert said == found - FILLING, caption


def test_nobody_tells_colours_of_a_thermal_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def words(style: str) -> set[str]:
        monkeypatch.setattr(image_captions, "STYLES", {"photo": STYLES[style]})
        return {word for index in range(30) for word in captioned_picture(0, index, 64)[1].split()}

    assert words("thermal") & {*SHAPES}
    assert not {singular(word) for word in words("thermal")} & {*COLOURS, *CAPTION_NAMES}
    assert words("night") & {*COLOURS}


def test_pictures_depend_on_seed_and_index_only(tmp_path: Path) -> None:
    folder = write_image_captions(tmp_path / "captions", seed=3, count=5, size=64)
    read = read_captions(folder / FILE)
    assert [photo.sentences[0].caption for photo in read] == [
        captioned_picture(3, index, 64)[1] for index in range(5)
    ]
    (first, _), (again, _), (other, _) = (
        captioned_picture(3, 2, 64),
        captioned_picture(3, 2, 64),
        captioned_picture(4, 2, 64),
    )
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_test_pictures_have_boxes_for_the_words_of_captions_alone(tmp_path: Path) -> None:
    folder = write_caption_words(tmp_path / "test", seed=3, count=20, size=64)
    index = read_coco(folder / ANNOTATIONS, folder, Findings())
    assert index.class_names == (*CAPTION_SHAPES, *CAPTION_NAMES)
    assert len(index) == 20
    assert index.sizes.tolist() == [[64, 64]] * 20
    for image in range(20):
        things = random_things(np.random.default_rng([3, STREAM, image]))
        drawn = Counter(word for thing in things for word in (thing.shape, name_of(thing)))
        assert (
            Counter(index.class_names[label] for label in index.target(image)[1].tolist()) <= drawn
        )
    assert len({*index.boxes.labels.tolist()}) > 3


def test_thermal_test_pictures_have_no_boxes_for_names_of_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_captions, "STYLES", {"photo": STYLES["thermal"]})
    folder = write_caption_words(tmp_path / "test", seed=3, count=20, size=64)
    index = read_coco(folder / ANNOTATIONS, folder, Findings())
    assert {index.class_names[label] for label in index.boxes.labels.tolist()} == {*CAPTION_SHAPES}
