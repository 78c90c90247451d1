"""Sweeps of seconds: the recipe of the demo on four generated pictures of 96 pixels."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from glip_lightning.app.cli import main
from small_runs import make_shapes

RECIPE: dict[str, Any] = {
    "seed_everything": 0,
    "model": {
        "detector": "glip-nano",
        "weights": "random",
        "tuning": {
            "class_path": "glip_lightning.FullTuning",
            "init_args": {"lr": 1e-3, "freeze_at": -1},
        },
    },
    "data": {
        "class_path": "glip_lightning.CustomData",
        "init_args": {"batch_size": 2, "min_sizes": [96], "max_size": 128, "test_size": 96},
    },
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1},
}


def write_sweep(folder: Path, axes: dict[str, Any], **trainer: Any) -> Path:
    """A sweep file ``tiny`` in ``folder`` with its recipe and pictures."""
    if not (folder / "shapes").is_dir():
        make_shapes(folder)
    data = RECIPE["data"]["init_args"] | {"root": str(folder / "shapes")}
    recipe = RECIPE | {
        "data": RECIPE["data"] | {"init_args": data},
        "trainer": RECIPE["trainer"] | trainer,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    file = folder / "tiny.yaml"
    file.write_text(
        yaml.safe_dump({"name": "tiny", "recipe": "recipe.yaml", "axes": axes}, sort_keys=False)
    )
    return file


def trial_folders(folder: Path, name: str = "tiny") -> list[Path]:
    """In the order of the sweep's trials."""
    content = json.loads((folder / "sweeps" / f"{name}.json").read_text())
    return [folder / "trials" / trial["id"] for trial in content["trials"]]


def sweep(file: Path, folder: Path, *more: str, workers: int = 1) -> int:
    return main(["sweep", str(file), "--dir", str(folder), "--workers", str(workers), *more])


def results(
    folder: Path, keys: Sequence[str] = ("metrics", "steps", "image_ids", "groups")
) -> dict[str, Any]:
    """What must not depend on where and beside whom a trial ran, by its id."""
    found = {
        path.name: json.loads((path / "result.json").read_text()) for path in trial_folders(folder)
    }
    return {trial: {key: result[key] for key in keys} for trial, result in found.items()}


def weights(folder: Path) -> dict[str, bytes]:
    """Trained weights of each trial, by its id."""
    return {
        path.name: (path / "detector" / "model.safetensors").read_bytes()
        for path in trial_folders(folder)
    }


def know_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let started processes find the modules of these tests, whose classes recipes name."""
    here = Path(__file__).parent
    known = [
        str(here),
        str(here.parent / "experiments"),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(known))


def use_own_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sweep start a Ray of this machine."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # leave the home folder alone
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    know_tests(monkeypatch)
