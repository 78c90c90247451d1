"""Ends a training that diverges, or goes back to its last good weights with half the rates."""

import logging
import math
from collections import deque
from statistics import median
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.training.record import record_of

log = logging.getLogger(__name__)


class DivergenceGuard(Callback):
    """Checks loss and gradients before every optimizer step, and leaves a bad step out.

    So no weight becomes NaN. A step is bad where the loss or a gradient is not finite, and where
    the loss explodes: the median of the last ``WINDOW`` losses is more than ``EXPLODED`` times the
    median of the first ``WINDOW`` of the run. The loss of a healthy run hardly ever ends above its
    start, and a median forgives single bad batches. A loss that only climbs back to its start is
    no explosion; val/AP shows it. All ranks see the mean loss and the averaged gradients, so they
    agree.
    """

    WINDOW = 20
    EXPLODED = 4.0
    KEEP_EVERY = 100  # optimizer steps between copies of the weights
    LR_FACTOR = 0.5

    def __init__(self, action: Literal["stop", "restore"] = "stop", most: int = 3) -> None:
        """Choose what happens at a bad step.

        Args:
            action: "stop" ends training; "restore" goes back to the last good weights. It keeps
                two copies of the trained weights in the memory of the host: the older one was good
                for at least ``KEEP_EVERY`` steps.
            most: "restore" goes back so many times, then it stops.

        Raises:
            GLIPError: another action (code ``bad-value``).
        """
        if action not in ("stop", "restore"):
            raise GLIPError(f"action={action!r}: expected 'stop' or 'restore'", code="bad-value")
        self.action, self.most = action, most
        self.ended: str | None = None
        """Why training was stopped."""
        self.restored: list[dict[str, Any]] = []
        """Step, loss and reason of each time that earlier weights were restored."""
        self._fitting = False
        self._loss: Tensor | None = None
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=self.WINDOW)
        self._copies: deque[list[Tensor]] = deque(maxlen=2)  # older first
        self._copied_at = -1  # step

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._fitting = stage == "fit"

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ended = None
        self._loss = None
        self._copies.clear()
        self._copy(trainer, pl_module)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Add a part of an accumulated batch, which is already divided by the number of parts."""
        part = loss.detach()
        scaler = _scaler(trainer)
        if scaler is not None:
            part = part / scaler.get_scale()
        self._loss = part if self._loss is None else self._loss + part

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        assert self._loss is not None
        loss = float(trainer.strategy.reduce(self._loss, reduce_op="mean"))
        self._loss = None
        why = self._why_bad(loss, optimizer, scaled=_scaler(trainer) is not None)
        if why is None:
            return
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None  # the optimizer leaves such parameters as they are
        if self.action == "restore" and len(self.restored) < self.most:
            self._restore(trainer, pl_module, optimizer, loss, why)
        else:
            self.ended = f"diverged at step {trainer.global_step}: {why}"
            log.warning("training ends, it %s; the weights are those before this step", self.ended)
            trainer.should_stop = True

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.KEEP_EVERY == 0 and trainer.global_step != self._copied_at:
            self._copy(trainer, pl_module)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._copies.clear()

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        record = record_of(pl_module)
        if record.ended is None:
            record.ended = self.ended
        record.restored = self.restored

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"restored": self.restored, "first": self._first, "last": list(self._last)}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not self._fitting:
            return  # an evaluation of an earlier checkpoint says nothing about the run
        self.restored = list(state_dict["restored"])
        self._first = list(state_dict["first"])
        self._last = deque(state_dict["last"], maxlen=self.WINDOW)

    def _why_bad(self, loss: float, optimizer: Optimizer, scaled: bool) -> str | None:
        """Return why a step must not be taken, None if it may be."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        gradients: list[Tensor] = []
        for group in optimizer.param_groups:
            gradients += [p.grad for p in group["params"] if p.grad is not None]
        # a scaler (fp16) meets infinite gradients in every run and leaves such steps out by itself
        if not scaled and not math.isfinite(float(torch.nn.utils.get_total_norm(gradients))):
            return f"a gradient is not finite (loss {loss:.4g})"
        if len(self._first) < self.WINDOW:
            self._first.append(loss)
        self._last.append(loss)
        if len(self._last) < self.WINDOW:
            return None
        first, last = median(self._first), median(self._last)
        if last <= self.EXPLODED * first:
            return None
        return (
            f"the median of the last {self.WINDOW} losses is {last:.4g}, more than "
            f"{self.EXPLODED:g} times that of the first, {first:.4g}"
        )

    def _copy(self, trainer: Trainer, module: LightningModule) -> None:
        self._copied_at = trainer.global_step
        if self.action == "restore":
            self._copies.append([p.detach().to("cpu", copy=True) for p in _trained(module)])

    def _restore(
        self, trainer: Trainer, module: LightningModule, optimizer: Optimizer, loss: float, why: str
    ) -> None:
        """Restore the older copy of the weights, halve the rates, clear the optimizer's moments."""
        good = self._copies[0]
        with torch.no_grad():
            for parameter, copy in zip(_trained(module), good, strict=True):
                parameter.copy_(copy)
        self._copies = deque([good], maxlen=2)
        optimizer.state.clear()
        _scale_rates(trainer, optimizer, self.LR_FACTOR)
        self._last.clear()
        self.restored.append({"step": trainer.global_step, "loss": loss, "why": why})
        log.warning(
            "training diverged at step %d, loss %.4g: %s; back to the last good weights with %g "
            "times the learning rate (%d of at most %d times)",
            trainer.global_step,
            loss,
            why,
            self.LR_FACTOR,
            len(self.restored),
            self.most,
        )


def _trained(module: LightningModule) -> list[torch.nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _scaler(trainer: Trainer) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _scale_rates(trainer: Trainer, optimizer: Optimizer, factor: float) -> None:
    """Multiply all learning rates, and the rates from which the schedules compute them."""
    for group in optimizer.param_groups:
        group["lr"] *= factor
        if "initial_lr" in group:
            group["initial_lr"] *= factor
    for config in trainer.lr_scheduler_configs:
        if hasattr(config.scheduler, "base_lrs"):
            config.scheduler.base_lrs = [rate * factor for rate in config.scheduler.base_lrs]
