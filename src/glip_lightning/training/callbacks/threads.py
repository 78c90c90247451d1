"""How many threads torch computes with on a processor that others use, too.

Threads of one operation wait for each other. Where other programs take the cores from some of them, all wait: with two
threads on a busy machine of two cores a batch took 62 s, with one 0.6 s.
"""

import logging
import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)

NAMED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which a user says how many threads there are to be."""
SECONDS = 0.8
"""Longest time that a number of threads is measured, but for the round that has begun."""
ROUNDS = 40
CGROUP = Path("/sys/fs/cgroup")
AT_IMPORT = torch.get_num_threads()


class ProcessorThreads(Callback):
    """Chooses the number of threads at the start of a run on a busy processor; a resumed run keeps its number.

    A number that the user has set, by ``OMP_NUM_THREADS`` or ``torch.set_num_threads``, stays.
    """

    def __init__(self) -> None:
        self.threads: int | None = None

    def state_dict(self) -> dict[str, int | None]:
        return {"threads": self.threads}

    def load_state_dict(self, state_dict: dict[str, int | None]) -> None:
        if self.threads is None:  # not when the best checkpoint is evaluated
            self.threads = state_dict["threads"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._choose(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._choose(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._choose(trainer)

    def _choose(self, trainer: Trainer) -> None:
        if trainer.strategy.root_device.type != "cpu" or is_named():
            return
        if self.threads is None:
            self.threads = best_number(torch.get_num_threads())
        torch.set_num_threads(self.threads)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota() -> float:
    """Return how many cores the time that a container has is worth; infinity where it has no limit."""
    with suppress(OSError, ValueError):  # "max", or another system
        allowed, period = (CGROUP / "cpu.max").read_text().split()
        return int(allowed) / int(period)
    with suppress(OSError, ValueError):  # version 1; -1 is no limit
        allowed = int((CGROUP / "cpu/cpu.cfs_quota_us").read_text())
        period = int((CGROUP / "cpu/cpu.cfs_period_us").read_text())
        return allowed / period if allowed > 0 else math.inf
    return math.inf


def is_named() -> bool:
    """Return whether the user has said how many threads there are to be."""
    usual = {
        os.cpu_count(),
        cores(),
        cores() // 2,
    }  # what torch takes by itself: cores, those that are no twins
    now = torch.get_num_threads()
    return any(os.environ.get(name) for name in NAMED) or now != AT_IMPORT or now not in usual


def is_busy() -> bool:
    """Return whether the programs of this machine want more than half of its cores, or a container has fewer."""
    return quota() < cores() or (hasattr(os, "getloadavg") and os.getloadavg()[0] > cores() / 2)


def best_number(many: int) -> int:
    """Return ``many`` threads, or 1 if the processor is busy and that is faster now, and say so.

    No random number is drawn.
    """
    if many == 1 or not is_busy():
        return many
    one, all_of_them = seconds(1), seconds(many)
    chosen = 1 if one < all_of_them else many
    log.info(
        "the processor is busy (load %.1f on %.3g cores): a matrix product and a convolution take "
        "%.2g ms with 1 thread, %.2g ms with %d; %d is used, OMP_NUM_THREADS sets another number",
        *(os.getloadavg()[0], min(quota(), cores()), 1000 * one, 1000 * all_of_them, many, chosen),
    )
    return chosen


def seconds(threads: int) -> float:
    """Return how long a matrix product and a convolution take with so many threads, the mean of some rounds."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    matrix, image, kernel = (
        torch.ones(384, 384),
        torch.ones(1, 32, 64, 64),
        torch.ones(32, 32, 3, 3),
    )
    try:
        with torch.inference_mode():
            _round(matrix, image, kernel)  # warms up
            began, rounds = time.perf_counter(), 0
            while rounds < ROUNDS and time.perf_counter() - began < SECONDS:
                _round(matrix, image, kernel)
                rounds += 1
            return (time.perf_counter() - began) / rounds
    finally:
        torch.set_num_threads(before)


def _round(matrix: Any, image: Any, kernel: Any) -> None:
    torch.mm(matrix, matrix)
    torch.conv2d(image, kernel, padding=1)
