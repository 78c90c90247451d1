"""GLIPModule, the single LightningModule."""

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from typing_extensions import override

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
from glip_lightning.training.callbacks.ema import averages
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


def _global_seed() -> int:
    """Return the seed of ``seed_everything``, 0 if it was not called."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


class GLIPModule(LightningModule):
    """Trains and evaluates a detector.

    Logs ``train/loss`` and its parts, ``val/AP``, ``val/AP50``, ..., ``val/AP_class/<name>``, and
    the same for test. AP lies between 0 and 1.
    """

    def __init__(
        self,
        detector: str = "glip-tiny",
        weights: Literal["pretrained", "random"] = "pretrained",
        tuning: Tuning | None = None,
        schedule: Schedule | None = None,
        features: FeatureCache | None = None,
    ) -> None:
        """Load a detector that is to be trained or evaluated.

        Args:
            detector: a name, a repository of the Hub, a folder, or the folder of a finished run.
            weights: "random" takes the architecture alone and begins with random weights.
            tuning: what is trained, and at which learning rates; by default FullTuning at the
                rates of the detector.
            schedule: how the learning rates change during the run; by default Constant.
            features: cache for the outputs of frozen layers; by default FeatureCache.
        """
        super().__init__()
        log.info("loading %s", detector)
        loaded = load_detector(detector, weights)
        self.detector, self.origin, self.task = loaded.name, loaded.weights, loaded.task
        self.reader = loaded.reader
        self.model, self.tokenizer = loaded.model.train(), loaded.tokenizer
        self.tuning = FullTuning() if tuning is None else tuning
        self._own_rates = self.tuning.use_rates(self.model.defaults.rates)
        self.tuning.check_rates()
        self.schedule = Constant() if schedule is None else schedule
        self.features = FeatureCache() if features is None else features
        self._augments = False  # training images, as the data say in setup
        self.lr_factor = 1.0
        """Multiplies every learning rate: above 1 for a batch that is larger than the one asked
        for."""
        self._groups: list[ParameterGroup] | None = None
        self.record = RunRecord()
        """What evaluations have measured, and what has happened in the run."""
        self.task_prompt: TaskPrompt | None = None
        """The captions for the classes of the data, from ``setup`` on."""
        self._query: Query | None = None
        self._evaluator: CocoEvaluator | None = None

    @property
    def data(self) -> DetectionData:
        """The data of the run.

        Raises:
            GLIPError: the trainer has data of another class, or none (code ``no-data-module``).
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, DetectionData):
            raise GLIPError(
                "GLIPModule needs a DetectionData datamodule: trainer.fit(module, datamodule=...)",
                code="no-data-module",
            )
        return data

    @property
    def input_size(self) -> tuple[int, int]:
        """Short and longest side in pixels: those of its fine-tuning, else the detector's own."""
        if self.task is not None:
            return self.task.input_size
        return self.model.defaults.input_size

    def setup(self, stage: str) -> None:
        """Make the captions of the data, unless they are made, and hand them to the data.

        Lightning sets up the data before this, and makes their loaders after it. It calls this for
        each of fit, validate and test.
        """
        phrases = tuple(self.tuning.phrases(self.data.phrases()))
        if self.task_prompt is None or self.task_prompt.phrases != phrases:
            self.task_prompt = TaskPrompt.of(self.data, self.tuning, self.tokenizer)
        self.data.check_words(self.reader)
        self.data.use_input_size(self.input_size)
        if stage == "fit":
            self.data.check_settings()
        self.data.ask_with(self.task_prompt)
        self._augments = self.data.augment is not None

    def phrases(self) -> list[Phrase]:
        """Return the phrase of each class in the caption, with the words that the tuning adds."""
        assert self.task_prompt is not None, "a trainer sets the module up"
        return list(self.task_prompt.phrases)

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.record.best_epoch = checkpoint["epoch"]
        self.record.best_step = checkpoint["global_step"]

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Lightning shows a checkpoint of weights alone to no callback: averaged weights go in here
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
        for average in averages(self.trainer):
            average.on_save_checkpoint(self.trainer, self, checkpoint)
            checkpoint.pop("current_model_state", None)
            checkpoint.pop("averaging_state", None)

    def configure_model(self) -> None:
        """Let the tuning freeze and add parameters, once, before the strategy wraps the model.

        A callback that copies the weights calls this in its own setup, which comes before that of
        the module.
        """
        if self._groups is not None:
            return
        if self.task_prompt is None:
            self.setup("fit")
        assert self.task_prompt is not None
        self.tuning.remember_base(self.model)
        self._start_other_classes_anew()
        self._groups = self.tuning.setup(self.model, self.task_prompt.single, self.tokenizer)
        self.train(self.training)

    def _start_other_classes_anew(self) -> None:
        """Make the table of classes random where its rows belong to other classes."""
        known = () if self.task is None else self.task.phrases
        if self.model.reads_text or self.origin == "random" or same_names(known, self.phrases()):
            return
        self.model.start_classes_anew(_global_seed())
        names = ", ".join(phrase.name for phrase in known)
        if not names:
            names = "classes that are not on record"
        if self.trainer.state.fn == TrainerFn.FITTING:
            log.info(
                "%s was trained for %s: its table of classes starts anew, all else is kept",
                self.detector,
                names,
            )
        else:
            log.warning(
                "%s was trained for %s, not for the classes of these data: its table of classes is "
                "random, and so is what it finds; train it on them first",
                self.detector,
                names,
            )

    def train(self, mode: bool = True) -> "GLIPModule":
        """Switch what is trained to train mode; frozen parts stay in eval mode."""
        super().train(mode)
        if mode and self._groups is not None:
            eval_where_frozen(self.model)
        return self

    @override
    def on_fit_start(self) -> None:
        self.train()
        self._log_trained_parameters()
        self._log_rates()
        self._log_feature_cache()

    def _log_trained_parameters(self) -> None:
        parts = self.parts()
        whole = parts.pop("all")
        counts: list[str] = []
        for name, part in parts.items():
            count = f"{name} {part.trainable:,}"
            if 0 < part.trainable < part.total:
                count += f" of {part.total:,}"
            counts.append(count)
        log.info(
            "%s of %s (%s weights) on %s: %s of %s parameters are trained (%s)",
            type(self.tuning).__name__,
            self.detector,
            self.origin,
            self.device,
            f"{whole.trainable:,}",
            f"{whole.total:,}",
            ", ".join(counts),
        )

    def _log_rates(self) -> None:
        assert self._groups is not None
        rates: list[str] = []
        for group in self._groups:
            rate = group["lr"] * self.lr_factor
            rates.append(f"{group['name']} {rate:g} and {group['weight_decay']:g}")
        line = f"learning rate and weight decay: {', '.join(rates)}"
        if self._own_rates:
            line += f"; {' and '.join(self._own_rates)}: the detector's own"
        log.info("%s", line)

    def _log_feature_cache(self) -> None:
        frozen = self.tuning.frozen_stages(self.model)
        if not frozen or not self.features.store.limit:
            return
        if self.caches_training_features():
            images = "cached for all images"
        else:
            images = "cached for validation images; augmentation changes training images each time"
        log.info("features of frozen layers (%s): %s", frozen[-1].holds, images)

    def caches_training_features(self) -> bool:
        """Return whether the features of training images are cached for later epochs.

        They are where the first layers are frozen, the cache has room at all, and an image comes
        again as it is: augmentation shows each view once.
        """
        has_frozen_layers = bool(self.tuning.frozen_stages(self.model))
        return has_frozen_layers and self.features.store.limit > 0 and not self._augments

    def parts(self) -> dict[str, PartCount]:
        """Return how many parameters of each part there are and are trained; "all" is their sum."""
        return count_parts(self.model, self.tuning)

    @override
    def configure_optimizers(self) -> Any:
        assert self._groups is not None
        groups = [{**group, "lr": group["lr"] * self.lr_factor} for group in self._groups]
        # one kernel for all tensors; in mixed precision Lightning refuses to clip gradients for it
        is_mixed = "mixed" in self.trainer.precision
        optimizer = torch.optim.AdamW(groups, fused=not is_mixed)
        steps = self.trainer.estimated_stepping_batches
        total = None if math.isinf(steps) else int(steps)
        scheduler = self.schedule.build(optimizer, total)
        # on_validation_epoch_end steps the plateau; Lightning would step it at every epoch
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": scheduler,
                "interval": "step",
                "reduce_on_plateau": False,
            },
        }

    @override
    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # dropout is a function of (seed, epoch, batch, rank): a resumed run draws the same numbers
        seed = step_seed(_global_seed(), self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(seed)

    @override
    def training_step(self, batch: Batch, *_: Any) -> Tensor:
        encoded = self._encode_text(batch["input_ids"], batch["attention_mask"])
        text = encoded.select(batch["caption_index"])
        cache = None if self._augments else self.features
        outputs = self._encode_images(batch["images"], cache).detect(text)
        sizes = [(image.shape[1], image.shape[2]) for image in batch["images"]]
        truth = GroundTruth(batch["boxes"], batch["positive_maps"], sizes)
        losses = self.model.losses(outputs, text, truth)
        total = torch.as_tensor(sum(losses.values()))
        images = len(batch["images"])
        self.log("train/loss", total, prog_bar=True, batch_size=images)
        named = {f"train/loss_{name}": loss for name, loss in losses.items()}
        self.log_dict(named, batch_size=images)
        return total

    def _encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        return self.tuning.encode_text(self.model, input_ids, attention_mask)

    def _encode_images(self, images: Sequence[Tensor], cache: FeatureCache | None) -> EncodedImages:
        return self.model.encode_images(images, self.tuning.frozen_stages(self.model), cache)

    @override
    def on_fit_end(self) -> None:
        frozen = self.tuning.frozen_stages(self.model)
        if frozen:
            log.info("features (%s): %s", frozen[-1].holds, self.features.summary())

    @override
    def on_validation_epoch_start(self) -> None:
        self._start_evaluation(self.data.datasets["valid"])

    @override
    def validation_step(self, batch: Batch, *_: Any) -> dict[str, Any]:
        return self._evaluate(batch)

    @override
    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val", "valid")
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            scheduler = self.lr_schedulers()
            metrics = self.record.metrics["val"]
            if isinstance(scheduler, PlateauLR) and metrics is not None:
                scheduler.step(metrics["AP"])

    @override
    def on_test_epoch_start(self) -> None:
        self._start_evaluation(self.data.datasets["test"])

    @override
    def test_step(self, batch: Batch, *_: Any) -> dict[str, Any]:
        return self._evaluate(batch)

    @override
    def on_test_epoch_end(self) -> None:
        self._log_metrics("test", "test")

    def _start_evaluation(self, dataset: DetectionDataset) -> None:
        self._evaluator = CocoEvaluator(dataset.index.ground_truth(), dataset.class_names)
        self._query = self.query()

    def query(self) -> Query:
        """Return the classes of the task, encoded by the weights as they are now."""
        prompt = self.task_prompt
        assert prompt is not None, "a trainer sets the module up"
        return encode_query(
            self.model, self.tokenizer, prompt.phrases, self._encode_text, prompts=prompt.prompts
        )

    @torch.no_grad()
    def keep(self, folder: Path) -> None:
        """Write what was learned into the folder of a run, as the tuning does.

        The module cannot be trained on afterwards.
        """
        data = self.data
        words = self._known_words()
        trained = Loaded(self.model, self.tokenizer, self.detector, self.origin, words=words)
        task = Task(tuple(data.phrases()), (data.test_size, data.max_size), tuple(data.class_names))
        self.tuning.save(folder, trained, task)

    def _known_words(self) -> frozenset[str] | None:
        """Return all words of its captions, None where those of the first weights are not known."""
        before = frozenset[str]() if self.origin == "random" else self.reader.words
        if before is None or not self.model.reads_text:
            return None
        return before | words_of(self.data.captions())

    def find(self, images: Sequence[Tensor], query: Query) -> list[Detections]:
        """Return the detections of each image, with inclusive boxes in the frame of the input.

        ``images`` are RGB, uint8 [3, h, w], already resized.
        """
        return find_classes(self._encode_images(images, self.features), query)

    def _evaluate(self, batch: Batch) -> dict[str, Any]:
        """Find objects and add them, in the frames of the original images, to the evaluator."""
        assert self._query is not None
        assert self._evaluator is not None
        found = self.find(batch["images"], self._query)
        rows: list[dict[str, Any]] = []
        for detections, image, original in zip(
            found, batch["images"], batch["original_sizes"], strict=True
        ):
            size = (image.shape[1], image.shape[2])
            rows.append(to_original(detections, size, original)._asdict())
        self._evaluator.update(batch["image_ids"], rows)
        return {"detections": rows}

    def _log_metrics(self, stage: Literal["val", "test"], split: Split) -> None:
        assert self._evaluator is not None
        metrics = self._evaluator.compute()
        if self.trainer.state.fn != TrainerFn.FITTING:
            category_ids = self.data.datasets[split].index.category_ids
            self.record.detections = self._evaluator.detections(category_ids)
            if stage == "val":
                self.record.thresholds = self._evaluator.best_thresholds()
        if stage == "test":
            metrics["bootstrap"] = self._evaluator.bootstrap()
        self._query = self._evaluator = None
        if self.trainer.sanity_checking:
            return
        self.record.metrics[stage] = metrics
        named = {f"{stage}/{name}": x for name, x in metrics.items() if isinstance(x, float)}
        named |= {f"{stage}/AP_class/{name}": x for name, x in metrics["AP_class"].items()}
        on_bar = (f"{stage}/AP", f"{stage}/AP50")
        for name, value in named.items():
            # all ranks have the same value; without sync_dist Lightning warns
            self.log(name, value, prog_bar=name in on_bar, sync_dist=True)
