"""What a run will take: the room on the disk before its first step, time and memory after a few of them."""

import logging
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from glip_lightning.common.errors import GLIPError
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from glip_lightning.training.callbacks.ema import EMA
from glip_lightning.training.callbacks.resume import Resumable
from glip_lightning.training.module import GLIPModule
from glip_lightning.weights.run_files import BEST, LAST

log = logging.getLogger(__name__)

MIN_STEPS = 20  # shorter runs are over before an estimate helps
TIMES = 10  # an estimate is renewed when so many times as many batches are measured
ADAMW_BYTES = 8  # two fp32 moments per trainable parameter, made by the first optimizer step
FIX = "lower data.images_per_device (the batch stays as it is) or data.min_sizes, or use trainer.precision=bf16-mixed"


class Estimate(Callback):
    """Measures the batches of a run, and says what the steps that are left will take in time and memory.

    It says so after the first step that follows the first batch, which warms up, and again after 10, 100, ... batches.
    Skipped where fewer than 20 steps are to do. Evaluation is not counted. What the run will put on the disk is told
    always. The ranks do not talk to each other.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.memory: int | None = (
            None  # bytes on one device; on the CPU, of all processes of this machine
        )
        self._batches, self._sum = 0, 0.0  # that are measured, and their seconds
        self._warm = False
        self._next = 1  # batches after which an estimate is told
        self._last = 0.0  # when the last batch ended, or the first after an evaluation began
        self._end = 0.0  # optimizer steps of the run
        self._is_long = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, GLIPModule):
            check_disk(trainer, pl_module)
            self._batches, self._sum, self._warm, self._next = 0, 0.0, False, 1
            self._end = trainer.estimated_stepping_batches
            self._is_long = self._end - trainer.global_step >= MIN_STEPS
            _reset_peak(trainer.strategy.root_device)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0 or self._last == 0:  # an evaluation lies in between
            self._last = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        left = self._end - trainer.global_step
        if not self._is_long or not isinstance(pl_module, GLIPModule):
            return
        due = trainer.global_step > 0 and self._batches + 1 >= self._next
        device = trainer.strategy.root_device
        if due or not self._warm:
            _wait(device)
        now = time.perf_counter()
        if not self._warm:
            self._warm = True
        else:
            self._batches += 1
            self._sum += now - self._last
        self._last = now
        if not due or not self._batches or left < 1:
            return
        self._next = TIMES ** (len(str(self._batches)))
        step = self._sum / self._batches * trainer.accumulate_grad_batches
        self.memory = _peak(device, trainer)
        if left != float("inf"):
            self.seconds = step * left
        if trainer.is_global_zero:
            kept = pl_module.features.misses > 0 and pl_module.features.store.limit > 0
            self._tell(step, left, kept, _available(device))

    def _tell(self, step: float, left: float, kept: bool, available: int) -> None:
        """``step``: seconds of an optimizer step; ``kept``: whether features of images are kept for later epochs."""
        length = (
            "no end is set"
            if self.seconds is None
            else f"{_clock(self.seconds)} for {left:.0f} more steps"
        )
        clause = ", less in later epochs, when features are in the cache" if kept else ""
        assert self.memory is not None
        log.info(
            "estimate: %s (%.2g s each, evaluation not counted%s), %.1f of %.1f GB of memory",
            *(length, step, clause, self.memory / 1e9, available / 1e9),
        )
        if self.memory > available:
            log.warning(
                "this needs %.1f GB, but there are %.1f GB: %s",
                self.memory / 1e9,
                available / 1e9,
                FIX,
            )


def disk_bytes(trainer: Trainer, module: GLIPModule) -> dict[str, int]:
    """Return the bytes of each large file that the run leaves, by its name in the run's folder."""
    state = module.state_dict()
    weights = sum(x.nbytes for x in state.values())
    moments = ADAMW_BYTES * sum(p.numel() for p in module.parameters() if p.requires_grad)
    averaged = any(isinstance(callback, EMA) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    found = {LAST: weights * (1 + averaged) + moments}
    if (
        any(isinstance(callback, BestCheckpoint) for callback in trainer.checkpoint_callbacks)
        and trainer.num_val_batches
    ):
        found[BEST] = weights
    return found | module.tuning.saved_bytes(module.model, module.origin == "random")


def check_disk(trainer: Trainer, module: GLIPModule) -> None:
    """Say what the run will put on the disk, and warn if there may be no room for it.

    Most is needed while a checkpoint is written anew: the former one stays until the new one is whole.

    Raises:
        GLIPError: not even one checkpoint finds room (code ``disk-too-small``): training would be for nothing.
    """
    folder = next((c.path.parent for c in trainer.callbacks if isinstance(c, Resumable)), None)  # type: ignore[attr-defined]
    if folder is None:
        return
    sizes = disk_bytes(trainer, module)
    checkpoints = [size for name, size in sizes.items() if name.endswith(".ckpt")]
    kept = sum(path.stat().st_size for path in folder.glob("[!.]*.ckpt"))
    needed = max(sum(checkpoints) + max(checkpoints), sum(sizes.values())) - kept
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if trainer.is_global_zero:
        listed = ", ".join(f"{name} {_size(size)}" for name, size in sizes.items())
        log.info(
            "disk: %s in %s, %s free; at most %s at once",
            listed,
            folder.parent,
            _size(free),
            _size(needed),
        )
    short = f"the disk of {there} has {_size(free)} free"
    if max(checkpoints) > free:
        raise GLIPError(
            f"{short}, a checkpoint takes {_size(max(checkpoints))}: make room, or give another --run FOLDER",
            code="disk-too-small",
        )
    if needed > free and trainer.is_global_zero:
        log.warning(
            "%s, this run needs up to %s: make room, or choose another disk", short, _size(needed)
        )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _reset_peak(device: torch.device) -> None:
    """Forget what came before the training; another run of this process may have taken more."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # not where the kernel forbids it
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device, trainer: Trainer) -> int:
    """Bytes: what tensors took of a GPU; on the CPU resident memory, times the processes that share it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if not status.exists():
        return 0  # not Linux
    kilobytes = next(
        line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")
    )
    return 1024 * int(kilobytes) * trainer.num_devices


def _available(device: torch.device) -> int:
    """Bytes of the GPU, or of this machine or container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    found = (
        [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else []
    )
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=2**63)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _clock(length: float) -> str:
    if length < 90:
        return f"about {length:.0f} s"
    return f"about {length / 60:.0f} min" if length < 5400 else f"about {length / 3600:.1f} h"
