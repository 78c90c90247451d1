"""A run in W&B: how it starts, what its end adds, how its pictures look there."""

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

from glip_lightning.common.imports import not_installed_message
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
    Labels,
)

log = logging.getLogger(__name__)

PROJECT = "glip-lightning"


class CarefulWandb(WandbLogger):
    """W&B whose failures (a full disk, a lost connection) end the logging, not the training."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(log_model=False, **kwargs)
        self._wandb_init.pop(
            "anonymous", None
        )  # Lightning passes it always, W&B 0.31 warns of it always
        self.failed = False

    @contextmanager
    def care(self) -> Iterator[None]:
        """Errors of W&B in here become one warning."""
        try:
            yield
        except Exception as error:
            if not self.failed:
                log.warning(
                    "W&B is given up, the training goes on: %s: %s", type(error).__name__, error
                )
            self.failed = True

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if not self.failed:
            with self.care():
                super().log_metrics(metrics, step)

    def finalize(self, status: str) -> None:
        if not self.failed:
            with self.care():
                super().finalize(status)


def start_wandb(folder: Path, labels: Labels) -> CarefulWandb | None:
    """W&B in ``folder/wandb``, offline unless ``WANDB_MODE`` says otherwise; None if disabled or impossible."""
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
        _ = logger.experiment  # now, so that what cannot start is known
    except Exception as error:  # whatever it is, it is not worth a training
        log.warning("no W&B in this run, it cannot be started: %s: %s", type(error).__name__, error)
        return None
    return logger


def _earlier_id(folder: Path) -> str | None:
    """The id of the W&B run that this run had before it was interrupted: both parts belong together."""
    earlier = sorted((folder / "wandb").glob("*run-*-*"))
    return earlier[-1].name.split("-")[-1] if earlier else None


def conclude(
    loggers: Sequence[Logger], result: Mapping[str, Any], evaluated: DetectionDataset | None
) -> None:
    """The end of a run in W&B: a table per class of the split that was ``evaluated`` last, what the run reached and
    what it cost as its summary, for a fit its point of the curve of AP over training data, and its trade-off."""
    metrics = result["metrics"]["test"] or result["metrics"]["val"]
    for logger in loggers:
        if isinstance(logger, CarefulWandb) and not logger.failed:
            with logger.care():
                row: dict[str, Any] = (
                    _curve(result, metrics) if metrics and result["verb"] == "fit" else {}
                )
                if metrics and evaluated is not None:
                    row[CLASSES] = _table(
                        ["class", "AP", "images", "boxes"], _class_rows(evaluated, metrics)
                    )
                if points := (result["retention"] or {}).get("wise_ft"):
                    row[TRADE_OFF] = _table(
                        list(points[0]), [list(point.values()) for point in points]
                    )
                if row:
                    logger.experiment.log({**row, "trainer/global_step": result["steps"]})
                logger.experiment.summary.update(_summary(result))


def _curve(result: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, float]:
    """AP over shots and over images; all images are no number of shots."""
    shots = result["data"]["shots"]
    images = 0 if shots == 0 else result["data"]["images"].get("train", 0)
    point = {CURVE_AP: metrics["AP"], CURVE_IMAGES: images}
    return point if shots == "all" else {**point, CURVE_SHOTS: shots}


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    import wandb

    table = wandb.Table(columns=[*columns])
    for row in rows:
        table.add_data(*row)
    return table


def _class_rows(dataset: DetectionDataset, metrics: Mapping[str, Any]) -> list[list[Any]]:
    """Class, its AP (None without a box), images that show it, boxes."""
    boxes, aps = dataset.index.boxes, metrics["AP_class"]
    return [
        [
            name,
            aps.get(name),
            len(set(boxes.images[boxes.labels == k].tolist())),
            int((boxes.labels == k).sum()),
        ]
        for k, name in enumerate(dataset.class_names)
    ]


def _summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """Final metrics of both splits, parameters and cost; what was not measured or is not defined is left out."""
    found: dict[str, Any] = {}
    for stage, metrics in result["metrics"].items():
        named = {
            name: value for name, value in (metrics or {}).items() if isinstance(value, int | float)
        }
        named |= {
            f"AP_class/{name}": value for name, value in (metrics or {}).get("AP_class", {}).items()
        }
        found |= {f"{stage}/{name}": value for name, value in named.items()}
    parts = result["parts"]
    found |= {TRAINABLE: parts["all"]["trainable"] if parts else 0, TOTAL: result["parameters"]}
    found |= {
        f"parameters/{part}/{kind}": n
        for part in parts
        if part != "all"
        for kind, n in parts[part].items()
    }
    found |= {
        "steps": result["steps"],
        "best_epoch": result["best_epoch"],
        COST_SECONDS: result["seconds"],
    }
    for key, peak in ((COST_PROCESS, "process_peak"), (COST_DEVICE, "device_peak")):
        found[key] = None if result["memory"][peak] is None else result["memory"][peak] / 1e9
    return {
        key: value for key, value in found.items() if value is not None and not math.isnan(value)
    }


def sync_command(folder: Path) -> str | None:
    """What uploads the offline W&B run in ``folder``, both parts of an interrupted one; None if there is none."""
    parts = sorted((folder / "wandb").glob("offline-run-*"))
    return shlex.join(["wandb", "sync", *map(str, parts)]) if parts else None


def wandb_image(shown: EvaluatedImage) -> Any:
    """``wandb.Image`` whose boxes can be switched on and off by class and score."""
    import wandb

    names = dict(enumerate(shown.classes))
    found = [
        {
            **_wandb_box(box, label, shown),
            "scores": {"score": score},
            "box_caption": f"{names[label]} {score:.2f}",
        }
        for box, label, score in zip(shown.boxes, shown.labels, shown.scores, strict=True)
    ]
    truth = [
        {**_wandb_box(box, label, shown), "box_caption": names[label]}
        for box, label in zip(shown.truth, shown.truth_labels, strict=True)
    ]
    groups = {"predictions": found, "ground_truth": truth}
    boxes = {group: {"box_data": rows, "class_labels": names} for group, rows in groups.items()}
    return wandb.Image(shown.picture.convert("RGB"), boxes=boxes, caption=shown.name)


def _wandb_box(box: Sequence[float], label: int, shown: EvaluatedImage) -> dict[str, Any]:
    """Corners as fractions of width and height."""
    width, height = shown.picture.size
    x1, y1, x2, y2 = box
    position = {"minX": x1 / width, "minY": y1 / height, "maxX": x2 / width, "maxY": y2 / height}
    return {"position": position, "class_id": label}
