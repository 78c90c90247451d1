"""Reading of images and evaluation, each measured beside the usual tool.

    python benchmarks/data.py              # both
    python benchmarks/data.py evaluation   # CocoEvaluator and pycocotools, 5,000 images
    python benchmarks/data.py pipeline     # CocoDetection to Batch, and torchvision's reader

Both sides are measured in one run on the same generated data. pycocotools belongs to the
development dependencies: ``pip install --group dev``.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2

from glip_lightning.data.collate import Collate
from glip_lightning.data.dataset import CocoDetection
from glip_lightning.data.sampler import EpochSampler
from glip_lightning.data.transforms import Transform
from glip_lightning.evaluation.coco_ap import CocoEvaluator
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer

SEED = 0
CLASSES = 80
CAPTION_CLASSES = 20  # of the pipeline: they fit into one caption, as those of nearly all tasks do
DETECTIONS = 100
STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
PICTURE = (768, 1024)  # height, width
OBJECTS = 7  # per image, as COCO has
SIDE, LONGEST = 640, 1333  # the shorter side after resizing, and the limit of the longer one
BATCH = 4


def annotations(
    images: int, classes: int, rng: np.random.Generator
) -> dict[str, list[dict[str, Any]]]:
    """Return COCO data with random boxes of 8 pixels to half the image, two percent crowds."""
    found = []
    for image_id in range(1, images + 1):
        for x, y, w, h in random_boxes(OBJECTS, PICTURE, rng).tolist():
            box = {
                "id": len(found) + 1,
                "image_id": image_id,
                "category_id": int(rng.integers(1, classes + 1)),
            }
            found.append(
                box | {"bbox": [x, y, w, h], "area": w * h, "iscrowd": int(rng.random() < 0.02)}
            )
    sizes = {"height": PICTURE[0], "width": PICTURE[1]}
    return {
        "images": [{"id": k, "file_name": f"{k:06d}.jpg", **sizes} for k in range(1, images + 1)],
        "categories": [{"id": k, "name": f"class {k}"} for k in range(1, classes + 1)],
        "annotations": found,
    }


def random_boxes(count: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return x, y, width, height [count, 4] in pixels, inside the image."""
    height, width = size
    sides = np.exp(rng.uniform(np.log(8), np.log([width / 2, height / 2]), (count, 2)))
    return np.concatenate([rng.uniform(0, np.array([width, height]) - sides), sides], axis=1)


def detections(
    truth: dict[str, list[dict[str, Any]]], rng: np.random.Generator
) -> dict[int, dict[str, torch.Tensor]]:
    """Return 100 detections for each image: the true boxes, moved a little, and random ones."""
    real: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in truth["images"]}
    for annotation in truth["annotations"]:
        real[annotation["image_id"]].append(annotation)
    found = {}
    for image_id, boxes in real.items():
        shaken = np.array([box["bbox"] for box in boxes])
        shaken += rng.normal(0, 0.06, (len(boxes), 4)) * np.tile(shaken[:, 2:], 2)
        xywh = np.concatenate([shaken, random_boxes(DETECTIONS - len(boxes), PICTURE, rng)])
        labels = rng.integers(0, CLASSES, DETECTIONS)
        labels[: len(boxes)] = [box["category_id"] - 1 for box in boxes]
        scores = rng.random(DETECTIONS) * np.where(np.arange(DETECTIONS) < len(boxes), 1.0, 0.6)
        corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        arrays = {"boxes": corners, "scores": scores, "labels": labels}
        found[image_id] = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return found


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long a call takes, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def ours(
    truth: dict[str, list[dict[str, Any]]], found: dict[int, dict[str, torch.Tensor]]
) -> dict[str, Any]:
    """Return the metrics of our evaluator."""
    evaluator = CocoEvaluator(truth, [category["name"] for category in truth["categories"]])
    for image_id, one in found.items():
        evaluator.update([image_id], [one])
    return evaluator.compute()


def theirs(truth: Any, found: dict[int, dict[str, torch.Tensor]]) -> dict[str, Any]:
    """Return the same numbers by pycocotools, from the same tensors."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        reference: Any = COCO()
        reference.dataset = truth
        reference.createIndex()
        rows = [
            np.column_stack(
                [
                    np.full(len(one["boxes"]), k),
                    xywh(one["boxes"]),
                    one["scores"],
                    one["labels"] + 1,
                ]
            )
            for k, one in found.items()
        ]
        evaluation = COCOeval(reference, reference.loadRes(np.concatenate(rows)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    tables = np.moveaxis(evaluation.eval["precision"][..., 0, -1], 2, 0)
    names = [category["name"] for category in truth["categories"]]
    per_class = {
        name: table[table > -1].mean()
        for name, table in zip(names, tables, strict=True)
        if table.max() > -1
    }
    return dict(zip(STATS, evaluation.stats, strict=False)) | {"AP_class": per_class}


def xywh(corners: torch.Tensor) -> torch.Tensor:
    """Return corners as x, y, width, height [N, 4]."""
    return torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)


def evaluation(images: int) -> None:
    """Time both evaluators on the same detections and compare their numbers."""
    rng = np.random.default_rng(SEED)
    truth = annotations(images, CLASSES, rng)
    found = detections(truth, rng)
    size = f"{images} images x {DETECTIONS} detections, {CLASSES} classes"
    print(f"evaluation: {size}, {len(truth['annotations'])} boxes")
    our_time, our_stats = seconds(lambda: ours(truth, found))
    print(f"  CocoEvaluator   {our_time:6.1f} s", flush=True)
    their_time, their_stats = seconds(lambda: theirs(truth, found))
    print(f"  pycocotools     {their_time:6.1f} s   {their_time / our_time:.1f} x ours")
    pairs = [(our_stats[name], their_stats[name]) for name in STATS]
    pairs += [(our_stats["AP_class"][name], ap) for name, ap in their_stats["AP_class"].items()]
    apart = max(abs(a - b) for a, b in pairs)
    compared = f"all {len(STATS)} stats and {len(pairs) - len(STATS)} classes"
    print(f"  AP {our_stats['AP']:.4f}; {compared} agree within {apart:.0e}")
    if apart > 1e-9:
        sys.exit("the two disagree")


def write_pictures(folder: Path, count: int) -> Path:
    """Write soft colours with noise, as slow to decode as photos; return the annotation file."""
    rng = np.random.default_rng(SEED)
    height, width = PICTURE
    for number in range(1, count + 1):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(
            coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16
        )
        noisy = (
            (smooth + rng.normal(0, 6, smooth.shape).astype(np.int16)).clip(0, 255).astype(np.uint8)
        )
        Image.fromarray(noisy).save(folder / f"{number:06d}.jpg", quality=90)
    file = folder / "annotations.json"
    file.write_text(json.dumps(annotations(count, CAPTION_CLASSES, rng)))
    return file


def our_loader(folder: Path, file: Path, workers: int) -> DataLoader[Any]:
    """Return our loader of batches: images, boxes and captions."""
    data = CocoDetection(file, folder, Transform((SIDE,), LONGEST, flip=0.5, seed=SEED))
    collate = Collate(Tokenizer.nano(), [Phrase(name) for name in data.class_names], SEED)
    sampler = EpochSampler(len(data), SEED, shuffle=True)
    return DataLoader(data, BATCH, sampler=sampler, collate_fn=collate, num_workers=workers)


def torchvision_loader(folder: Path, file: Path, workers: int, tensors: bool) -> DataLoader[Any]:
    """Return torchvision's loader of resized and mirrored images and boxes; it reads no text.

    The images are resized by PIL, or with ``tensors`` by torch.
    """
    image, views = [v2.ToImage()], [v2.Resize(SIDE, max_size=LONGEST), v2.RandomHorizontalFlip(0.5)]
    steps = v2.Compose([*image, *views] if tensors else [*views, *image])
    with contextlib.redirect_stdout(io.StringIO()):
        data = datasets.wrap_dataset_for_transforms_v2(
            datasets.CocoDetection(str(folder), str(file), transforms=steps),
            target_keys=("boxes", "labels"),
        )
    return DataLoader(data, BATCH, shuffle=True, collate_fn=pairs_of, num_workers=workers)


def pairs_of(samples: Sequence[Any]) -> tuple[Any, ...]:
    """Return samples as a tuple of images and a tuple of targets."""
    return tuple(zip(*samples, strict=True))


def images_per_second(loader: DataLoader[Any], count: int) -> float:
    """Return the rate of one epoch, the start of the workers included."""
    needed, _ = seconds(lambda: [None for _ in loader])
    return count / needed


def pipeline(count: int, repeats: int) -> None:
    """Time the loaders on the same pictures, without and with workers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = write_pictures(folder, count)
        size = sum(path.stat().st_size for path in folder.glob("*.jpg")) / count / 1e3
        files = f"{count} JPEG files of {PICTURE[1]}x{PICTURE[0]}, {size:.0f} kB each"
        print(f"pipeline: {files}, to {SIDE} pixels")
        for workers in (0, 2):
            loaders = {
                "ours": our_loader(folder, file, workers),
                "torchvision on PIL": torchvision_loader(folder, file, workers, tensors=False),
                "torchvision on tensors": torchvision_loader(folder, file, workers, tensors=True),
            }
            best = dict.fromkeys(loaders, 0.0)
            for _ in range(repeats):
                # interleaved, so that a slow moment of the machine meets every candidate
                for name, loader in loaders.items():
                    best[name] = max(best[name], images_per_second(loader, count))
            for name, rate in best.items():
                ratio = f"{rate / best['ours']:.2f} x ours"
                print(
                    f"  {workers} workers   {name:<22} {rate:6.1f} images/s   {ratio}", flush=True
                )


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=["evaluation", "pipeline"], help="default: both")
    parser.add_argument(
        "--images", type=int, default=5000, help="of the evaluation (default: %(default)s)"
    )
    parser.add_argument(
        "--pictures", type=int, default=96, help="of the pipeline (default: %(default)s)"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="of the pipeline, the fastest counts"
    )
    arguments = parser.parse_args()
    if importlib.util.find_spec("pycocotools") is None:  # torchvision's reader needs it, too
        sys.exit("pycocotools is missing: pip install pycocotools, or pip install --group dev")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread in the main process")
    if arguments.part != "pipeline":
        evaluation(arguments.images)
    if arguments.part != "evaluation":
        pipeline(arguments.pictures, arguments.repeats)


if __name__ == "__main__":
    main()
