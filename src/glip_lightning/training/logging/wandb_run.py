"""A run in W&B: its start, the results at its end, its pictures."""

import logging
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from typing_extensions import override

from glip_lightning.common.imports import not_installed_message
from glip_lightning.common.private_names import pass_no_anonymous
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.training.logging.pictures import EvaluatedImage
from glip_lightning.training.logging.run_names import (
    CLASSES,
    COST_DEVICE,
    COST_PROCESS,
    COST_SECONDS,
    CURVE_AP,
    CURVE_IMAGES,
    CURVE_SHOTS,
    TOTAL,
    TRADE_OFF,
    TRAINABLE,
    RunLabels,
)

log = logging.getLogger(__name__)

PROJECT = "glip-lightning"


class CarefulWandb(WandbLogger):
    """W&B whose failures (a full disk, a lost connection) end the logging, not the training."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(log_model=False, **kwargs)
        pass_no_anonymous(self)
        self.failed = False

    @contextmanager
    def care(self) -> Iterator[None]:
        """Turn errors of W&B into one warning for the run."""
        try:
            yield
        except Exception as error:
            if not self.failed:
                log.warning(
                    "W&B is given up, the training goes on: %s: %s", type(error).__name__, error
                )
            self.failed = True

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if not self.failed:
            with self.care():
                super().log_metrics(metrics, step)

    @override
    def finalize(self, status: str) -> None:
        if not self.failed:
            with self.care():
                super().finalize(status)


def import_wandb() -> None:
    """Import W&B with what it imports when a run starts, unless it is disabled or not installed.

    Call it where one process imports for many: runs in forks of it then start 0.7 s earlier.
    """
    if os.environ.get("WANDB_MODE") == "disabled" or find_spec("wandb") is None:
        return
    import wandb.sdk.launch  # noqa: F401 - every start of a run looks for inputs of a launched job


def start_wandb(folder: Path, labels: RunLabels) -> CarefulWandb | None:
    """Start W&B in ``folder/wandb``, offline unless ``WANDB_MODE`` says otherwise.

    Returns:
        The logger; None where W&B is disabled, is not installed or cannot be started.
    """
    mode = os.environ.get("WANDB_MODE", "offline")
    if mode == "disabled":
        return None
    if find_spec("wandb") is None:
        log.warning(
            "%s",
            not_installed_message(
                "wandb", "no W&B in this run, whose numbers are in logs/metrics.csv"
            ),
        )
        return None
    try:
        import wandb

        settings = wandb.Settings(silent=True, console="off")
        logger = CarefulWandb(
            name=labels.name,
            save_dir=folder,
            offline=mode == "offline",
            id=_earlier_id(folder),
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=labels.group,
            job_type=labels.job_type,
            tags=labels.tags,
            config=labels.config,
            settings=settings,
        )
        _ = logger.experiment  # W&B starts here, and errors come now
    except Exception as error:  # no error of W&B may end a training
        log.warning("no W&B in this run, it cannot be started: %s: %s", type(error).__name__, error)
        return None
    return logger


def _earlier_id(folder: Path) -> str | None:
    """Return the id that W&B gave to the first part of an interrupted run, None without one."""
    earlier = sorted((folder / "wandb").glob("*run-*-*"))
    if not earlier:
        return None
    return earlier[-1].name.split("-")[-1]


def log_results(
    loggers: Sequence[Logger], result: Mapping[str, Any], evaluated: DetectionDataset | None
) -> None:
    """Log the results of a run to W&B, at its end.

    These are a table by class of the split that was evaluated last, the final metrics and costs as
    the summary, and of a fit its point of the curve of AP over training data, and the trade-off of
    retention.

    Args:
        loggers: of the run.
        result: the content of ``result.json``.
        evaluated: the split that was evaluated last.
    """
    metrics = result["metrics"]["test"] or result["metrics"]["val"]
    for logger in loggers:
        if isinstance(logger, CarefulWandb) and not logger.failed:
            with logger.care():
                row: dict[str, Any] = {}
                if metrics and result["verb"] == "fit":
                    row = _curve(result, metrics)
                if metrics and evaluated is not None:
                    columns = ["class", "AP", "images", "boxes"]
                    row[CLASSES] = _table(columns, _class_rows(evaluated, metrics))
                if result["retention"] and result["retention"].get("wise_ft"):
                    points = result["retention"]["wise_ft"]
                    rows = [list(point.values()) for point in points]
                    row[TRADE_OFF] = _table(list(points[0]), rows)
                if row:
                    logger.experiment.log({**row, "trainer/global_step": result["steps"]})
                logger.experiment.summary.update(_summary(result))


def _curve(result: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return AP with the number of images, and of shots where it is a number."""
    shots = result["data"]["shots"]
    images = 0 if shots == 0 else result["data"]["images"].get("train", 0)
    point = {CURVE_AP: metrics["AP"], CURVE_IMAGES: images}
    if shots != "all":
        point[CURVE_SHOTS] = shots
    return point


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    import wandb

    table = wandb.Table(columns=[*columns])
    for row in rows:
        table.add_data(*row)
    return table


def _class_rows(dataset: DetectionDataset, metrics: Mapping[str, Any]) -> list[list[Any]]:
    """Return rows of class, AP (None without a box), number of images that show it and of boxes."""
    boxes = dataset.index.boxes
    rows: list[list[Any]] = []
    for label, name in enumerate(dataset.class_names):
        own = boxes.labels == label
        images = set(boxes.images[own].tolist())
        rows.append([name, metrics["AP_class"].get(name), len(images), int(own.sum())])
    return rows


def _summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return final metrics of both splits, parameters and costs, where they are defined."""
    found: dict[str, Any] = {}
    for stage, metrics in result["metrics"].items():
        if metrics is None:
            continue
        for name, value in metrics.items():
            if isinstance(value, int | float):
                found[f"{stage}/{name}"] = value
        for name, value in metrics["AP_class"].items():
            found[f"{stage}/AP_class/{name}"] = value
    found[TRAINABLE] = 0
    found[TOTAL] = result["parameters"]
    for part, counts in result["parts"].items():
        if part == "all":
            found[TRAINABLE] = counts["trainable"]
        else:
            found |= {f"parameters/{part}/{kind}": count for kind, count in counts.items()}
    found["steps"] = result["steps"]
    found["best_epoch"] = result["best_epoch"]
    found[COST_SECONDS] = result["seconds"]
    for key, peak in ((COST_PROCESS, "process_peak"), (COST_DEVICE, "device_peak")):
        if result["memory"][peak] is not None:
            found[key] = result["memory"][peak] / 1e9
    return {key: x for key, x in found.items() if x is not None and not math.isnan(x)}


def sync_command(folder: Path) -> str | None:
    """Return the command that uploads the offline W&B run in ``folder``, None if there is none.

    It names both parts of an interrupted run.
    """
    parts = sorted((folder / "wandb").glob("offline-run-*"))
    if not parts:
        return None
    return shlex.join(["wandb", "sync", *map(str, parts)])


def wandb_image(shown: EvaluatedImage) -> Any:
    """Return a ``wandb.Image`` whose boxes can be switched on and off by class and score."""
    import wandb

    names = dict(enumerate(shown.classes))
    found: list[dict[str, Any]] = []
    for box, label, score in zip(shown.boxes, shown.labels, shown.scores, strict=True):
        caption = f"{names[label]} {score:.2f}"
        found.append({**_wandb_box(box, label, caption, shown), "scores": {"score": score}})
    truth: list[dict[str, Any]] = []
    for box, label in zip(shown.truth, shown.truth_labels, strict=True):
        truth.append(_wandb_box(box, label, names[label], shown))
    boxes = {
        "predictions": {"box_data": found, "class_labels": names},
        "ground_truth": {"box_data": truth, "class_labels": names},
    }
    return wandb.Image(shown.picture.convert("RGB"), boxes=boxes, caption=shown.name)


def _wandb_box(
    box: Sequence[float], label: int, caption: str, shown: EvaluatedImage
) -> dict[str, Any]:
    """Return a box of W&B: corners are fractions of width and height."""
    width, height = shown.picture.size
    x1, y1, x2, y2 = box
    position = {"minX": x1 / width, "minY": y1 / height, "maxX": x2 / width, "maxY": y2 / height}
    return {"position": position, "class_id": label, "box_caption": caption}
