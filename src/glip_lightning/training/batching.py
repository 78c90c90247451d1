"""The batch of the recipe is the global one: how it is spread over devices and time."""

from dataclasses import dataclass

from lightning import Trainer

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.plurals import count_with_noun


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The images of an optimizer step: ``total`` = devices x ``per_device`` x ``accumulate``."""

    per_device: int
    """Images on one device at once."""
    accumulate: int
    """Batches of one device that make one optimizer step."""
    total: int
    """Images of an optimizer step, the global batch."""
    lr_factor: float
    """``total`` / the batch that was asked for."""

    @property
    def devices(self) -> int:
        """How many devices share the batch."""
        return self.total // (self.per_device * self.accumulate)

    def steps(self, samples: int) -> int:
        """Return the optimizer steps of an epoch of ``samples`` images (copies counted)."""
        batches = -(-samples // (self.devices * self.per_device))
        return -(-batches // self.accumulate)

    def describe(self, images: int, copies: int = 1, epochs: int | None = None) -> str:
        """Return the arithmetic in one line.

        Args:
            images: training images of an epoch.
            copies: how often each of them comes in an epoch.
            epochs: of the run; None where something else ends it.
        """
        devices = count_with_noun(self.devices, "device")
        images_each = count_with_noun(self.per_device, "image")
        spread = f"{devices} x {images_each} x {self.accumulate} accumulated"
        line = f"global batch {self.total} = {spread}"
        if self.lr_factor != 1:
            asked = round(self.total / self.lr_factor)
            line += f" (not {asked}, which {self.devices} devices do not divide: "
            line += f"learning rates x {self.lr_factor:.4g})"
        steps = self.steps(images * copies)
        copied = f" x {copies} copies" if copies > 1 else ""
        line += f"; {count_with_noun(images, 'image')}{copied} / {self.total} = "
        line += f"{count_with_noun(steps, 'step')} per epoch"
        if epochs is not None:
            line += f" x {epochs} = {steps * epochs}"
        return line


def plan(batch_size: int, world: int, images_per_device: int | None = None) -> BatchPlan:
    """Spread ``batch_size`` images over ``world`` devices, ``images_per_device`` at most at once.

    Exact wherever ``world`` divides ``batch_size``: the share of a device is cut into equal parts,
    the largest that the limit allows. Otherwise the next multiple of ``world`` is taken, and the
    learning rate grows with it.

    Each part is normalised by its own positives, and Lightning always divides by ``accumulate``.
    So the last step of an epoch, if it has only m parts, moves by m / accumulate: no image counts
    more for being in it.

    Raises:
        GLIPError: a number below 1 (code ``bad-value``).
    """
    numbers = {
        "data.batch_size": batch_size,
        "devices": world,
        "data.images_per_device": images_per_device,
    }
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise GLIPError(f"{name}={value}: it has to be 1 or more", code="bad-value")
    share = -(-batch_size // world)
    limit = share if images_per_device is None else min(share, images_per_device)
    per_device = next(n for n in range(limit, 0, -1) if share % n == 0)
    total = share * world
    return BatchPlan(per_device, share // per_device, total, total / batch_size)


def check_applied(wanted: BatchPlan, trainer: Trainer) -> None:
    """Raise GLIPError if the trainer makes another global batch (code ``other-batch-size``)."""
    if trainer.accumulate_grad_batches != wanted.accumulate:
        raise GLIPError(
            f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}, but "
            f"data.batch_size needs {wanted.accumulate}: data.batch_size is the global batch; "
            "limit the images on a device by data.images_per_device, and train by "
            "glip_lightning.fit(module, data, trainer), which accumulates",
            code="other-batch-size",
        )
