"""The batch of the recipe is the global one: how it is spread over devices and time."""

from typing import NamedTuple

from lightning import Trainer

from glip_lightning.common.errors import GLIPError


class BatchPlan(NamedTuple):
    """``total`` images per optimizer step = devices x ``per_device`` x ``accumulate``."""

    per_device: int
    accumulate: int
    total: int
    lr_factor: float  # total / the batch that was asked for

    @property
    def devices(self) -> int:
        return self.total // (self.per_device * self.accumulate)

    def steps(self, samples: int) -> int:
        """Optimizer steps in an epoch of ``samples`` images (repeats counted)."""
        batches = -(-samples // (self.devices * self.per_device))
        return -(-batches // self.accumulate)

    def describe(self, images: int, copies: int = 1, epochs: int | None = None) -> str:
        """The arithmetic in one line; ``epochs`` is None where something else ends the run."""
        devices, images_each = _count(self.devices, "device"), _count(self.per_device, "image")
        spread = f"{devices} x {images_each} x {self.accumulate} accumulated"
        line = f"global batch {self.total} = {spread}"
        if self.lr_factor != 1:
            asked = round(self.total / self.lr_factor)
            line += f" (not the {asked} asked for, which {self.devices} do not divide: lr x {self.lr_factor:.4g})"
        steps = self.steps(images * copies)
        line += f"; {_count(images, 'image')} x {copies} / {self.total} = {_count(steps, 'step')} per epoch"
        return line if epochs is None else f"{line} x {epochs} = {steps * epochs}"


def plan(batch_size: int, world: int, images_per_device: int | None = None) -> BatchPlan:
    """Spread ``batch_size`` images over ``world`` devices with at most ``images_per_device`` in each at once.

    Exact wherever ``world`` divides ``batch_size``: each device's share is cut into equal parts, the largest
    that the limit allows. Otherwise the next multiple of ``world`` is taken and the learning rate grows with it.

    Each part is normalised by its own positives, and Lightning divides by ``accumulate`` always. So the last step
    of an epoch, should it hold only m parts, moves by m / accumulate: no image counts more for being there.
    """
    for name, value in (
        ("data.batch_size", batch_size),
        ("devices", world),
        ("data.images_per_device", images_per_device),
    ):
        if value is not None and value < 1:
            raise GLIPError(f"{name}={value}: it has to be 1 or more", code="bad-value")
    share = -(-batch_size // world)
    limit = min(share, images_per_device or share)
    per_device = next(n for n in range(limit, 0, -1) if share % n == 0)
    total = share * world
    return BatchPlan(per_device, share // per_device, total, total / batch_size)


def check_applied(wanted: BatchPlan, trainer: Trainer) -> None:
    """Raise where the trainer would make another global batch than planned."""
    if trainer.accumulate_grad_batches != wanted.accumulate:
        raise GLIPError(
            f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}, but data.batch_size needs "
            f"{wanted.accumulate}: data.batch_size is the global batch; bound what a device holds by "
            "data.images_per_device, and train by glip_lightning.fit(module, data, trainer), which accumulates",
            code="other-batch-size",
        )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
