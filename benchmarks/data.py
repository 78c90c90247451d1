"""How fast images reach the detector and detections become AP, each beside the common way, in one run.

    python benchmarks/data.py                # both
    python benchmarks/data.py --images 100   # fewer pictures for the pipeline

Pipeline: generated JPEG pictures of 1024x768 with ten boxes, resized to 800x1066 and mirrored by half, to batches
of two. Ours (header checks, index, captions, token maps and all) beside torchvision's CocoDetection with transforms
v2 on PIL pictures, at the same sizes; with 0 and with 2 workers. Evaluation: 5,000 images with 100 detections each in
80 classes, our evaluator beside pycocotools, which must agree.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, tv_tensors
from torchvision.transforms import v2

from glip_lightning.data.coco import CocoDetection
from glip_lightning.data.collate import Collate
from glip_lightning.data.sampler import EpochSampler
from glip_lightning.data.transforms import Transform
from glip_lightning.evaluation.coco import CocoEvaluator
from glip_lightning.prompts import Phrase
from glip_lightning.text import Tokenizer

WIDTH, HEIGHT, BOXES, SHORT, LONG = 1024, 768, 10, 800, 1333
CLASSES = 80
REPEATS = 3


def write_pictures(folder: Path, count: int) -> Path:
    """Pictures as detailed as photos (150 to 250 kB), and their COCO file."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = (pixels + rng.normal(0, 12, pixels.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i}.jpg", quality=85)
        images.append({"id": i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT})
        for _ in range(BOXES):
            x, y, w, h = *rng.uniform(0, 500, 2).tolist(), *rng.uniform(20, 250, 2).tolist()
            ids = {"id": len(annotations) + 1, "image_id": i, "category_id": int(rng.integers(1, CLASSES + 1))}
            annotations.append({**ids, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0})
    categories = [{"id": k, "name": f"class {k}"} for k in range(1, CLASSES + 1)]
    file = folder / "annotations.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def ours(file: Path, workers: int) -> DataLoader:
    data = CocoDetection(file, file.parent, Transform((SHORT,), LONG, flip=0.5))
    collate = Collate(Tokenizer.nano(), [Phrase(name) for name in data.class_names])
    return DataLoader(
        data,
        2,
        sampler=EpochSampler(len(data)),
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


class Plain:
    """The transforms of torchvision's detection examples on a PIL picture."""

    def __init__(self) -> None:
        self.transform = v2.Compose([v2.RandomHorizontalFlip(0.5), v2.Resize(SHORT, max_size=LONG), v2.PILToTensor()])

    def __call__(self, image: Image.Image, target: list[dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
        boxes = tv_tensors.BoundingBoxes(
            [annotation["bbox"] for annotation in target], format="XYWH", canvas_size=(image.height, image.width)
        )
        labels = torch.tensor([annotation["category_id"] for annotation in target])
        return self.transform(image, {"boxes": boxes, "labels": labels})


def plain(file: Path, workers: int) -> DataLoader:
    with contextlib.redirect_stdout(io.StringIO()):
        data = datasets.CocoDetection(file.parent, str(file), transforms=Plain())
    return DataLoader(data, 2, shuffle=True, collate_fn=_pairs, num_workers=workers, persistent_workers=workers > 0)


def _pairs(samples: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(zip(*samples, strict=True))


def fastest(loaders: dict[str, DataLoader], images: int) -> dict[str, float]:
    """Images per second of each loader, the best of several rounds in turn, workers warm."""
    for loader in loaders.values():
        next(iter(loader))
    best = dict.fromkeys(loaders, 0.0)
    for _ in range(REPEATS):
        for name, loader in loaders.items():
            start = time.perf_counter()
            for _ in loader:
                pass
            best[name] = max(best[name], images / (time.perf_counter() - start))
    return best


def pipeline(images: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = write_pictures(Path(folder), images)
        for workers in (0, 2):
            rates = fastest({"ours": ours(file, workers), "torchvision": plain(file, workers)}, images)
            ratio = rates["ours"] / rates["torchvision"]
            print(
                f"pipeline, {workers} workers: ours {rates['ours']:.1f} images/s, torchvision "
                f"{rates['torchvision']:.1f} images/s: ratio {ratio:.2f}"
            )


def detections(images: int, each: int) -> tuple[dict[str, list[dict[str, Any]]], np.ndarray]:
    """Ground truth of seven boxes an image, and rows [n, 7] of COCO results, about half near a true box."""
    rng = np.random.default_rng(1)
    count = 7 * images
    truth = np.stack([*rng.uniform(0, 400, (2, count)), *np.exp(rng.uniform(2, 5.5, (2, count)))], 1)
    owners, classes = np.repeat(np.arange(images), 7), rng.integers(1, CLASSES + 1, count)
    picked = rng.integers(0, 7, images * each) + np.repeat(np.arange(images), each) * 7
    boxes = truth[picked] * rng.normal(1, 0.1, (images * each, 4))
    labels = np.where(rng.random(images * each) < 0.7, classes[picked], rng.integers(1, CLASSES + 1, images * each))
    rows = np.concatenate([owners[picked][:, None], boxes, rng.random((len(boxes), 1)), labels[:, None]], 1)
    annotations = [
        {"id": i + 1, "image_id": int(o), "category_id": int(k), "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i, (o, k, box) in enumerate(zip(owners, classes, truth.tolist(), strict=True))
    ]
    content = {
        "images": [{"id": i, "height": 700, "width": 700} for i in range(images)],
        "categories": [{"id": k, "name": f"class {k}"} for k in range(1, CLASSES + 1)],
        "annotations": annotations,
    }
    return content, rows


def evaluate_ours(content: dict[str, Any], rows: np.ndarray) -> list[float]:
    evaluator = CocoEvaluator(content, [category["name"] for category in content["categories"]])
    for image_id, found in enumerate(np.split(rows, len(content["images"]))):
        boxes = torch.from_numpy(found[:, 1:5].copy())
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.from_numpy(found[:, 6].astype(np.int64) - 1)
        evaluator.update([image_id], [{"boxes": boxes, "scores": torch.from_numpy(found[:, 5]), "labels": labels}])
    metrics = evaluator.compute()
    return [metrics[name] for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")]


def evaluate_pycocotools(content: dict[str, Any], rows: np.ndarray) -> list[float]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ModuleNotFoundError:
        raise SystemExit("pycocotools is missing: pip install --group dev") from None
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(cast(Any, rows.copy())), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:6].tolist()


def timed(function: Callable[..., list[float]], *arguments: Any) -> tuple[float, list[float]]:
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def evaluation(images: int, each: int) -> None:
    content, rows = detections(images, each)
    seconds, stats = timed(evaluate_ours, content, rows)
    official_seconds, official = timed(evaluate_pycocotools, content, rows)
    difference = max(abs(a - b) for a, b in zip(stats, official, strict=True))
    if difference > 1e-9:
        raise SystemExit(f"the two disagree by {difference}: {stats} and {official}")
    print(
        f"evaluation, {images} x {each} detections: ours {seconds:.1f} s (per-class AP included), pycocotools "
        f"{official_seconds:.1f} s: ratio {official_seconds / seconds:.1f}; AP {stats[0]:.6f} twice, "
        f"largest difference {difference:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=200, help="pictures of the pipeline (default: %(default)s)")
    parser.add_argument("--evaluated", type=int, default=5000, help="images of the evaluation (default: %(default)s)")
    arguments = parser.parse_args()
    pipeline(arguments.images)
    evaluation(arguments.evaluated, 100)


if __name__ == "__main__":
    main()
