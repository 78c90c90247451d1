"""GLIPModule, the single LightningModule."""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.sampler import step_seed
from glip_lightning.data.types import Batch, Split
from glip_lightning.evaluation.best_threshold import BestThreshold
from glip_lightning.evaluation.coco_ap import CocoEvaluator
from glip_lightning.inference.predictor import detect_images, to_original
from glip_lightning.models.detector import GroundTruth, Outputs
from glip_lightning.models.query import Query, encode_query, same_names
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.ops.postprocess import Detections
from glip_lightning.text.captions import build_prompts
from glip_lightning.text.phrases import Phrase
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.schedules import Constant, PlateauLR, Schedule
from glip_lightning.tuning.base import ParameterGroup, PartCount, Tuning, count_parts, eval_where_frozen
from glip_lightning.tuning.feature_cache import NOTHING, FeatureCache
from glip_lightning.tuning.weight_tunings import FullTuning
from glip_lightning.weights.adapter import RUN_ADAPTER, Adapter, save_adapter
from glip_lightning.weights.base_model import Base, absolute, weights_hash
from glip_lightning.weights.load import RUN_DETECTOR, Task, load_detector, save
from glip_lightning.weights.prompt_file import PROMPT_NAME, TunedPrompt, save_prompt

log = logging.getLogger(__name__)

Metrics = dict[str, Any]


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
        loaded = load_detector(detector, weights)
        self.detector, self.origin, self.task = loaded.name, loaded.weights, loaded.task
        self.model, self.tokenizer = loaded.model.train(), loaded.tokenizer
        self.tuning = tuning or FullTuning()
        self.schedule = schedule or Constant()
        self.features = features or FeatureCache()
        self.lr_factor = 1.0
        """Multiplies every learning rate: for a batch that is larger than the one they were chosen for."""
        self._groups: list[ParameterGroup] | None = None
        self._base_hash = ""  # of the weights that an adapter or a prompt is trained on
        self.results: dict[str, Metrics] = {}
        """Metrics of the last evaluation of each split, by "val" and "test"."""
        self.detections: list[dict[str, Any]] = []
        """What the last evaluation outside of training found, as COCO results with the data set's ids."""
        self.thresholds: dict[str, BestThreshold] | None = None
        """Of the classes as captions name them, chosen in the last validation outside of training, if there was one."""
        self.best_epoch: int | None = None  # epoch of the weights that were loaded from a checkpoint
        self._query: Query | None = None
        self._evaluator: CocoEvaluator | None = None

    @property
    def data(self) -> DetectionData:
        datamodule = getattr(self.trainer, "datamodule", None)
        if not isinstance(datamodule, DetectionData):
            raise TypeError("GLIPModule needs a DetectionData datamodule: trainer.fit(module, datamodule=...)")
        return datamodule

    def phrases(self) -> list[Phrase]:
        """How the classes of the task stand in the caption."""
        return self.tuning.phrases(self.data.phrases())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best_epoch = checkpoint["epoch"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put averaged weights into a checkpoint of weights alone, which Lightning does not show to callbacks."""
        if "optimizer_states" in checkpoint:
            return
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging):
                callback.on_save_checkpoint(self.trainer, self, checkpoint)
                checkpoint.pop("current_model_state", None)
                checkpoint.pop("averaging_state", None)

    def configure_model(self) -> None:
        """Let the tuning freeze and add parameters, once, before the model is wrapped and a checkpoint is read."""
        if self._groups is None:
            if self.tuning.leaves != "detector":  # now: training may round all weights (precision 16-true)
                self._base_hash = weights_hash(self.model, text=self.tuning.leaves == "adapter")
            self._meet_classes()
            prompts = build_prompts(self.phrases(), self.tokenizer)
            self._groups = self.tuning.setup(self.model, prompts[0] if len(prompts) == 1 else None, self.tokenizer)
            self.train(self.training)

    def _meet_classes(self) -> None:
        """Start the table of classes anew for other classes than those it was trained for, which its rows mean."""
        known = self.task.phrases if self.task else ()
        if self.model.reads_text or self.origin == "random" or same_names(known, self.phrases()):
            return
        self.model.start_classes_anew(_seed())
        names = ", ".join(phrase.name for phrase in known) or "classes that are not on record"
        if self.trainer.state.fn == TrainerFn.FITTING:
            log.info("%s was trained for %s: its table of classes starts anew, all else is kept", self.detector, names)
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
        log.info("%s (%s weights), %s, on %s", self.detector, self.origin, type(self.tuning).__name__, self.device)
        for name, part in self.parts().items():
            log.info("  %-6s %11s of %11s parameters trainable", name, f"{part.trainable:,}", f"{part.total:,}")
        for group in self._groups or ():
            rate, decay, tensors = group["lr"] * self.lr_factor, group["weight_decay"], len(group["params"])
            log.info("  %s: %d tensors, learning rate %g, weight decay %g", group["name"], tensors, rate, decay)

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
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "reduce_on_plateau": False},
        }

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Makes dropout a function of (seed, epoch, batch, rank): a resumed run draws what it would have drawn."""
        torch.manual_seed(step_seed(_seed(), self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, *_: Any) -> Tensor:
        text = self._encode_text(batch["input_ids"], batch["attention_mask"]).select(batch["caption_index"])
        comes_again = self.data.augment is None
        (outputs,) = self.features.detect(self.model, self.tuning, batch["images"], [text], keep=comes_again)
        sizes = [(x.shape[1], x.shape[2]) for x in batch["images"]]
        losses = self.model.losses(outputs, text, GroundTruth(batch["boxes"], batch["positive_maps"], sizes))
        total = torch.as_tensor(sum(losses.values()))
        images = len(batch["images"])
        self.log("train/loss", total, prog_bar=True, batch_size=images)
        self.log_dict({f"train/loss_{name}": x for name, x in losses.items()}, batch_size=images)
        return total

    def _encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        return self.tuning.encode_text(self.model, input_ids, attention_mask)

    def _detect(self, images: Sequence[Tensor], texts: Sequence[TextFeatures]) -> Iterator[Outputs]:
        return self.features.detect(self.model, self.tuning, images, texts)

    def on_fit_end(self) -> None:
        if self.data.augment is not None and self.features.cut != NOTHING:
            log.info("no augmented view comes again: features of training images were not kept")
        if self.features.cut != NOTHING:
            log.info("%s", self.features.summary())

    def on_validation_epoch_start(self) -> None:
        self._start_evaluation(self.data.datasets["valid"])

    def validation_step(self, batch: Batch, *_: Any) -> dict[str, Any]:
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val", "valid")
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            scheduler = self.lr_schedulers()
            if isinstance(scheduler, PlateauLR):
                scheduler.step(self.results["val"]["AP"])

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
        """Write what was learned into the run's ``folder``: the detector, what was trained of it, or a prompt.

        Random weights are to be had nowhere else, so a detector that began with them is kept as a whole. Afterwards
        the tuning is folded into the detector and cannot be trained on.
        """
        input_size, random = (self.data.test_size, self.data.max_size), self.origin == "random"
        how = f"{type(self.tuning).__name__}({self.tuning.extra_repr()})"
        if self.tuning.leaves == "adapter" and not random:
            captions = tuple(prompt.caption for prompt in build_prompts(self.phrases(), self.tokenizer))
            base = Base(absolute(self.detector), self._base_hash, input_size)
            learned = Adapter(self.tuning.trained(self.model), tuple(self.phrases()), captions, how, base)
            save_adapter(folder / RUN_ADAPTER, learned)
        if self.tuning.leaves == "prompt":
            name = str(folder) if random else self.detector
            sha256 = weights_hash(self.model, text=False) if random else self._base_hash  # random ones are saved here
            base = Base(absolute(name), sha256, input_size)
            save_prompt(folder / PROMPT_NAME, TunedPrompt(self.query(), how, base))
        if self.tuning.leaves == "detector" or random:
            self.tuning.merge(self.model)
            save(self.model, self.tokenizer, folder / RUN_DETECTOR, Task(tuple(self.data.phrases()), input_size))

    def find(self, images: Sequence[Tensor], query: Query) -> list[Detections]:
        """Detections (inclusive boxes, input frame) of RGB images, uint8 [3, h, w], already resized."""
        return detect_images(self.model, images, query, self._detect)

    def _evaluate(self, batch: Batch) -> dict[str, Any]:
        """Detections in original frames, added to the evaluator."""
        assert self._query is not None
        assert self._evaluator is not None
        found = self.find(batch["images"], self._query)
        sizes = [(x.shape[1], x.shape[2]) for x in batch["images"]]
        rows = [
            to_original(detections, size, original)._asdict()
            for detections, size, original in zip(found, sizes, batch["original_sizes"], strict=True)
        ]
        self._evaluator.update(batch["image_ids"], rows)
        return {"detections": rows}

    def _log_metrics(self, stage: Literal["val", "test"], split: Split) -> None:
        assert self._evaluator is not None
        metrics = self._evaluator.compute()
        if self.trainer.state.fn != TrainerFn.FITTING:
            self.detections = self._evaluator.detections(self.data.datasets[split].index.category_ids)
            if stage == "val":
                named = zip(self.data.class_names, self.data.phrases(), strict=True)
                best = self._evaluator.best_thresholds()
                self.thresholds = {phrase.name: best[name] for name, phrase in named if name in best}
        if stage == "test":
            metrics["bootstrap"] = self._evaluator.bootstrap()
        self._query = self._evaluator = None
        if self.trainer.sanity_checking:
            return
        self.results[stage] = metrics
        named = {f"{stage}/{name}": value for name, value in metrics.items() if isinstance(value, float)}
        named |= {f"{stage}/AP_class/{name}": value for name, value in metrics["AP_class"].items()}
        for name, value in named.items():  # equal on all ranks already; sync_dist only tells Lightning so
            self.log(name, value, prog_bar=name in (f"{stage}/AP", f"{stage}/AP50"), sync_dist=True)
