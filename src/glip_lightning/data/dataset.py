"""An index of images and boxes as training samples."""

from collections.abc import Callable, Mapping
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.augment import Augment
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.images import Names
from glip_lightning.data.index import Boxes, Index
from glip_lightning.data.sampler import Key, KeyedSample
from glip_lightning.data.transforms import Transform

_tensors: WeakKeyDictionary[object, dict[str, Tensor]] = WeakKeyDictionary()


def _sent(columns: Boxes | Index | Names) -> tuple[Callable[..., object], tuple[Any, ...]]:
    """Send arrays as tensors: torch moves these to shared memory once, for all workers that are not forked."""
    if columns not in _tensors:
        arrays = {
            name: value for name, value in vars(columns).items() if isinstance(value, np.ndarray)
        }
        _tensors[columns] = {name: torch.from_numpy(array) for name, array in arrays.items()}
    tensors = _tensors[columns]
    others = {name: value for name, value in vars(columns).items() if name not in tensors}
    return _received, (type(columns), others, tensors)


def _received(kind: type, others: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> object:
    columns = object.__new__(kind)
    vars(columns).update(others, **{name: tensor.numpy() for name, tensor in tensors.items()})
    return columns


for kind in (Boxes, Index, Names):
    ForkingPickler.register(kind, _sent)


class DetectionDataset(Dataset[KeyedSample]):
    """Samples of an index; images without boxes train as negatives.

    With ``copies`` every image comes that many times in an epoch, in views of its own (the official
    DATASETS.GENERAL_COPY): item i shows image ``i % N``.
    """

    def __init__(
        self,
        index: Index,
        transform: Transform | None = None,
        copies: int = 1,
        augment: Augment | None = None,
    ) -> None:
        if copies < 1:
            message = f"copies={copies}: every image has to come at least once an epoch"
            raise GLIPError(message, code="bad-value")
        self.index, self.copies = index, copies
        self.transform, self.augment = transform or Transform(), augment

    def __len__(self) -> int:
        return len(self.index) * self.copies

    @property
    def class_names(self) -> list[str]:
        return list(self.index.class_names)

    @property
    def image_ids(self) -> list[int]:
        """Each image once, whatever the copies."""
        return self.index.ids.tolist()

    def __getitem__(self, index: Key | int) -> KeyedSample:
        """The sample of ``(epoch, item)``; an item alone means epoch 0."""
        epoch, item = (0, index) if isinstance(index, int) else index
        image = item % len(self.index)
        picture = self.index.picture(image)
        boxes, labels = map(torch.from_numpy, self.index.target(image))
        if self.augment is not None:
            view = self.augment.view(picture.height, picture.width, boxes, epoch, item)
            picture, boxes, labels = view.pixels(picture), view.boxes(boxes), labels[view.kept]
        resized, boxes = self.transform(picture, boxes, epoch, item)
        if self.augment is not None:
            resized = self.augment.recolour(resized, epoch, item)
        return KeyedSample(
            image=resized,
            boxes=boxes,
            labels=labels,
            image_id=int(self.index.ids[image]),
            original_size=self.index.size(image),
            name=self.index.name(image),
            epoch=epoch,
            index=item,
        )


class CocoDetection(DetectionDataset):
    """Samples of a COCO file whose images lie in ``image_dir``; see :func:`.formats.coco_json.read_coco`."""

    def __init__(
        self, annotation_file: str | Path, image_dir: str | Path, transform: Transform | None = None
    ) -> None:
        findings = Findings()
        index = read_coco(annotation_file, image_dir, findings)
        findings.raise_errors()
        super().__init__(index, transform)
