"""What few photos teach on two cores, beside what one would take otherwise: a row per command.

    python benchmarks/own_photos.py DATA --set Raccoon --photos 10 --seed 0 --way custom_nano
    python benchmarks/own_photos.py DATA --all     # every row that is missing, seed 0 of all first
    python benchmarks/own_photos.py --table        # of the rows that there are

DATA has folders like Raccoon/{train,valid,test}. The seed chooses the photos with boxes from train;
valid and test stay whole. A row is a file in --out, written when it is measured. So a stop loses
one row at most.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from glip_lightning.common.files import write_text
from glip_lightning.common.versions import versions
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.formats.layouts import read_dataset
from glip_lightning.data.index import Index
from glip_lightning.evaluation.best_threshold import best_thresholds
from glip_lightning.evaluation.bootstrap import Rows, match_detections
from glip_lightning.inference.predictor import DEFAULT_THRESHOLD, Predictor

OUT = Path("runs/own_photos")
SETS = ("Raccoon", "pothole", "BCCD", "ChessPieces", "COCOmini")
PHOTOS = ("10", "30", "all")
SEEDS = (0, 1, 2)
VALID_PHOTOS = (5, 20, None)  # to choose thresholds on; None: all
T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # of Student's t by the number of seeds, 95 %


@dataclass(frozen=True)
class Way:
    """A way to a detector: a recipe with options, or a torchvision detector from random weights."""

    what: str
    recipe: str = "custom_nano"
    options: tuple[str, ...] = ()
    torchvision: str | None = None


# All frozen ways take the photos, views and steps of custom_nano; learning rates are those of
# recipes/sweeps/nano_photos.yaml.
WAYS = {
    "custom_nano": Way("custom_nano"),
    "nano_all_shot": Way(
        "shapes/nano_all_shot, as it was", "shapes/nano_all_shot", ("--data", "CustomData")
    ),
    "random": Way("the same network from random weights", options=("--model.weights=random",)),
    "linear_probe": Way(
        "linear probe of the frozen detector",
        options=("--model.tuning=LinearProbe", "--model.tuning.lr=5e-3"),
    ),
    "prompt": Way(
        "prompt tuning of the frozen detector",
        options=(
            "--model.tuning=PromptTuning",
            "--model.tuning.lr=0.3",
            "--model.tuning.weight_decay=0",
        ),
    ),
    "ssdlite": Way(
        "torchvision SSDLite, random weights, same time",
        torchvision="ssdlite320_mobilenet_v3_large",
    ),
    "faster_rcnn": Way(
        "torchvision Faster R-CNN, random weights, same time",
        torchvision="fasterrcnn_mobilenet_v3_large_320_fpn",
    ),
}
BESIDE = (
    ("30", "all"),
    ("random", "linear_probe", "prompt", "ssdlite", "faster_rcnn"),
    ("Raccoon", "pothole", "BCCD"),
)
"""What the others are measured on, with one seed: photos, ways, sets."""


@dataclass(frozen=True)
class Row:
    """What is trained on what."""

    way: str
    set: str
    photos: str
    seed: int

    def file(self, out: Path) -> Path:
        """Return the file of the row."""
        return out / "rows" / f"{self.way}--{self.set}-{self.photos}-{self.seed}.json"


def plan() -> Iterator[Row]:
    """All rows, in the order in which they are worth knowing."""
    for seed in SEEDS:
        for way in ("custom_nano", "nano_all_shot"):
            for photos in PHOTOS:
                yield from (Row(way, name, photos, seed) for name in SETS)
        if seed == SEEDS[0]:
            yield from (Row(way, name, photos, seed) for photos, way, name in product(*BESIDE))


def photos_folder(data: Path, row: Row, out: Path) -> Path:
    """Return a folder with ``row.photos`` training photos, and the whole valid and test splits."""
    source = (data / row.set).resolve()
    if row.photos == "all":
        return source
    target = out / "sets" / f"{row.set}-{row.photos}-{row.seed}"
    if target.exists():
        return target
    fresh = target.with_suffix(".part")
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "train").mkdir(parents=True)
    content = json.loads((source / "train" / ANNOTATIONS).read_text(encoding="utf-8"))
    with_boxes = {box["image_id"] for box in content["annotations"]}
    images = sorted((x for x in content["images"] if x["id"] in with_boxes), key=lambda x: x["id"])
    random.Random(row.seed).shuffle(images)
    content["images"] = images[: int(row.photos)]
    chosen = {image["id"] for image in content["images"]}
    content["annotations"] = [box for box in content["annotations"] if box["image_id"] in chosen]
    for image in content["images"]:
        (fresh / "train" / image["file_name"]).symlink_to(source / "train" / image["file_name"])
    write_text(fresh / "train" / ANNOTATIONS, json.dumps(content))
    for split in ("valid", "test"):
        (fresh / split).symlink_to(source / split)
    fresh.rename(target)
    return target


def measure(data: Path, row: Row, out: Path) -> dict[str, Any]:
    """Train one row and write it: AP and AP50 of valid and test, seconds, thresholds, versions.

    Raises:
        SystemExit: the training failed, or a row whose time is needed is not there yet.
    """
    folder, way = photos_folder(data, row, out), WAYS[row.way]
    run = out / "work" / row.file(out).stem
    shutil.rmtree(run, ignore_errors=True)
    run.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "row": vars(row),
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
    }
    if way.torchvision:
        from torchvision_photos import learn  # needs what the other ways do not

        reference = Row("custom_nano", row.set, row.photos, row.seed).file(out)
        if not reference.is_file():
            sys.exit(f"{reference}: its time is needed; measure that row first")
        seconds = json.loads(reference.read_text(encoding="utf-8"))["core_seconds"]
        found |= learn(way.torchvision, folder, seconds, row.seed)
    else:
        found |= _fit(way, folder, row, run) | {"f1": f1_of_thresholds(folder, run, row.seed)}
        shutil.rmtree(run)
    found["versions"] = versions()
    write_text(row.file(out), json.dumps(found, indent=1))
    return found


def _fit(way: Way, folder: Path, row: Row, run: Path) -> dict[str, Any]:
    """Run ``glip fit`` in a process of its own, and return what its result says."""
    glip = str(Path(sys.executable).with_name("glip"))
    command = [
        glip,
        "fit",
        "--config",
        way.recipe,
        *way.options,
        f"--data.root={folder}",
        f"--data.seed={row.seed}",
    ]
    command += [f"--seed_everything={row.seed}", f"--run={run}"]
    with run.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "WANDB_MODE": "disabled"}
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}, see {log.name}")
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    metrics = result["metrics"]
    test = metrics["test"]
    return {
        "command": result["command"],
        "steps": result["steps"],
        "seconds": result["seconds"],
        "core_seconds": usage.ru_utime + usage.ru_stime,
        "val": {name: metrics["val"][name] for name in ("AP", "AP50")},
        "test": {name: test[name] for name in ("AP", "AP50")},
        "interval95": {
            "AP": test["bootstrap"]["interval95"],
            "AP50": test["bootstrap"]["AP50_interval95"],
        },
    }


def f1_of_thresholds(folder: Path, run: Path, seed: int) -> dict[str, float]:
    """Return F1 on test, of all classes, at 0.5 and at the best thresholds of some valid photos."""
    splits = read_dataset(folder).splits
    predictor = Predictor(str(run), threshold=0)
    valid, test = (_rows(predictor, splits[split]) for split in ("valid", "test"))
    truth, names = splits["valid"].ground_truth(), splits["valid"].class_names
    order = sorted(valid)
    random.Random(seed).shuffle(order)
    found = {"0.5": _f1(splits["test"], test, {})}
    for count in VALID_PHOTOS:
        chosen = {image: valid[image] for image in order[:count]}
        best = {name: x.threshold for name, x in best_thresholds(truth, chosen, names).items()}
        found[f"best of {count or 'all'} valid"] = _f1(splits["test"], test, best)
    return found


def _rows(predictor: Predictor, index: Index) -> dict[int, np.ndarray]:
    """Return all detections in a split (:data:`glip_lightning.evaluation.bootstrap.Rows`)."""
    dataset, found = DetectionDataset(index), {}
    for place in range(len(index)):
        prediction = predictor(dataset.index.picture(place))
        boxes, image = prediction.boxes.double().cpu().numpy(), int(index.ids[place])
        columns = [np.full(len(boxes), image), *boxes[:, :2].T, *(boxes[:, 2:] - boxes[:, :2]).T]
        columns += [prediction.scores.double().cpu().numpy(), prediction.labels.cpu().numpy() + 1]
        found[image] = np.stack(columns, axis=1).reshape(-1, 7)
    return found


def _f1(index: Index, rows: Rows, thresholds: dict[str, float]) -> float:
    right = shown = boxes = 0
    for matches in match_detections(index.ground_truth(), rows):
        least = thresholds.get(index.class_names[matches.category - 1], DEFAULT_THRESHOLD)
        counted = (matches.scores >= least) & ~matches.ignored[:, 0]
        right += int(matches.hit[counted, 0].sum())
        shown += int(counted.sum())
        boxes += int(matches.boxes.sum())
    return 2 * right / (shown + boxes)


def table(out: Path) -> Iterator[str]:
    """Yield the lines of tables in Markdown.

    Means over seeds have the 95 % interval of Student's t; a single seed has that of the bootstrap.
    """
    rows = [
        json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((out / "rows").glob("*.json"))
    ]
    yield "| way | photos of | photos | seeds | test AP | test AP50 | core minutes |"
    yield "|---|---|---|---|---|---|---|"
    for way, name, photos in ((w, s, p) for s in SETS for p in PHOTOS for w in WAYS):
        here = [
            x
            for x in rows
            if (x["row"]["way"], x["row"]["set"], x["row"]["photos"]) == (way, name, photos)
        ]
        if here:
            cells = [_mean(here, metric) for metric in ("AP", "AP50")]
            minutes = np.mean([x["core_seconds"] for x in here]) / 60
            what = [WAYS[way].what, name, photos, str(len(here)), *cells, f"{minutes:.1f}"]
            yield f"| {' | '.join(what)} |"
    yield ""
    yield (
        "| F1 on test | at 0.5 | "
        + " | ".join(f"best of {n or 'all'} valid" for n in VALID_PHOTOS)
        + " |"
    )
    yield "|---|---|" + "---|" * len(VALID_PHOTOS)
    for name, photos in ((s, p) for s in SETS for p in PHOTOS):
        key = ("custom_nano", name, photos)
        here = [x for x in rows if (x["row"]["way"], x["row"]["set"], x["row"]["photos"]) == key]
        if here:
            means = [np.mean([x["f1"][column] for x in here]) for column in here[0]["f1"]]
            yield f"| {name}, {photos} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |"


def _mean(rows: Sequence[dict[str, Any]], metric: str) -> str:
    values = [row["test"][metric] for row in rows]
    if len(values) == 1:
        low, high = rows[0]["interval95"][metric]
        return f"{values[0]:.3f} ({low:.2f} to {high:.2f})"
    half = T95[len(values)] * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"{np.mean(values):.3f} ± {half:.3f}"


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--set", default=SETS[0])
    parser.add_argument("--photos", default="all", help="how many, or all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", default="custom_nano", choices=WAYS)
    parser.add_argument("--all", action="store_true", help="measure all rows that are missing")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    out = given.out.resolve()
    if not given.table and given.data is None:
        parser.error("say where the photos are, or --table")
    rows = plan() if given.all else [Row(given.way, given.set, given.photos, given.seed)]
    for row in () if given.table else rows:
        if not row.file(out).is_file():
            found = measure(given.data, row, out)
            print(
                row,
                *(f"{name} {x:.3f}" for name, x in found["test"].items()),
                f"{found['core_seconds']:.0f} s",
            )
    print("\n".join(table(out)))


if __name__ == "__main__":
    main()
