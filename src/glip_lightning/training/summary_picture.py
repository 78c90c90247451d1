"""The picture that ``fit`` ends with: its curves, and the test images that came out best and worst."""

import csv
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from glip_lightning.common.escaping import printable
from glip_lightning.common.files import replacing
from glip_lightning.data.index import Index
from glip_lightning.data.types import Split
from glip_lightning.evaluation.image_f1 import image_f1
from glip_lightning.inference.drawing import COLOURS, draw_boxes
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord

log = logging.getLogger(__name__)

SUMMARY_NAME = "summary.jpg"
SHOWN = 3  # images of each kind, at most
PANEL = 400  # pixels of the longer side of an image, small ones are enlarged
GAP, MARGIN, LINE = 16, 12, 26  # pixels between panels, around all, and of a line of text
CURVES = 300  # pixels
THRESHOLD = 0.5  # least score of classes of which the run knows no best one
SMOOTHED = 0.9  # of the running mean of the loss, from so many points on:
MANY = 30
FONT = ImageFont.load_default(size=16)


@dataclass(frozen=True)
class ShownImage:
    """An image of the picture: its position in the index, its F1 and what was found in it."""

    image: int
    f1: float
    rows: np.ndarray
    """[n, 7]: image id, x, y, w, h, score, category (from 1); those that are shown."""


def save_summary(record: RunRecord, module: GLIPModule, global_step: int) -> None:
    """Write ``summary.jpg`` into the run's folder; a run that is over does not fail because of it."""
    assert record.folder is not None
    try:
        picture = _summary(record, module, global_step)
        if picture is not None:
            with replacing(record.folder / SUMMARY_NAME) as fresh:
                picture.save(fresh, format="JPEG", quality=90)
    except Exception as error:
        log.warning(
            "%s was not drawn: %s: %s", SUMMARY_NAME, type(error).__name__, printable(str(error))
        )


def _summary(record: RunRecord, module: GLIPModule, global_step: int) -> Image.Image | None:
    """Return the picture: curves, then two columns of images; None where there is neither."""
    assert record.folder is not None
    parts = _columns(record, module)
    width = max(2 * PANEL + GAP, sum(part.width for part in parts) + GAP * (len(parts) - 1))
    curves = read_curves(record.folder / "logs" / "metrics.csv", global_step)
    rows = [_curves(curves, width)] if any(curves.values()) else []
    rows += [_beside(parts)] if parts else []
    return ImageOps.expand(_below(rows, width), MARGIN, "white") if rows else None


def _columns(record: RunRecord, module: GLIPModule) -> list[Image.Image]:
    """Return what was evaluated last, the best images and the worst ones; nothing if nothing was."""
    split: Split = "test" if record.metrics["test"] else "valid"
    metrics = record.metrics["test"] or record.metrics["val"]
    if not metrics:
        return []
    index = module.data.datasets[split].index
    thresholds = [_threshold(record, name) for name in module.data.class_names]
    images = _scored(record.detections, index, thresholds, metrics["images"])
    best, worst = best_and_worst(images)
    missing = "" if split == "test" else " (there is no test split)"
    if metrics["images"] == 1 and images:
        return [_column(f"the {split} image{missing}", best, index)]
    of = f"of {metrics['images']} {split} images{missing}"
    return [
        _column(f"{title} {of}", own, index)
        for title, own in (("best", best), ("worst", worst))
        if own
    ]


def _threshold(record: RunRecord, name: str) -> float:
    """Return the least score of a class that is worth showing."""
    best = (record.thresholds or {}).get(name)
    return THRESHOLD if best is None else best.threshold


def _scored(
    detections: Sequence[Mapping[str, Any]],
    index: Index,
    thresholds: Sequence[float],
    evaluated: int,
) -> list[ShownImage]:
    """Return the images that were evaluated, those in which there is nothing and nothing was found left out."""
    category_of = {category: k for k, category in enumerate(index.category_ids, 1)}
    found: dict[int, list[list[float]]] = defaultdict(list)
    for each in detections:
        category = category_of[each["category_id"]]
        found[each["image_id"]].append([each["image_id"], *each["bbox"], each["score"], category])
    seen = (
        index.ids.tolist() if evaluated == len(index) else list(found)
    )  # of a part nobody knows more
    rows = {image: np.array(found[image]).reshape(-1, 7) for image in seen}
    scores = image_f1(index.ground_truth(), rows, thresholds)
    least = np.asarray(thresholds)
    shown = {
        image: own[own[:, 5] >= least[own[:, 6].astype(int) - 1]] for image, own in rows.items()
    }
    scored = zip(sorted(rows), scores.tolist(), strict=True)
    return [
        ShownImage(index.find(image), f1, shown[image]) for image, f1 in scored if not np.isnan(f1)
    ]


def best_and_worst(images: Sequence[ShownImage]) -> tuple[list[ShownImage], list[ShownImage]]:
    """Return up to three of each kind, best and worst first; no image is both."""
    ordered = sorted(images, key=lambda each: -each.f1)
    best = ordered[: min(SHOWN, (len(ordered) + 1) // 2)]
    worst = ordered[len(best) :][-SHOWN:]
    return best, worst[::-1]


def _column(title: str, images: Sequence[ShownImage], index: Index) -> Image.Image:
    """Return pairs of pictures below each other: the truth, and what was found."""
    head = _text(f"{title}: truth, and what was found", 2 * PANEL + GAP, bold=True)
    return _below([head, *(_pair(each, index) for each in images)], 2 * PANEL + GAP)


def _pair(shown: ShownImage, index: Index) -> Image.Image:
    picture, boxes = index.picture(shown.image), index.boxes_of(shown.image)
    scale = PANEL / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    large = picture.resize(size, Image.Resampling.BICUBIC)  # pyrefly: ignore[bad-argument-type]
    classes = index.class_names
    truth = [classes[label] for label in boxes.labels.tolist()]
    found = [classes[int(category) - 1] for category in shown.rows[:, 6]]
    left = draw_boxes(large, _corners(boxes.xywh, scale), truth, classes=classes)
    scores = shown.rows[:, 5].tolist()
    right = draw_boxes(large, _corners(shown.rows[:, 1:5], scale), found, scores, classes=classes)
    pair = _beside([left, right])
    caption = f"F1 {shown.f1:.2f}, {len(truth)} there, {len(found)} found: {printable(index.name(shown.image))}"
    return _below([pair, _text(caption, 2 * PANEL + GAP)], 2 * PANEL + GAP)


def _corners(xywh: np.ndarray, scale: float) -> list[list[float]]:
    return (scale * np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)).tolist()


def _text(text: str, width: int, bold: bool = False) -> Image.Image:
    """Return a line of text, cut where it is longer than ``width``."""
    while len(text) > 1 and FONT.getlength(text) > width:
        text = f"{text[:-2]}…"
    line = Image.new("RGB", (width, LINE), "white")
    ImageDraw.Draw(line).text((0, 2), text, "black", FONT, stroke_width=0.3 if bold else 0)
    return line


def _beside(parts: Sequence[Image.Image]) -> Image.Image:
    row = Image.new(
        "RGB",
        (sum(p.width for p in parts) + GAP * (len(parts) - 1), max(p.height for p in parts)),
        "white",
    )
    at = 0
    for part in parts:
        row.paste(part, (at, 0))
        at += part.width + GAP
    return row


def _below(rows: Sequence[Image.Image], width: int) -> Image.Image:
    column = Image.new("RGB", (width, sum(row.height for row in rows)), "white")
    at = 0
    for row in rows:
        column.paste(row, (0, at))
        at += row.height
    return column


def read_curves(file: Path, global_step: int) -> dict[str, list[tuple[int, float]]]:
    """Return loss and validation AP by optimizer step, from 1, as ``metrics.csv`` has them.

    The evaluations after the training, which are logged at ``global_step``, are no part of the curve.
    """
    curves: dict[str, list[tuple[int, float]]] = {"train/loss": [], "val/AP": []}
    if file.is_file():
        with file.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                for name, curve in curves.items():
                    if row.get(name) and int(row["step"]) < global_step:
                        curve.append((int(row["step"]) + 1, float(row[name])))
    return curves


def _curves(curves: Mapping[str, Sequence[tuple[int, float]]], width: int) -> Image.Image:
    """Return the curves side by side, those that have points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, CURVES / 100), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    drawn = {name: points for name, points in curves.items() if points}
    for axes, (name, points) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True
    ):
        steps = [step for step, _ in points]
        values = [100 * value if name == "val/AP" else value for _, value in points]
        if name == "train/loss" and len(values) >= MANY:
            axes.plot(steps, values, color=COLOURS[4], alpha=0.3, linewidth=1)
            axes.plot(steps, running_mean(values), color=COLOURS[4], linewidth=2)
        else:
            axes.plot(
                steps,
                values,
                "o-",
                color=COLOURS[4] if name == "train/loss" else COLOURS[5],
                markersize=4,
            )
        title = f"{name} (points)" if name == "val/AP" else name
        axes.set(
            xlabel="step", title=title, xlim=(0, None), ylim=(0 if name == "val/AP" else None, None)
        )
        axes.grid(alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def running_mean(values: Sequence[float]) -> list[float]:
    """Return the mean of all values until each, of which a step back counts nine tenths."""
    mean, weight, means = 0.0, 0.0, []
    for value in values:
        mean, weight = SMOOTHED * mean + (1 - SMOOTHED) * value, SMOOTHED * weight + 1 - SMOOTHED
        means.append(mean / weight)
    return means
