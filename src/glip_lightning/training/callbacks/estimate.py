"""What a run will take, told before its first step from two trial steps: time and memory."""

import copy
import itertools
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.transforms import Transform
from glip_lightning.data.types import Batch
from glip_lightning.training.callbacks.best_checkpoint import BEST, BestCheckpoint
from glip_lightning.training.callbacks.ema import EMA
from glip_lightning.training.callbacks.resume import LAST, Resumable
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.module import GLIPModule
from glip_lightning.tuning.feature_cache import NOTHING, FeatureCache
from glip_lightning.weights.adapter import RUN_ADAPTER
from glip_lightning.weights.load import RUN_DETECTOR

log = logging.getLogger(__name__)

MIN_STEPS = 20  # shorter runs are over before an estimate helps
ADAMW_BYTES = 8  # two fp32 moments per trainable parameter, made by the first optimizer step
FIX = "lower data.images_per_device (the batch stays as it is) or data.min_sizes, or use trainer.precision=bf16-mixed"


class Trial(NamedTuple):
    """What was measured, in seconds, with one device's part of a batch."""

    step: float  # forward and backward at the largest size
    small_step: float  # at the smallest size of the multi-scale set
    load: float  # reading the images
    detect: float  # evaluating one image
    kept_step: float = 1.0  # what is left of a step, as a share, when the features of its images are in the cache
    kept_detect: float = 1.0  # the same of an evaluation
    room: float = 0.0  # how many images of the largest size the cache holds


class Work(NamedTuple):
    """What the run consists of, for one device."""

    batches: int
    evaluated: int  # images, over all validations
    share: float  # where the mean area of the multi-scale set lies: 0 smallest, 1 largest
    workers: int
    fresh: float = 1.0  # share of the training images whose features are not in the cache
    fresh_evaluated: float = 1.0


class Estimate(Callback):
    """Two trial steps on a real batch of the largest size, one of the smallest; no optimizer step, nothing left.

    Skipped for runs of fewer than 20 steps and on resume. Other ranks take part without talking to each other
    but in the loss, so that none has to wait. What the run will put on the disk is told always.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.memory: int | None = None  # bytes on one device; on the CPU, of all processes of this machine

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, GLIPModule):
            check_disk(trainer, pl_module)
        steps = trainer.estimated_stepping_batches
        if trainer.ckpt_path or trainer.global_step or steps < MIN_STEPS or not isinstance(pl_module, GLIPModule):
            return
        device = trainer.strategy.root_device
        limit = pl_module.features.store.limit
        with _undisturbed(pl_module, device):
            trial = _trial(trainer, pl_module, limit)
        self.memory = _peak(device, trainer) + _optimizer_bytes(pl_module, device, trainer)
        work = _work(trainer, pl_module.data, steps, trial.room)
        self.seconds = seconds(trial, work) if work else None
        if trainer.is_global_zero:
            self._tell(steps, trial, _available(device))

    def _tell(self, steps: float, trial: Trial, available: int) -> None:
        length = f"{_clock(self.seconds)} for {steps} steps" if self.seconds is not None else "no end is set"
        assert self.memory is not None
        log.info(
            "estimate: %s (a batch takes %.2g s), %.1f of %.1f GB of memory",
            length,
            trial.step,
            self.memory / 1e9,
            available / 1e9,
        )
        if self.memory > available:
            log.warning("this needs %.1f GB, but there are %.1f GB: %s", self.memory / 1e9, available / 1e9, FIX)


def disk_bytes(trainer: Trainer, module: GLIPModule) -> dict[str, int]:
    """Return the bytes of each large file that the run leaves, by its name in the run's folder."""
    state = module.state_dict()
    weights = sum(x.nbytes for x in state.values())
    trained = sum(p.nbytes for p in module.parameters() if p.requires_grad)
    moments = ADAMW_BYTES * sum(p.numel() for p in module.parameters() if p.requires_grad)
    averaged = any(isinstance(callback, EMA) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    found = {LAST: weights * (1 + averaged) + moments}
    if (
        any(isinstance(callback, BestCheckpoint) for callback in trainer.checkpoint_callbacks)
        and trainer.num_val_batches
    ):
        found[BEST] = weights
    leaves = module.tuning.leaves
    if leaves == "detector" or module.origin == "random":
        found[RUN_DETECTOR] = sum(x.nbytes for x in module.model.state_dict().values())
    elif leaves == "adapter":
        found[RUN_ADAPTER] = trained
    return found


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
        log.info("disk: %s in %s, %s free; at most %s at once", listed, folder.parent, _size(free), _size(needed))
    short = f"the disk of {there} has {_size(free)} free"
    if max(checkpoints) > free:
        raise GLIPError(
            f"{short}, a checkpoint takes {_size(max(checkpoints))}: make room, or give another --run FOLDER",
            code="disk-too-small",
        )
    if needed > free and trainer.is_global_zero:
        log.warning("%s, this run needs up to %s: make room, or choose another disk", short, _size(needed))


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def seconds(trial: Trial, work: Work) -> float:
    """Length of a run. Without workers reading and computing alternate, with workers they overlap."""
    step = trial.small_step + work.share * (trial.step - trial.small_step)
    step *= work.fresh + (1 - work.fresh) * trial.kept_step
    detect = trial.detect * (work.fresh_evaluated + (1 - work.fresh_evaluated) * trial.kept_detect)
    batch = max(step, trial.load / work.workers) if work.workers else step + trial.load
    return work.batches * batch + work.evaluated * detect


def _trial(trainer: Trainer, module: GLIPModule, limit: int) -> Trial:
    """``limit``: bytes that the cache of features may hold."""
    loader = trainer.train_dataloader
    assert isinstance(loader, DataLoader)
    sizes = module.data.train_transform.min_sizes

    def read(size: int, count: int) -> Batch:
        batch = first_images(loader, count, Transform((size,), module.data.max_size))
        return trainer.strategy.batch_to_device(batch, dataloader_idx=0)

    count = loader.batch_size or 1
    began = time.perf_counter()
    batch = read(max(sizes), count)
    load = time.perf_counter() - began
    _reset_peak(module.device)
    step = [_timed_step(trainer, module, batch) for _ in range(2)][-1]  # the first one also warms up
    small = _timed_step(trainer, module, read(min(sizes), count)) if min(sizes) < max(sizes) else step
    evaluated = read(module.data.test_size, 1)
    trial = Trial(step, small, load, _timed_detection(trainer, module, evaluated))
    if module.features.cut == NOTHING or not limit:
        return trial
    module.features = FeatureCache()
    step, kept_step = (_timed_step(trainer, module, batch) for _ in range(2))
    room = limit * count / module.features.store.used()
    detect, kept_detect = (_timed_detection(trainer, module, evaluated) for _ in range(2))
    return trial._replace(kept_step=kept_step / step, kept_detect=kept_detect / detect, room=room)


def first_images(loader: DataLoader[Any], count: int, transform: Transform) -> Batch:
    """A batch of the first ``count`` images of the run."""
    dataset: Any = copy.copy(loader.dataset)
    dataset.transform = transform
    collate: Any = loader.collate_fn
    return collate([dataset[key] for key in itertools.islice(loader.sampler, count)])


def _timed_step(trainer: Trainer, module: GLIPModule, batch: Batch) -> float:
    _wait(module.device)
    began = time.perf_counter()
    with trainer.precision_plugin.train_step_context():
        loss = module.training_step(batch, 0)
    loss.backward()  # past DDP's wrapper: gradients are not exchanged
    _wait(module.device)
    module.zero_grad(set_to_none=True)
    return time.perf_counter() - began


def _timed_detection(trainer: Trainer, module: GLIPModule, batch: Batch) -> float:
    query = module.query()
    _wait(module.device)
    began = time.perf_counter()
    with torch.no_grad(), trainer.precision_plugin.val_step_context():
        module.find(batch["images"], query)
    _wait(module.device)
    return time.perf_counter() - began


@contextmanager
def _undisturbed(module: GLIPModule, device: torch.device) -> Iterator[None]:
    """Nothing logged or kept, no gradient and no drawn random number left."""

    def silent(*_: Any, **__: Any) -> None: ...

    features, module.features = module.features, FeatureCache(0)
    names = ("log", "log_dict")
    for name in names:
        setattr(module, name, silent)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        module.features = features
        for name in names:
            delattr(module, name)
        module.zero_grad(set_to_none=True)


def _work(trainer: Trainer, data: DetectionData, steps: float, room: float) -> Work | None:
    """None where neither max_epochs nor max_steps ends the run. ``room``: images in the cache of features."""
    if steps == float("inf"):
        return None
    batches = int(steps) * trainer.accumulate_grad_batches
    per_epoch = trainer.num_training_batches
    if steps % (steps_per_epoch := -(-per_epoch // trainer.accumulate_grad_batches)) == 0:
        batches = int(steps / steps_per_epoch * per_epoch)  # the last step of an epoch may be a short one
    validations = batches // per_epoch // (trainer.check_val_every_n_epoch or 1)
    images = len(data.datasets.get("valid", ()))
    limit = trainer.limit_val_batches
    images = min(-(-images // trainer.world_size), limit) if isinstance(limit, int) else images * limit
    areas = [size**2 for size in data.train_transform.min_sizes]
    span = max(areas) - min(areas)
    share = (sum(areas) / len(areas) - min(areas)) / span if span else 1.0
    loader: Any = trainer.train_dataloader
    draws, mirrored = batches * (loader.batch_size or 1), 0 < data.train_transform.flip < 1
    views = len(data.datasets["train"].index) * len(areas) * (1 + mirrored)
    seen = views * (1 - math.exp(-draws / views))  # different ones among the drawn
    kept = min(1.0, room / max(1.0, seen + images))
    fresh_evaluated = 1 - kept * (1 - 1 / max(1, validations))
    if data.augment is not None:  # no view comes again
        return Work(batches, int(validations * images), share, data.workers, 1.0, fresh_evaluated)
    fresh = (1 - kept * (1 - seen / draws), fresh_evaluated)
    return Work(batches, int(validations * images), share, data.workers, *fresh)


def _optimizer_bytes(module: GLIPModule, device: torch.device, trainer: Trainer) -> int:
    processes = trainer.num_devices if device.type == "cpu" else 1
    return processes * ADAMW_BYTES * sum(p.numel() for p in module.parameters() if p.requires_grad)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # forget the peak of the imports, where the kernel lets us
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device, trainer: Trainer) -> int:
    """Bytes: what tensors took of a GPU; on the CPU resident memory, times the processes that share it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if not status.exists():
        return 0  # not Linux: only what the optimizer adds is known
    kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(kilobytes) * trainer.num_devices


def _available(device: torch.device) -> int:
    """Bytes of the GPU, or of this machine or container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else []
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
