"""Few-shot subsets equal those of the official code, image by image."""

import json
import random
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.few_shot import few_shot, take_while_needed
from glip_lightning.data.images import Header
from glip_lightning.data.index import Index, RawBox, RawImage, build_index

pytestmark = [pytest.mark.parity, pytest.mark.source("fewshot")]


class NoFiles:
    """Images of which only the sizes exist."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, index: int) -> str:
        return str(index)

    def header(self, index: int) -> Header:
        return Header(self.sizes[index], self.sizes[index])

    def read(self, index: int, *, upright: bool) -> Any:
        raise AssertionError("there are no pixels")


def index_of(content: dict[str, Any]) -> Index:
    images = [
        RawImage(image["id"], (image["height"], image["width"])) for image in content["images"]
    ]
    boxes = [
        RawBox(a["image_id"], a["category_id"], a["bbox"], a["area"], bool(a["iscrowd"]))
        for a in content["annotations"]
    ]
    categories = {category["id"]: category["name"] for category in content["categories"]}
    source = NoFiles([image.size for image in images if image.size is not None])
    return build_index("golden", categories, images, boxes, source, Findings())


def official_quotas(content: dict[str, Any], loader: str, shots: int) -> list[int]:
    """One counter per category, or up to the largest id; that of id i has the number i - 1."""
    ids = [category["id"] for category in content["categories"]]
    return [shots] * (len(ids) if loader == "COCODataset" else max(ids))


@pytest.fixture(scope="module")
def reference(golden: Path) -> Path:
    if not (golden / "fewshot").is_dir():
        pytest.skip(f"{golden} has no fewshot")
    return golden / "fewshot"


def test_every_official_subset(reference: Path) -> None:
    chosen = json.loads((reference / "chosen_ids.json").read_text())
    contents = {
        path.stem.removeprefix("coco_"): json.loads(path.read_text())
        for path in reference.glob("coco_*")
    }
    for key, expected in chosen.items():
        name, loader, shots, seed = key.split("|")
        content = contents[name]
        number, start = int(shots.removeprefix("shot")), int(seed.removeprefix("seed"))
        index = index_of(content)
        shuffled = start if loader == "COCODataset" and start else None
        if "error" in expected:
            with pytest.raises(GLIPError) as caught:
                by_category_id(index, content, loader, number, shuffled)
            assert caught.value.code == "bad-value", key
            _, shown, classes = re.findall(r"\d+", str(caught.value))  # the first is the image
            assert shown in ("6", "8"), key
            assert classes == "5", key
            continue
        images = by_category_id(index, content, loader, number, shuffled)
        assert index.ids[images].tolist() == expected["ids"], key
        if number and (loader == "COCODataset" or not name.startswith("zero")):
            assert few_shot(index, number, shuffled).images == images, key


def by_category_id(
    index: Index, content: dict[str, Any], loader: str, shots: int, seed: int | None
) -> list[int]:
    """As official, where counters go by category id; shots 0 means all images with boxes."""
    images = index.with_boxes()
    if shots == 0:
        return images
    if seed is not None:
        random.Random(seed).shuffle(images)
    shown: dict[int, Collection[int]] = {
        image: {index.category_ids[k] - 1 for k in index.boxes_of(image).labels.tolist()}
        for image in images
    }
    return take_while_needed(images, shown, official_quotas(content, loader, shots))
