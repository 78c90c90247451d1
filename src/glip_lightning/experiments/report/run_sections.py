"""The sections about runs: classes, pictures, cost, failures, how to repeat it."""

import base64
import io
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from glip_lightning.common.durations import time_text
from glip_lightning.data.images import open_image
from glip_lightning.experiments.report.ap_sections import legend, line_cell, mark_columns
from glip_lightning.experiments.report.charts import dots
from glip_lightning.experiments.report.frames import costs_of, trained
from glip_lightning.experiments.report.image_counts import measured_split
from glip_lightning.experiments.report.number_formats import (
    MISSING,
    ap_text,
    gigabytes,
    inside,
    millions,
    of_shots,
    task_name,
)
from glip_lightning.experiments.report.parts import (
    Cell,
    Code,
    Figure,
    Figures,
    Gallery,
    PageNote,
    Part,
    ReportImage,
    ReportTable,
    ReportText,
    Section,
    TaskImages,
)
from glip_lightning.experiments.report.runs import Run, Shots, percent
from glip_lightning.experiments.report.view import ReportView
from glip_lightning.weights.run_files import RECIPE_NAME

PICTURE_SIDE, PICTURE_QUALITY = 480, 80
PICTURES_BYTES = 3_000_000
"""Size of all pictures together, before Base64 makes a third more of them."""
PER_TASK = 4
"""Most pictures of a task."""
STRIPS = (
    ("Time of a trial", "minutes", "seconds", 60, time_text),
    ("Peak memory", "GB", "memory", 1e9, gigabytes),
    ("Trained parameters", "parameters", "trainable", 1, millions),
)
"""Charts of costs: title, axis, column, unit of the axis, how the title of a mark writes it."""


def classes(view: ReportView) -> Section | None:
    """Return the AP of each class, at the most shots of its task."""
    panels = []
    single = []
    has_spread = False
    for task in view.cells.tasks:
        name = task_name(task)
        known = [(shots, _class_marks(view, shots, task)) for shots in view.cells.shots]
        found = [(shots, marks) for shots, marks in known if len(marks)]
        if not found:
            continue
        shots, marks = found[-1]
        classes = list(dict.fromkeys(marks["name"]))
        if len(classes) < 2:
            single.append(name)
            continue
        title = f"{name}, {of_shots(shots)}"
        marks["row"] = [classes.index(each) for each in marks["name"]]
        has_spread = has_spread or bool(marks["low"].notna().any())
        chart = dots(classes, marks, 320, f"AP of each class, {title}", "AP (points)", [0, 100])
        panels.append(Figure(title, chart))
    if not panels:
        return None
    text = "At the most shots that were measured."
    if has_spread:
        text = f"Mean and sample standard deviation over seeds. {text}"
    if single:
        text += f" Left out, as they have one class: {', '.join(single)}."
    parts = [
        ReportText(text, True),
        legend(view, "classes", view.lines),
        Figures("columns", panels),
    ]
    return Section("classes", "AP of each class", "Classes", parts)


def _class_marks(view: ReportView, shots: Shots, task: str) -> pd.DataFrame:
    """Return the mean over seeds of every class and line, in percent."""
    values: dict[tuple[int, str], list[float]] = {}
    for index, line in enumerate(view.lines):
        runs = {run.id: run for run in view.cells.cell(line, shots, task).done.values()}
        for run in runs.values():
            known = run.metrics.get("AP_class")
            if not isinstance(known, dict):
                continue
            for name, value in known.items():
                ap = percent(value)
                if ap is not None:
                    values.setdefault((index, str(name)), []).append(ap)
    marks = []
    for (index, name), aps in values.items():
        series = pd.Series(aps)
        mean = series.mean()
        std = series.std() if len(aps) > 1 else None
        title = f"{name}, {view.names[view.lines[index]]}: {mean:.1f}"
        if std is not None:
            title += f" ± {std:.1f}"
        marks.append({"line": index, "name": name, **mark_columns(mean, std, title)})
    frame = pd.DataFrame(marks)
    if marks:
        frame["low"] = frame["low"].clip(lower=0)
        frame["high"] = frame["high"].clip(upper=100)
    return frame


def best_pictures(view: ReportView) -> Section | None:
    """Return pictures of the best trial of each task, as many as fit."""
    best = {task: _best_run(view, task) for task in view.cells.tasks}
    chosen = {task: run for task, run in best.items() if run}
    files = {task: _pictures_of(run)[:PER_TASK] for task, run in chosen.items()}
    images: dict[str, list[ReportImage]] = {task: [] for task in chosen}
    size = 0
    left = 0
    for place in range(PER_TASK):  # the first pictures of all tasks come before the second ones
        for task, paths in files.items():
            if place >= len(paths):
                continue
            content = _shrunk(paths[place]) if size < PICTURES_BYTES else None
            if content is None:
                left += 1
                continue
            size += len(content)
            alt = f"{task_name(task)}: detections on {paths[place].stem}"
            images[task].append(ReportImage(base64.b64encode(content).decode(), alt))
    blocks = []
    for task, shown in images.items():
        if shown:
            note = _point_of_run(view, chosen[task], task)
            blocks.append(TaskImages(task_name(task), note, shown))
    if not blocks:
        return None
    text = (
        "Of the trial with the highest test AP of each task: detections from score 0.5 on, boxes "
        "of the ground truth in magenta."
    )
    if left:
        text += f" {left} more did not fit or could not be read."
    return Section("pictures", "Pictures", "Pictures", [ReportText(text, True), Gallery(blocks)])


def _pictures_of(run: Run) -> list[Path]:
    return sorted((run.folder / "predictions").glob("*.jpg"))


def _best_run(view: ReportView, task: str) -> Run | None:
    """Return the run with the highest AP among those that left pictures."""
    best = None
    best_ap = -1.0
    for point, run in view.collection.points:
        if point.task != task or run.ap is None or run.ap <= best_ap:
            continue
        if _pictures_of(run):
            best = run
            best_ap = run.ap
    return best


def _point_of_run(view: ReportView, run: Run, task: str) -> str:
    """Return tuning, shots, AP and folder of the run with the best pictures of a task."""
    point = next(point for point in run.points if point.task == task)
    place = inside(view.collection.folder, run.folder)
    ap = 100 * (run.ap or 0)
    return f"{view.names[point.line]}, {of_shots(point.shots)}, AP {ap:.1f}; {place}"


def _shrunk(path: Path) -> bytes | None:
    """Return a JPEG of at most 480 pixels; None if the picture cannot be read."""
    try:
        with open_image(path) as image:
            image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            content = io.BytesIO()
            image.convert("RGB").save(
                content, format="JPEG", quality=PICTURE_QUALITY, optimize=True
            )
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return content.getvalue()


def cost(view: ReportView) -> Section:
    """Return time, memory and trained parameters of every trial."""
    frame = trained(view)
    lines = list(view.names.values())
    strips = []
    for title, axis, column, unit, written in STRIPS:
        marks = frame[frame[column] > 0]
        if column == "trainable":  # equal for most trials
            marks = marks.drop_duplicates(["line", column])
        if not len(marks):
            continue
        titles = []
        for what, value in zip(marks["what"], marks[column], strict=True):
            titles.append(f"{what}: {written(value)}")
        marks = marks.assign(
            row=marks["line"],
            x=marks[column] / unit,
            title=titles,
            low=math.nan,
            high=math.nan,
            kind="pale",
        )
        strips.append(Figure(title, dots(lines, marks, 320, title, axis, log=True)))
    text = (
        "Time from the start of the run to the end of its last measurement. Memory: the peak on "
        "the device, of the process where there is no device."
    )
    parts: list[Part] = [ReportText(text, True)]
    if strips:
        note = "A dot is a trial that trained."
        if any(point.shots == 0 for point, _ in view.collection.points):
            note += " Zero-shot trials are in the list below."
        parts += [PageNote(note), Figures("tall", strips)]
    parts += [_cost_of_tunings(view, frame), _every_trial(view)]
    return Section("cost", "Cost", "Cost", parts)


def _written(value: Any, write: Any) -> str:
    """Return a number as ``write`` writes it, a dash where it is not known."""
    return MISSING if pd.isna(value) else write(value)


def _cost_of_tunings(view: ReportView, frame: pd.DataFrame) -> ReportTable:
    rows = []
    for index in range(len(view.lines)):
        own = frame[frame["line"] == index]
        times = own["seconds"]
        most = own.max()
        rows.append(
            [
                line_cell(view, index),
                str(len(own)),
                _written(times.median(), time_text),
                _written(times.max(), time_text),
                _written(times.sum(min_count=1), time_text),
                _written(most["memory"], gigabytes),
                _written(most["trainable"], millions),
                _written(most["parameters"], millions),
            ]
        )
    head = ["tuning", "trials", "median time", "longest", "in all", "peak memory", "trained", "of"]
    return ReportTable.of("Cost of each tuning", head, rows)


def _every_trial(view: ReportView) -> ReportTable:
    rows: list[list[Cell | str]] = []
    for run in view.collection.runs:
        point = run.points[0]
        known = costs_of(run)
        name = view.names.get(point.line, point.line.tuning)
        if point.shots == 0:
            name = "zero-shot"
        state = {"finished": "", "failed": "bad"}.get(run.state, "soft")
        rows.append(
            [
                run.id,
                Cell(point.task, kind="left"),
                Cell(name, kind="left"),
                str(point.shots),
                run.seeds or MISSING,
                Cell(run.state, kind=state),
                ap_text(run.ap),
                _written(known["seconds"], time_text),
                gigabytes(known["memory"]) if known["memory"] else MISSING,
                _written(known["trainable"], millions),
            ]
        )
    head = ["trial", "task", "tuning", "shots", "seed", "state"]
    head += ["AP (points)", "time", "memory", "trained"]
    return ReportTable.of("Every trial", head, rows, folded=True)


def undone(view: ReportView) -> Section:
    """Return failed and missing trials with their reasons, and the number of those left out."""
    title = "Failed and missing trials"
    lost = [run for run in view.collection.runs if run.state in ("failed", "missing")]
    rows: list[list[Cell | str]] = []
    for run in sorted(lost, key=lambda run: run.state):
        point = run.points[0]
        what = f"{point.task}, {view.names[point.line]}, {of_shots(point.shots)}, seed {point.seed}"
        log = inside(view.collection.folder, run.log) if run.log else MISSING
        state = "bad" if run.state == "failed" else "soft"
        rows.append(
            [
                run.id,
                Cell(run.state, kind=f"left {state}"),
                Cell(what, kind="left"),
                Cell(" ".join(run.error.split()), kind="wrap"),
                Cell(log, kind="wrap"),
            ]
        )
    parts: list[Part] = [ReportText("None.")]
    if rows:
        parts = [ReportTable.of(title, ["trial", "state", "what", "reason", "log"], rows)]
    if view.collection.left_out:
        count = view.collection.left_out
        text = f"Trials that --only left out: {count}. The sweep without this option runs them."
        parts.append(ReportText(text))
    return Section("undone", title, "Failed and missing", parts)


def repeat(view: ReportView) -> Section:
    """Return commands, commits and versions."""
    results = [run.result for run in view.collection.runs if run.result]
    commits = _distinct([result.get("git") for result in results])
    devices = _distinct([result.get("device") for result in results])
    versions = []
    for result in results:
        known = result.get("versions")
        if isinstance(known, dict):
            versions.append(", ".join(f"{name} {version}" for name, version in known.items()))
    parts: list[Part] = []
    if view.collection.commands:
        parts += [
            Code(list(view.collection.commands)),
            ReportText(
                "This ran the sweep. With another folder (--dir FOLDER) it runs all its trials "
                "again, in the same folder only those that are not finished."
            ),
        ]
    parts += [
        Code([shlex.join(["glip", "report", str(view.collection.folder)])]),
        ReportText("This makes the report anew."),
        *_repeat_the_best(view),
        ReportText(f"Commits: {commits}. Devices: {devices}."),
        *(ReportText(each, True) for each in dict.fromkeys(versions)),
    ]
    return Section("repeat", "To repeat it", "To repeat it", parts)


def _repeat_the_best(view: ReportView) -> list[Part]:
    """Return the command that repeats the best trial, of those that trained if there is any."""
    known = [(point, run) for point, run in view.collection.points if run.ap is not None]
    trained = [(point, run) for point, run in known if point.shots != 0]
    chosen = trained or known or view.collection.points
    point, run = max(chosen, key=lambda pair: pair[1].ap or 0.0)
    what = f"{point.task}, {view.names[point.line]}, {of_shots(point.shots)}"
    text = f"This repeats one trial: {what}."
    if run.ap is not None:
        split = measured_split([point.line])
        text = f"This repeats the trial with the highest {split} AP ({ap_text(run.ap)}): {what}."
    recipe = inside(Path.cwd(), run.folder / RECIPE_NAME)
    return [
        Code([shlex.join(["glip", "fit", "--config", recipe])]),
        ReportText(f"{text} The recipe.yaml of every trial is complete."),
    ]


def _distinct(values: Sequence[object]) -> str:
    """Return the different values in one text, a dash where there are none."""
    found = dict.fromkeys(str(value) for value in values if value is not None)
    return ", ".join(found) or MISSING
