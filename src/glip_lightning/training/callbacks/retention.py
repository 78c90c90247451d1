"""What a detector still knows after it was tuned: AP on a probe set before and after, and between both ends."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.findings import DataError
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.evaluation.points import in_points
from glip_lightning.models.query import encode_query, same_names
from glip_lightning.text.captions import classes_without_tokens
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.logging.run_names import AFTER, BEFORE
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.probing import evaluate, evaluating
from glip_lightning.training.record import record_of

log = logging.getLogger(__name__)

State = dict[str, Tensor]


class Retention(Callback):
    """AP on a probe set before and after a fit, and the trade-off between it and the AP on the task.

    The probe's captions are encoded by the detector alone: a learned prompt belongs to the captions of its task. So a
    tuning that trains nothing but a prompt leaves this number as it was, exactly. Every process evaluates its share
    of the images.

    Robust fine-tuning (WiSE-FT, arXiv 2109.01903) averages weights: for each of ``wise_ft``, the share of the tuned
    weights, all tensors of detector and tuning are interpolated between those that the training began with and the
    best ones, and evaluated on the valid split of the task (selection must not look at test) and on the probe. What a
    tuning adds is interpolated from its initial values, where it changes nothing; of a low-rank update that is each
    of the two factors. The tuned weights are what the run keeps. Costs two copies of the weights in the memory of
    the CPU.
    """

    def __init__(self, data: DetectionData, wise_ft: Sequence[float] = ()) -> None:
        """
        Args:
            data: the probe; its test split is evaluated, or the valid one where there is none.
            wise_ft: shares of the tuned weights, from 0 (as it began) to 1 (tuned).
        """
        if outside := [alpha for alpha in wise_ft if not 0 <= alpha <= 1]:
            raise GLIPError(
                f"retention.wise_ft={outside}: shares of the tuned weights lie between 0 and 1",
                code="bad-value",
            )
        self.data, self.alphas = data, tuple(wise_ft)
        self._dataset: DetectionDataset | None = None
        self._base: State | None = None
        self._before: float | None = None
        self._told = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Read the probe before anything is trained; a checkpoint that a run goes on from is loaded later."""
        assert isinstance(pl_module, GLIPModule)
        if self._dataset is None:
            if trainer.is_global_zero:
                self.data.prepare_data()
            trainer.strategy.barrier("retention")
            self.data.use_input_size(pl_module.input_size)
            self._dataset = probe_split(self.data)
            self._check_classes(pl_module)
        if stage == "fit" and self.alphas and self._base is None:
            pl_module.configure_model()  # a tuning may add parameters
            self._base = _copy(pl_module)

    def _check_classes(self, module: LightningModule) -> None:
        assert isinstance(module, GLIPModule)
        if not module.model.reads_text and not same_names(
            self.data.phrases(), module.data.phrases()
        ):
            raise GLIPError(
                f"retention.data {self.data.label}: {module.detector} has a table of classes and knows only those "
                "of its task; probe it on the same classes, or leave retention out",
                code="other-classes",
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GLIPModule)
        if self._before is None:  # else an interrupted run has measured it
            self._before = self._probe(trainer, pl_module)
            self._log(trainer, BEFORE, self._before)

    def state_dict(self) -> dict[str, Any]:
        return {"before": self._before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["before"]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Conclude where the learned weights have been validated."""
        if stage == "validate":
            assert isinstance(pl_module, GLIPModule)
            self._conclude(trainer, pl_module)

    def _conclude(self, trainer: Trainer, module: GLIPModule) -> None:
        """Measure the weights that ``module`` has after a fit, and those between; it keeps its own."""
        assert self._dataset is not None
        module.to(trainer.strategy.root_device)  # an evaluation leaves it on the CPU
        after = self._probe(trainer, module)
        before = after if self._before is None else self._before  # nothing was trained
        self._log(trainer, AFTER, after)
        tell = log.info if trainer.is_global_zero else log.debug
        tell(
            "retention on %s: AP %s before, %s after",
            self.data.label,
            in_points(before),
            in_points(after),
        )
        points = list(self._between(trainer, module)) if self._base is not None else []
        record_of(module).retention = {
            "probe": self.data.label,
            "split": str(self._dataset.index.where),
            "images": len(self._dataset.index),
            "before": before,
            "after": after,
            "wise_ft": points,
        }

    def _between(self, trainer: Trainer, module: GLIPModule) -> Iterator[dict[str, float | None]]:
        assert self._base is not None
        tell = log.info if trainer.is_global_zero else log.debug
        valid, tuned = module.data.datasets.get("valid"), _copy(module)
        try:
            for alpha in self.alphas:
                module.load_state_dict(interpolate(self._base, tuned, alpha))
                kept, ap = self._probe(trainer, module), None
                if valid is not None and len(valid):
                    with evaluating(trainer, module):
                        ap = evaluate(trainer, module, valid, module.query())["AP"]
                tell("WiSE-FT %.2f: AP %s, on the probe %s", alpha, in_points(ap), in_points(kept))
                yield {"alpha": alpha, "AP": ap, "probe_AP": kept}
        finally:
            module.load_state_dict(tuned)
            self._base = None

    def _probe(self, trainer: Trainer, module: GLIPModule) -> float:
        assert self._dataset is not None
        with evaluating(trainer, module):
            query = encode_query(module.model, module.tokenizer, self.data.phrases())
            silent = classes_without_tokens(query.prompts, self._dataset.class_names)
            if silent and not self._told:
                log.warning(
                    "retention: no token names %s: never found", ", ".join(map(repr, silent))
                )
            self._told = True
            return evaluate(trainer, module, self._dataset, query)["AP"]

    def _log(self, trainer: Trainer, name: str, ap: float) -> None:
        for logger in trainer.loggers if trainer.is_global_zero else ():
            logger.log_metrics({name: ap}, trainer.global_step)
            logger.save()


def probe_split(data: DetectionData) -> DetectionDataset:
    """The test split of a probe, or its valid split."""
    data.read_splits()
    for split in ("test", "valid"):
        if len(data.datasets.get(split, ())):
            return data.datasets[split]
    raise DataError(
        f"retention.data {data.label}: there is neither a test nor a valid split to probe on",
        code="no-split",
    )


def interpolate(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float) -> State:
    """Return the weights between two state dicts, on the CPU: ``(1 - alpha) * base + alpha * tuned``.

    Tensors that are not floating point are those of ``tuned``. ``alpha`` 0 and 1 give the ends bit for bit, as equal
    tensors stay. Source: WiSE-FT, arXiv 2109.01903.

    Raises:
        GLIPError: a tensor is in one of the two states only.
    """
    if apart := sorted(base.keys() ^ tuned.keys()):
        raise GLIPError(
            f"{', '.join(apart[:5])} ({len(apart)} tensors): in one of the two states only",
            code="other-tensors",
        )
    return {
        key: torch.lerp(base[key].cpu(), tensor.cpu(), alpha)
        if tensor.is_floating_point()
        else tensor
        for key, tensor in tuned.items()
    }


def _copy(module: LightningModule) -> State:
    return {key: tensor.detach().cpu().clone() for key, tensor in module.state_dict().items()}
