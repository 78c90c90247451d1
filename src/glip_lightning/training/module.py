"""GLIPModule, the single LightningModule."""

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.sampler import step_seed
from glip_lightning.data.types import Batch, Split
from glip_lightning.evaluation.coco_ap import CocoEvaluator
from glip_lightning.inference.predictor import find_classes, to_original
from glip_lightning.models.detector import EncodedImages, GroundTruth
from glip_lightning.models.feature_cache import FeatureCache
from glip_lightning.models.query import Query, encode_query, same_names
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.ops.postprocess import Detections
from glip_lightning.text.phrases import Phrase, words_of
from glip_lightning.training.data_module import DetectionData, TaskPrompt
from glip_lightning.training.record import RunRecord
from glip_lightning.training.schedules import Constant, PlateauLR, Schedule
from glip_lightning.tuning.base import (
    ParameterGroup,
    PartCount,
    Tuning,
    count_parts,
    eval_where_frozen,
)
from glip_lightning.tuning.weight_tunings import FullTuning
from glip_lightning.weights.base_model import absolute
from glip_lightning.weights.load import Loaded, Task, load_detector
from glip_lightning.weights.trained_weights import describe_trained_detector

log = logging.getLogger(__name__)


def _seed() -> int:
    """Of seed_everything."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


class GLIPModule(LightningModule):
    """Trains and evaluates a detector.

    Logs ``train/loss`` and its parts, ``val/AP``, ``val/AP50``, ..., ``val/AP_class/<name>``, the same for test.
    """

    def __init__(
        self,
        detector: str = "glip-tiny",
        weights: Literal["pretrained", "random"] = "pretrained",
        tuning: Tuning | None = None,
        schedule: Schedule | None = None,
        features: FeatureCache | None = None,
    ) -> None:
        """``detector``: a name, a Hub repository, a folder or a finished run. ``tuning`` says what is trained and
        how fast (default FullTuning), ``schedule`` how the rates change in the course of the run (Constant),
        ``features`` where that is kept which a frozen part need compute only once (FeatureCache)."""
        super().__init__()
        log.info("loading %s", detector)
        loaded = load_detector(detector, weights)
        self.detector, self.origin, self.task = loaded.name, loaded.weights, loaded.task
        self.reader = loaded.reader
        self.model, self.tokenizer = loaded.model.train(), loaded.tokenizer
        self.tuning = tuning or FullTuning()
        if own := self.tuning.use_rates(self.model.defaults.rates):
            log.info(
                "%s of %s: the detector's own",
                ", ".join(f"{name} {x:g}" for name, x in own.items()),
                detector,
            )
        self.tuning.check_rates()
        self.schedule = schedule or Constant()
        self.features = features or FeatureCache()
        self._views_come_again = True
        self.lr_factor = 1.0
        """Multiplies every learning rate: for a batch that is larger than the one they were chosen for."""
        self._groups: list[ParameterGroup] | None = None
        self.record = RunRecord()
        """What evaluations found, and what else becomes of a run."""
        self.task_prompt: TaskPrompt | None = None
        """What the classes of the data are called, from setup on."""
        self._query: Query | None = None
        self._evaluator: CocoEvaluator | None = None

    @property
    def data(self) -> DetectionData:
        """The data of the run; nobody else asks the trainer for them."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, DetectionData):
            raise GLIPError(
                "GLIPModule needs a DetectionData datamodule: trainer.fit(module, datamodule=...)",
                code="no-data-module",
            )
        return data

    @property
    def input_size(self) -> tuple[int, int]:
        """The detector's own: short side and longest side in pixels, those it was fine-tuned at if it was."""
        return self.task.input_size if self.task else self.model.defaults.input_size

    def setup(self, stage: str) -> None:
        """Make the prompt of the data, which are set up before, and hand it to them; their loaders are made after."""
        self.task_prompt = TaskPrompt.of(self.data, self.tuning, self.tokenizer)
        self.data.check_words(self.reader)
        self.data.use_input_size(self.input_size)
        if stage == "fit":
            self.data.check_settings()
        self.data.ask_with(self.task_prompt)
        self._views_come_again = self.data.augment is None

    def phrases(self) -> list[Phrase]:
        """How the classes of the task stand in the caption."""
        assert self.task_prompt is not None, "a trainer sets the module up"
        return list(self.task_prompt.phrases)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.record.best_epoch = checkpoint["epoch"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put averaged weights into a checkpoint of weights alone, which Lightning does not show to callbacks."""
        if self.task_prompt is not None:
            checkpoint["detector"] = describe_trained_detector(
                self.model,
                base=absolute(self.detector),
                phrases=self.data.phrases(),
                names=self.data.class_names,
                input_size=(self.data.test_size, self.data.max_size),
                learns_text=self.tuning.learns_text,
                update_scale=self.tuning.update_scale,
            )
        if "optimizer_states" in checkpoint:
            return
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging):
                callback.on_save_checkpoint(self.trainer, self, checkpoint)
                checkpoint.pop("current_model_state", None)
                checkpoint.pop("averaging_state", None)

    def configure_model(self) -> None:
        """Let the tuning freeze and add parameters, once, before the model is wrapped and a checkpoint is read.

        A callback that copies the weights calls this in its own setup, which comes before that of the module.
        """
        if self._groups is not None:
            return
        if self.task_prompt is None:
            self.setup("fit")
        assert self.task_prompt is not None
        self.tuning.remember_base(self.model)
        self._meet_classes()
        self._groups = self.tuning.setup(self.model, self.task_prompt.single, self.tokenizer)
        self.train(self.training)

    def _meet_classes(self) -> None:
        """Start the table of classes anew for other classes than those it was trained for, which its rows mean."""
        known = self.task.phrases if self.task else ()
        if self.model.reads_text or self.origin == "random" or same_names(known, self.phrases()):
            return
        self.model.start_classes_anew(_seed())
        names = ", ".join(phrase.name for phrase in known) or "classes that are not on record"
        if self.trainer.state.fn == TrainerFn.FITTING:
            log.info(
                "%s was trained for %s: its table of classes starts anew, all else is kept",
                self.detector,
                names,
            )
        else:
            log.warning(
                "%s was trained for %s, not for the classes of these data: its table of classes is random, and so is "
                "what it finds; train it on them first",
                *(self.detector, names),
            )

    def train(self, mode: bool = True) -> "GLIPModule":
        """Train mode for what is trained; the frozen parts stay in eval mode."""
        super().train(mode)
        if mode and self._groups is not None:
            eval_where_frozen(self.model)
        return self

    def on_fit_start(self) -> None:
        self.train()
        log.info(
            "%s (%s weights), %s, on %s",
            self.detector,
            self.origin,
            type(self.tuning).__name__,
            self.device,
        )
        for name, part in self.parts().items():
            log.info(
                "  %-6s %11s of %11s parameters trainable",
                name,
                f"{part.trainable:,}",
                f"{part.total:,}",
            )
        for group in self._groups or ():
            rate, decay, tensors = (
                group["lr"] * self.lr_factor,
                group["weight_decay"],
                len(group["params"]),
            )
            log.info(
                "  %s: %d tensors, learning rate %g, weight decay %g",
                group["name"],
                tensors,
                rate,
                decay,
            )

    def parts(self) -> dict[str, PartCount]:
        """How much of each part is trained."""
        return count_parts(self.model, self.tuning)

    def configure_optimizers(self) -> Any:
        assert self._groups is not None
        groups = [{**group, "lr": group["lr"] * self.lr_factor} for group in self._groups]
        # one kernel for all tensors; not in mixed precision, where Lightning refuses to clip for it, scaled or not
        optimizer = torch.optim.AdamW(groups, fused="mixed" not in self.trainer.precision)
        steps = self.trainer.estimated_stepping_batches
        scheduler = self.schedule.build(optimizer, None if math.isinf(steps) else int(steps))
        # the plateau is told of every validation below; Lightning would tell it of every epoch
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": scheduler,
                "interval": "step",
                "reduce_on_plateau": False,
            },
        }

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Makes dropout a function of (seed, epoch, batch, rank): a resumed run draws what it would have drawn."""
        torch.manual_seed(step_seed(_seed(), self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, *_: Any) -> Tensor:
        text = self._encode_text(batch["input_ids"], batch["attention_mask"]).select(
            batch["caption_index"]
        )
        cache = self.features if self._views_come_again else None
        outputs = self._encode_images(batch["images"], cache).detect(text)
        sizes = [(x.shape[1], x.shape[2]) for x in batch["images"]]
        losses = self.model.losses(
            outputs, text, GroundTruth(batch["boxes"], batch["positive_maps"], sizes)
        )
        total = torch.as_tensor(sum(losses.values()))
        images = len(batch["images"])
        self.log("train/loss", total, prog_bar=True, batch_size=images)
        self.log_dict({f"train/loss_{name}": x for name, x in losses.items()}, batch_size=images)
        return total

    def _encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        return self.tuning.encode_text(self.model, input_ids, attention_mask)

    def _encode_images(self, images: Sequence[Tensor], cache: FeatureCache | None) -> EncodedImages:
        return self.model.encode_images(images, self.tuning.frozen_stages(self.model), cache)

    def on_fit_end(self) -> None:
        if frozen := self.tuning.frozen_stages(self.model):
            if not self._views_come_again:
                log.info("no augmented view comes again: features of training images were not kept")
            log.info("features (%s): %s", frozen[-1].holds, self.features.summary())

    def on_validation_epoch_start(self) -> None:
        self._start_evaluation(self.data.datasets["valid"])

    def validation_step(self, batch: Batch, *_: Any) -> dict[str, Any]:
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val", "valid")
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            scheduler, metrics = self.lr_schedulers(), self.record.metrics["val"]
            if isinstance(scheduler, PlateauLR) and metrics is not None:
                scheduler.step(metrics["AP"])

    def on_test_epoch_start(self) -> None:
        self._start_evaluation(self.data.datasets["test"])

    def test_step(self, batch: Batch, *_: Any) -> dict[str, Any]:
        return self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test", "test")

    def _start_evaluation(self, dataset: DetectionDataset) -> None:
        self._evaluator = CocoEvaluator(dataset.index.ground_truth(), dataset.class_names)
        self._query = self.query()

    def query(self) -> Query:
        """The classes of the task, encoded as they are now."""
        return encode_query(self.model, self.tokenizer, self.phrases(), self._encode_text)

    @torch.no_grad()
    def keep(self, folder: Path) -> None:
        """Write what was learned into the run's ``folder``, as the tuning does; it cannot be trained on afterwards."""
        data = self.data
        trained = Loaded(
            self.model, self.tokenizer, self.detector, self.origin, words=self._words()
        )
        task = Task(tuple(data.phrases()), (data.test_size, data.max_size), tuple(data.class_names))
        self.tuning.save(folder, trained, task)

    def _words(self) -> frozenset[str] | None:
        """Return all words that training has shown; None where those of the weights it began with are not known."""
        before = frozenset[str]() if self.origin == "random" else self.reader.words
        if before is None or not self.model.reads_text:
            return None
        return before | words_of(self.data.captions())

    def find(self, images: Sequence[Tensor], query: Query) -> list[Detections]:
        """Detections (inclusive boxes, input frame) of RGB images, uint8 [3, h, w], already resized."""
        return find_classes(self._encode_images(images, self.features), query)

    def _evaluate(self, batch: Batch) -> dict[str, Any]:
        """Detections in original frames, added to the evaluator."""
        assert self._query is not None
        assert self._evaluator is not None
        found = self.find(batch["images"], self._query)
        sizes = [(x.shape[1], x.shape[2]) for x in batch["images"]]
        rows = [
            to_original(detections, size, original)._asdict()
            for detections, size, original in zip(
                found, sizes, batch["original_sizes"], strict=True
            )
        ]
        self._evaluator.update(batch["image_ids"], rows)
        return {"detections": rows}

    def _log_metrics(self, stage: Literal["val", "test"], split: Split) -> None:
        assert self._evaluator is not None
        metrics = self._evaluator.compute()
        if self.trainer.state.fn != TrainerFn.FITTING:
            self.record.detections = self._evaluator.detections(
                self.data.datasets[split].index.category_ids
            )
            if stage == "val":
                self.record.thresholds = self._evaluator.best_thresholds()
        if stage == "test":
            metrics["bootstrap"] = self._evaluator.bootstrap()
        self._query = self._evaluator = None
        if self.trainer.sanity_checking:
            return
        self.record.metrics[stage] = metrics
        named = {
            f"{stage}/{name}": value for name, value in metrics.items() if isinstance(value, float)
        }
        named |= {f"{stage}/AP_class/{name}": value for name, value in metrics["AP_class"].items()}
        for (
            name,
            value,
        ) in named.items():  # equal on all ranks already; sync_dist only tells Lightning so
            self.log(name, value, prog_bar=name in (f"{stage}/AP", f"{stage}/AP50"), sync_dist=True)
