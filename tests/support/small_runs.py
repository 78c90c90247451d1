"""Small runs through the real command line, on generated pictures of 96 pixels."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from lightning import Callback, LightningModule, Trainer

from glip_lightning.app.cli import main
from glip_lightning.shapes.task_pictures import write_task

BLOCKS = Path(__file__).parent.parent.parent / "recipes" / "shapes/blocks.yaml"
SMALL = [
    "--data.min_sizes=[96]",
    "--data.test_size=96",
    "--data.max_size=128",
    "--data.batch_size=2",
]
SHORT = [
    "--trainer.max_epochs=2",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.log_every_n_steps=1",
]
COUNTS = {"train": 4, "valid": 2, "test": 2}  # two steps per epoch


def make_shapes(folder: Path) -> Path:
    return write_task(folder / "shapes", counts=COUNTS)


def without(shapes: Path, target: Path, split: str) -> list[str]:
    """Options for a copy of the pictures that lacks a split."""
    shutil.copytree(shapes, target, ignore=shutil.ignore_patterns("*.txt", "*.pbtxt"))
    shutil.rmtree(target / split)
    return [f"--data.root={target}"]


def options(shapes: Path, run: Path) -> list[str]:
    data = ["--data", "CustomData", f"--data.root={shapes}"]
    return ["--config", str(BLOCKS), *data, "--run", str(run), *SMALL, *SHORT]


def go(verb: str, shapes: Path, run: Path, *more: str) -> dict[str, Any]:
    """The result of a run that has to succeed."""
    assert main([verb, *options(shapes, run), *more]) == 0
    return result(run)


def result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def trained_losses(run: Path) -> dict[str, str]:
    """Loss by optimizer step; every step once."""
    found = [(row["step"], row["train/loss"]) for row in rows(run) if row["train/loss"]]
    assert len(found) == len(dict(found))
    return dict(found)


def records(run: Path) -> list[dict[str, Any]]:
    """The offline W&B run in the folder of a run as the program that comes with W&B reads it."""
    (folder,) = (run / "wandb").glob("offline-run-*")
    return records_of(folder)


def records_of(folder: Path) -> list[dict[str, Any]]:
    """Read one part of a W&B run, of which an interrupted one has several."""
    wandb = Path(sys.executable).with_name("wandb")
    done = subprocess.run(
        [wandb, "leet", "inspect", "--json", folder], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


class Offline:
    """The records of an offline W&B run as the page of a dashboard sees them: config, summary and
    history.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run
        found = records(run)
        self.start = next(record["run"] for record in found if record["type"] == "run")
        self.history = [
            record["history"]["item"] for record in found if record["type"] == "history"
        ]
        self.config: dict[str, Any] = dict(self.start["config"]["update"])
        self.summary: dict[str, Any] = {}
        for record in found:
            self.config |= record.get("config", {}).get("update", {})
            self.summary |= record.get("summary", {}).get("update", {})

    def file(self, path: str) -> Path:
        """A file that the records name."""
        (folder,) = (self.folder / "wandb").glob("offline-run-*")
        return folder / "files" / path


class Trouble(Callback):
    """Something happens before an optimizer step; recipes of tests name it by its class path."""

    def __init__(self, at: int, what: str) -> None:
        self.at, self.what = at, what

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.at:
            if self.what == "ctrl-c":
                os.kill(os.getpid(), signal.SIGINT)
            elif self.what == "memory":
                raise RuntimeError(
                    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes."
                )
            elif self.what == "disk":
                raise OSError(28, "No space left on device")
            else:
                raise KeyError(self.what)


def trouble(at: int, what: str) -> list[str]:
    return [
        "--trainer.callbacks",
        "small_runs.Trouble",
        f"--trainer.callbacks.at={at}",
        f"--trainer.callbacks.what={what}",
    ]


def out_of_trouble(run: Path) -> None:
    """Take the callbacks out of the recipe of a run, as if it had never had what went wrong."""
    recipe = run / "recipe.yaml"
    content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    content["trainer"]["callbacks"] = None
    recipe.write_text(yaml.safe_dump(content), encoding="utf-8")
