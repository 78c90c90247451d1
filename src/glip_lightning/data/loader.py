"""Loaders of batches: an error that a worker process meets is the same error in the main process.

torch carries an error out of a worker as its class and its traceback, as one text. Its code, its
notes and its file are lost, and the class where one text does not make an error of it.
"""

from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.sampler import Key
from glip_lightning.data.types import Batch


class Samples(Sized, Protocol):
    """A data set whose samples have keys."""

    def __getitem__(self, key: Key, /) -> Any: ...


class Batches(Dataset[Any]):
    """Batches of the samples of a data set, for a :class:`Loader`.

    An error that explains itself is returned in the place of its batch: one of ours, or one of the
    system that names a file. Other errors are raised; torch shows where in the worker.
    """

    def __init__(self, samples: Samples, collate: Callable[[Sequence[Any]], Batch]) -> None:
        self.samples, self.collate = samples, collate

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | Exception:
        """Return the batch of ``keys``, in the process that reads it."""
        try:
            return self.collate([self.samples[key] for key in keys])
        except GLIPError as error:
            return error
        except OSError as error:
            if error.filename is None:
                raise
            return error


class Loader(DataLoader[Any]):
    """A loader of :class:`Batches` with :func:`as_it_is`; it raises the errors that they return."""

    @override
    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        return map(_raised, super().__iter__())


def as_it_is(batch: Any) -> Any:
    """Return a batch of :class:`Batches`, which needs no collation."""
    return batch


def _raised(batch: Batch | Exception) -> Batch:
    if isinstance(batch, Exception):
        raise batch
    return batch
