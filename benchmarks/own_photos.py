"""What few photos teach on two cores, beside what one would take otherwise: a row per command.

    python benchmarks/own_photos.py DATA --set Raccoon --photos 10 --seed 0 --way nano_c
    python benchmarks/own_photos.py DATA           # every row that is missing, seed 0 of all first
    python benchmarks/own_photos.py --keep         # adds new rows to benchmarks/own_photos.jsonl
    python benchmarks/own_photos_tables.py         # prints the tables of the documents

DATA has folders like Raccoon/{train,valid,test}. The seed chooses the photos with boxes from train;
valid and test stay whole. A row is a file in --out, written when it is measured. So a stop loses
one row at most. Several processes may work on different rows: --seed 0 and --seed 1.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from glip_lightning import draw_boxes
from glip_lightning.common.files import replacing, write_text
from glip_lightning.common.versions import versions
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.formats.layouts import read_dataset
from glip_lightning.data.index import Index
from glip_lightning.evaluation.best_threshold import best_thresholds
from glip_lightning.evaluation.bootstrap import Rows, match_detections
from glip_lightning.evaluation.points import in_points
from glip_lightning.inference.predictor import DEFAULT_THRESHOLD, Predictor

OUT = Path("runs/own_photos")
KEPT = Path(__file__).with_suffix(".jsonl")
"""All rows of docs/results/own_photos.md: a line each."""

SETS = ("Raccoon", "pothole", "BCCD", "ChessPieces", "COCOmini")
PHOTOS = ("10", "30", "all")
SEEDS = (0, 1, 2)
HEIGHT, HEAD, GAP = 260, 34, 6  # pixels of a photo, of the text above it, between photos
VALID_PHOTOS = (5, 20, None)  # to choose thresholds on; None: all


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
    "nano_all_shot": Way(
        "before: `shapes/nano_all_shot`", "shapes/nano_all_shot", ("--data", "CustomData")
    ),
    "nano_c": Way("`custom_nano` from `glip-nano-c`", options=("--model.detector=glip-nano-c",)),
    "photo": Way(
        "`custom_nano` from `glip-nano-photo`",
        options=("--model.detector=runs/pretrain/glip-nano-photo",),
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
PAIRED = ("nano_all_shot", "nano_c", "photo")
"""The ways that are compared on all photos with all seeds."""

HUNDRED = ("Raccoon", "BCCD")
"""The sets that have more than 100 photos to train on: their rows have 100 too."""

RECIPE = "nano_c"
"""The way that custom_nano is as it comes."""

TIMED = "Raccoon"
"""The set whose rows are also timed with two threads."""

BESIDE = (
    ("30",),
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
    threads: int = 1

    def file(self, out: Path) -> Path:
        """Return the file of the row."""
        threads = "" if self.threads == 1 else f"-{self.threads}threads"
        return out / "rows" / f"{self.way}--{self.set}-{self.photos}-{self.seed}{threads}.json"


PICTURED = [Row(RECIPE, name, "30", SEEDS[0]) for name in ("Raccoon", "pothole", "BCCD")]
"""The rows whose pictures the site shows where it is built beside them."""


def plan() -> Iterator[Row]:
    """All rows, in the order in which they are worth knowing."""
    for seed in SEEDS:
        for way in reversed(PAIRED):
            for photos in PHOTOS:
                yield from (Row(way, name, photos, seed) for name in SETS)
    yield from (Row(RECIPE, name, "100", SEEDS[0]) for name in HUNDRED)
    yield from (Row(RECIPE, TIMED, photos, SEEDS[0], threads=2) for photos in PHOTOS)
    yield from (Row(way, name, photos, SEEDS[0]) for photos, way, name in product(*BESIDE))


def read_rows(out: Path) -> dict[Row, dict[str, Any]]:
    """Return all rows that are measured: those that are kept, and those in ``out``."""
    kept = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.is_file() else []
    texts = [*kept, *(x.read_text(encoding="utf-8") for x in (out / "rows").glob("*.json"))]
    found = [json.loads(text) for text in texts]
    return {Row(**each["row"]): each for each in found}


def keep_rows(out: Path) -> None:
    """Write all rows to :data:`KEPT`, in the order of the plan."""
    rows = read_rows(out)
    order = [row for row in plan() if row in rows]
    write_text(KEPT, "".join(json.dumps(rows[row]) + "\n" for row in order))


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
    found: dict[str, Any] = {"row": vars(row)}
    if way.torchvision:
        from torchvision_photos import learn  # needs what the other ways do not

        reference, rows = Row(RECIPE, row.set, row.photos, row.seed), read_rows(out)
        if reference not in rows:
            sys.exit(f"{reference}: its time is needed; measure that row first")
        found |= learn(way.torchvision, folder, rows[reference]["core_seconds"], row.seed)
    else:
        found |= _fit(way, folder, row, run) | {"f1": f1_of_thresholds(folder, run, row.seed)}
        if row in PICTURED:
            draw(row, folder, run, found["test"], out / "pictures" / f"{row.set}.jpg")
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
    environment = os.environ | {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": str(row.threads)}
    with run.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}, see {log.name}")
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    metrics = result["metrics"]
    test = metrics["test"]
    return {
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


def draw(row: Row, folder: Path, run: Path, reached: dict[str, float], file: Path) -> None:
    """Draw three test photos with what a run finds at its best thresholds, the truth in magenta.

    They are the first, the middle and the last one, not the best ones.
    """
    index = read_dataset(folder).splits["test"]
    predictor = Predictor(str(run), threshold="best")
    shown = []
    for place in (0, len(index) // 2, len(index) - 1):
        photo = index.picture(place).convert("RGB")
        found = predictor(photo)
        xywh = index.boxes_of(place).xywh
        truth = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        boxes, scores = found.boxes.tolist(), found.scores.tolist()
        drawn = draw_boxes(photo, boxes, found.names, scores, truth.tolist(), found.classes)
        shown.append(drawn.resize((HEIGHT * drawn.width // drawn.height, HEIGHT)))
    width = sum(each.width for each in shown) + GAP * (len(shown) - 1)
    sheet = Image.new("RGB", (width, HEIGHT + HEAD), "white")
    ap, ap50 = (in_points(reached[name]) for name in ("AP", "AP50"))
    text = f"{row.set}, {row.photos} photos: AP {ap}, AP50 {ap50}"
    ImageDraw.Draw(sheet).text((2, 6), text, "black", ImageFont.load_default(18))
    left = 0
    for each in shown:
        sheet.paste(each, (left, HEAD))
        left += each.width + GAP
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as fresh:
        sheet.save(fresh, format="JPEG", quality=88)


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


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--set", choices=SETS, help="all sets if not given; so are the next three")
    parser.add_argument(
        "--photos", choices=(*PHOTOS, "100"), help="how many, or all that the set has"
    )
    parser.add_argument("--seed", type=int, choices=SEEDS)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--threads", type=int, choices=(1, 2))
    parser.add_argument("--keep", action="store_true", help="write the rows that there are")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    out = given.out.resolve()
    if not given.keep and given.data is None:
        parser.error("say where the photos are, or --keep")
    rows = [
        row
        for row in plan()
        if all(getattr(given, key) in (None, value) for key, value in vars(row).items())
    ]
    if not rows:
        parser.error("no row has all of these; see plan() for those that are measured")
    for row in rows if given.data else ():
        if row not in read_rows(out):
            found = measure(given.data, row, out)
            scores = [f"{name} {x:.3f}" for name, x in found["test"].items()]
            print(row, *scores, f"{found['core_seconds']:.0f} s")
    if given.keep:
        keep_rows(out)


if __name__ == "__main__":
    main()
