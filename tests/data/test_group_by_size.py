"""Batches of images of similar size: every image still comes once, and less is padded."""

from pathlib import Path

import numpy as np
import pytest

from glip_lightning import CustomData
from glip_lightning.data.augment import Augment
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.formats.layouts import read_dataset
from glip_lightning.data.sampler import WINDOW, EpochSampler, Grouping
from glip_lightning.data.transforms import Transform
from small_runs import make_shapes

BATCH = 4


def sizes(epoch: int, count: int = 203) -> np.ndarray:
    """Shorter sides of 128 to 224 pixels; half of the images stand upright."""
    rng = np.random.default_rng([7, epoch])
    short = rng.choice([128, 160, 192, 224], size=count)
    found = np.stack([short, (short * rng.uniform(1, 1.5, count)).astype(int)], 1)
    upright = rng.random(count) < 0.5
    found[upright] = found[upright, ::-1]
    return found


def padded(order: list[int], of: np.ndarray, batch: int = BATCH) -> int:
    """Pixels of all batches, each image padded to the largest sides of its batch."""
    groups = [of[order[k : k + batch]] for k in range(0, len(order), batch)]
    return int(sum(len(group) * group.max(0).prod() for group in groups))


def order_of(grouping: Grouping | None, epoch: int, seed: int = 0, count: int = 203) -> list[int]:
    sampler = EpochSampler(count, seed, grouping=grouping)
    sampler.set_epoch(epoch)
    return [index for _, index in sampler]


@pytest.mark.parametrize("epoch", [0, 3])
def test_each_image_comes_once_and_less_is_padded(epoch: int) -> None:
    grouping = Grouping(BATCH, sizes)
    order = order_of(grouping, epoch)
    assert sorted(order) == list(range(203))
    assert order == order_of(grouping, epoch)
    assert order != order_of(grouping, epoch, seed=1)
    assert order != order_of(grouping, epoch + 1)
    own = sizes(epoch).prod(1).sum()
    assert padded(order, sizes(epoch)) < 1.12 * own
    assert padded(order_of(None, epoch), sizes(epoch)) > 1.4 * own


def test_batches_come_in_a_random_order_of_sizes() -> None:
    """The first batches are not the smallest ones: sizes change from step to step."""
    order = order_of(Grouping(BATCH, sizes), 0)
    heights = sizes(0)[order[: BATCH * 40], 0].reshape(-1, BATCH).mean(1)
    assert abs(np.corrcoef(heights, np.arange(40))[0, 1]) < 0.4
    window = set(order_of(None, 0)[: WINDOW * BATCH])
    assert not set(order[: WINDOW * BATCH]) <= window  # batches of other windows come in between


def test_a_small_data_set_is_one_smaller_batch() -> None:
    three = Grouping(BATCH, lambda epoch: sizes(epoch, 3))
    assert sorted(order_of(three, 0, count=3)) == [0, 1, 2]


def test_processes_share_a_group() -> None:
    grouping = Grouping(2 * BATCH, sizes)
    ranks = [EpochSampler(203, rank=rank, world=2, grouping=grouping) for rank in range(2)]
    first, second = ([index for _, index in sampler] for sampler in ranks)
    whole = order_of(grouping, 0)
    assert set(first[:BATCH]) | set(second[:BATCH]) == set(whole[: 2 * BATCH])


def test_a_stop_within_an_epoch_goes_on_with_the_same_images() -> None:
    grouping = Grouping(BATCH, sizes)
    resumed = EpochSampler(203, grouping=grouping)
    resumed.set_epoch(2)
    resumed.skip(20)
    assert [index for _, index in resumed] == order_of(grouping, 2)[20:]


@pytest.mark.parametrize("augment", [None, Augment("strong", 5)])
def test_sizes_are_those_of_the_samples(tmp_path: Path, augment: Augment | None) -> None:
    index = read_dataset(make_shapes(tmp_path)).splits["train"]
    transform = Transform((64, 96, 128), 160, flip=0.5, seed=5)
    dataset = DetectionDataset(index, transform, copies=3, augment=augment)
    for epoch in (0, 4):
        found = dataset.sizes(epoch)
        shapes = [dataset[epoch, item]["image"].shape[1:] for item in range(len(dataset))]
        assert found.tolist() == [list(shape) for shape in shapes]


def test_the_option_is_for_training_images(tmp_path: Path) -> None:
    folder = make_shapes(tmp_path)
    for chosen in (True, False):
        data = CustomData(str(folder), group_by_size=chosen, batch_size=3, min_sizes=(64, 128))
        data.setup("fit")
        grouping = data.sampler("train", True, 0, 1).grouping
        assert (grouping is not None) == chosen
        assert grouping is None or grouping.batch_size == 3
        assert data.sampler("valid", False, 0, 1).grouping is None
