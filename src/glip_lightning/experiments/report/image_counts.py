"""How many images were measured and trained on, as a report says it."""

from collections.abc import Iterable, Sequence
from typing import Any

from glip_lightning.common.plurals import count_with_noun
from glip_lightning.experiments.report.number_formats import MISSING, task_name
from glip_lightning.experiments.report.runs import Line, Run, Shots, number, value_at
from glip_lightning.experiments.report.view import ReportView

FEW = 30
"""Fewer test images are said to be few: each moves AP by more than 3 points, as a tuning does."""


def measured_split(lines: Sequence[Line]) -> str:
    """Return the split whose AP a report shows: validation only where no run has a test split."""
    return "validation" if {line.get("split") for line in lines} == {"val"} else "test"


def measured_images(view: ReportView) -> str:
    """Return how many images were measured, and where they are few; empty if it is not known."""
    counts = _measured(view)
    if not counts:
        return ""
    noun = f"{measured_split(view.lines)} image"
    known = [count for found in counts.values() for count in found]
    few = {task: found for task, found in counts.items() if min(found) < FEW}
    noise = "small differences are noise"
    if any(stat.interval for stat in view.frame["stat"].dropna()):
        noise = "differences within the brackets are noise"
    if len(counts) == 1:
        text = f"{_span(known)} {noun}s." if max(known) > 1 else f"{count_with_noun(1, noun)}."
        return f"{text} With fewer than {FEW} images, {noise}." if few else text
    text = f"{_span(known)} {noun}s per task."
    if few:
        names = ", ".join(f"{task_name(task)} {_span(found)}" for task, found in few.items())
        text += f" Tasks with fewer than {FEW}, for which {noise}: {names}."
    return text


def _measured(view: ReportView) -> dict[str, list[int]]:
    """Return the numbers of images on which the AP of each task was measured."""
    counts: dict[str, list[int]] = {}
    for point, run in view.collection.points:
        count = number(run.metrics.get("images")) if run.ap is not None else None
        if count is not None and count >= 1:
            counts.setdefault(point.task, []).append(int(count))
    return counts


def training_images(view: ReportView, line: Line, shots: Shots) -> str:
    """Return the number of training images of a row, from the least to the most of its runs.

    It is 0 without training, and a dash where no run says it.
    """
    if shots == 0:
        return "0"
    runs: list[Run] = []
    for task in view.cells.tasks:
        runs += view.cells.cell(line, shots, task).done.values()
    counts = _training(runs)
    return _span(counts) if counts else MISSING


def training_head(view: ReportView) -> list[str]:
    """Return the name of the column of :func:`training_images`; nothing where no run knows it."""
    trained = [run for point, run in view.collection.points if point.shots != 0]
    if not _training(run for run in trained if run.ap is not None):
        return []
    return ["training images" if len(view.cells.tasks) == 1 else "training images per task"]


def _training(runs: Iterable[Run]) -> list[int]:
    """Return the numbers of training images of the runs that say it."""
    found: list[Any] = [number(value_at(run.result, "data.images.train")) for run in runs]
    return [int(count) for count in found if count is not None]


def _span(counts: Sequence[int]) -> str:
    """Return the least and the most of some numbers, one number where they are equal."""
    ends = dict.fromkeys((min(counts), max(counts)))
    return " to ".join(f"{end:,}" for end in ends)
