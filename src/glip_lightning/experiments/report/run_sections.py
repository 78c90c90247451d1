"""The sections about runs: classes, pictures, cost, what failed, how to repeat it."""

import base64
import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from glip_lightning.data.images import open_image
from glip_lightning.experiments.report.ap_sections import legend, line_cell, mark_columns
from glip_lightning.experiments.report.charts import dots
from glip_lightning.experiments.report.frames import costs_of, trained
from glip_lightning.experiments.report.number_formats import (
    MISSING,
    gigabytes,
    inside,
    millions,
    of_shots,
    task_name,
    time_text,
)
from glip_lightning.experiments.report.parts import (
    Cell,
    Code,
    Figure,
    Figures,
    Gallery,
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
PICTURES_BYTES = 3_000_000  # of all pictures together, before base64 makes a third more of them
PER_TASK = 4


def classes(view: ReportView) -> Section | None:
    """Return the AP of each class, at the most shots of its task."""
    panels, single = [], []
    for task in view.cells.tasks:
        found = [
            (shots, marks)
            for shots in view.cells.shots
            if len(marks := _class_marks(view, shots, task))
        ]
        if not found:
            continue
        shots, marks = found[-1]
        names = list(dict.fromkeys(marks["name"]))
        if len(names) < 2:
            single.append(task_name(task))
            continue
        title = f"{task_name(task)}, {of_shots(shots)}"
        marks["row"] = marks["name"].map(names.index)
        panels.append(
            Figure(title, dots(names, marks, 320, f"AP of each class, {title}", "AP (%)", [0, 100]))
        )
    if not panels:
        return None
    text = "Mean and sample standard deviation over seeds, at the most shots that were measured."
    if single:
        text += f" Left out, as they have one class: {', '.join(single)}."
    parts = [
        ReportText(text, True),
        legend(view, "classes", view.lines),
        Figures("columns", panels),
    ]
    return Section("classes", "AP of each class", "Classes", parts)


def _class_marks(view: ReportView, shots: Shots, task: str) -> pd.DataFrame:
    """Return the mean over seeds of every class and line."""
    rows = []
    for index, line in enumerate(view.lines):
        runs = {run.id: run for run in view.cells.cell(line, shots, task).done.values()}
        for run in runs.values():
            known = run.metrics.get("AP_class")
            values = known if isinstance(known, dict) else {}
            rows += [
                {"line": index, "name": str(name), "AP": percent(ap)} for name, ap in values.items()
            ]
    frame = pd.DataFrame(rows, columns=["line", "name", "AP"]).astype({"AP": float}).dropna()
    marks = []
    for (index, name), aps in frame.groupby(["line", "name"], sort=False)["AP"]:
        mean, std = aps.mean(), aps.std() if len(aps) > 1 else None
        spread = f" ± {std:.1f}" if std is not None else ""
        title = f"{name}, {view.names[view.lines[index]]}: {mean:.1f}{spread}"
        marks.append({"line": index, "name": name, **mark_columns(mean, std, title)})
    found = pd.DataFrame(marks)
    return (
        found.assign(low=found["low"].clip(lower=0), high=found["high"].clip(upper=100))
        if marks
        else found
    )


def best_pictures(view: ReportView) -> Section | None:
    """Return pictures of the best trial of each task, as many as fit."""
    chosen = {task: run for task in view.cells.tasks if (run := _best_run(view, task))}
    files = {
        task: sorted((run.folder / "predictions").glob("*.jpg"))[:PER_TASK]
        for task, run in chosen.items()
    }
    shown: dict[str, list[ReportImage]] = {task: [] for task in chosen}
    size = left = 0
    for place, (task, paths) in itertools.product(range(PER_TASK), files.items()):
        if place >= len(paths):
            continue
        content = _shrunk(paths[place]) if size < PICTURES_BYTES else None
        if content is None:
            left += 1
            continue
        size += len(content)
        alt = f"{task_name(task)}: detections on {paths[place].stem}"
        shown[task].append(ReportImage(base64.b64encode(content).decode(), alt))
    blocks = [
        TaskImages(task_name(task), _of_run(view, chosen[task], task), images)
        for task, images in shown.items()
        if images
    ]
    if not blocks:
        return None
    text = "Of the trial with the highest test AP of each task: detections from score 0.5 on, true boxes white."
    text += f" {left} more did not fit or could not be read." if left else ""
    return Section("pictures", "Pictures", "Pictures", [ReportText(text, True), Gallery(blocks)])


def _best_run(view: ReportView, task: str) -> Run | None:
    """Return the one with the highest AP among those that left pictures."""
    runs = [
        run for point, run in view.collection.points if point.task == task and run.ap is not None
    ]
    runs = [run for run in runs if any((run.folder / "predictions").glob("*.jpg"))]
    return max(runs, key=lambda run: run.ap or 0.0, default=None)


def _of_run(view: ReportView, run: Run, task: str) -> str:
    point = next(point for point in run.points if point.task == task)
    place = inside(view.collection.folder, run.folder)
    return (
        f"{view.names[point.line]}, {of_shots(point.shots)}, AP {100 * (run.ap or 0):.1f}; {place}"
    )


def _shrunk(path: Path) -> bytes | None:
    """Return a JPEG of at most 480 pixels; None if it cannot be read."""
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
    strips = []
    for title, axis, column, unit, written in (
        ("Time of a trial", "minutes", "seconds", 60, time_text),
        ("Peak memory", "GB", "memory", 1e9, gigabytes),
        ("Trained parameters", "parameters", "trainable", 1, millions),
    ):
        marks = frame[frame[column] > 0]
        if column == "trainable":  # equal for most trials
            marks = marks.drop_duplicates(["line", column])
        titles = [
            f"{what}: {written(x)}" for what, x in zip(marks["what"], marks[column], strict=True)
        ]
        marks = marks.assign(
            row=marks["line"], x=marks[column] / unit, title=titles, low=math.nan, high=math.nan
        )
        if len(marks):
            picture = dots(
                list(view.names.values()), marks.assign(kind="pale"), 320, title, axis, log=True
            )
            strips.append(Figure(title, picture))
    text = (
        "Time from the start of the run to the end of its last measurement. Memory: the peak on the device, of the "
        "process where there is no device. A dot is a trial that trained; zero-shot trials are in the list below."
    )
    parts = [
        ReportText(text, True),
        Figures("tall", strips),
        _cost_of_tunings(view, frame),
        _every_trial(view),
    ]
    return Section("cost", "Cost", "Cost", parts)


def _cost_of_tunings(view: ReportView, frame: pd.DataFrame) -> ReportTable:
    rows = []
    for index in range(len(view.lines)):
        own = frame[frame["line"] == index]
        time, most = own["seconds"], own.max()
        numbers = [
            (time.median(), time_text),
            (time.max(), time_text),
            (time.sum(min_count=1), time_text),
        ]
        numbers += [
            (most["memory"], gigabytes),
            (most["trainable"], millions),
            (most["parameters"], millions),
        ]
        texts = [MISSING if pd.isna(value) else written(value) for value, written in numbers]
        rows.append([line_cell(view, index), str(len(own)), *texts])
    head = ["tuning", "trials", "median time", "longest", "in all", "peak memory", "trained", "of"]
    return ReportTable.of("Cost of each tuning", head, rows)


def _every_trial(view: ReportView) -> ReportTable:
    rows: list[list[Cell | str]] = []
    for run in view.collection.runs:
        point, known = run.points[0], costs_of(run)
        name = "zero-shot" if point.shots == 0 else view.names.get(point.line, point.line.tuning)
        state = {"finished": "", "failed": "bad"}.get(run.state, "soft")
        rows.append(
            [
                *(run.id, Cell(point.task, kind="left"), Cell(name, kind="left")),
                *(str(point.shots), run.seeds or MISSING, Cell(run.state, kind=state)),
                f"{100 * run.ap:.1f}" if run.ap is not None else MISSING,
                time_text(known["seconds"]) if known["seconds"] is not None else MISSING,
                gigabytes(known["memory"]) if known["memory"] else MISSING,
                millions(known["trainable"]) if known["trainable"] is not None else MISSING,
            ]
        )
    head = [
        "trial",
        "task",
        "tuning",
        "shots",
        "seed",
        "state",
        "AP (%)",
        "time",
        "memory",
        "trained",
    ]
    return ReportTable.of("Every trial", head, rows, folded=True)


def undone(view: ReportView) -> Section:
    """Return what failed and what is missing, each with its reason."""
    title = "Failed and missing trials"
    lost = [run for run in view.collection.runs if run.state in ("failed", "missing")]
    rows: list[list[Cell | str]] = []
    for run in sorted(lost, key=lambda run: run.state):
        point = run.points[0]
        what = f"{point.task}, {view.names[point.line]}, {of_shots(point.shots)}, seed {point.seed}"
        log = inside(view.collection.folder, run.log) if run.log else MISSING
        state = Cell(run.state, kind="left bad" if run.state == "failed" else "left soft")
        reason = Cell(" ".join(run.error.split()), kind="wrap")
        rows.append([run.id, state, Cell(what, kind="left"), reason, Cell(log, kind="wrap")])
    table = ReportTable.of(title, ["trial", "state", "what", "reason", "log"], rows)
    return Section("undone", title, "Failed and missing", [table if rows else ReportText("None.")])


def repeat(view: ReportView) -> Section:
    """Return commands, commits and versions."""
    done = [run.result for run in view.collection.runs if run.result]
    commits = _distinct([result.get("git") for result in done])
    devices = _distinct([result.get("device") for result in done])
    known = [result.get("versions") for result in done]
    versions = [
        ", ".join(f"{k} {v}" for k, v in found.items())
        for found in known
        if isinstance(found, dict)
    ]
    runs = [run for run in view.collection.runs if run.result] or view.collection.runs
    recipe = inside(Path.cwd(), runs[0].folder / RECIPE_NAME)
    parts = [
        Code([f"glip report {view.collection.folder}", f"glip fit --config {recipe}"]),
        ReportText("The recipe.yaml of every trial is complete: glip fit --config repeats it."),
        ReportText(
            f"Commits: {', '.join(commits) or MISSING}. Devices: {', '.join(devices) or MISSING}."
        ),
        *(ReportText(each, True) for each in dict.fromkeys(versions)),
    ]
    return Section("repeat", "To repeat it", "To repeat it", parts)


def _distinct(values: Sequence[object]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value is not None))
