"""The vocabulary of the generated world: disjoint kinds, held-out pairs, detection names."""

from collections import Counter

from glip_lightning.shapes.outlines import OUTLINES
from glip_lightning.shapes.words import (
    CAPTION_SHAPES,
    COLOURS,
    DETECTION_NAMES,
    HELD_OUT,
    NEW_COLOURS,
    NEW_SHAPES,
    NEW_TEXTURES,
    PARTS,
    RGB,
    SHAPES,
    SIZES,
    TEXTURES,
    single_names,
)


def test_a_word_has_one_meaning() -> None:
    kinds = (
        SHAPES,
        CAPTION_SHAPES,
        NEW_SHAPES,
        COLOURS,
        NEW_COLOURS,
        TEXTURES,
        NEW_TEXTURES,
        SIZES,
        PARTS,
    )
    words = [word for kind in kinds for word in kind]
    assert len(set(words)) == len(words)
    assert "thing" not in words  # what captions call a thing without its shape


def test_every_word_can_be_painted() -> None:
    assert {*COLOURS, *NEW_COLOURS} == RGB.keys()
    assert {*SHAPES, *CAPTION_SHAPES, *NEW_SHAPES} == OUTLINES.keys()


def test_each_word_of_a_held_out_pair_is_also_seen_in_others() -> None:
    """Else it would be a new word, not a new combination."""
    attributes, shapes = (Counter(words) for words in zip(*HELD_OUT, strict=True))
    assert attributes.keys() == {*COLOURS, *TEXTURES}
    assert shapes.keys() == set(SHAPES)
    assert max(attributes.values()) < len(SHAPES) / 2
    assert max(shapes.values()) < len((*COLOURS, *TEXTURES)) / 2


def test_detection_names_are_of_the_trained_vocabulary() -> None:
    assert len(set(DETECTION_NAMES)) == len(DETECTION_NAMES)
    for name in DETECTION_NAMES:
        *attributes, shape = name.split()
        assert shape in SHAPES
        assert all(
            word in (*COLOURS, *TEXTURES) and (word, shape) not in HELD_OUT for word in attributes
        )


def test_single_names_are_what_pretraining_teaches() -> None:
    assert single_names() == {"shape": SHAPES, "colour": COLOURS, "texture": TEXTURES}
