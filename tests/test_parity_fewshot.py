"""The few images that the official code chooses, from three generated annotation files, for every shot and seed."""

from pathlib import Path

import numpy as np
import pytest

from conftest import golden_dir
from glip_lightning.data.fewshot import choose_images, usable_images
from parity import read_json

pytestmark = pytest.mark.parity


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per recorded choice, named ``<annotation file>|<official class>|shot<K>|seed<S>``."""
    file = golden_dir(metafunc.config) / "fewshot" / "chosen_ids.json"
    recorded = read_json(file) if file.is_file() else {}  # nothing to compare is a skip
    metafunc.parametrize("name, expected", recorded.items(), ids=list(recorded))


def test_same_images(golden: Path, name: str, expected: dict) -> None:
    file, official, shots, seed = name.split("|")
    content = read_json(golden / "fewshot" / f"coco_{file}.json")
    ids = np.array([image["id"] for image in content["images"]])
    annotations = content["annotations"]
    index = {image_id: position for position, image_id in enumerate(ids.tolist())}
    images = usable_images(
        ids,
        np.array([index[a["image_id"]] for a in annotations]),
        np.array([a["bbox"] for a in annotations]),
        np.array([a["category_id"] for a in annotations]),
    )
    categories = [category["id"] for category in content["categories"]]
    count = int(shots.removeprefix("shot"))
    number = int(seed.removeprefix("seed")) if official == "COCODataset" else None  # CocoGrounding ignores it
    if count == 0:  # there it means all
        assert [image.image_id for image in images] == expected["ids"]
    elif "error" in expected:
        assert expected["error"].startswith("IndexError")
        with pytest.raises(ValueError, match="has none of the 5 counters"):
            choose_images(images, categories, count, number)
    else:
        assert choose_images(images, categories, count, number).image_ids == expected["ids"]
