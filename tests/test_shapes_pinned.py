"""Pre-training data stay what they are: a detector that was trained on them shall be trained again on the same."""

import hashlib
import json

import numpy as np
import pytest

from glip_lightning.data.shapes.pretraining import captions, show

PINNED = {
    "detection/train": "53363141ee2fc7e0",
    "grounding": "625b1932a7c46d8f",
    "names/test": "f0e7405b0a3273cc",
    "combinations/held_out": "b110cde7e722dc89",
}


@pytest.mark.parametrize("name", PINNED)
def test_pictures_boxes_and_captions_are_the_same_bits(name: str) -> None:
    """A change is a new ``VERSION`` of the pre-training data, and of this."""
    digest = hashlib.sha256()
    for index in range(6):
        shown = show(name, 0, index)
        digest.update(np.asarray(shown.image).tobytes())
        told = [shown.boxes, captions(name, 0, index, shown.things), [thing._asdict() for thing in shown.things]]
        digest.update(json.dumps(told, default=str).encode())
    assert digest.hexdigest().startswith(PINNED[name])
