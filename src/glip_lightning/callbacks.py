"""What a run leaves behind: pictures of predictions, the detector, and one result file."""

import json
import math
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from . import boxes as box_ops
from .data.types import Batch
from .datamodules import DetectionData
from .drawing import draw_boxes
from .files import picture_names, replacing, write_text
from .module import GLIPModule
from .pretrained import RUN_DETECTOR, Task, save
from .versions import versions

RESULT_NAME = "result.json"


class RunFolder(Callback):
    """Keeps a run in its folder: after the test ``predictions/`` and ``result.json``, and if the run was a fit
    ``detector/``, which ``glip predict`` uses."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], pictures: int = 8, threshold: float = 0.5) -> None:
        """``recipe`` is the checked configuration; pictures show detections from ``threshold`` on."""
        self.folder, self.recipe = folder, recipe
        self.pictures, self.threshold = pictures, threshold
        self._fitted = False
        self._drawn: list[Path] = []
        self._started = time.monotonic()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fitted = True

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._drawn = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.is_global_zero and isinstance(pl_module, GLIPModule):
            for i, found in enumerate(outputs["detections"]):
                if len(self._drawn) < self.pictures:
                    self._draw(batch, i, found, pl_module.data)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or not isinstance(pl_module, GLIPModule):
            return
        if self._fitted:
            data = pl_module.data
            task = Task(tuple(data.phrases()), (data.test_size, data.max_size))
            save(pl_module.model, pl_module.tokenizer, self.folder / RUN_DETECTOR, task)
        result = _without_nan(self._result(trainer, pl_module))
        write_text(self.folder / RESULT_NAME, json.dumps(result, indent=2, allow_nan=False))

    def _draw(self, batch: Batch, i: int, found: Mapping[str, Tensor], data: DetectionData) -> None:
        dataset = data.datasets["test"]
        names = data.class_names
        keep = found["scores"] >= self.threshold
        labels = [names[k] for k in found["labels"][keep].tolist()]
        height, width = batch["original_sizes"][i]
        scale_h, scale_w = height / batch["images"][i].shape[1], width / batch["images"][i].shape[2]
        picture = draw_boxes(
            dataset.picture(dataset.index.find(batch["image_ids"][i])),
            found["boxes"][keep].tolist(),
            labels,
            found["scores"][keep].tolist(),
            truth=box_ops.to_outside(batch["boxes"][i].cpu(), scale_w, scale_h).tolist(),
            classes=names,
        )
        self._drawn.append(Path(batch["names"][i]))
        *_, name = picture_names(self._drawn)
        with replacing(self.folder / "predictions" / name) as fresh:
            picture.save(fresh, quality=92)

    def _result(self, trainer: Trainer, module: GLIPModule) -> dict[str, Any]:
        """Everything that is needed to repeat the run, and what it reached."""
        data = module.data
        train = data.datasets.get("train")
        return {
            "recipe": self.recipe,
            "detector": module.detector,
            "weights": module.origin,
            "data": data.label,
            "classes": data.class_names,
            "phrases": [phrase._asdict() for phrase in data.phrases()],
            "image_ids": train.image_ids if train else None,
            "boxes_left_out": {reason: int(mask.sum()) for reason, mask in train.index.dropped().items()}
            if train
            else None,
            "seed": {"data": data.seed, "training": self.recipe.get("seed_everything")},
            "steps": trainer.global_step,
            "parameters": sum(p.numel() for p in module.model.parameters()),
            "trainable": sum(p.numel() for p in module.model.parameters() if p.requires_grad),
            "seconds": round(time.monotonic() - self._started, 1),
            "device": str(trainer.strategy.root_device),
            "metrics": module.results,
            "best_epoch": module.best_epoch,
            "versions": versions(),
            "git": git_commit(),
        }


def git_commit() -> str | None:
    """Commit of the checkout that the package runs from, with ``+`` if it was changed; None elsewhere."""
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # not an environment inside a foreign checkout
        commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _without_nan(value: Any) -> Any:
    """What no box defines is null in JSON: most readers refuse a bare NaN."""
    if isinstance(value, Mapping):
        return {key: _without_nan(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
