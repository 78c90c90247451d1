"""The parts of the page around AP: classes, pictures, cost, retention, what failed, how to repeat it."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from glip_lightning.data.images import open_image
from glip_lightning.experiments.report.charts import Mark, Row, dots
from glip_lightning.experiments.report.html import Td, escape, figure, paragraph, section, table
from glip_lightning.experiments.report.runs import Line, Run, Shots, number, part, percent, trainable
from glip_lightning.experiments.report.sections import legend
from glip_lightning.experiments.report.view import (
    MISSING,
    View,
    gigabytes,
    inside,
    millions,
    of_shots,
    seconds,
    shots_name,
    task_name,
)

PICTURE_SIDE, PICTURE_QUALITY = 480, 80
PICTURES_BYTES = 3_000_000  # of all pictures together, before base64 makes a third more of them
PER_TASK = 4
STRIPS = (
    ("Time of a trial", "minutes", "seconds", 60),
    ("Peak memory", "GB", "memory", 1e9),
    ("Trained parameters", "parameters", "trainable", 1),
)


def classes(view: View) -> str:
    """AP of each class, at the most shots of its task."""
    panels, single = [], []
    for task in view.cells.tasks:
        found = {k: _class_rows(view, k, task) for k in view.cells.shots}
        shots = [k for k, rows in found.items() if rows]
        if not shots:
            continue
        rows = found[shots[-1]]
        if len(rows) < 2:
            single.append(task_name(task))
            continue
        title = f"{task_name(task)}, {of_shots(shots[-1])}"
        panels.append(figure(title, dots(rows, 320, f"AP of each class, {title}", "AP (%)", [0, 100])))
    if not panels:
        return ""
    text = "Mean and sample standard deviation over seeds, at the most shots that were measured."
    if single:
        text += f" Left out, as they have one class: {', '.join(single)}."
    grid = f'<div class="columns">{"".join(panels)}</div>'
    return section("classes", "AP of each class", paragraph(text, "note"), legend(view), grid)


def _class_rows(view: View, shots: Shots, task: str) -> list[Row]:
    marks: dict[str, list[Mark]] = {}
    for index, line in enumerate(view.lines):
        runs = {run.id: run for run in view.cells.cell(line, shots, task).done.values()}.values()
        values: dict[str, list[float]] = {}
        for run in runs:
            known = run.metrics.get("AP_class")
            for name, ap in known.items() if isinstance(known, dict) else ():
                if (value := percent(ap)) is not None:
                    values.setdefault(str(name), []).append(value)
        for name, aps in values.items():
            mean, std = float(np.mean(aps)), float(np.std(aps, ddof=1)) if len(aps) > 1 else None
            title = f"{name}, {view.names[line]}: {mean:.1f}" + (f" ± {std:.1f}" if std is not None else "")
            low, high = (max(0.0, mean - std), min(100.0, mean + std)) if std is not None else (None, None)
            marks.setdefault(name, []).append(Mark(index, mean, low, high, title))
    return [Row(name, found) for name, found in marks.items()]


def pictures(view: View) -> str:
    """Pictures of the best trial of each task, as many as fit."""
    chosen = {task: run for task in view.cells.tasks if (run := _best_run(view, task))}
    files = {task: sorted((run.folder / "predictions").glob("*.jpg"))[:PER_TASK] for task, run in chosen.items()}
    shown: dict[str, list[str]] = {task: [] for task in chosen}
    size = left = 0
    for place in range(PER_TASK):
        for task, paths in files.items():
            content = _shrunk(paths[place]) if place < len(paths) and size < PICTURES_BYTES else None
            if content is None:
                left += place < len(paths)
                continue
            size += len(content)
            data = base64.b64encode(content).decode()
            alt = escape(f"{task_name(task)}: detections on {paths[place].stem}")
            shown[task].append(f'<img src="data:image/jpeg;base64,{data}" alt="{alt}">')
    blocks = [
        f"<div><h3>{escape(task_name(task))}</h3>{paragraph(_of_run(view, chosen[task], task), 'note')}"
        f'<div class="shots">{"".join(images)}</div></div>'
        for task, images in shown.items()
        if images
    ]
    if not blocks:
        return ""
    text = "Of the trial with the highest test AP of each task: detections from score 0.5 on, true boxes white."
    text += f" {left} more did not fit or could not be read." if left else ""
    return section("pictures", "Pictures", paragraph(text, "note"), f'<div class="pair">{"".join(blocks)}</div>')


def _best_run(view: View, task: str) -> Run | None:
    """The one with the highest AP among those that left pictures."""
    runs = [run for point, run in view.collection.points if point.task == task and run.ap is not None]
    runs = [run for run in runs if any((run.folder / "predictions").glob("*.jpg"))]
    return max(runs, key=lambda run: run.ap or 0.0, default=None)


def _of_run(view: View, run: Run, task: str) -> str:
    point = next(point for point in run.points if point.task == task)
    place = inside(view.collection.folder, run.folder)
    return f"{view.names[point.line]}, {of_shots(point.shots)}, AP {100 * (run.ap or 0):.1f}; {place}"


def _shrunk(path: Path) -> bytes | None:
    """A JPEG of at most 480 pixels; None if it cannot be read."""
    try:
        with open_image(path) as image:
            image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            content = io.BytesIO()
            image.convert("RGB").save(content, format="JPEG", quality=PICTURE_QUALITY, optimize=True)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return content.getvalue()


def cost(view: View) -> str:
    """Time, memory and trained parameters of every trial."""
    strips = []
    for title, axis, name, unit in STRIPS:
        strip = [_strip(view, line, name, unit) for line in view.lines]
        if any(row.marks for row in strip):
            strips.append(figure(title, dots(strip, 320, title, axis, log=True)))
    rows = [_cost_row(view, line) for line in view.lines]
    head = ["tuning", "trials", "median time", "longest", "in all", "peak memory", "trained", "of"]
    text = (
        "Time from the start of the run to the end of its last measurement. Memory: the peak on the device, of the "
        "process where there is no device. A dot is a trial that trained; zero-shot trials are in the list below."
    )
    every = f"<details><summary>Every trial</summary>{_every_trial(view)}</details>"
    grid = f'<div class="tall">{"".join(strips)}</div>'
    return section("cost", "Cost", paragraph(text, "note"), grid, table(head, rows, "Cost of each tuning"), every)


def costs_of(run: Run) -> dict[str, float | None]:
    """``seconds``, ``memory`` and ``trainable`` of a run."""
    result = run.result or {}
    memory = part(result, "memory")
    peak = number(memory.get("device_peak")) or number(memory.get("process_peak"))
    return {"seconds": number(result.get("seconds")), "memory": peak, "trainable": trainable(run)}


def _trained(view: View, line: Line) -> list[tuple[Shots, Run]]:
    found = {run.id: (p.shots, run) for p, run in view.collection.points if p.line == line and p.shots != 0}
    return [(shots, run) for shots, run in found.values() if run.state == "finished"]


def _strip(view: View, line: Line, key: str, unit: float) -> Row:
    index, marks = view.lines.index(line), []
    written = {"seconds": seconds, "memory": gigabytes, "trainable": millions}[key]
    for shots, run in _trained(view, line):
        value = costs_of(run)[key]
        if value and not (key == "trainable" and value / unit in {mark.x for mark in marks}):  # equal for most trials
            title = f"{run.points[0].task}, {of_shots(shots)}: {written(value)}"
            marks.append(Mark(index, value / unit, None, None, title, "trial"))
    return Row(view.names[line], marks)


def _cost_row(view: View, line: Line) -> list[Td | str]:
    runs = [run for _, run in _trained(view, line)]
    costs = [costs_of(run) for run in runs]
    known = {key: [v for each in costs if (v := each[key]) is not None] for _, _, key, _ in STRIPS}
    times = known["seconds"]
    totals = [v for run in runs if (v := number((run.result or {}).get("parameters"))) is not None]
    return [
        Td(view.names[line], kind="left", swatch=view.lines.index(line)),
        str(len(runs)),
        *([seconds(median(times)), seconds(max(times)), seconds(sum(times))] if times else [MISSING] * 3),
        gigabytes(max(known["memory"])) if known["memory"] else MISSING,
        millions(max(known["trainable"])) if known["trainable"] else MISSING,
        millions(max(totals)) if totals else MISSING,
    ]


def _every_trial(view: View) -> str:
    head = ["trial", "task", "tuning", "shots", "seed", "state", "AP (%)", "time", "memory", "trained"]
    rows: list[list[Td | str]] = []
    for run in view.collection.runs:
        point, known = run.points[0], costs_of(run)
        rows.append(
            [
                run.id,
                Td(point.task, kind="left"),
                Td("zero-shot" if point.shots == 0 else view.names.get(point.line, point.line.tuning), kind="left"),
                shots_name(point.shots),
                "/".join(dict.fromkeys(str(p.seed) for p in run.points if p.seed is not None)) or MISSING,
                Td(run.state, kind="" if run.state == "finished" else "bad" if run.state == "failed" else "soft"),
                f"{100 * run.ap:.1f}" if run.ap is not None else MISSING,
                seconds(known["seconds"]) if known["seconds"] is not None else MISSING,
                gigabytes(known["memory"]) if known["memory"] else MISSING,
                millions(known["trainable"]) if known["trainable"] is not None else MISSING,
            ]
        )
    return table(head, rows, "Every trial")


def undone(view: View) -> str:
    """What failed and what is missing, each with its reason."""
    rows: list[list[Td | str]] = []
    for run in sorted(view.collection.runs, key=lambda run: run.state):
        if run.state in ("finished", "repeated"):
            continue
        point = run.points[0]
        log = inside(view.collection.folder, run.log) if run.log else MISSING
        state = Td(run.state, kind="left bad" if run.state == "failed" else "left soft")
        name = f"{point.task}, {view.names[point.line]}, {of_shots(point.shots)}, seed {point.seed}"
        rows.append(
            [run.id, state, Td(name, kind="left"), Td(" ".join(run.error.split()), kind="wrap"), Td(log, kind="wrap")]
        )
    if not rows:
        return section("undone", "Failed and missing trials", paragraph("None."))
    head = ["trial", "state", "what", "reason", "log"]
    return section("undone", "Failed and missing trials", table(head, rows, "Failed and missing trials"))


def repeat(view: View) -> str:
    """Commands, commits and versions."""
    done = [run for run in view.collection.runs if run.result]
    commits = _distinct([str((run.result or {}).get("git")) for run in done])
    devices = _distinct([str((run.result or {}).get("device")) for run in done])
    sets: dict[str, Any] = {}
    for run in done:
        versions = (run.result or {}).get("versions")
        if isinstance(versions, dict):
            sets.setdefault(", ".join(f"{k} {v}" for k, v in versions.items()), None)
    place = view.collection.folder
    recipe = inside(Path.cwd(), (done[0] if done else view.collection.runs[0]).folder / "recipe.yaml")
    lines = [f"glip report {place}", f"glip fit --config {recipe}"]
    said = [
        "The recipe.yaml of every trial is complete: glip fit --config repeats it.",
        f"Commits: {', '.join(commits) or MISSING}. Devices: {', '.join(devices) or MISSING}.",
    ]
    listed = "".join(f'<p class="note">{escape(each)}</p>' for each in sets)
    body = f"<pre><code>{chr(10).join(map(escape, lines))}</code></pre>" + "".join(map(paragraph, said)) + listed
    return section("repeat", "To repeat it", body)


def _distinct(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value != "None"))
