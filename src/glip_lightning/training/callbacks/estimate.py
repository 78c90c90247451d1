"""What a run needs: room on the disk before its first step, time and memory after a few steps."""

import logging
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from glip_lightning.common.durations import time_text
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.plurals import count_with_noun
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from glip_lightning.training.callbacks.ema import averages
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord
from glip_lightning.weights.run_files import BEST, CHECKPOINTS, LAST

log = logging.getLogger(__name__)

MIN_STEPS = 20  # shorter runs are over before an estimate helps
TIMES = 10  # an estimate is renewed when so many times as many batches are measured
ADAMW_BYTES = 8  # two fp32 moments per trainable parameter, made by the first optimizer step
FIX = (
    "lower data.images_per_device (the batch stays as it is) or data.min_sizes, "
    "or use trainer.precision=bf16-mixed"
)


class Estimate(Callback):
    """Measures the batches of a run, and logs the time and memory that its other steps will take.

    It does so after the first step that follows the first batch, which warms up, and again after
    10, 100, ... batches. Runs of fewer than 20 steps get no estimate. Evaluation is not counted.
    What the run writes to the disk is always logged. The ranks do not talk to each other.
    """

    def __init__(self, record: RunRecord) -> None:
        """Take the record of the run; the room on the disk is checked if it has a folder."""
        self.record = record
        self.seconds: float | None = None
        """Of the steps that were left at the last estimate; None where the run has no end."""
        self.memory: int | None = None
        """Bytes on one device; on the CPU, of all processes of this machine."""
        self._batches = 0  # that are measured
        self._sum = 0.0  # their seconds
        self._warm = False
        self._next = 1  # batches after which an estimate is logged
        self._last = 0.0  # when the last batch ended, or the first after an evaluation began
        self._end = 0.0  # optimizer steps of the run
        self._is_long = False

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, GLIPModule):
            if self.record.folder is not None:
                check_disk(self.record.folder, trainer, pl_module)
            self._batches, self._sum, self._warm, self._next = 0, 0.0, False, 1
            self._end = trainer.estimated_stepping_batches
            self._is_long = self._end - trainer.global_step >= MIN_STEPS
            _reset_peak(trainer.strategy.root_device)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0 or self._last == 0:  # an evaluation lies in between
            self._last = time.perf_counter()

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last = 0.0

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._is_long or not isinstance(pl_module, GLIPModule):
            return
        left = self._end - trainer.global_step
        due = trainer.global_step > 0 and self._batches + 1 >= self._next
        device = trainer.strategy.root_device
        if due or not self._warm:
            _wait(device)
        now = time.perf_counter()
        if self._warm:
            self._batches += 1
            self._sum += now - self._last
        self._warm = True
        self._last = now
        if not due or not self._batches or left < 1:
            return
        self._next = TIMES ** len(str(self._batches))
        step = self._sum / self._batches * trainer.accumulate_grad_batches
        self.memory = _peak(device, trainer)
        if left != float("inf"):
            self.seconds = step * left
        if trainer.is_global_zero:
            faster_later = pl_module.caches_training_features()
            self._log_estimate(self.memory, step, left, faster_later, _available(device))

    def _log_estimate(
        self, memory: int, step: float, left: float, faster_later: bool, available: int
    ) -> None:
        """Log time and memory, and warn where memory will not suffice.

        Args:
            memory: bytes that the training takes.
            step: seconds of an optimizer step.
            left: steps to the end.
            faster_later: whether later epochs take features from the cache.
            available: bytes that there are.
        """
        length = "no end is set"
        if self.seconds is not None:
            length = (
                f"about {time_text(self.seconds)} for {count_with_noun(round(left), 'more step')}"
            )
        clause = ", less in later epochs, when features are in the cache" if faster_later else ""
        log.info(
            "estimate: %s (%.2g s each, evaluation not counted%s), %.1f of %.1f GB of memory",
            length,
            step,
            clause,
            memory / 1e9,
            available / 1e9,
        )
        if memory > available:
            log.warning(
                "this needs %.1f GB, but there are %.1f GB: %s", memory / 1e9, available / 1e9, FIX
            )


def disk_bytes(trainer: Trainer, module: GLIPModule) -> dict[str, int]:
    """Return the bytes of each large file that the run writes, by its name in the run's folder."""
    weights = sum(tensor.nbytes for tensor in module.state_dict().values())
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    copies = 2 if averages(trainer) else 1
    sizes = {LAST: copies * weights + ADAMW_BYTES * trained}
    keeps_best = any(isinstance(c, BestCheckpoint) for c in trainer.checkpoint_callbacks)
    if keeps_best and trainer.num_val_batches:
        sizes[BEST] = weights
    return sizes | module.tuning.saved_bytes(module.model, module.origin == "random")


def check_disk(folder: Path, trainer: Trainer, module: GLIPModule) -> None:
    """Log what a run writes into its ``folder``, and warn if there may be no room for it.

    Most is needed while a checkpoint is written anew: the former one stays until the new one is
    whole.

    Raises:
        GLIPError: there is no room for one checkpoint (code ``disk-too-small``): training would be
            lost.
    """
    sizes = disk_bytes(trainer, module)
    checkpoints = [size for name, size in sizes.items() if name.endswith(".ckpt")]
    kept = sum(path.stat().st_size for path in (folder / CHECKPOINTS).glob("[!.]*.ckpt"))
    needed = max(sum(checkpoints) + max(checkpoints), sum(sizes.values())) - kept
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if trainer.is_global_zero:
        listed = ", ".join(f"{name} {_size(size)}" for name, size in sizes.items())
        log.info(
            "run folder %s: %s, at most %s at once; the disk has %s free",
            folder,
            listed,
            _size(needed),
            _size(free),
        )
    short = f"the disk of {existing} has {_size(free)} free"
    if max(checkpoints) > free:
        raise GLIPError(
            f"{short}, a checkpoint takes {_size(max(checkpoints))}: make room, "
            "or give another --run FOLDER",
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
    """Return the peak of memory in bytes: of tensors on a GPU, else of this machine's processes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if not status.exists():
        return 0  # not Linux
    lines = status.read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    kilobytes = int(peak.split()[1])
    return 1024 * kilobytes * trainer.num_devices


def _available(device: torch.device) -> int:
    """Return the bytes of memory of the GPU, or of this machine or container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    limits: list[int] = []
    if hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits, default=2**63)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
