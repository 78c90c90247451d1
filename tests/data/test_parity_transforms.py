"""Every tensor of the reference file of transforms, and the table of sizes, against ours."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from conftest import golden_dir
from glip_lightning.data.transforms import Transform, resize_image, resize_size
from glip_lightning.ops import box_arrays
from glip_lightning.ops import boxes as box_ops

pytestmark = pytest.mark.parity


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per tensor."""
    if "tensor" not in metafunc.fixturenames:
        return
    file = golden_dir(metafunc.config) / "ops" / "transforms.safetensors"
    if file.exists():
        with safe_open(file, "pt") as stored:
            metafunc.parametrize("tensor", sorted(stored.keys()))
    else:
        skip = pytest.mark.skip(reason="golden: no ops/transforms.safetensors")
        metafunc.parametrize("tensor", [pytest.param(None, marks=skip)])


@pytest.fixture(scope="module")
def facts(golden: Path) -> dict:
    file = golden / "ops" / "ops.json"
    if not file.exists():
        pytest.skip("golden: no ops/ops.json")
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tensors(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "ops" / "transforms.safetensors")


def normalised(image: Tensor, facts: dict) -> Tensor:
    """What the model's ``preprocess`` does, written out here with the reference's constants."""
    mean, std = (torch.tensor(facts[f"pixel_{name}"])[:, None, None] for name in ("mean", "std"))
    return (image[[2, 1, 0]].float() - mean) / std


def test_tensor(tensor: str, tensors: dict[str, Tensor], facts: dict) -> None:
    image_name, kind = tensor.split(".")
    stored, boxes = tensors[f"{image_name}.rgb_uint8"], tensors[f"{image_name}.boxes"]
    expected, image = tensors[tensor], Image.fromarray(stored.numpy())
    min_size, max_size = facts["transforms_min_max_size"]
    resized, moved = Transform((min_size,), max_size)(image, boxes, epoch=0, index=0)
    height, width = image.height, image.width
    if kind == "rgb_uint8":
        assert torch.equal(resize_image(image, (height, width)), expected.permute(2, 0, 1))
        assert [height, width] == facts["transforms"][image_name]["hw"]
    elif kind == "rgb_resized_uint8":
        assert torch.equal(resized, expected.permute(2, 0, 1))
    elif kind == "transformed":
        assert list(resized.shape[1:]) == facts["transforms"][image_name]["transformed_hw"]
        torch.testing.assert_close(normalised(resized, facts), expected, rtol=0, atol=1e-5)
    else:
        clipped = box_arrays.clip_to_images(
            box_arrays.from_xywh(boxes.numpy()), np.array([height, width])
        )
        ours = {
            "boxes": box_ops.rescale(boxes, 1, 1),
            "boxes_transformed": moved,
            "boxes_hflipped": Transform((min(height, width),), 1333, flip=1.0)(image, boxes, 0, 0)[
                1
            ],
            # the reference took the same four numbers for x, y, width, height
            "boxes_clipped_xywh_roundtrip": torch.from_numpy(clipped),
        }
        torch.testing.assert_close(ours[kind], expected, rtol=0, atol=1e-6)


def test_sizes(facts: dict) -> None:
    table = facts["resize_get_size_800_1333 (WxH -> [h, w])"]
    assert table
    for name, expected in table.items():
        width, height = map(int, name.split("x"))
        assert list(resize_size(height, width, 800, 1333)) == expected, name
