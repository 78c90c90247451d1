"""Files for the leaderboard "Object Detection in the Wild" (EvalAI challenge 1839): zero-shot, few-shot, full-shot.

Its rules are behind a login. What is written here is the layout that its organisers publish for the sister challenge
of image classification (Computer-Vision-in-the-Wild/Elevater_Toolkit_IC, submission_file_readme.md):
``{"data": [{"model_name", "dataset_name", "num_trainable_params", "num_params", "num_visual_params",
"num_backbone_params", "n_shot", "rnd_seeds", "predictions"}]}``, one entry per data set, with ``n_shot`` -1 for all
images and ``rnd_seeds`` [0] where nothing is drawn. ``predictions`` are, by seed, COCO result lists instead of class
probabilities. No server has seen such a file yet.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glip_lightning.common.files import regular_file, write_text
from glip_lightning.common.schema import parse_json
from glip_lightning.data.benchmarks.odinw import odinw_names, odinw_task
from glip_lightning.experiments.report.runs import Line, Run, Shots, number, part, trainable
from glip_lightning.experiments.report.view import ReportView

BACKBONE = "num_backbone_params"


def write_leaderboard(view: ReportView, folder: Path) -> list[str]:
    """A file per track and line in ``folder``; what each lacks is in the returned lines."""
    said = []
    for line in view.lines:
        for shots in view.cells.shots:
            entries = [
                entry for task in view.cells.tasks if (entry := _entry(view, line, shots, task))
            ]
            if not entries or (shots == 0 and line != _first(view, line)):
                continue
            path = folder / _file_name(view, line, shots)
            write_text(path, json.dumps({"data": entries}, allow_nan=False))
            names = {entry["dataset_name"] for entry in entries}
            lacks = len(set(odinw_names("odinw35")) - names)
            said.append(f"{path}" + (f" (lacks {lacks} of the 35 tasks)" if lacks else ""))
    return said


def _first(view: ReportView, line: Line) -> Line:
    """Zero-shot results are those of the detector: once for all tunings."""
    return next(each for each in view.lines if each.settings == line.settings)


def _file_name(view: ReportView, line: Line, shots: Shots) -> str:
    track = {0: "zero-shot", "all": "full-shot"}.get(shots, f"few-shot-{shots}")
    name = str(line.get("detector")) if shots == 0 else view.names[line]
    safe = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in name).strip(
        "-."
    )
    return f"{track}-{safe or 'model'}-{view.lines.index(line) + 1}.json"


def _entry(view: ReportView, line: Line, shots: Shots, task: str) -> dict[str, Any] | None:
    """One data set; None unless it is a task of ODinW with detections on its test split."""
    try:
        name = odinw_task(task).name
    except ValueError:
        return None
    done = view.cells.cell(line, shots, task).done
    runs = [
        (seed, run)
        for seed, run in done.items()
        if ((run.result or {}).get("metrics") or {}).get("test")
    ]
    distinct = list({run.id: (seed, run) for seed, run in runs}.values())
    found = [
        (seed, run, boxes) for seed, run in distinct if (boxes := _detections(run)) is not None
    ]
    if not found:
        return None
    run = found[0][1]
    counted = shots not in (0, "all")
    return {
        "model_name": f"{line.get('detector')} {view.names[line]}",
        "dataset_name": name,
        "num_trainable_params": int(trainable(run) or 0),
        **_parameters(run),
        "n_shot": -1 if shots == "all" else shots,
        "rnd_seeds": [seed for seed, _, _ in found] if counted else [0],
        "predictions": [boxes for _, _, boxes in (found if counted else found[:1])],
    }


def _parameters(run: Run) -> dict[str, int | None]:
    """Counts of the whole and of its image encoder; null where the result does not say."""
    result = run.result or {}
    seen = number(part(part(result, "parts"), "vision").get("total"))
    total = number(result.get("parameters"))
    whole = None if total is None else int(total)
    return {
        "num_params": whole,
        "num_visual_params": None if seen is None else int(seen),
        BACKBONE: whole,
    }


def _detections(run: Run) -> Sequence[Any] | None:
    try:
        file = regular_file(run.folder / "detections.json")
        found = parse_json(file.read_text(encoding="utf-8"), str(file))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, list) else None
