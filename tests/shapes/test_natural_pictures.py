"""Pictures with the statistics of photos: spectra, boxes, captions and files."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.grounding import GroundingDataset
from glip_lightning.shapes.materials import Material, dead_leaves, muted, noise, random_material
from glip_lightning.shapes.natural_pictures import (
    LEAST_BOX,
    VERSION,
    Light,
    _paint,
    natural_captions,
    natural_picture,
    sheet,
    vocabulary,
    write_natural,
)
from glip_lightning.shapes.paint import visible_boxes
from glip_lightning.shapes.scene import Thing
from glip_lightning.shapes.species import COUNT, FAMILIES, all_species, random_species
from glip_lightning.shapes.words import COLOURS, RGB, SIZES, TEXTURES
from glip_lightning.text.tokenizer import NANO_VOCAB, Tokenizer

SPECIES_PINNED = "74f7fbd083a689ef"
PICTURES_PINNED = "5efbece1229186b8"
COUNTS = {"train": 6, "valid": 3}


def slope(field: np.ndarray) -> float:
    """The exponent of the fall of the amplitudes of a square picture with the frequency."""
    side = len(field)
    amplitudes = np.abs(np.fft.fft2(field))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    inside = (frequency > 2 / side) & (frequency < 0.4)
    return -float(np.polyfit(np.log(frequency[inside]), np.log(amplitudes[inside]), 1)[0])


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_amplitudes_of_noise_fall_as_asked(exponent: float) -> None:
    field = noise(np.random.default_rng(0), 128, exponent)
    assert field.mean() == pytest.approx(0, abs=1e-9)
    assert field.std() == pytest.approx(1, abs=1e-6)
    assert slope(field) == pytest.approx(exponent, abs=0.05)


def test_grains_are_long_in_the_direction_of_their_angle() -> None:
    """Neighbours along the grains are more alike than neighbours across them."""
    for angle, axis in ((0.0, 1), (math.pi / 2, 0)):
        field = noise(np.random.default_rng(1), 96, 1.0, stretch=6, angle=angle)
        change = [np.abs(np.diff(field, axis=k)).mean() for k in range(2)]
        assert change[axis] < 0.6 * change[1 - axis]


def test_dead_leaves_have_the_spectrum_of_photos() -> None:
    """Their amplitudes fall about as 1 / f, however they are drawn."""
    slopes = [slope(dead_leaves(np.random.default_rng(k), 128).mean(-1)) for k in range(12)]
    assert 0.7 < np.mean(slopes) < 1.5


@pytest.mark.parametrize("colour", COLOURS)
def test_patterns_are_seen_on_every_colour(colour: str) -> None:
    material = Material("dotted", 0.4, 0.45, 0.0, 1.0, 1.0, 0.0, 0.0)
    base = muted(colour, np.random.default_rng(0))
    grey = material.colours(base, np.random.default_rng(0), 64, 25, 0.0).mean(-1)
    assert np.ptp(grey.clip(0, 255)) > 40


def test_materials_keep_their_colour_and_show_their_pattern() -> None:
    rng = np.random.default_rng(0)
    base = np.array((120.0, 90.0, 60.0))
    plain = Material(None, 0.4, 0.8, 0.0, 1.0, 1.0, 5.0, 1.0)
    colours = plain.colours(base, rng, 64, 25, 0.0)
    assert colours.mean((0, 1)) == pytest.approx(base, abs=1)
    striped = Material("striped", 0.4, 0.8, 0.0, 1.0, 1.0, 0.0, 0.0)
    grey = striped.colours(base, rng, 64, 25, 0.0).mean(-1)
    assert grey.max() > 1.5 * base.mean()
    assert grey.min() == pytest.approx(base.mean())
    assert np.ptp(grey, axis=0).max() < np.ptp(grey, axis=1).min()  # stripes go from top to bottom
    assert {random_material(rng).pattern for _ in range(60)} == {None, *TEXTURES}


@pytest.mark.parametrize("colour", COLOURS)
def test_muted_colours_stay_near_their_own(colour: str) -> None:
    """For most of them, their own colour is one of the two nearest."""

    def direction(rgb: np.ndarray) -> np.ndarray:
        chroma = rgb - rgb.mean()
        return np.append(chroma / 60, (rgb.mean() - 128) / 128)

    rng = np.random.default_rng(0)
    others = {name: direction(np.array(rgb, float)) for name, rgb in RGB.items() if name in COLOURS}
    right = 0
    for _ in range(40):
        found = direction(muted(colour, rng))
        distances = {name: float(np.linalg.norm(found - other)) for name, other in others.items()}
        right += colour in sorted(distances, key=distances.__getitem__)[:2]
    assert right > 20


def test_names_of_species_are_no_words_that_prompts_are_made_of() -> None:
    vocabulary = set(NANO_VOCAB.read_text(encoding="utf-8").splitlines())
    assert not vocabulary & set(all_species())


def test_species_differ_and_stay_the_same() -> None:
    species = all_species()
    assert len(species) == COUNT
    assert len({each.body[0].tobytes() for each in species.values()}) == COUNT
    text = repr([(each.name, each.material, each.colours) for each in species.values()])
    points = b"".join(part.round(6).tobytes() for x in species.values() for part in x.body)
    assert hashlib.sha256(text.encode() + points).hexdigest().startswith(SPECIES_PINNED)
    for each in species.values():
        reach = np.linalg.norm(np.concatenate(each.body), axis=1).max()
        assert reach == pytest.approx(1)
        assert len(set(each.colours)) == 2
        assert set(each.colours) <= set(COLOURS)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_draws_bodies_with_an_area(family: object) -> None:
    for seed in range(8):
        for part in family(np.random.default_rng(seed)):  # type: ignore[operator]
            x, y = part.T
            area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
            assert np.isfinite(part).all()
            assert area > 1e-4


def test_pictures_are_the_same_bits() -> None:
    """A change is a new ``VERSION`` of the natural pictures, and of this."""
    found = hashlib.sha256()
    for index in range(6):
        shown = natural_picture("train", 0, index)
        told = natural_captions("train", 0, index, shown.things)
        found.update(np.asarray(shown.image).tobytes())
        texts = [(each.text, each.spans) for kind in told.values() for each in kind]
        found.update(json.dumps([shown.boxes, texts]).encode())
    assert VERSION == 1
    assert found.hexdigest().startswith(PICTURES_PINNED)


def test_boxes_lie_in_the_picture_and_are_of_all_sizes() -> None:
    sizes, counts = [], []
    for index in range(60):
        shown = natural_picture("valid", 3, index, 96)
        assert shown.image.size == (96, 96)
        counts.append(len(shown.boxes))
        for thing, (x, y, width, height) in zip(shown.things, shown.boxes, strict=True):
            assert thing.shape in all_species()
            assert x >= 0 <= y
            assert x + width <= 96 >= y + height
            assert min(width, height) >= LEAST_BOX * 96
            sizes.append(max(width, height) / 96)
    assert max(counts) > 6
    assert min(sizes) < 0.1
    assert max(sizes) > 0.6


def test_a_box_is_around_what_was_painted() -> None:
    """Of each species, one thing on a grey ground, without light: no pixel outside changes."""
    for number, (name, species) in enumerate(all_species().items()):
        thing = Thing(name, species.colours[0], x=0.5, y=0.5, diameter=0.5, angle=0.3)
        ground = np.broadcast_to([255.0, 0.0, 255.0], (96, 96, 3))
        pixels = ground.copy()
        cover = _paint(pixels, thing, Light(1, 0, 0.0), np.random.default_rng(number))
        (box,) = visible_boxes([cover])
        assert box is not None
        x, y, width, height = box
        changed = np.abs(pixels - ground).max(-1) > 40
        columns, rows = np.flatnonzero(changed.any(0)), np.flatnonzero(changed.any(1))
        assert x - 3 <= columns[0] <= x + 6, name
        assert y - 3 <= rows[0] <= y + 6, name
        assert x + width - 6 <= columns[-1] + 1 <= x + width + 3, name
        assert y + height - 6 <= rows[-1] + 1 <= y + height + 3, name


def test_what_shines_through_is_labelled() -> None:
    below, above = np.ones((8, 8)), np.ones((8, 8))
    assert visible_boxes([below, above]) == [None, (0, 0, 8, 8)]
    assert visible_boxes([below, above], [1.0, 0.4]) == [(0, 0, 8, 8), (0, 0, 8, 8)]


def test_things_of_grey_pictures_have_no_colour_and_no_caption_says_one() -> None:
    grey, coloured = [], []
    for index in range(60):
        shown = natural_picture("valid", 4, index, 64)
        chroma = float(np.ptp(np.asarray(shown.image).astype(float), axis=-1).mean())
        if {thing.colour for thing in shown.things} != {""}:
            coloured.append(chroma)
            continue
        grey.append(chroma)
        for each in natural_captions("valid", 4, index, shown.things).values():
            said = {word for caption in each for word in caption.text.replace(".", "").split()}
            assert not said & set(COLOURS)
    assert 1 <= len(grey) <= 15
    assert np.median(grey) < 0.7 * np.median(coloured)  # white balance and noise alone


def test_captions_say_what_is_there_and_what_is_not() -> None:
    names = set(all_species())
    known = {*vocabulary().words, "thing"}
    assert known == {*names, *COLOURS, *TEXTURES, *SIZES, "thing"}
    for index in range(20):
        things = natural_picture("train", 0, index, 96).things
        for each in natural_captions("train", 0, index, things)["words"]:
            words = each.text.split(". ")
            assert len(words) == 12
            assert set(words) <= known
            for thing, spans in zip(things, each.spans, strict=True):
                said = {each.text[start:end] for start, end in spans}
                assert said == set(words) & set(thing.words.values())


def test_phrases_are_true_of_the_things_that_they_name() -> None:
    named = 0
    for index in range(60):
        things = natural_picture("train", 0, index, 96).things
        for each in natural_captions("train", 0, index, things)["phrases"]:
            for thing, spans in zip(things, each.spans, strict=True):
                for start, end in spans:
                    words = each.text[start:end].split()
                    true = {*thing.words.values(), f"{thing.shape}s", "thing", "things"}
                    assert set(words) <= true, each.text
                    named += 1
    assert named > 200


def test_folders_are_read_without_a_finding(tmp_path: Path) -> None:
    folder = write_natural(tmp_path / "natural", counts=COUNTS, size=96)
    for split, count in COUNTS.items():
        findings = Findings()
        index = read_coco(folder / split / ANNOTATIONS, folder / split, findings)
        assert list(findings) == []
        assert len(index) == count
        assert list(index.class_names) == list(all_species())
        for place in range(count):
            shown = natural_picture(split, 0, place, 96)
            found = index.boxes_of(place)
            names = [index.class_names[label] for label in found.labels]
            assert names == [thing.shape for thing in shown.things]
            assert found.xywh.tolist() == [list(box) for box in shown.boxes]
    for kind in ("words", "phrases"):
        findings = Findings()
        file = folder / "train" / f"{kind}.json"
        data = GroundingDataset(file, folder / "train", findings=findings)
        assert list(findings) == []
        assert len(data) == 3 * COUNTS["train"]
        assert data.unnamed(Tokenizer.nano()) == 0
    assert not (folder / "valid" / "words.json").exists()
    before = (folder / "train" / ANNOTATIONS).stat().st_mtime_ns
    assert write_natural(folder, counts=COUNTS, size=96) == folder
    assert (folder / "train" / ANNOTATIONS).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("counts", "code"),
    [({"test": 3}, "unknown-key"), ({"train": 0}, "bad-value"), ({"valid": 2}, "folder-taken")],
)
def test_folders_that_cannot_be_written(tmp_path: Path, counts: dict[str, int], code: str) -> None:
    write_natural(tmp_path, counts={"valid": 1}, size=48)
    with pytest.raises(GLIPError) as found:
        write_natural(tmp_path, counts=counts, size=48)
    assert found.value.code == code


def test_a_sheet_shows_the_first_pictures() -> None:
    assert sheet(2, 1).size == (448, 224)


def test_random_species_are_drawn_by_their_generator_alone() -> None:
    first, second = (random_species(np.random.default_rng(5), "any") for _ in range(2))
    assert repr(first) == repr(second)
