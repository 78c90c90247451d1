"""How many threads torch computes with on a processor that others use, too.

Threads of one operation wait for each other. Where other programs take the core of one thread, all
threads wait: with two threads on a busy machine of two cores a batch took 62 s, with one thread
0.6 s.
"""

import logging
import math
import os
import time
from contextlib import suppress
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

log = logging.getLogger(__name__)

NAMED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which a user sets the number of threads."""
SECONDS = 0.8
"""Longest time to measure a number of threads; a round that has begun is finished."""
ROUNDS = 40
CGROUP = Path("/sys/fs/cgroup")
AT_IMPORT = torch.get_num_threads()


class ProcessorThreads(Callback):
    """Chooses the number of threads at the start of a run on a busy processor.

    A resumed run keeps its number. A number that the user has set, by ``OMP_NUM_THREADS`` or
    ``torch.set_num_threads``, stays.
    """

    def __init__(self) -> None:
        self.threads: int | None = None

    @override
    def state_dict(self) -> dict[str, int | None]:
        return {"threads": self.threads}

    @override
    def load_state_dict(self, state_dict: dict[str, int | None]) -> None:
        if self.threads is None:  # not when the best checkpoint is evaluated
            self.threads = state_dict["threads"]

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._choose(trainer)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._choose(trainer)

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._choose(trainer)

    def _choose(self, trainer: Trainer) -> None:
        if trainer.strategy.root_device.type != "cpu" or is_set_by_user():
            return
        if self.threads is None:
            self.threads = best_number(torch.get_num_threads())
        torch.set_num_threads(self.threads)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    count = os.cpu_count()
    return 1 if count is None else count


def quota() -> float:
    """Return the limit of a container in cores, infinity where there is none."""
    with suppress(OSError, ValueError):  # "max", or another system
        allowed, period = (CGROUP / "cpu.max").read_text().split()
        return int(allowed) / int(period)
    with suppress(OSError, ValueError):  # version 1; -1 is no limit
        allowed = int((CGROUP / "cpu/cpu.cfs_quota_us").read_text())
        period = int((CGROUP / "cpu/cpu.cfs_period_us").read_text())
        return allowed / period if allowed > 0 else math.inf
    return math.inf


def is_set_by_user() -> bool:
    """Return whether the user has set the number of threads."""
    if any(os.environ.get(name) for name in NAMED):
        return True
    # torch itself takes all cores, or half of them where two share a unit (hyper-threading)
    usual = (os.cpu_count(), cores(), cores() // 2)
    now = torch.get_num_threads()
    return now != AT_IMPORT or now not in usual


def is_busy() -> bool:
    """Return whether programs want more than half of the cores, or a container may use fewer."""
    return quota() < cores() or (hasattr(os, "getloadavg") and os.getloadavg()[0] > cores() / 2)


def best_number(many: int) -> int:
    """Return ``many`` threads, or 1 if the processor is busy and that is faster now, and say so.

    No random number is drawn.
    """
    if many == 1 or not is_busy():
        return many
    with_one = seconds_with_threads(1)
    with_many = seconds_with_threads(many)
    chosen = 1 if with_one < with_many else many
    log.info(
        "the processor is busy (load %.1f on %.3g cores): a matrix product and a convolution take "
        "%.2g ms with 1 thread, %.2g ms with %d; %d is used, OMP_NUM_THREADS sets another number "
        "(AP differs a little between numbers of threads)",
        os.getloadavg()[0],
        min(quota(), cores()),
        1000 * with_one,
        1000 * with_many,
        many,
        chosen,
    )
    return chosen


def seconds_with_threads(threads: int) -> float:
    """Return the seconds of a matrix product and a convolution, the mean of some rounds."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    matrix = torch.ones(384, 384)
    image = torch.ones(1, 32, 64, 64)
    kernel = torch.ones(32, 32, 3, 3)

    def compute() -> None:
        torch.mm(matrix, matrix)
        torch.conv2d(image, kernel, padding=1)

    try:
        with torch.inference_mode():
            compute()  # warms up
            rounds = 0
            began = time.perf_counter()
            while rounds < ROUNDS and time.perf_counter() - began < SECONDS:
                compute()
                rounds += 1
            return (time.perf_counter() - began) / rounds
    finally:
        torch.set_num_threads(before)
