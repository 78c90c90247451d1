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


def _reduce(columns: Boxes | Index | Names) -> tuple[Callable[..., object], tuple[Any, ...]]:
    """Pickle arrays as tensors for workers that are not forked.

    Torch moves tensors to shared memory, once for all workers.
    """
    if columns not in _tensors:
        _tensors[columns] = {}
        for name, value in vars(columns).items():
            if isinstance(value, np.ndarray):
                _tensors[columns][name] = torch.from_numpy(value)
    tensors = _tensors[columns]
    others = {name: value for name, value in vars(columns).items() if name not in tensors}
    return _rebuild, (type(columns), others, tensors)


def _rebuild(kind: type, others: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> object:
    columns = object.__new__(kind)
    vars(columns).update(others)
    for name, tensor in tensors.items():
        vars(columns)[name] = tensor.numpy()
    return columns


for kind in (Boxes, Index, Names):
    ForkingPickler.register(kind, _reduce)


class DetectionDataset(Dataset[KeyedSample]):
    """Samples of an index; images without boxes train as negatives.

    With ``copies`` every image comes that many times in an epoch, each time in another view (the
    official DATASETS.GENERAL_COPY): item i shows image ``i % N``.
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
        """The names of the classes, in the order of their labels."""
        return list(self.index.class_names)

    @property
    def image_ids(self) -> list[int]:
        """The id of each image, once for all copies."""
        return self.index.ids.tolist()

    def sizes(self, epoch: int) -> np.ndarray:
        """Return height and width [len(self), 2] of all samples of an epoch; none is read."""
        found = np.empty((len(self), 2), np.int64)
        for item in range(len(self)):
            image = item % len(self.index)
            height, width = self.index.size(image)
            if self.augment is not None:
                boxes = torch.from_numpy(self.index.target(image)[0])
                view = self.augment.view(height, width, boxes, epoch, item)
                height, width = view.height, view.width
            found[item] = self.transform.size(height, width, epoch, item)
        return found

    def __getitem__(self, index: Key | int) -> KeyedSample:
        """Return the sample of ``(epoch, item)``; an item alone means epoch 0.

        Raises:
            GLIPError: the image cannot be read, or has changed since the data were read.
        """
        if isinstance(index, int):
            index = (0, index)
        epoch, item = index
        image = item % len(self.index)
        picture = self.index.picture(image)
        target_boxes, target_labels = self.index.target(image)
        boxes, labels = torch.from_numpy(target_boxes), torch.from_numpy(target_labels)
        if self.augment is not None:
            view = self.augment.view(picture.height, picture.width, boxes, epoch, item)
            picture = view.pixels(picture)
            boxes, labels = view.boxes(boxes), labels[view.kept]
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
    """Samples of a COCO file with its images in ``image_dir``.

    :func:`glip_lightning.data.formats.coco_json.read_coco` reads and checks the file: the first
    fault is a :class:`~glip_lightning.data.checks.findings.DataError` that names all.
    """

    def __init__(
        self, annotation_file: str | Path, image_dir: str | Path, transform: Transform | None = None
    ) -> None:
        findings = Findings()
        index = read_coco(annotation_file, image_dir, findings)
        findings.raise_errors()
        super().__init__(index, transform)
