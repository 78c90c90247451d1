"""Whether words and pixels align, which AP alone does not show during pre-training."""

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
from typing_extensions import override

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
    """A callback that measures, after every validation, whether words and pixels align.

    It logs the accuracy per kind of attribute, and AP without the fusion.

    * ``val/accuracy_<kind>`` (such as "colour") is the share of right things of the valid split. A
      thing is right if the word of the kind that names it has the highest score, of all words of
      the kind, among the detections that overlap the thing with an IoU of at least 0.5. Chance is
      one over the number of words.
    * ``val/AP_without_fusion`` is AP with the gates of the fusion at zero. Where it equals
    ``val/AP``,
      the detector does not use the fusion.
    """

    def __init__(self, kinds: Mapping[str, Sequence[str]], fusion: bool = True) -> None:
        """Make the callback.

        Args:
            kinds: class names of the valid split by kind, such as ``{colour: [red, green]}``. The
                split has a box of each thing for every word that names it.
            fusion: whether to evaluate a second time without the fusion.
        """
        self.kinds = {kind: list(words) for kind, words in kinds.items()}
        self.fusion = fusion
        self._right = Counter[str]()
        self._all = Counter[str]()

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        before = trainer.callbacks[: trainer.callbacks.index(self)]  # type: ignore[attr-defined]
        if any(isinstance(callback, WeightAveraging) for callback in before):
            message = "trainer.callbacks: an average of the weights comes before Alignment, which "
            message += (
                "would then compare AP without fusion of the weights with AP of the average; "
            )
            raise GLIPError(f"{message}put Alignment first", code="order-of-callbacks")

    @override
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._right.clear()
        self._all.clear()

    @override
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
            return  # an image that is repeated so that all processes get equally many
        for image_id, found in zip(batch["image_ids"], outputs["detections"], strict=True):
            for kind, labels in self._labels(index).items():
                right = named_right(index, index.find(image_id), found, labels)
                self._all[kind] += len(right)
                self._right[kind] += sum(right)

    def _labels(self, index: Index) -> dict[str, list[int]]:
        """Return the class indices of the words of each kind."""
        names = list(index.class_names)
        labels: dict[str, list[int]] = {}
        for kind, words in self.kinds.items():
            labels[kind] = []
            for word in words:
                if word not in names:
                    message = f"Alignment.kinds: {word!r} is no class of {index.where}: "
                    raise GLIPError(message + ", ".join(names), code="unknown-class")
                labels[kind].append(names.index(word))
        return labels

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GLIPModule)
        if trainer.sanity_checking:
            return
        for kind, right, count in self._summed(trainer, pl_module):
            if count:
                pl_module.log(f"val/accuracy_{kind}", right / count, sync_dist=True)
        if self.fusion and _gates(pl_module.model):
            valid = pl_module.data.datasets["valid"]
            with evaluating(trainer, pl_module), fusion_disabled(pl_module.model):
                ap = evaluate(trainer, pl_module, valid, pl_module.query())["AP"]
            pl_module.log("val/AP_without_fusion", ap, sync_dist=True)

    def _summed(
        self, trainer: Trainer, module: LightningModule
    ) -> Iterator[tuple[str, float, float]]:
        """Yield each kind with the numbers of right things and of all things in all processes."""
        for kind in self.kinds:
            counts = [self._right[kind], self._all[kind]]
            pair = torch.tensor(counts, dtype=torch.float64, device=module.device)
            right, count = trainer.strategy.reduce(pair, reduce_op="sum").tolist()
            yield kind, right, count


def named_right(
    index: Index, image: int, found: Mapping[str, Tensor], labels: Sequence[int]
) -> list[bool]:
    """Return whether each thing of an image has its highest score from its own label.

    Args:
        index: of the split.
        image: its place in the index.
        found: the detections, ``boxes`` [n, 4] as outside corners in the original frame, ``scores``
            and ``labels``.
        labels: class indices; things that none of them names are left out.
    """
    truth = index.boxes_of(image)
    classes, xywh = torch.from_numpy(truth.labels), torch.from_numpy(truth.xywh)
    things = torch.isin(classes, torch.tensor(labels))
    x, y, w, h = xywh[things].float().unbind(-1)
    boxes = torch.stack([x, y, x + w, y + h], dim=-1)
    chosen = torch.isin(found["labels"].cpu(), torch.tensor(labels))
    scores = found["scores"].cpu()[chosen]
    names = found["labels"].cpu()[chosen]
    if not len(scores):
        return [False] * len(boxes)
    iou = box_iou(boxes, found["boxes"].cpu()[chosen].float())  # [things, detections]
    near = iou >= LEAST_OVERLAP
    best, place = scores.masked_fill(~near, -1.0).max(1)
    return ((best >= 0) & (names[place] == classes[things])).tolist()


@contextmanager
def fusion_disabled(model: Detector) -> Iterator[None]:
    """Keep image and text apart in this block: the gates of all fusion layers are zero."""
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
    """Return the gates of all fusion layers; only GLIP detectors have some."""
    gates: list[Tensor] = []
    for part in model.modules():
        if isinstance(part, Fusion):
            gates += [part.gate_vision, part.gate_text]
    return gates
