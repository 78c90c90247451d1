"""Errors that the readers of photos raise, as they come out of a loader."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from torch.utils.data._utils.pin_memory import pin_memory

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.data.loader import Batches, Loader, as_it_is


def broken() -> Exception:
    error = GLIPError("a.jpg: not a readable image", code="unreadable-image")
    error.add_note("of the train split")
    return error


def missing() -> Exception:
    return MissingFile("a.jpg: no such image file", code="missing-file")


def taken_away() -> Exception:
    return FileNotFoundError(2, "No such file or directory", "a.jpg")


class Photos:
    """Three photos, of which the last cannot be read."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        self.error = error

    def __len__(self) -> int:
        return 3

    def __getitem__(self, key: Any) -> int:
        if key == 2:
            raise self.error()
        return key


def batch_of(samples: Sequence[Any]) -> Any:
    if 1 in samples:
        raise GLIPError("1: no caption", code="no-caption")
    return list(samples)


def loader(error: Callable[[], Exception], workers: int, sampler: list[int]) -> Loader:
    batches = Batches(Photos(error), batch_of)
    return Loader(batches, sampler=sampler, collate_fn=as_it_is, num_workers=workers)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("error", [broken, missing, taken_away])
def test_an_error_that_explains_itself_is_the_same_in_the_main_process(
    error: Callable[[], Exception], workers: int
) -> None:
    batches = iter(loader(error, workers, [0, 2, 0]))
    assert next(batches) == [0]
    with pytest.raises(type(error())) as caught:
        next(batches)
    assert type(caught.value) is type(error())
    assert str(caught.value) == str(error())
    assert vars(caught.value) == vars(error())  # code and notes
    assert getattr(caught.value, "filename", None) == getattr(error(), "filename", None)
    assert next(batches) == [0]  # as with errors of torch, nothing is lost that a worker has read


@pytest.mark.parametrize("workers", [0, 1])
def test_what_makes_a_batch_may_raise_as_well(workers: int) -> None:
    with pytest.raises(GLIPError) as caught:
        next(iter(loader(broken, workers, [1])))
    assert caught.value.code == "no-caption"


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_other_errors_keep_the_traceback_of_the_worker(error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        next(iter(loader(error, 1, [2])))
    assert "in __getitem__" in str(caught.value)


def test_an_error_is_not_taken_for_tensors_to_pin() -> None:
    error = broken()
    assert pin_memory(error) is error
