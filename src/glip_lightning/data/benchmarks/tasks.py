"""The tasks of all benchmarks by name: ODinW, and what plugins add."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from glip_lightning.common import registry
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks import odinw

ODINW: tuple[odinw.Benchmark, ...] = ("odinw13", "odinw35")


class BenchmarkTask(Protocol):
    """A data set with a name."""

    @property
    def name(self) -> str:
        """The full name."""
        ...

    @property
    def short(self) -> str:
        """The name in sweeps and reports."""
        ...


@dataclass(frozen=True)
class TaskSet:
    """A benchmark of a plugin, and the other tasks of the same kind."""

    title: str  # in messages: "Shapes-13"
    data: str  # short name of the data module that reads them
    tasks: Mapping[str, BenchmarkTask]  # all by name
    benchmark: Sequence[str]  # names of those that belong to it, in order


def benchmarks() -> list[str]:
    """Return the names of all benchmarks."""
    return [*ODINW, *registry.tasks.names()]


def get_task(name: str) -> BenchmarkTask:
    """Return the task of a name; no name means tasks of two benchmarks.

    Raises:
        GLIPError: no task is called so.
    """
    if name in odinw.known_names():
        return odinw.odinw_task(name)
    others = set_of(name)
    if others is not None:
        return others.tasks[name]
    names, titles = [], ["ODinW"]
    for each in registry.tasks.rows().values():
        names += list(each.tasks)
        titles.append(each.title)
    hint = odinw.suggestion(name, [*odinw.known_names(), *names])
    if not hint:
        hint = f"the tasks are {', '.join([*odinw.tasks(), *names])}"
    message = f"no task of {' or '.join(titles)} is called {name!r}; {hint}"
    raise GLIPError(message, code="unknown-task")


def set_of(name: str) -> TaskSet | None:
    """Return the benchmark of a plugin that has a task of this name, None if none has."""
    for each in registry.tasks.rows().values():
        if name in each.tasks:
            return each
    return None


def task_names(benchmark: str) -> list[str]:
    """Return the names of the tasks of a benchmark, in the order of its table.

    Raises:
        GLIPError: there is no such benchmark.
    """
    for each in ODINW:
        if benchmark == each:
            return odinw.odinw_names(each)
    return list(registry.tasks.find(benchmark).benchmark)
