"""GLIPModule, the single LightningModule."""

import logging
import math
import os
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor

from .data.coco import CocoDetection
from .data.sampler import step_seed
from .data.types import Batch
from .datamodules import DetectionData
from .evaluation.coco import CocoEvaluator
from .losses import build_targets, detection_losses
from .postprocess import PostProcess
from .predictor import Query, detect_images, encode_query, to_original
from .pretrained import load
from .schedules import Schedule, factor

log = logging.getLogger(__name__)

Metrics = dict[str, Any]


class GLIPModule(LightningModule):
    """Trains and evaluates a GLIP detector of any variant.

    Logs ``train/loss`` and its parts, ``val/AP``, ``val/AP50``, ..., ``val/AP_class/<name>``, the same for test.
    """

    def __init__(
        self,
        detector: str = "glip-tiny",
        weights: Literal["pretrained", "random"] = "pretrained",
        lr: float = 1e-4,
        weight_decay: float = 0.05,
        schedule: Schedule = "constant",
        warmup_steps: int = 0,
    ) -> None:
        """``detector``: a name, a Hub repository, a folder or a finished run; ``lr`` rises linearly over
        ``warmup_steps`` optimizer steps, then stays or falls as a cosine to zero at the last step."""
        super().__init__()
        self.save_hyperparameters()
        loaded = load(detector, weights)
        self.detector, self.origin = loaded.name, loaded.weights
        self.model, self.tokenizer = loaded.model.train(), loaded.tokenizer
        self.lr, self.weight_decay = lr, weight_decay
        self.schedule: Schedule = schedule
        self.warmup_steps = warmup_steps
        self.lr_factor = 1.0  # of batching.GlobalBatch, where the devices do not divide the batch
        self.post = PostProcess()
        self.results: dict[str, Metrics] = {}
        """Metrics of the last evaluation of each split, by "val" and "test"."""
        self.best_epoch: int | None = None  # epoch of the weights that were loaded from a checkpoint
        self._query: Query | None = None
        self._evaluator: CocoEvaluator | None = None

    @property
    def data(self) -> DetectionData:
        datamodule = getattr(self.trainer, "datamodule", None)
        if not isinstance(datamodule, DetectionData):
            raise TypeError("GLIPModule needs a DetectionData datamodule: trainer.fit(module, datamodule=...)")
        return datamodule

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best_epoch = checkpoint["epoch"]

    def on_fit_start(self) -> None:
        trainable, total = (sum(p.numel() for p in group) for group in (self._trainable(), self.model.parameters()))
        log.info(
            "%s (%s weights): %.1f of %.1f million parameters trainable, on %s",
            self.detector,
            self.origin,
            trainable / 1e6,
            total / 1e6,
            self.device,
        )

    def _trainable(self) -> list[torch.nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self._trainable(), lr=self.lr, weight_decay=self.weight_decay)
        steps = self.trainer.estimated_stepping_batches
        if self.schedule == "cosine" and math.isinf(steps):
            raise ValueError("schedule=cosine needs an end: give trainer.max_epochs or trainer.max_steps")
        total = 0 if math.isinf(steps) else int(steps)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: factor(self.schedule, step, self.warmup_steps, total)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Makes dropout a function of (seed, epoch, batch, rank): a resumed run draws what it would have drawn."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # of seed_everything
        torch.manual_seed(step_seed(seed, self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, *_: Any) -> Tensor:
        text = self.model.encode_text(batch["input_ids"], batch["attention_mask"]).select(batch["caption_index"])
        outputs = self.model(self.model.preprocess(batch["images"]), text)
        targets = build_targets(outputs, batch["boxes"], batch["positive_maps"])
        losses = detection_losses(outputs, text.mask, targets)
        images = len(batch["images"])
        self.log("train/loss", losses.total, prog_bar=True, batch_size=images)
        self.log_dict({f"train/loss_{name}": x for name, x in losses._asdict().items()}, batch_size=images)
        return losses.total

    def on_validation_epoch_start(self) -> None:
        self._start_evaluation(self.data.datasets["valid"])

    def validation_step(self, batch: Batch, *_: Any) -> dict[str, Any]:
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def on_test_epoch_start(self) -> None:
        self._start_evaluation(self.data.datasets["test"])

    def test_step(self, batch: Batch, *_: Any) -> dict[str, Any]:
        return self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def _start_evaluation(self, dataset: CocoDetection) -> None:
        self._evaluator = CocoEvaluator(dataset.ground_truth(), dataset.class_names)
        self._query = encode_query(self.model, self.tokenizer, self.data.phrases())

    def _evaluate(self, batch: Batch) -> dict[str, Any]:
        """Detections in original frames, added to the evaluator."""
        assert self._query is not None
        assert self._evaluator is not None
        found = detect_images(self.model, batch["images"], self._query, self.post)
        sizes = [(x.shape[1], x.shape[2]) for x in batch["images"]]
        rows = [
            to_original(detections, size, original)._asdict()
            for detections, size, original in zip(found, sizes, batch["original_sizes"], strict=True)
        ]
        self._evaluator.update(batch["image_ids"], rows)
        return {"detections": rows}

    def _log_metrics(self, stage: Literal["val", "test"]) -> None:
        assert self._evaluator is not None
        metrics = self._evaluator.compute()
        self._query = self._evaluator = None
        if self.trainer.sanity_checking:
            return
        self.results[stage] = metrics
        named = {f"{stage}/{name}": value for name, value in metrics.items() if isinstance(value, float)}
        named |= {f"{stage}/AP_class/{name}": value for name, value in metrics["AP_class"].items()}
        for name, value in named.items():  # equal on all ranks already; sync_dist only tells Lightning so
            self.log(name, value, prog_bar=name in (f"{stage}/AP", f"{stage}/AP50"), sync_dist=True)
