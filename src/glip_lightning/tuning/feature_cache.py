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
from typing import Any, Literal

import torch
from torch import Tensor, nn

from glip_lightning import models
from glip_lightning.common.versions import versions
from glip_lightning.models.config import STRIDES
from glip_lightning.models.glip.model import GLIP, padded_size
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.ops.outputs import Outputs
from glip_lightning.tuning.base import Tuning
from glip_lightning.tuning.feature_store import FolderStore, MemoryStore, Shapes, Store, tensor_bytes
from glip_lightning.tuning.lora import ADAPTED

log = logging.getLogger(__name__)

Cut = Literal["nothing", "pyramid", "tower"]
CODE = ("torch", "torchvision", "timm")  # packages whose code makes the features, beside models/


def cut(model: GLIP, tuning: Tuning) -> Cut:
    """How far the detector is the same throughout the training.

    ``pyramid``: the maps P3..P7, all before the fusion. ``tower``: all before the last layers, where neither the
    rounds nor the text that enters them learn; without fusion (variant A) no text enters them. ``nothing`` also where
    only the first stages of the backbone are frozen: they are little of the work, and their maps the largest.
    """
    if _learns(model.backbone, model.fpn):
        return "nothing"
    encoder_alone = type(tuning).encode_text is Tuning.encode_text  # nothing learned is added to its output
    same_text = not model.config.fusion or (encoder_alone and not _learns(model.language))
    return "tower" if same_text and not _learns(model.dyhead) else "pyramid"


def _learns(*parts: nn.Module) -> bool:
    """Whether training changes a weight or draws random numbers in any of the parts."""
    return any(
        layer.training or isinstance(layer, tuple(ADAPTED.values()))
        for layer in chain(*(part.modules() for part in parts))
    ) or any(p.requires_grad for part in parts for p in part.parameters())


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
        self.cut: Cut = "nothing"
        """Of the last batch."""
        self.hits = self.misses = 0
        self._full = False
        self._weights: tuple[Any, str, Any] = (None, "", None)

    def detect(
        self, model: GLIP, tuning: Tuning, images: Sequence[Tensor], texts: Sequence[TextFeatures]
    ) -> Iterator[Outputs]:
        """Predictions for RGB images, uint8 [3, h, w], with one text [B, T, D] after the other."""
        self.cut = cut(model, tuning)
        frozen = _Batch(self, model, images)
        if self.cut == "tower":
            yield from (model.predict(*frozen.tower(text)) for text in texts)
            return
        levels = frozen.pyramid() if self.cut == "pyramid" else model.encode_images(model.preprocess(images))
        yield from (model.detect(levels, text) for text in texts)

    def summary(self) -> str:
        """What was computed and what was found."""
        what = {"nothing": "nothing is frozen throughout", "pyramid": "P3..P7", "tower": "all before the last layers"}
        return (
            f"features ({what[self.cut]}): {self.hits} taken from the cache, {self.misses} computed; "
            f"{self.store.used() / 1e9:.2f} of {self.store.limit / 1e9:g} GB kept"
        )

    def fetch(self, key: Callable[[], bytes], shapes: Shapes, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        """What is kept under ``key``, or is computed and kept: tensors of one image."""
        if not self.store.limit:
            self.misses += 1
            return _frozen(compute)
        name = hashlib.sha256(key()).hexdigest()
        found = self.store.get(name, shapes)
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

    def base_key(self, model: GLIP) -> bytes:
        """Weights, precision and code."""
        parts = [model.backbone, model.fpn] + [model.dyhead] * (self.cut == "tower")
        tensors = [x for part in parts for x in chain(part.parameters(), part.buffers())]
        # a checkpoint that is loaded changes weights in place; an average of frozen ones is what it was
        state = [(id(x), x.data_ptr(), 0 if x.is_inference() else x._version) for x in tensors]
        if self._weights[:1] != (state,):
            self._weights = (state, _hash_of(tensors), tensors)  # held, so that no other tensor gets their id
        device = model.grounding.log_scale.device.type
        half = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        precision = (device, half, torch.get_float32_matmul_precision())
        return repr((self.cut, model.config, self._weights[1], precision, _code())).encode()


class _Batch:
    """The frozen part on the images of a batch, one by one."""

    def __init__(self, features: FeatureCache, model: GLIP, images: Sequence[Tensor]) -> None:
        self.features, self.model, self.images = features, model, images
        self.size = padded_size(images)
        self.device = model.grounding.log_scale.device
        self._pyramids: dict[int, list[Tensor]] = {}  # for several texts

    @cached_property
    def _keys(self) -> list[bytes]:
        """Of each image without text."""
        base = self.features.base_key(self.model) + repr(self.size).encode()
        return [base + repr(x.shape).encode() + hashlib.sha256(tensor_bytes(x)).digest() for x in self.images]

    def pyramid(self) -> list[Tensor]:
        """P3..P7, each [B, C, H, W]."""
        shapes = self._level_shapes()
        rows = [
            self.features.fetch(lambda i=i: self._keys[i], shapes, lambda i=i: [x[0] for x in self._pyramid(i)])
            for i in range(len(self.images))
        ]
        return _stacked(rows, self.device)

    def tower(self, text: TextFeatures) -> tuple[list[Tensor], TextFeatures]:
        """P3..P7 after the tower, each [B, C, H, W], and the text [B, T, D] after it."""
        fusion = self.model.config.fusion
        shapes = self._level_shapes() + [tuple(text.hidden.shape[1:])] * fusion
        rows = [
            self.features.fetch(
                lambda i=i: self._keys[i] + (_text_key(text, i) if fusion else b""),
                shapes,
                lambda i=i: self._tower(i, text),
            )
            for i in range(len(self.images))
        ]
        levels = _stacked(rows, self.device)
        return levels, text._replace(hidden=levels.pop()) if fusion else text

    def _pyramid(self, i: int) -> list[Tensor]:
        if i not in self._pyramids:
            image = self.model.preprocess([self.images[i]], self.size)
            self._pyramids[i] = self.model.encode_images(image)
        return self._pyramids[i]

    def _tower(self, i: int, text: TextFeatures) -> list[Tensor]:
        levels, read = self.model.dyhead(self._pyramid(i), TextFeatures(text.hidden[i : i + 1], text.mask[i : i + 1]))
        return [x[0] for x in (levels + [read.hidden] * self.model.config.fusion)]

    def _level_shapes(self) -> list[tuple[int, ...]]:
        return [(self.model.config.channels, *(-(-side // stride) for side in self.size)) for stride in STRIDES]


def _frozen(compute: Callable[[], list[Tensor]]) -> list[Tensor]:
    """Results that a later training step may use, also when they are computed in an evaluation."""
    with torch.inference_mode(False), torch.enable_grad():
        found = compute()
    if any(x.requires_grad for x in found):
        raise RuntimeError("what is to be kept depends on a tensor that learns: a tuning adds it where cut() is blind")
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
