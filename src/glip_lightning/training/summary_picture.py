"""The picture at the end of a fit: its results, its curves, and its best and worst test images."""

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
from glip_lightning.common.plurals import count_with_noun
from glip_lightning.data.index import Index
from glip_lightning.data.types import Split
from glip_lightning.evaluation.image_f1 import image_f1
from glip_lightning.evaluation.points import in_points
from glip_lightning.inference.drawing import COLOURS, draw_boxes
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import Metrics, RunRecord
from glip_lightning.weights.run_files import METRICS_NAME

log = logging.getLogger(__name__)

SUMMARY_NAME = "summary.jpg"
SHOWN = 3  # images of each kind, at most
PANEL = 400  # pixels of the longer side of an image, small ones are enlarged
GAP, MARGIN, LINE = 16, 12, 26  # pixels between panels, around all, and of a line of text
CURVES = 300  # pixels
THRESHOLD = 0.5  # least score of classes for which the run knows no best threshold
SMOOTHED = 0.9  # share of the running mean of the loss that each step keeps
MANY = 30  # points of a loss that is shown with its running mean
LOSS, AP = "train/loss", "val/AP"  # columns of metrics.csv
FONT = ImageFont.load_default(size=16)


@dataclass(frozen=True)
class ShownImage:
    """An image of the picture, with its F1 at the best threshold of each class."""

    image: int
    """Position in the index."""
    f1: float
    rows: np.ndarray
    """Detections from the thresholds on, [n, 7]: image id, x, y, w, h, score, category (from 1)."""


def save_summary(record: RunRecord, module: GLIPModule, global_step: int) -> None:
    """Write ``summary.jpg`` into the run's folder.

    An error in it is a warning: the run is finished and must not fail because of a picture.

    Args:
        record: of the run, after its last evaluation.
        module: with the data of the run.
        global_step: optimizer steps of the run.
    """
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
    """Return the picture: title, curves, two columns of images; None without curves and images."""
    assert record.folder is not None
    parts = _columns(record, module)
    width = max(2 * PANEL + GAP, sum(part.width for part in parts) + GAP * (len(parts) - 1))
    curves = read_curves(record.folder / METRICS_NAME, global_step)
    rows: list[Image.Image] = []
    if any(curves.values()):
        rows.append(_curves(curves, width))
    if parts:
        rows.append(_beside(parts))
    if not rows:
        return None
    title = _text(summary_title(record, module), width, bold=True)
    return ImageOps.expand(_below([title, *rows], width), MARGIN, "white")


def summary_title(record: RunRecord, module: GLIPModule) -> str:
    """Return the title: data and detector, AP and AP50 in points, the range of the thresholds."""
    tuning = type(module.tuning).__name__
    title = f"{printable(module.data.label)}, {tuning} of {printable(module.detector)}"
    split, metrics = _evaluated(record)
    if metrics is None:
        return f"{title}: not evaluated"
    ap, ap50 = in_points(metrics["AP"]), in_points(metrics["AP50"])
    thresholds = _thresholds(record, module)
    least, most = min(thresholds), max(thresholds)
    threshold = f"threshold {least:.2f}"
    if most > least:
        threshold = f"thresholds {least:.2f} to {most:.2f}, by class"
    return f"{title}: {split} AP {ap}, AP50 {ap50} points; {threshold}"


def _evaluated(record: RunRecord) -> tuple[Split, Metrics | None]:
    """Return the split of the result, test or else valid, and its metrics."""
    if record.metrics["test"]:
        return "test", record.metrics["test"]
    return "valid", record.metrics["val"] or None


def _columns(record: RunRecord, module: GLIPModule) -> list[Image.Image]:
    """Return the best and the worst images of the split of the result; none without evaluation."""
    split, metrics = _evaluated(record)
    if metrics is None:
        return []
    index = module.data.datasets[split].index
    thresholds = _thresholds(record, module)
    images = _scored(record.detections, index, thresholds, metrics["images"])
    best, worst = best_and_worst(images)
    missing = "" if split == "test" else " (there is no test split)"
    if metrics["images"] == 1 and images:
        return [_column(f"the {split} image{missing}", best, index)]
    of = f"of {metrics['images']} {split} images{missing}"
    columns: list[Image.Image] = []
    if best:
        columns.append(_column(f"best {of}", best, index))
    if worst:
        columns.append(_column(f"worst {of}", worst, index))
    return columns


def _thresholds(record: RunRecord, module: GLIPModule) -> list[float]:
    """Return the least score of each class from which boxes are shown: its best threshold."""
    known = record.thresholds or {}
    thresholds: list[float] = []
    for name in module.data.class_names:
        best = known.get(name)
        thresholds.append(THRESHOLD if best is None else best.threshold)
    return thresholds


def _scored(
    detections: Sequence[Mapping[str, Any]],
    index: Index,
    thresholds: Sequence[float],
    evaluated: int,
) -> list[ShownImage]:
    """Return the images that were evaluated, except for those without boxes and detections."""
    category_of = {category: k for k, category in enumerate(index.category_ids, 1)}
    found: dict[int, list[list[float]]] = defaultdict(list)
    for each in detections:
        category = category_of[each["category_id"]]
        found[each["image_id"]].append([each["image_id"], *each["bbox"], each["score"], category])
    # of a part of the split, the images with detections are all that is known
    images = index.ids.tolist() if evaluated == len(index) else list(found)
    rows = {image: np.array(found[image]).reshape(-1, 7) for image in images}
    scores = image_f1(index.ground_truth(), rows, thresholds)
    least = np.asarray(thresholds)
    scored: list[ShownImage] = []
    for image, f1 in zip(sorted(rows), scores.tolist(), strict=True):
        if not np.isnan(f1):
            own = rows[image]
            is_shown = own[:, 5] >= least[own[:, 6].astype(int) - 1]
            scored.append(ShownImage(index.find(image), f1, own[is_shown]))
    return scored


def best_and_worst(images: Sequence[ShownImage]) -> tuple[list[ShownImage], list[ShownImage]]:
    """Return up to three best and three worst images, best and worst first; no image is both."""
    ordered = sorted(images, key=lambda each: -each.f1)
    best = ordered[: min(SHOWN, (len(ordered) + 1) // 2)]
    worst = ordered[len(best) :][-SHOWN:]
    return best, worst[::-1]


def _column(title: str, images: Sequence[ShownImage], index: Index) -> Image.Image:
    """Return pairs of pictures below each other: ground truth, and detections."""
    head = _text(f"{title}: ground truth, detections", 2 * PANEL + GAP, bold=True)
    return _below([head, *(_pair(each, index) for each in images)], 2 * PANEL + GAP)


def _pair(shown: ShownImage, index: Index) -> Image.Image:
    picture = index.picture(shown.image)
    boxes = index.boxes_of(shown.image)
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
    name = printable(index.name(shown.image))
    counts = f"ground truth: {count_with_noun(len(truth), 'box')}, found: {len(found)}"
    caption = f"{name}: F1 {shown.f1:.2f} (mean over IoU 0.5 to 0.95); {counts}"
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
    width = sum(part.width for part in parts) + GAP * (len(parts) - 1)
    row = Image.new("RGB", (width, max(part.height for part in parts)), "white")
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
    """Return loss and validation AP (0 to 1) by optimizer step, from 1, as in ``metrics.csv``.

    The evaluations after the training, which are logged at ``global_step``, are no part of the
    curve.
    """
    curves: dict[str, list[tuple[int, float]]] = {LOSS: [], AP: []}
    if not file.is_file():
        return curves
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
    drawn = [name for name, points in curves.items() if points]
    all_axes = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, name in zip(all_axes, drawn, strict=True):
        steps = [step for step, _ in curves[name]]
        values = [value for _, value in curves[name]]
        if name == LOSS:
            _draw_loss(axes, steps, values)
        else:
            points = [100 * value for value in values]
            axes.plot(steps, points, "o-", color=COLOURS[5], markersize=4, clip_on=False)
            axes.set(title=f"{name} (points)", ylim=(0, None))
        axes.set(xlabel="step", xlim=(0, None))
        axes.grid(alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _draw_loss(axes: Any, steps: Sequence[int], values: Sequence[float]) -> None:
    if len(values) >= MANY:
        axes.plot(steps, values, color=COLOURS[4], alpha=0.3, linewidth=1)
        axes.plot(steps, running_mean(values), color=COLOURS[4], linewidth=2)
    else:
        axes.plot(steps, values, "o-", color=COLOURS[4], markersize=4)
    axes.set(title=LOSS)


def running_mean(values: Sequence[float]) -> list[float]:
    """Return the mean of all values until each; a value counts nine tenths of the next one."""
    mean, weight = 0.0, 0.0
    means: list[float] = []
    for value in values:
        mean = SMOOTHED * mean + (1 - SMOOTHED) * value
        weight = SMOOTHED * weight + (1 - SMOOTHED)
        means.append(mean / weight)
    return means
