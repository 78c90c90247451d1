"""How learning rates change in the course of a run: one object per rule, chosen in a recipe by its class name.

Source of the official rules: microsoft/GLIP solver/lr_scheduler.py, solver/build.py:58-112.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from typing import SupportsFloat

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from glip_lightning.common.errors import GLIPError


class Schedule(ABC):
    """Makes the scheduler that is stepped after every optimizer step."""

    @property
    def needs_end(self) -> bool:
        """Whether the rates depend on where the run ends, so that a finished run cannot be trained for longer."""
        return False

    @abstractmethod
    def build(self, optimizer: Optimizer, total: int | None) -> LRScheduler:
        """``total`` is the number of optimizer steps of the run, None where it has no end."""


class _Factor(Schedule):
    """The learning rate of every group times one function of the optimizer step."""

    def __init__(self, warmup_steps: int = 0) -> None:
        if warmup_steps < 0:
            raise GLIPError(
                f"warmup_steps={warmup_steps}: expected 0 or more optimizer steps", code="bad-value"
            )
        self.warmup_steps = warmup_steps

    @abstractmethod
    def factor(self, step: int, total: int | None) -> float: ...

    def build(self, optimizer: Optimizer, total: int | None) -> LRScheduler:
        self.factor(0, total)  # what lacks an end must say so before the first step
        return LambdaLR(optimizer, lambda step: self.factor(step, total))

    def _end(self, total: int | None) -> int:
        if total is None:
            raise GLIPError(
                f"schedule {type(self).__name__} needs an end: give trainer.max_epochs or max_steps",
                code="endless-schedule",
            )
        return total


class Constant(_Factor):
    """A learning rate that rises linearly over ``warmup_steps`` optimizer steps, then stays."""

    def factor(self, step: int, total: int | None) -> float:
        return min(1.0, (step + 1) / (self.warmup_steps + 1))


class Cosine(_Factor):
    """A learning rate that rises linearly over ``warmup_steps`` optimizer steps, then falls as half a cosine to 0.

    It is 0 at the last step, so ``fit`` needs an end: a ValueError says so if neither epochs nor steps are given.
    """

    needs_end = True

    def factor(self, step: int, total: int | None) -> float:
        end = self._end(total)
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        done = (step - self.warmup_steps) / max(1, end - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class MultiStep(_Factor):
    """A learning rate that is multiplied by ``gamma`` at each milestone (official WarmupMultiStepLR).

    A milestone below 1 is a fraction of the run, another one an optimizer step.
    """

    def __init__(
        self,
        milestones: Sequence[float] = (0.67, 0.89),
        gamma: float = 0.1,
        warmup_steps: int = 0,
        warmup_factor: float = 1e-3,
    ) -> None:
        """Rise linearly from ``warmup_factor`` times the learning rate over ``warmup_steps`` optimizer steps.

        Raises:
            GLIPError: milestones that are not positive and ascending.
        """
        super().__init__(warmup_steps)
        if list(milestones) != sorted(milestones) or any(m <= 0 for m in milestones):
            raise GLIPError(
                f"milestones={list(milestones)}: expected positive numbers in ascending order",
                code="bad-value",
            )
        self.milestones, self.gamma, self.warmup_factor = tuple(milestones), gamma, warmup_factor

    @property
    def needs_end(self) -> bool:
        return any(m < 1 for m in self.milestones)

    def factor(self, step: int, total: int | None) -> float:
        milestones = [round(m * self._end(total)) if m < 1 else m for m in self.milestones]
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        return (self.warmup_factor * (1 - warm) + warm) * self.gamma ** bisect_right(
            milestones, step
        )


class Plateau(Schedule):
    """A learning rate that is multiplied by ``factor`` where val/AP stays (official AutoStep).

    That is when it has not risen for more than ``patience`` validations.
    """

    def __init__(self, patience: int = 3, factor: float = 0.1, min_lr: float = 1e-6) -> None:
        """Fall to ``min_lr`` at the lowest; ``patience`` counts validations, not epochs."""
        self.patience, self.factor, self.min_lr = patience, factor, min_lr

    def build(self, optimizer: Optimizer, total: int | None) -> LRScheduler:
        return PlateauLR(
            optimizer, mode="max", factor=self.factor, patience=self.patience, min_lr=self.min_lr
        )


class PlateauLR(ReduceLROnPlateau):
    """Stepped by AP, once per validation; nothing is learned from steps without one.

    Officially an AP of exactly 0.0 counts as none (lr_scheduler.py:163-164); an undefined one (nan) does here.
    """

    def step(self, metrics: SupportsFloat | None = None, epoch: int | None = None) -> None:
        ap = 0.0 if metrics is None else float(metrics)
        if ap != 0.0 and not math.isnan(ap):
            super().step(ap)
