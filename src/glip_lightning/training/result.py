"""``result.json``: the results of a run and all that is needed to repeat it; its summary."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from glip_lightning.common.escaping import printable
from glip_lightning.common.files import write_text
from glip_lightning.common.plurals import count_with_noun
from glip_lightning.common.versions import versions
from glip_lightning.evaluation.points import in_points
from glip_lightning.training.callbacks.prediction_pictures import PREDICTIONS
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord
from glip_lightning.training.summary_picture import SUMMARY_NAME
from glip_lightning.weights.run_files import METRICS_NAME, PROMPT_NAME, RESULT_NAME, UNFINISHED_NAME
from glip_lightning.weights.threshold_file import THRESHOLDS_NAME

LISTED = 20  # classes that the summary lists


def result_of(record: RunRecord, trainer: Trainer, module: GLIPModule) -> dict[str, Any]:
    """Return the content of ``result.json`` of a run after its last evaluation.

    AP lies between 0 and 1; metrics of a missing split are null.
    """
    data = module.data
    return {
        "command": record.command,
        "verb": record.verb,
        "fitted": record.fitted,
        "trial": None if record.trial is None else asdict(record.trial),
        "recipe": record.recipe,
        "seed": {"data": data.seed, "training": record.recipe.get("seed_everything")},
        "groups": record.groups,
        "parts": record.parts,
        "seconds": round(record.seconds, 1),
        "detector": module.detector,
        "weights": module.origin,
        "data": _data_of_run(data),
        "classes": data.class_names,
        "category_ids": data.category_ids,
        "phrases": [phrase._asdict() for phrase in data.phrases()],
        **data.chosen(),
        "steps": trainer.global_step,
        "epochs": trainer.current_epoch,
        "best_epoch": record.best_epoch,
        "best_step": record.best_step,
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
    """Write ``result.json`` into the folder of a run: from then on the run is finished."""
    write_text(folder / RESULT_NAME, json.dumps(without_nan(result), indent=2, allow_nan=False))
    (folder / UNFINISHED_NAME).unlink(missing_ok=True)


def _data_of_run(data: DetectionData) -> dict[str, Any]:
    """Return the data set as it was used.

    Findings are counted by their code, boxes that are not trained on by the reason.
    """
    dropped: dict[str, int] = {}
    clipped = 0
    train = data.datasets.get("train")
    if train is not None:
        dropped = {why: int(mask.sum()) for why, mask in train.index.dropped().items()}
        clipped = int(train.index.clipped().sum())
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
        "dropped": dropped,
        "clipped": clipped,
    }


def _memory(trainer: Trainer) -> dict[str, int | None]:
    """Return peaks in bytes: of this process, and of torch on its CUDA device."""
    if sys.platform == "win32":
        return {"process_peak": None, "device_peak": None}
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    device = trainer.strategy.root_device
    cuda = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {"process_peak": process, "device_peak": cuda}


def print_summary(
    result: Mapping[str, Any],
    folder: Path,
    upload: str | None = None,
    saved_prompt: str | Path | None = None,
) -> None:
    """Print AP and AP50 of a run, by class where they are few, and where its files are.

    Args:
        result: the content of ``result.json``.
        folder: of the run.
        upload: the command that sends its log to W&B; None where there is no such log.
        saved_prompt: the file of the prompt that was evaluated, if one was.
    """
    _print_metrics(result)
    for event in result["restored"]:
        print(f"restored the weights before step {event['step']}: {event['why']}")
    if result.get("lost"):
        print(f"lost     {result['lost']}")
    if result["ended"]:
        print(f"ended    {result['ended']}")
    if result.get("best_step") is not None:
        ap = in_points((result["metrics"]["val"] or {}).get("AP"))
        print(f"kept     the weights after step {result['best_step']}: validation AP {ap}")
    print(f"run      {printable(str(folder))}")
    files = {
        "summary": (SUMMARY_NAME, ""),
        "pictures": (PREDICTIONS, ""),
        "prompt": (PROMPT_NAME, "glip predict PHOTO --prompt FILE"),
        "scores": (THRESHOLDS_NAME, "glip predict --threshold best"),
        "log": (METRICS_NAME, ""),
    }
    for label, (name, use) in files.items():
        if (folder / name).exists():
            note = f" ({use})" if use else ""
            print(f"{label:<8} {printable(str(folder / name))}{note}")
    if upload is not None:
        print(f"upload   {printable(upload)}")
    next_options = _next_options(result, folder, saved_prompt)
    if next_options is not None:
        print(f"next     glip predict PHOTO {printable(next_options)}")


def _next_options(
    result: Mapping[str, Any], folder: Path, saved_prompt: str | Path | None
) -> str | None:
    """Return the options of ``glip predict`` for what the run trained or tested; None for none."""
    if result["fitted"]:
        return f"--detector {folder}"
    if saved_prompt is not None:
        return f"--prompt {saved_prompt}"
    if result["weights"] == "random":
        return None
    return f"--detector {result['detector']}"


def _print_metrics(result: Mapping[str, Any]) -> None:
    name, metrics = "test", result["metrics"]["test"]
    if not metrics:
        name, metrics = "validation", result["metrics"]["val"]
    if not metrics:
        print("nothing was evaluated: there is neither a valid nor a test split")
    else:
        if len(result["classes"]) <= LISTED:
            console = Console(highlight=False, soft_wrap=True)
            console.print(_class_table(metrics, result["classes"]))
        ap, ap50 = in_points(metrics["AP"]), in_points(metrics["AP50"])
        images = count_with_noun(metrics["images"], f"{name} image")
        print(f"AP {ap}, AP50 {ap50} on {images}")
    kept = result.get("retention")
    if kept:
        before, after = in_points(kept["before"]), in_points(kept["after"])
        print(f"AP on the probe {kept['probe']}: {before} before, {after} after")


def _class_table(metrics: Mapping[str, Any], names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    table.add_column("AP", justify="right")
    for name in names:
        table.add_row(escape(printable(name)), in_points(metrics["AP_class"].get(name)))
    return table


def git_commit() -> str | None:
    """Return the commit of the checkout that has this package, None outside of one.

    ``+`` is added where files were changed.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # fails in a foreign checkout
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def without_nan(value: Any) -> Any:
    """Return ``value`` with null for each number that is not finite.

    Most readers of JSON refuse NaN, which stands for the AP of a class without boxes.
    """
    if isinstance(value, Mapping):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
