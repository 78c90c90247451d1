"""AP on a probe set before and after training, and for weights between both: what is retained."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.findings import data_error
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
    """Measures AP on a probe set before and after a fit, and its trade-off with AP on the task.

    The detector alone encodes the captions of the probe: a learned prompt belongs to the captions
    of its task. So a tuning that trains only a prompt does not change this number at all. Every
    process evaluates its share of the images.

    Robust fine-tuning (WiSE-FT, arXiv 2109.01903) averages weights. For each of ``wise_ft``, the
    share of the tuned weights, all tensors of detector and tuning are interpolated between the
    first and the best weights of the training. They are evaluated on the valid split of the task
    (a share must not be chosen on the test split) and on the probe. Parameters that a tuning adds
    are interpolated from their initial values, which change nothing; of a low-rank update each of
    the two factors is interpolated. The run keeps the tuned weights. This takes two copies of the
    weights in the memory of the CPU.
    """

    def __init__(self, data: DetectionData, wise_ft: Sequence[float] = ()) -> None:
        """Choose the probe.

        Args:
            data: the probe; its test split is evaluated, or its valid split where there is none.
            wise_ft: shares of the tuned weights, from 0 (the first weights) to 1 (tuned).

        Raises:
            GLIPError: a share is below 0 or above 1 (code ``bad-value``).
        """
        outside = [alpha for alpha in wise_ft if not 0 <= alpha <= 1]
        if outside:
            raise GLIPError(
                f"retention.wise_ft={outside}: shares of the tuned weights lie between 0 and 1",
                code="bad-value",
            )
        self.data, self.alphas = data, tuple(wise_ft)
        self._dataset: DetectionDataset | None = None
        self._base: State | None = None
        self._before: float | None = None
        self._warned = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Read the probe before anything is trained, and copy the first weights.

        Lightning loads the checkpoint of a resumed run only after this.
        """
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
        if module.model.reads_text or same_names(self.data.phrases(), module.data.phrases()):
            return
        raise GLIPError(
            f"retention.data {self.data.label}: {module.detector} has a table of classes and knows "
            "only those of its task; probe it on the same classes, or leave retention out",
            code="other-classes",
        )

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GLIPModule)
        if self._before is None:  # an interrupted run has measured it already
            self._before = self._probe(trainer, pl_module)
            self._log(trainer, BEFORE, self._before)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"before": self._before}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["before"]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Measure the trained weights after their validation."""
        if stage == "validate":
            assert isinstance(pl_module, GLIPModule)
            self._measure_trained(trainer, pl_module)

    def _measure_trained(self, trainer: Trainer, module: GLIPModule) -> None:
        """Measure the weights that ``module`` has after a fit, and interpolated ones.

        The module has its own weights again afterwards.
        """
        assert self._dataset is not None
        module.to(trainer.strategy.root_device)  # an evaluation leaves it on the CPU
        after = self._probe(trainer, module)
        before = self._before
        if before is None:  # nothing was trained
            before = after
        self._log(trainer, AFTER, after)
        if trainer.is_global_zero:
            log.info(
                "retention on %s: AP %s before, %s after",
                self.data.label,
                in_points(before),
                in_points(after),
            )
        points: list[dict[str, float | None]] = []
        if self._base is not None:
            points = self._measure_interpolated(trainer, module, self._base)
        record_of(module).retention = {
            "probe": self.data.label,
            "split": str(self._dataset.index.where),
            "images": len(self._dataset.index),
            "before": before,
            "after": after,
            "wise_ft": points,
        }

    def _measure_interpolated(
        self, trainer: Trainer, module: GLIPModule, base: State
    ) -> list[dict[str, float | None]]:
        """Return AP on the valid split and on the probe for each share of the tuned weights."""
        valid = module.data.datasets.get("valid")
        tuned = _copy(module)
        points: list[dict[str, float | None]] = []
        try:
            for alpha in self.alphas:
                module.load_state_dict(interpolate(base, tuned, alpha))
                kept = self._probe(trainer, module)
                ap = None
                if valid is not None and len(valid):
                    with evaluating(trainer, module):
                        ap = evaluate(trainer, module, valid, module.query())["AP"]
                if trainer.is_global_zero:
                    log.info(
                        "WiSE-FT %.2f: AP %s, on the probe %s",
                        alpha,
                        in_points(ap),
                        in_points(kept),
                    )
                points.append({"alpha": alpha, "AP": ap, "probe_AP": kept})
        finally:
            module.load_state_dict(tuned)
            self._base = None
        return points

    def _probe(self, trainer: Trainer, module: GLIPModule) -> float:
        assert self._dataset is not None
        with evaluating(trainer, module):
            query = encode_query(module.model, module.tokenizer, self.data.phrases())
            silent = classes_without_tokens(query.prompts, self._dataset.class_names)
            if silent and not self._warned:
                log.warning(
                    "retention: no token names %s: never found", ", ".join(map(repr, silent))
                )
            self._warned = True
            return evaluate(trainer, module, self._dataset, query)["AP"]

    def _log(self, trainer: Trainer, name: str, ap: float) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.log_metrics({name: ap}, trainer.global_step)
            logger.save()


def probe_split(data: DetectionData) -> DetectionDataset:
    """Read a probe and return its test split, or its valid split where there is none.

    Raises:
        DataError: it has neither (code ``no-split``).
    """
    data.read_splits()
    for split in ("test", "valid"):
        if len(data.datasets.get(split, ())):
            return data.datasets[split]
    raise data_error("no-split/probe", f"retention.data {data.label}")


def interpolate(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float) -> State:
    """Return the weights between two state dicts, on the CPU.

    Floating point tensors are ``(1 - alpha) * base + alpha * tuned``, others those of ``tuned``.
    ``alpha`` 0 and 1 give the ends bit for bit, and equal tensors stay equal. Source: WiSE-FT,
    arXiv 2109.01903.

    Raises:
        GLIPError: a tensor is in one of the two states only (code ``other-tensors``).
    """
    apart = sorted(base.keys() ^ tuned.keys())
    if apart:
        raise GLIPError(
            f"{', '.join(apart[:5])} ({len(apart)} tensors): in one of the two states only",
            code="other-tensors",
        )
    between: State = {}
    for key, tensor in tuned.items():
        if tensor.is_floating_point():
            between[key] = torch.lerp(base[key].cpu(), tensor.cpu(), alpha)
        else:
            between[key] = tensor
    return between


def _copy(module: LightningModule) -> State:
    return {key: tensor.detach().cpu().clone() for key, tensor in module.state_dict().items()}
