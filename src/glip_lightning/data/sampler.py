"""Which image comes when, and its randomness: functions of (seed, epoch, index) only.

Nothing depends on worker processes, on their number or on what was drawn before. So a run that is
resumed in the middle of an epoch sees, bit for bit, what it would have seen without interruption.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch.utils.data import DistributedSampler

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.types import Sample

Key = tuple[int, int]
"""Epoch and index: a sampler yields both, so that workers know the epoch."""


class KeyedSample(Sample):
    """A sample that knows its key: collation draws the caption from it."""

    epoch: int
    index: int


# not 0: numpy takes [seed, epoch, 0] for [seed, epoch]
STREAMS = {"order": 1, "view": 2, "caption": 3, "step": 4, "crop": 5, "colour": 6}


def random_stream(
    stream: Literal["order", "view", "caption", "crop", "colour"],
    seed: int,
    epoch: int,
    index: int = 0,
) -> np.random.Generator:
    """Return a generator of random numbers for one purpose, seed, epoch and image."""
    return np.random.default_rng([STREAMS[stream], seed, epoch, index])


def step_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """Return the seed of torch before a training batch: checkpoints need no state for dropout."""
    return int(np.random.default_rng([STREAMS["step"], seed, epoch, batch, rank]).integers(2**63))


WINDOW = 16  # batches within which samples are put together by size


@dataclass(frozen=True)
class Grouping:
    """Batches of samples of similar size, which need little padding."""

    batch_size: int  # samples that are padded together, of all processes
    sizes: Callable[[int], np.ndarray]  # height and width [N, 2] of all samples of an epoch

    def order(self, order: np.ndarray, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """Return the samples of a random order [N] in groups; the last, smaller one stays last.

        Samples of :data:`WINDOW` batches are sorted by their format and size. Then all batches
        come in a random order.
        """
        height, width = self.sizes(epoch)[order].T
        window = np.arange(len(order)) // (WINDOW * self.batch_size)
        keys = (np.maximum(height, width), np.minimum(height, width), height > width, window)
        grouped = order[np.lexsort(keys)]
        whole = len(order) // self.batch_size * self.batch_size
        batches = rng.permutation(grouped[:whole].reshape(-1, self.batch_size))
        return np.concatenate([batches.reshape(-1), grouped[whole:]])


class EpochSampler(DistributedSampler[Key]):
    """Yields ``(epoch, index)`` in an order that (seed, epoch) decides, or in that of the file.

    Each of ``world`` processes gets every ``world``-th key from its ``rank`` on. If the size
    is not a multiple of ``world``, the first keys come again, because DDP needs equal numbers of
    steps; evaluation counts an image once, however often it was seen. The base class only tells a
    trainer that the keys are divided already.
    """

    def __init__(
        self,
        dataset_size: int,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world: int = 1,
        grouping: Grouping | None = None,
    ) -> None:
        if dataset_size < 1:
            message = f"dataset_size={dataset_size}: there are no images to draw from"
            raise GLIPError(message, code="bad-value")
        if not 0 <= rank < world:
            message = f"rank={rank}, world={world}: ranks run from 0 to world - 1"
            raise GLIPError(message, code="bad-value")
        self.dataset_size, self.seed, self.shuffle = dataset_size, seed, shuffle
        self.rank, self.world, self.grouping = rank, world, grouping
        self.epoch = 0
        self._skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; Lightning calls this before each."""
        if epoch != self.epoch:
            self._skip = 0  # an epoch whose keys were all seen may never have been iterated
        self.epoch = epoch

    def skip(self, count: int) -> None:
        """Leave out the first ``count`` keys of the next iteration, seen before an interruption.

        Raises:
            GLIPError: an epoch has fewer keys (``bad-value``).
        """
        if not 0 <= count <= len(self):
            message = f"cannot skip {count} of the {len(self)} images of an epoch"
            raise GLIPError(message, code="bad-value")
        self._skip = count

    def __len__(self) -> int:
        """Return the number of keys of a whole epoch on this rank."""
        return -(-self.dataset_size // self.world)

    def __iter__(self) -> Iterator[Key]:
        whole = np.resize(self.order(), len(self) * self.world)  # repeats from the start
        mine = whole[self.rank :: self.world]
        skip, self._skip = self._skip, 0
        epoch = self.epoch  # which may be set to the next one before the last key is taken
        for index in mine[skip:].tolist():
            yield epoch, index

    def order(self) -> np.ndarray:
        """Return all indices of the epoch, for all processes together."""
        if not self.shuffle:
            return np.arange(self.dataset_size)
        rng = random_stream("order", self.seed, self.epoch)
        order = rng.permutation(self.dataset_size)
        return self.grouping.order(order, self.epoch, rng) if self.grouping else order
