"""Generated data stay what they are: who trains or measures again shall do it on the same."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from glip_lightning.shapes import image_captions
from glip_lightning.shapes.paint import Shown
from glip_lightning.shapes.pretraining_pictures import captions, show
from glip_lightning.shapes.shapes13 import TASKS
from glip_lightning.shapes.task_pictures import example

PINNED = {
    "detection/train": "53363141ee2fc7e0",
    "grounding": "625b1932a7c46d8f",
    "names/test": "f0e7405b0a3273cc",
    "combinations/held_out": "b110cde7e722dc89",
}
TASKS_PINNED = {
    "Catalogue": "a6746723563a2c8d",
    "Harbour": "3640690070f6b587",
    "Reef": "6cc502719e26e3ab",
    "Beetles": "070552e79f1def1d",
    "Targets": "2ce10ec8307428c9",
    "Fungi": "c758db8a31958af7",
    "Parcels": "551362498023f0a5",
    "Kites": "030c77e406f6658d",
    "Badges": "66bfd9f5e6253aa2",
    "Traffic": "7c023a9936c2a44c",
    "Bolts": "cfcb1563b8e9c7d6",
    "Craters": "565800c66068e13c",
    "Infrared": "513e83b4c92f0cf9",
    "Blocks": "8c705499b5788653",
}
CAPTIONS_PINNED = "066252c81483ade4"


def digest(seen: Iterable[tuple[Image.Image, str]]) -> str:
    """Of pictures and what is told of each."""
    found = hashlib.sha256()
    for image, told in seen:
        found.update(np.asarray(image).tobytes())
        found.update(told.encode())
    return found.hexdigest()


@pytest.mark.parametrize("name", PINNED)
def test_pictures_boxes_and_captions_are_the_same_bits(name: str) -> None:
    """A change is a new ``VERSION`` of the pre-training data, and of this."""

    def told(index: int, shown: Shown) -> str:
        found = captions(name, 0, index, shown.things)
        words = {kind: [(each.text, each.spans) for each in found[kind]] for kind in found}
        things = [asdict(thing) for thing in shown.things]
        return json.dumps([shown.boxes, words, things], default=str)

    shown = [show(name, 0, index) for index in range(6)]
    assert digest((each.image, told(index, each)) for index, each in enumerate(shown)).startswith(
        PINNED[name]
    )


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_the_same_bits(name: str) -> None:
    """A change needs a new ``VERSION``, by which sweeps know that their trials are others."""
    shown = [example(TASKS[name], "test", index) for index in range(3)]
    assert digest((x.image, json.dumps([x.boxes, x.labels])) for x in shown).startswith(
        TASKS_PINNED[name]
    )


def test_captioned_pictures_are_the_same_bits() -> None:
    """A change is a new ``VERSION`` of these."""
    assert digest(image_captions.captioned_picture(0, index) for index in range(6)).startswith(
        CAPTIONS_PINNED
    )
