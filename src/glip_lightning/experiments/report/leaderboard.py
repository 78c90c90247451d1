"""Files for the leaderboard "Object Detection in the Wild" (EvalAI challenge 1839).

It has the tracks zero-shot, few-shot and full-shot. Its rules are behind a login. The layout here
is the one that its organisers publish for the sister challenge of image classification
(Computer-Vision-in-the-Wild/Elevater_Toolkit_IC, submission_file_readme.md): ``{"data":
[{"model_name", "dataset_name", "num_trainable_params", "num_params", "num_visual_params",
"num_backbone_params", "n_shot", "rnd_seeds", "predictions"}]}``, one entry per data set, with
``n_shot`` -1 for all images and ``rnd_seeds`` [0] where nothing is drawn. ``predictions`` are, by
seed, COCO result lists in place of class probabilities. No server has seen such a file yet.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glip_lightning.common.files import regular_file, write_text
from glip_lightning.common.schema import parse_json
from glip_lightning.data.benchmarks.odinw import odinw_names, odinw_task
from glip_lightning.experiments.report.runs import Line, Run, Shots, mapping_at, number, trainable
from glip_lightning.experiments.report.view import ReportView


def write_leaderboard(view: ReportView, folder: Path) -> list[str]:
    """Write a file per track and line into ``folder``.

    Return a text per file: its path, and how many tasks it lacks.
    """
    written = []
    official = set(odinw_names("odinw35"))
    for line in view.lines:
        # zero-shot results are those of the detector: they are written once for all its tunings
        is_first = line == next(each for each in view.lines if each.settings == line.settings)
        for shots in view.cells.shots:
            if shots == 0 and not is_first:
                continue
            found = [_entry(view, line, shots, task) for task in view.cells.tasks]
            entries = [entry for entry in found if entry]
            if not entries:
                continue
            path = folder / _file_name(view, line, shots)
            write_text(path, json.dumps({"data": entries}, allow_nan=False))
            lacks = len(official - {entry["dataset_name"] for entry in entries})
            written.append(f"{path} (lacks {lacks} of the 35 tasks)" if lacks else str(path))
    return written


def _file_name(view: ReportView, line: Line, shots: Shots) -> str:
    track = {0: "zero-shot", "all": "full-shot"}.get(shots, f"few-shot-{shots}")
    name = str(line.get("detector")) if shots == 0 else view.names[line]
    safe = [letter if letter.isalnum() or letter in "-." else "-" for letter in name]
    model = "".join(safe).strip("-.") or "model"
    return f"{track}-{model}-{view.lines.index(line) + 1}.json"


def _entry(view: ReportView, line: Line, shots: Shots, task: str) -> dict[str, Any] | None:
    """Return one data set; None unless it is a task of ODinW with detections on its test split."""
    try:
        name = odinw_task(task).name
    except ValueError:
        return None
    runs: dict[str, Run] = {}
    seeds: list[Any] = []
    predictions = []
    for seed, run in view.cells.cell(line, shots, task).done.items():
        if run.id in runs or not mapping_at(run.result, "metrics").get("test"):
            continue
        boxes = _detections(run)
        if boxes is not None:
            runs[run.id] = run
            seeds.append(seed)
            predictions.append(boxes)
    if not runs:
        return None
    first = next(iter(runs.values()))
    result = first.result
    whole = _whole_number(result.get("parameters"))
    vision = mapping_at(mapping_at(result, "parts"), "vision")
    is_drawn = shots not in (0, "all")
    return {
        "model_name": f"{line.get('detector')} {view.names[line]}",
        "dataset_name": name,
        "num_trainable_params": int(trainable(first) or 0),
        "num_params": whole,
        "num_visual_params": _whole_number(vision.get("total")),
        "num_backbone_params": whole,
        "n_shot": -1 if shots == "all" else shots,
        "rnd_seeds": seeds if is_drawn else [0],
        "predictions": predictions if is_drawn else predictions[:1],
    }


def _whole_number(value: Any) -> int | None:
    """Return a count of a result; None where it is no number."""
    found = number(value)
    return None if found is None else int(found)


def _detections(run: Run) -> Sequence[Any] | None:
    """Return the detections of a run; None where it has none that can be read."""
    try:
        file = regular_file(run.folder / "detections.json")
        found = parse_json(file.read_text(encoding="utf-8"), str(file))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, list) else None
