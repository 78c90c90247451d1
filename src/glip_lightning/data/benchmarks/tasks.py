"""The tasks of all benchmarks by name: ODinW and the generated Shapes-13."""

import difflib
from typing import Literal, get_args

from glip_lightning.data.benchmarks import odinw
from glip_lightning.data.benchmarks.odinw import ODinWTask
from glip_lightning.shapes.shapes13 import TASKS, ShapesTask
from glip_lightning.shapes.shapes13 import task_names as shapes_names

Benchmark = Literal["odinw13", "odinw35", "shapes13"]
BENCHMARKS: tuple[Benchmark, ...] = get_args(Benchmark)


def get_task(name: str) -> ODinWTask | ShapesTask:
    """The task of a name: no name means tasks of two benchmarks."""
    if name in TASKS:
        return TASKS[name]
    known = [*odinw.known_names(), *TASKS]
    lower = {each.lower(): each for each in known}
    if name not in known:
        close = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
        all_of_them = f"the tasks are {', '.join(each.name for each in (*odinw.tasks().values(), *TASKS.values()))}"
        meant = f"did you mean {' or '.join(map(repr, close))}?" if close else all_of_them
        raise ValueError(f"no task of ODinW or Shapes-13 is called {name!r}; {meant}")
    return odinw.get_task(name)


def task_names(benchmark: Benchmark) -> list[str]:
    """The names of the tasks of a benchmark, in the order of its table."""
    return shapes_names() if benchmark == "shapes13" else odinw.task_names(benchmark)
