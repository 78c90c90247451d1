"""What a run leaves behind: pictures of predictions, the detector, and one result file."""

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from . import boxes as box_ops
from .data.images import read_image
from .data.types import Batch
from .drawing import draw_boxes
from .files import write_text
from .module import GLIPModule
from .pretrained import RUN_DETECTOR, Task, save

PACKAGES = ("glip-lightning", "torch", "torchvision", "lightning", "transformers", "timm")
RESULT_NAME = "result.json"


class RunFolder(Callback):
    """Keeps a finished fit in its folder: ``detector/`` (usable by ``glip predict``) and, after the test,
    ``predictions/`` and ``result.json``."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], pictures: int = 8, threshold: float = 0.3) -> None:
        """``recipe`` is the checked configuration; pictures show detections from ``threshold`` on."""
        self.folder, self.recipe = folder, recipe
        self.pictures, self.threshold = pictures, threshold
        self._drawn = 0
        self._started = time.monotonic()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._drawn = 0

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
                if self._drawn < self.pictures:
                    self._draw(batch, i, found, pl_module.data.class_names)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or not isinstance(pl_module, GLIPModule):
            return
        data = pl_module.data
        task = Task(tuple(data.phrases()), (data.test_size, data.max_size))
        save(pl_module.model, pl_module.tokenizer, self.folder / RUN_DETECTOR, task)
        write_text(self.folder / RESULT_NAME, json.dumps(self._result(trainer, pl_module), indent=2))

    def _draw(self, batch: Batch, i: int, found: Mapping[str, Tensor], names: Sequence[str]) -> None:
        path = Path(batch["paths"][i])
        keep = found["scores"] >= self.threshold
        labels = [names[k] for k in found["labels"][keep].tolist()]
        height, width = batch["original_sizes"][i]
        scale_h, scale_w = height / batch["images"][i].shape[1], width / batch["images"][i].shape[2]
        picture = draw_boxes(
            read_image(path, upright=False),
            found["boxes"][keep].tolist(),
            labels,
            found["scores"][keep].tolist(),
            truth=box_ops.to_outside(batch["boxes"][i].cpu(), scale_w, scale_h).tolist(),
            classes=names,
        )
        folder = self.folder / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{path.stem}.jpg", quality=92)
        self._drawn += 1

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
            "image_ids": [entry.id for entry in train.images] if train else None,
            "boxes_left_out": dict(train.dropped) if train else None,
            "seed": {"data": data.seed, "training": self.recipe.get("seed_everything")},
            "steps": trainer.global_step,
            "parameters": sum(p.numel() for p in module.model.parameters()),
            "trainable": sum(p.numel() for p in module.model.parameters() if p.requires_grad),
            "seconds": round(time.monotonic() - self._started, 1),
            "device": str(trainer.strategy.root_device),
            "metrics": module.results,
            "versions": {name: version(name) for name in PACKAGES},
            "git": git_commit(),
        }


def git_commit() -> str | None:
    """Commit of the checkout that the package runs from, with ``+`` if it was changed; None elsewhere."""
    here = Path(__file__).parent
    try:
        run = ["git", "-C", str(here)]
        commit = subprocess.run([*run, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            [*run, "status", "--porcelain", "."], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if changed else commit
