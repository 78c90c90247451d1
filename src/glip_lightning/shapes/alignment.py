"""Whether words and pixels align: what AP alone hides while a detector is pre-trained."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torchvision.ops import box_iou

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.index import Index
from glip_lightning.data.types import Batch
from glip_lightning.models.detector import Detector
from glip_lightning.models.glip.fusion import Fusion
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.probing import evaluate, evaluating

log = logging.getLogger(__name__)

LEAST_OVERLAP = 0.5


class Alignment(Callback):
    """Accuracy per kind of attribute, and AP without the fusion's update, after every validation.

    A thing of the valid split counts as right in a kind ("colour") if, of the words of that kind, the one that names
    it has the highest score among all boxes that overlap it by at least a half. ``val/accuracy_<kind>`` is the share
    of right ones, chance is one over the number of words. ``val/AP_without_fusion`` is AP with the gates of the
    fusion shut: where it equals ``val/AP``, the detector has learned around the fusion.
    """

    def __init__(self, kinds: Mapping[str, Sequence[str]], fusion: bool = True) -> None:
        """
        Args:
            kinds: class names of the valid split by kind, such as ``{colour: [red, green]}``; of each thing the split
                has a box for every word that names it.
            fusion: whether to evaluate a second time without the fusion's update.
        """
        self.kinds, self.fusion = {kind: list(words) for kind, words in kinds.items()}, fusion
        self._right, self._all = Counter[str](), Counter[str]()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        before = trainer.callbacks[: trainer.callbacks.index(self)]  # type: ignore[attr-defined]
        if any(isinstance(callback, WeightAveraging) for callback in before):
            raise GLIPError(
                "trainer.callbacks: an average of the weights comes before Alignment, which would then compare AP "
                "without fusion of the weights with AP of the average; put Alignment first",
                code="order-of-callbacks",
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._right, self._all = Counter(), Counter()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, GLIPModule)
        index = pl_module.data.datasets["valid"].index
        if batch_idx * trainer.world_size + trainer.global_rank >= len(index):
            return  # one that came already: processes get equal numbers of images, which are loaded one by one
        for image_id, found in zip(batch["image_ids"], outputs["detections"], strict=True):
            for kind, labels in self._labels(index).items():
                right = named_right(index, index.find(image_id), found, labels)
                self._all[kind] += len(right)
                self._right[kind] += sum(right)

    def _labels(self, index: Index) -> dict[str, list[int]]:
        names = list(index.class_names)
        if unknown := [
            word for words in self.kinds.values() for word in words if word not in names
        ]:
            raise GLIPError(
                f"Alignment.kinds: {unknown[0]!r} is no class of {index.where}: {', '.join(names)}",
                code="unknown-class",
            )
        return {kind: [names.index(word) for word in words] for kind, words in self.kinds.items()}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GLIPModule)
        if trainer.sanity_checking:
            return
        for kind, right, count in self._summed(trainer, pl_module):
            if count:
                pl_module.log(f"val/accuracy_{kind}", right / count, sync_dist=True)
        if self.fusion and _gates(pl_module.model):
            valid = pl_module.data.datasets["valid"]
            with evaluating(trainer, pl_module), fusion_shut(pl_module.model):
                ap = evaluate(trainer, pl_module, valid, pl_module.query())["AP"]
            pl_module.log("val/AP_without_fusion", ap, sync_dist=True)

    def _summed(
        self, trainer: Trainer, module: LightningModule
    ) -> Iterator[tuple[str, float, float]]:
        """Right and all things of each kind, of all processes."""
        for kind in self.kinds:
            pair = torch.tensor(
                [self._right[kind], self._all[kind]], dtype=torch.float64, device=module.device
            )
            right, count = trainer.strategy.reduce(pair, reduce_op="sum").tolist()
            yield kind, right, count


def named_right(
    index: Index, image: int, found: Mapping[str, Tensor], labels: Sequence[int]
) -> list[bool]:
    """Of every thing of an image that one of ``labels`` names, whether that label has the highest score on it."""
    truth = index.boxes_of(image)
    classes, xywh = torch.from_numpy(truth.labels), torch.from_numpy(truth.xywh)
    things = torch.isin(classes, torch.tensor(labels))
    x, y, w, h = xywh[things].float().unbind(-1)
    boxes = torch.stack([x, y, x + w, y + h], dim=-1)
    ours = torch.isin(found["labels"].cpu(), torch.tensor(labels))
    scores, names = found["scores"].cpu()[ours], found["labels"].cpu()[ours]
    near = (
        box_iou(boxes, found["boxes"].cpu()[ours].float()) >= LEAST_OVERLAP
    )  # [things, detections]
    if not len(scores):
        return [False] * len(boxes)
    best, place = scores.masked_fill(~near, -1.0).max(1)
    return ((best >= 0) & (names[place] == classes[things])).tolist()


@contextmanager
def fusion_shut(model: Detector) -> Iterator[None]:
    """Let image and text not read each other: the gates of all fusion layers are zero meanwhile."""
    gates = _gates(model)
    kept = [gate.detach().clone() for gate in gates]
    try:
        with torch.no_grad():
            for gate in gates:
                gate.zero_()
        yield
    finally:
        with torch.no_grad():
            for gate, value in zip(gates, kept, strict=True):
                gate.copy_(value)


def _gates(model: Detector) -> list[Tensor]:
    """Return the gates of all fusion layers of a GLIP detector; others have none."""
    layers = [part for part in model.modules() if isinstance(part, Fusion)]
    return [gate for layer in layers for gate in (layer.gate_vision, layer.gate_text)]
