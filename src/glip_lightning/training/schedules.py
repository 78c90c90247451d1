"""How learning rates change during a run: one class per rule, chosen in a recipe by its name.

Source of the official rules: microsoft/GLIP solver/lr_scheduler.py, solver/build.py:58-112.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from typing import SupportsFloat

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from typing_extensions import override

from glip_lightning.common.errors import GLIPError


class Schedule(ABC):
    """A rule for the learning rates, applied after each optimizer step."""

    @property
    def needs_end(self) -> bool:
        """Whether the rates depend on the end of the run.

        Then a finished run cannot be trained for longer.
        """
        return False

    @abstractmethod
    def build(self, optimizer: Optimizer, total: int | None) -> LRScheduler:
        """Return the scheduler of a run.

        Args:
            optimizer: with the first learning rate of each group.
            total: optimizer steps of the run, None where it has no end.

        Raises:
            GLIPError: the rule needs an end, and there is none (code ``endless-schedule``).
        """


class _Factor(Schedule):
    """A rule that multiplies the rate of every group by one function of the optimizer step."""

    def __init__(self, warmup_steps: int = 0) -> None:
        if warmup_steps < 0:
            raise GLIPError(
                f"warmup_steps={warmup_steps}: expected 0 or more optimizer steps", code="bad-value"
            )
        self.warmup_steps = warmup_steps

    @abstractmethod
    def factor(self, step: int, total: int | None) -> float:
        """Return what the learning rates are multiplied by in optimizer step ``step`` (from 0)."""

    @override
    def build(self, optimizer: Optimizer, total: int | None) -> LRScheduler:
        self.factor(0, total)  # raises, before the first step, if the rule needs an end
        return LambdaLR(optimizer, lambda step: self.factor(step, total))

    def _end(self, total: int | None) -> int:
        if total is None:
            raise GLIPError(
                f"schedule {type(self).__name__} needs an end: "
                "give trainer.max_epochs or trainer.max_steps",
                code="endless-schedule",
            )
        return total


class Constant(_Factor):
    """A learning rate that rises linearly over ``warmup_steps`` optimizer steps, then stays."""

    @override
    def factor(self, step: int, total: int | None) -> float:
        return min(1.0, (step + 1) / (self.warmup_steps + 1))


class Cosine(_Factor):
    """A learning rate that rises linearly over ``warmup_steps``, then falls as half a cosine to 0.

    It is 0 at the last optimizer step, so ``fit`` needs an end: without trainer.max_epochs and
    max_steps it raises GLIPError (code ``endless-schedule``).
    """

    needs_end = True

    @override
    def factor(self, step: int, total: int | None) -> float:
        end = self._end(total)
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        done = (step - self.warmup_steps) / max(1, end - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class MultiStep(_Factor):
    """A learning rate times ``gamma`` at each milestone (official WarmupMultiStepLR).

    A milestone below 1 is a fraction of the run, another one an optimizer step.
    """

    def __init__(
        self,
        milestones: Sequence[float] = (0.67, 0.89),
        gamma: float = 0.1,
        warmup_steps: int = 0,
        warmup_factor: float = 1e-3,
    ) -> None:
        """Rise linearly from ``warmup_factor`` times the rate over ``warmup_steps`` steps.

        Raises:
            GLIPError: milestones are not positive and ascending (code ``bad-value``).
        """
        super().__init__(warmup_steps)
        if list(milestones) != sorted(milestones) or min(milestones, default=1) <= 0:
            raise GLIPError(
                f"milestones={list(milestones)}: expected positive numbers in ascending order",
                code="bad-value",
            )
        self.milestones = tuple(milestones)
        self.gamma = gamma
        self.warmup_factor = warmup_factor

    @property
    @override
    def needs_end(self) -> bool:
        return any(milestone < 1 for milestone in self.milestones)

    @override
    def factor(self, step: int, total: int | None) -> float:
        steps = [
            milestone if milestone >= 1 else round(milestone * self._end(total))
            for milestone in self.milestones
        ]
        passed = bisect_right(steps, step)
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        return (self.warmup_factor * (1 - warm) + warm) * self.gamma**passed


class Plateau(Schedule):
    """A learning rate that is multiplied by ``factor`` where val/AP stays (official AutoStep).

    That is where it has not risen for more than ``patience`` validations.
    """

    def __init__(self, patience: int = 3, factor: float = 0.1, min_lr: float = 1e-6) -> None:
        """Fall to ``min_lr`` at the lowest; ``patience`` counts validations, not epochs."""
        self.patience = patience
        self.factor = factor
        self.min_lr = min_lr

    @override
    def build(self, optimizer: Optimizer, total: int | None) -> LRScheduler:
        return PlateauLR(
            optimizer, mode="max", factor=self.factor, patience=self.patience, min_lr=self.min_lr
        )


class PlateauLR(ReduceLROnPlateau):
    """A scheduler that steps once per validation, by its AP.

    An AP of exactly 0.0 is ignored, as officially (lr_scheduler.py:163-164), and so is an undefined
    one (nan).
    """

    @override
    def step(self, metrics: SupportsFloat | None = None, epoch: int | None = None) -> None:
        ap = 0.0 if metrics is None else float(metrics)
        if ap != 0.0 and not math.isnan(ap):
            super().step(ap)
