"""What comes before the first tensor that learns is computed once per image, view and padded size, then kept.

Nothing depends on the cache but time: the frozen part takes one image after the other whether its features are kept
or not, so that they are the same bits in every batch, run and resumed run.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glip_lightning import models
from glip_lightning.common.versions import versions
from glip_lightning.models.detector import Detector, Features, Outputs, Stage
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.tuning.base import Tuning
from glip_lightning.tuning.feature_store import FolderStore, MemoryStore, Store, tensor_bytes
from glip_lightning.tuning.lora import Adapted

log = logging.getLogger(__name__)

NOTHING = "nothing"
"""The name of the cut where no stage is the same throughout the training."""

CODE = ("torch", "torchvision", "timm")  # packages whose code makes the features, beside models/


def frozen_stages(model: Detector, tuning: Tuning) -> list[Stage]:
    """Return the stages of the detector that are the same throughout the training; the last of them can be kept.

    A stage is the same where nothing before it learns, and where the text that it reads, if it reads any, does not
    learn either.
    """
    encoder_alone = type(tuning).encode_text is Tuning.encode_text  # nothing learned is added to its output
    same_text = encoder_alone and not _learns(model.modules_of("text"))
    found: list[Stage] = []
    for stage in model.stages():
        if _learns(stage.modules) or (stage.reads_text and not same_text):
            break
        found.append(stage)
    return found


def _learns(parts: Sequence[nn.Module]) -> bool:
    """Return whether training changes a weight or draws random numbers in any of the parts."""
    for part in parts:
        if any(layer.training or isinstance(layer, Adapted) for layer in part.modules()):
            return True
        if any(p.requires_grad for p in part.parameters()):
            return True
    return False


class FeatureCache:
    """Runs a detector, and keeps what its frozen part computes.

    A key is made of all that decides the numbers: the pixels that enter the detector (so the view, too), the padded
    size, the text where it takes part, weights, precision and code.
    """

    def __init__(self, gigabytes: float = 2.0, folder: str | None = None) -> None:
        """Keeps at most ``gigabytes`` in the memory of each process, or in ``folder``, where other runs (shots,
        seeds) and processes find them. 0 keeps nothing. P3..P7 of an image of 800x1333 take 23 MB, half in bf16."""
        if not gigabytes >= 0:
            raise ValueError(f"features.gigabytes={gigabytes}: expected 0 (keep nothing) or more")
        limit = int(gigabytes * 1e9)
        self.store: Store = FolderStore(Path(folder), limit) if folder and limit else MemoryStore(limit)
        self.cut = NOTHING
        """Name of the stage that the last batch was kept at."""
        self._holds = "nothing is frozen throughout"
        self.hits = self.misses = 0
        self._full = False
        self._weights: tuple[Any, str, Any] = (None, "", None)

    def detect(
        self,
        model: Detector,
        tuning: Tuning,
        images: Sequence[Tensor],
        texts: Sequence[TextFeatures],
        keep: bool = True,
    ) -> Iterator[Outputs]:
        """Yield the predictions for RGB images, uint8 [3, h, w], with one text [B, T, D] after the other.

        ``keep=False`` is for images that never come again: nothing is looked for or kept.
        """
        stages = frozen_stages(model, tuning)
        if not stages:
            self.cut, self._holds = NOTHING, "nothing is frozen throughout"
            features = model.encode_images(model.preprocess(images))
            yield from (model.detect(features, text) for text in texts)
            return
        last = stages[-1]
        self.cut, self._holds = last.name, last.holds
        frozen = _Batch(self, model, stages, images, keep)
        if last.reads_text:
            yield from (model.detect_from(last.name, frozen.features(text), text) for text in texts)
        elif texts:
            features = frozen.features(texts[0])  # the same for every text
            yield from (model.detect_from(last.name, features, text) for text in texts)

    def summary(self) -> str:
        """Return what was computed and what was found, for the log."""
        return (
            f"features ({self._holds}): {self.hits} taken from the cache, {self.misses} computed; "
            f"{self.store.used() / 1e9:.2f} of {self.store.limit / 1e9:g} GB kept"
        )

    def fetch(self, key: Callable[[], bytes], compute: Callable[[], list[Tensor]], keep: bool = True) -> list[Tensor]:
        """Return what is kept under ``key``, or is computed and, if so wished, kept: tensors of one image."""
        if not keep or not self.store.limit:
            self.misses += 1
            return _frozen(compute)
        name = hashlib.sha256(key()).hexdigest()
        found = self.store.get(name)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        found = _frozen(compute)
        if not self.store.put(name, found) and not self._full and self.store.limit:
            self._full = True
            log.warning(
                "the cache of features is full after %d images (%g GB); those of the others are computed every time: "
                "raise model.features.gigabytes, or give it a folder",
                *(self.misses - 1, self.store.limit / 1e9),
            )
        return found

    def base_key(self, model: Detector, stages: Sequence[Stage]) -> bytes:
        """Return weights, precision and code as bytes."""
        parts = [part for stage in stages for part in stage.modules]
        tensors = [x for part in parts for x in chain(part.parameters(), part.buffers())]
        # a checkpoint that is loaded changes weights in place; an average of frozen ones is what it was
        state = [(id(x), x.data_ptr(), 0 if x.is_inference() else x._version) for x in tensors]
        if self._weights[:1] != (state,):
            self._weights = (state, _hash_of(tensors), tensors)  # held, so that no other tensor gets their id
        device = model.device.type
        half = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        precision = (device, half, torch.get_float32_matmul_precision())
        return repr((self.cut, model.architecture(), self._weights[1], precision, _code())).encode()


class _Batch:
    """The frozen stages on the images of a batch, one by one."""

    def __init__(
        self, cache: FeatureCache, model: Detector, stages: Sequence[Stage], images: Sequence[Tensor], keep: bool
    ) -> None:
        self.cache, self.model, self.stages, self.images = cache, model, stages, images
        self.keep = keep
        self.size = model.padded_size(images)
        self._before_text: dict[int, Features] = {}  # for several texts

    @cached_property
    def _keys(self) -> list[bytes]:
        """Keys of the images without text."""
        base = self.cache.base_key(self.model, self.stages) + repr(self.size).encode()
        return [base + repr(x.shape).encode() + hashlib.sha256(tensor_bytes(x)).digest() for x in self.images]

    def features(self, text: TextFeatures) -> Features:
        """Return the features [B, ...] of the last frozen stage; without a text in it ``text`` is not looked at."""
        rows = [
            self.cache.fetch(lambda i=i: self._key(i, text), lambda i=i: self._computed(i, text), self.keep)
            for i in range(len(self.images))
        ]
        return _stacked(rows, self.model.device)

    def _key(self, i: int, text: TextFeatures) -> bytes:
        return self._keys[i] + (_text_key(text, i) if self.stages[-1].reads_text else b"")

    def _computed(self, i: int, text: TextFeatures) -> list[Tensor]:
        """Return the features of image i alone, without the axis of the batch."""
        alone = TextFeatures(text.hidden[i : i + 1], text.mask[i : i + 1])
        features = self._without_text(i, alone)
        for stage in self.stages:
            if stage.reads_text:
                features = stage.run(features, alone)
        return [x[0] for x in features]

    def _without_text(self, i: int, text: TextFeatures) -> Features:
        if i not in self._before_text:
            features = self.model.preprocess([self.images[i]], self.size)
            for stage in self.stages:
                if not stage.reads_text:
                    features = stage.run(features, text)
            self._before_text[i] = features
        return self._before_text[i]


def _frozen(compute: Callable[[], list[Tensor]]) -> list[Tensor]:
    """Results that a later training step may use, also when they are computed in an evaluation."""
    with torch.inference_mode(False), torch.enable_grad():
        found = compute()
    if any(x.requires_grad for x in found):
        raise RuntimeError(
            "what is to be kept depends on a tensor that learns: a tuning adds it where frozen_stages() is blind"
        )
    return found


def _stacked(rows: Sequence[Sequence[Tensor]], device: torch.device) -> list[Tensor]:
    """Tensors of each image -> batches on the device, in the strides that they were computed in."""
    batches = []
    for parts in zip(*rows, strict=True):
        first = parts[0]
        batch = torch.empty_strided(
            (len(parts), *first.shape), (first.numel(), *first.stride()), dtype=first.dtype, device=device
        )
        for row, part in zip(batch, parts, strict=True):
            row.copy_(part)
        batches.append(batch)
    return batches


def _text_key(text: TextFeatures, i: int) -> bytes:
    return repr(tuple(text.hidden.shape[1:])).encode() + tensor_bytes(text.hidden[i]) + tensor_bytes(text.mask[i])


def _hash_of(tensors: Sequence[Tensor]) -> str:
    found = hashlib.sha256()
    for x in tensors:
        found.update(repr((tuple(x.shape), x.dtype)).encode())
        found.update(tensor_bytes(x))
    return found.hexdigest()


@cache
def _code() -> str:
    """Of the sources in models/ and of the packages that they compute with."""
    found = hashlib.sha256(repr([versions()[name] for name in CODE]).encode())
    for path in sorted(Path(models.__path__[0]).rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()
