"""Sizes, boxes that follow their image, randomness that depends on (seed, epoch, index) only."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.sampler import EpochSampler, random_stream
from glip_lightning.data.transforms import TRAIN_SIZES, Transform, resize_image, resize_size

SIDES = st.integers(1, 4000)


@pytest.mark.parametrize(
    "width_height, expected",
    [
        ((640, 480), (1066, 800)),
        ((1920, 1080), (1333, 750)),
        ((500, 333), (1201, 800)),
        ((2000, 500), (1332, 333)),
    ],
)
def test_official_examples(width_height: tuple[int, int], expected: tuple[int, int]) -> None:
    width, height = width_height
    assert resize_size(height, width, 800, 1333) == expected[::-1]
    assert resize_size(width, height, 800, 1333) == expected


@given(SIDES, SIDES)
def test_no_side_vanishes(height: int, width: int) -> None:
    new_height, new_width = resize_size(height, width, 800, 1333)
    assert min(new_height, new_width) >= 1
    assert (new_height <= new_width) == (height <= width) or new_height == new_width


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = noise(40, 60)
    assert torch.equal(
        resize_image(image, (40, 60)), torch.from_numpy(np.array(image)).permute(2, 0, 1)
    )


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def test_boxes_stay_on_their_object() -> None:
    pixels = np.zeros((50, 100, 3), np.uint8)
    pixels[10:20, 20:40] = 255
    boxes = torch.tensor([[20.0, 10, 39, 19]])
    for epoch in range(8):
        image, moved = Transform((100,), 400, flip=0.5)(Image.fromarray(pixels), boxes, epoch, 0)
        assert image.shape == (3, 100, 200)
        rows, columns = (image[0] > 127).nonzero(as_tuple=True)
        seen = torch.stack([columns.min(), rows.min(), columns.max(), rows.max()])
        assert (moved[0] - seen).abs().max() <= 1  # as official, corners are scaled without the +1
    views = [Transform(flip=p)(noise(4, 6), boxes, 0, 0)[0] for p in (0.0, 1.0)]
    assert torch.equal(views[0].flip(-1), views[1])


def test_views_depend_on_seed_epoch_and_index_only() -> None:
    image, boxes = noise(30, 40), torch.zeros(0, 4)

    def sizes(seed: int, index: int) -> list[torch.Size]:
        transform = Transform(TRAIN_SIZES, flip=0.5, seed=seed)
        return [transform(image, boxes, epoch, index)[0].shape for epoch in range(12)]

    assert sizes(0, 0) == sizes(0, 0)
    assert sizes(0, 0) != sizes(0, 1)
    assert sizes(0, 0) != sizes(1, 0)
    assert {shape[1] for i in range(5) for shape in sizes(0, i)} == set(TRAIN_SIZES)


def test_streams_are_separate() -> None:
    drawn = {
        random_stream(stream, 0, 0, 0).random()
        for stream in ("order", "view", "caption", "crop", "colour")
    }
    assert len(drawn) == 5


@pytest.mark.parametrize(
    "arguments", [{"min_sizes": ()}, {"min_sizes": (900,), "max_size": 800}, {"flip": 2}]
)
def test_bad_values_are_refused(arguments: dict) -> None:
    with pytest.raises(GLIPError) as caught:
        Transform(**arguments)
    assert caught.value.code == "bad-value"
    assert all(f"{name}={value}" in str(caught.value) for name, value in arguments.items())


def test_sampler_order() -> None:
    sampler = EpochSampler(10, seed=3)
    first = list(sampler)
    assert sorted(first) == [(0, index) for index in range(10)]
    assert list(EpochSampler(10, seed=3)) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert {epoch for epoch, _ in second} == {1}
    assert [index for _, index in first] != [index for _, index in second]
    assert list(EpochSampler(3, shuffle=False)) == [(0, 0), (0, 1), (0, 2)]


def test_sampler_resumes_within_an_epoch() -> None:
    whole, resumed = EpochSampler(10, seed=3), EpochSampler(10, seed=3)
    whole.set_epoch(5)
    resumed.set_epoch(5)
    resumed.skip(4)
    assert len(resumed) == 10
    assert list(resumed) == list(whole)[4:]
    assert list(resumed) == list(whole)  # the next epoch is whole again
    resumed.skip(10)
    for sampler in (whole, resumed):
        sampler.set_epoch(6)
    assert list(resumed) == list(whole)  # also if nothing was left of the one before
    with pytest.raises(GLIPError) as caught:
        resumed.skip(11)
    assert caught.value.code == "bad-value"
    assert re.findall(r"\d+", str(caught.value)) == ["11", "10"]


@pytest.mark.parametrize("size, world", [(10, 3), (2, 5), (6, 2)])
def test_sampler_shares_among_ranks(size: int, world: int) -> None:
    shards = [list(EpochSampler(size, seed=3, rank=rank, world=world)) for rank in range(world)]
    assert len({len(shard) for shard in shards}) == 1
    seen = {index for shard in shards for _, index in shard}
    assert seen == set(range(size))
    assert sum(map(len, shards)) < size + world


def test_sampler_refuses_bad_values() -> None:
    with pytest.raises(GLIPError) as caught:
        EpochSampler(0)
    assert caught.value.code == "bad-value"
    assert "dataset_size=0" in str(caught.value)
    with pytest.raises(GLIPError) as caught:
        EpochSampler(5, rank=2, world=2)
    assert caught.value.code == "bad-value"
    assert "rank=2, world=2" in str(caught.value)
