"""A plausible sweep without a single training: what glip sweep leaves, with the numbers of a
made-up world.

``python tests/support/report_sweep.py FOLDER`` writes a large one to look at.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from glip_lightning.experiments.report.paper_numbers import ORDER, paper_cells
from glip_lightning.inference.drawing import draw_boxes

CLASSES = {
    "PascalVOC": "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor",
    "Aquarium": "fish jellyfish penguin puffin shark starfish stingray",
    "AerialMaritimeDrone": "boat car dock jetski lift",
    "ShellfishOpenImages": "Crab Lobster Shrimp",
    "VehiclesOpenImages": "Ambulance Bus Car Motorcycle Truck",
    "thermalDogsAndPeople": "dog person",
    "NorthAmericaMushrooms": "CoW chanterelle",
}
IMAGES = dict(zip(ORDER, (3422, 7, 63, 10, 480, 5, 3, 17, 58, 126, 297, 67, 20), strict=True))
TUNINGS = {
    "FullTuning": {"lr": 1e-4, "text_lr": 1e-5, "weight_decay": 0.05, "freeze_at": 2},
    "LinearProbe": {"lr": 1e-4, "weight_decay": 0.05},
    "PromptTuning": {"form": "offset", "lr": 0.05, "weight_decay": 0.25, "context": 4},
}
TRAINED = {"FullTuning": 231_500_000, "LinearProbe": 460_000, "PromptTuning": 196_608}
Shots = int | str


def recipe_of(
    task: str, shots: Shots, seed: int, tuning: str, detector: str = "glip-tiny"
) -> dict[str, Any]:
    chosen = {"class_path": f"glip_lightning.{tuning}", "init_args": TUNINGS.get(tuning, {})}
    return {
        "seed_everything": seed,
        "trainer": {"max_epochs": 200, "devices": 1},
        "model": {
            "detector": detector,
            "weights": "pretrained",
            "tuning": chosen if shots != 0 else None,
        },
        "data": {
            "class_path": "glip_lightning.ODinW",
            "init_args": {
                "root": "DATA",
                "task": task,
                "prompts": "odinw_13",
                "shots": shots,
                "seed": seed,
            },
        },
    }


def result_of(
    recipe: Mapping[str, Any],
    ap: float | None,
    classes: Sequence[str] = ("thing",),
    images: int = 20,
    **more: Any,
) -> dict[str, Any]:
    """The content of result.json; ``ap`` from 0 to 1. Redrawn images move it more where there are
    few.
    """
    data = recipe["data"]["init_args"]
    rng = np.random.default_rng(
        int(hashlib.sha256(f"{data['task']}{ap}".encode()).hexdigest()[:8], 16)
    )
    draws = np.random.default_rng(images).normal(0, 0.35 / np.sqrt(images), 200) + rng.normal(
        0, 0.004, 200
    )
    aps = [round(float(np.clip((ap or 0) + x, 0, 1)), 5) for x in draws]
    low, high = np.percentile(aps, [2.5, 97.5])
    metrics = {
        "AP": ap,
        "AP50": None if ap is None else min(1.0, 1.3 * ap),
        "AP_class": {c: float(np.clip((ap or 0) + rng.normal(0, 0.12), 0, 1)) for c in classes},
        "images": images,
        "bootstrap": {"resamples": 200, "AP": aps, "interval95": [low, high]},
    }
    tuning = (recipe["model"]["tuning"] or {"class_path": "none"})["class_path"].split(".")[-1]
    trained = TRAINED.get(tuning, 0)
    shots = data["shots"]
    work = {0: 1, "all": 60}.get(shots, 8 + shots if isinstance(shots, int) else 1)
    return {
        "command": "glip fit",
        "fitted": shots != 0,
        "recipe": recipe,
        "seed": {"data": data["seed"], "training": recipe["seed_everything"]},
        "groups": [{"name": "all", "lr": 1e-4, "parameters": trained}] if trained else [],
        "parts": {"vision": {"trainable": 0, "total": 27_500_000}},
        "seconds": round(
            float(work * (60 if tuning == "FullTuning" else 14) * rng.uniform(0.7, 1.5)), 1
        ),
        "detector": recipe["model"]["detector"],
        "weights": "pretrained",
        "data": {
            "name": data["task"].lower(),
            "shots": shots,
            "seed": data["seed"],
            "images": {"test": images},
        },
        "classes": list(classes),
        "steps": 40 * work,
        "epochs": 12,
        "parameters": 231_780_222,
        "device": "cuda:0",
        "memory": {
            "process_peak": 4_000_000_000,
            "device_peak": int(trained * 40 + 3e9 + 5e8 * rng.random()),
        },
        "metrics": {"val": None, "test": metrics},
        "versions": {"glip-lightning": "0.1.0", "torch": "2.15.0"},
        "git": "1e67724a",
        **more,
    }


def photo(path: Path, seed: int, label: str) -> None:
    """A picture with boxes, large enough to have to shrink."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 1, 640)[None, :, None] * rng.integers(40, 200, 3) + rng.integers(20, 80)
    image = Image.fromarray(np.broadcast_to(slope, (480, 640, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    boxes = [
        [x, y, x + s, y + s]
        for x, y, s in rng.integers([40, 40, 80], [400, 250, 200], (3, 3)).tolist()
    ]
    for box in boxes:
        draw.ellipse(box, fill=tuple(rng.integers(60, 255, 3).tolist()))
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_boxes(image, boxes, [label] * 3, [0.9, 0.7, 0.55], boxes[:2]).save(path, quality=90)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def fail(place: Path, error: str = "CUDA out of memory: 2.1 GB more than there are") -> None:
    write_json(
        place / "failed.json",
        {"error": error, "traceback": "...", "log": "trial.log", "attempts": 2, "seconds": 9},
    )
    (place / "trial.log").write_text("...", encoding="utf-8")


def write_sweep(
    folder: Path,
    tasks: Sequence[str] = ORDER,
    shots: Sequence[Shots] = (0, 1, 3, 5, 10, "all"),
    seeds: Sequence[int] = (3, 30, 300),
    tunings: Sequence[str] = tuple(TUNINGS),
    detector: str = "glip-tiny",
    pictures: int = 0,
) -> list[dict[str, Any]]:
    """A finished sweep: AP near the paper's numbers of the detector, or of GLIP-T. Returns its
    trials.
    """
    trials: dict[str, dict[str, Any]] = {}
    for task in tasks:
        for k in shots:
            for seed in seeds:
                for tuning in tunings:
                    recipe = recipe_of(task, k, 0 if k == 0 else seed, tuning, detector)
                    id = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]
                    axes = {"task": task, "shots": k, "seed": seed, "tuning": tuning}
                    trial = trials.setdefault(
                        id, {"id": id, "axes": axes, "points": [], "steps": 80, "recipe": recipe}
                    )
                    trial["points"].append(axes)
    axes = {"task": list(tasks), "shots": list(shots), "seed": list(seeds), "tuning": list(tunings)}
    content = {"name": folder.name, "axes": axes, "trials": list(trials.values())}
    write_json(folder / "sweeps" / f"{folder.name}.json", content)
    for trial in trials.values():
        _write_trial(folder / "trials" / trial["id"], trial, pictures)
    return list(trials.values())


def _write_trial(place: Path, trial: Mapping[str, Any], pictures: int) -> None:
    axes, recipe = trial["axes"], trial["recipe"]
    task, tuning = axes["task"], axes["tuning"]
    printed = paper_cells("glip-tiny", tuning, axes["shots"]).get(task, 30.0)
    rng = np.random.default_rng(int(trial["id"], 16) % 2**32)
    noise = (
        0.0
        if axes["shots"] == 0
        else rng.normal(-0.5, {1: 3.0, "all": 0.7}.get(axes["shots"], 1.8))
    )
    ap = float(np.clip((printed + noise) / 100, 0.001, 0.99))
    classes = CLASSES.get(task, task).split()
    more = {}
    if axes["shots"] == 10 and task in ("Aquarium", "pothole"):
        after = {"FullTuning": 0.31, "LinearProbe": 0.43, "PromptTuning": 0.46}.get(
            tuning, 0.4
        ) + rng.normal(0, 0.01)
        steps = [
            {
                "alpha": a / 4,
                "AP": 0.2 + (ap - 0.2) * (1 - (1 - a / 4) ** 2),
                "probe_AP": 0.46 - (0.46 - after) * (a / 4) ** 2,
            }
            for a in range(5)
        ]
        more["retention"] = {"probe": "COCO", "before": 0.46, "after": after, "wise_ft": steps}
    result = result_of(recipe, ap, classes, IMAGES.get(task, 20), **more)
    write_json(place / "result.json", result)
    write_json(
        place / "trial.json", {"sweep": "s", **{k: trial[k] for k in ("id", "axes", "points")}}
    )
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    write_json(place / "detections.json", [box])
    for i in range(pictures if axes["shots"] == "all" else 0):
        photo(
            place / "predictions" / f"photo_{i}.jpg",
            rng.integers(1 << 30),
            classes[i % len(classes)],
        )


if __name__ == "__main__":
    target = Path(sys.argv[1])
    written = write_sweep(target, pictures=3)
    undone = np.random.default_rng(2).choice(len(written), 12, replace=False)
    for number, which in enumerate(undone):
        where = target / "trials" / written[which]["id"]
        (where / "result.json").unlink()
        if number < 5:
            fail(where)
    for path in (target / "trials" / written[9]["id"], target / "trials" / written[40]["id"]):
        (path / "result.json").write_text('{"metrics": {"val"', encoding="utf-8")
