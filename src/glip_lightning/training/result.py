"""``result.json``: what a run reached and all that is needed to repeat it; its content, its file and its summary."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from glip_lightning.common.escaping import printable
from glip_lightning.common.files import write_text
from glip_lightning.common.versions import versions
from glip_lightning.evaluation.points import in_points
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord
from glip_lightning.training.summary_picture import SUMMARY_NAME
from glip_lightning.weights.run_files import RESULT_NAME, UNFINISHED_NAME
from glip_lightning.weights.threshold_file import THRESHOLDS_NAME

LISTED = 20  # classes that the summary lists


def result_of(record: RunRecord, trainer: Trainer, module: GLIPModule) -> dict[str, Any]:
    """Return what is known of a run after its last evaluation; metrics of a split that there is not are null."""
    data = module.data
    return {
        "command": record.command,
        "verb": record.verb,
        "fitted": record.fitted,
        "trial": None if record.trial is None else record.trial._asdict(),
        "recipe": record.recipe,
        "seed": {"data": data.seed, "training": record.recipe.get("seed_everything")},
        "groups": record.groups,
        "parts": record.parts,
        "seconds": round(record.seconds, 1),
        "detector": module.detector,
        "weights": module.origin,
        "data": _data(data),
        "classes": data.class_names,
        "category_ids": data.category_ids,
        "phrases": [phrase._asdict() for phrase in data.phrases()],
        **data.chosen(),
        "steps": trainer.global_step,
        "epochs": trainer.current_epoch,
        "best_epoch": record.best_epoch,
        "ended": record.ended,
        "restored": record.restored,
        "lost": record.lost,
        "parameters": sum(p.numel() for p in module.parameters()),
        "device": str(trainer.strategy.root_device),
        "processes": trainer.world_size,
        "threads": torch.get_num_threads(),
        "memory": _memory(trainer),
        "metrics": record.metrics,
        "versions": versions(),
        "git": git_commit(),
        "retention": record.retention,
    }


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write ``result.json`` into the folder of a run, which is finished by that."""
    write_text(folder / RESULT_NAME, json.dumps(without_nan(result), indent=2, allow_nan=False))
    (folder / UNFINISHED_NAME).unlink(missing_ok=True)


def _data(data: DetectionData) -> dict[str, Any]:
    """The data set as it was used; counts of findings by their code, of boxes that train by why not."""
    train = data.datasets.get("train")
    return {
        "name": data.label,
        "version": data.version,
        "splits": {split: str(dataset.index.where) for split, dataset in data.datasets.items()},
        "images": {split: len(dataset.index) for split, dataset in data.datasets.items()},
        "shots": data.shots,
        "copies": data.copies,
        "seed": data.seed,
        "prompts": getattr(data, "prompts", None),
        "findings": {finding.code: data.findings.counts(finding.code) for finding in data.findings},
        "dropped": {why: int(mask.sum()) for why, mask in train.index.dropped().items()}
        if train
        else {},
        "clipped": int(train.index.clipped().sum()) if train else 0,
    }


def _memory(trainer: Trainer) -> dict[str, int | None]:
    """Peaks in bytes: of this process, and of what torch had on its CUDA device."""
    if sys.platform == "win32":
        return {"process_peak": None, "device_peak": None}
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    device = trainer.strategy.root_device
    cuda = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {"process_peak": peak, "device_peak": cuda}


def print_summary(
    result: Mapping[str, Any], folder: Path, pictures: Sequence[Path], logs: Sequence[str]
) -> None:
    """AP and AP50, by class where they are few, and where everything lies."""
    console = Console(highlight=False, soft_wrap=True)
    found = result["metrics"]
    name, metrics = ("test", found["test"]) if found["test"] else ("validation", found["val"])
    if not metrics:
        console.print("nothing was evaluated: there is neither a valid nor a test split")
    else:
        if len(result["classes"]) <= LISTED:
            console.print(_class_table(metrics, result["classes"]))
        print(
            f"AP {in_points(metrics['AP'])}, AP50 {in_points(metrics['AP50'])} on {metrics['images']} {name} images"
        )
    if kept := result.get("retention"):
        before, after = in_points(kept["before"]), in_points(kept["after"])
        print(f"AP on the probe {kept['probe']}: {before} before, {after} after")
    for event in result["restored"]:
        print(f"restored the weights before step {event['step']}: {event['why']}")
    if result.get("lost"):
        print(f"lost     {result['lost']}")
    if result["ended"]:
        print(f"ended    {result['ended']}")
    print(f"run      {printable(str(folder))}")
    if (summary := folder / SUMMARY_NAME).is_file():
        print(f"summary  {printable(str(summary))}")
    if pictures:
        print(f"pictures {printable(str(pictures[0].parent))}")
    for line in logs:
        print(f"logs     {printable(line)}")
    if (file := folder / THRESHOLDS_NAME).is_file():
        print(f"scores   {printable(str(file))} (glip predict --threshold best)")
    detector = folder if result["fitted"] else result["detector"]
    if result["fitted"] or result["weights"] != "random":
        print(f"next     glip predict PHOTO --detector {printable(str(detector))}")


def _class_table(metrics: Mapping[str, Any], names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    table.add_column("AP", justify="right")
    for name in names:
        table.add_row(escape(printable(name)), in_points(metrics["AP_class"].get(name)))
    return table


def git_commit() -> str | None:
    """Commit of the checkout that the package runs from, with ``+`` if it was changed; None elsewhere."""
    try:
        _git(
            "ls-files", "--error-unmatch", Path(__file__).name
        )  # not an environment inside a foreign checkout
        commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def without_nan(value: Any) -> Any:
    """What no box defines is null in JSON: most readers refuse a bare NaN."""
    if isinstance(value, Mapping):
        return {key: without_nan(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
