"""A cache of image features, so that what is frozen is computed once per image, view and padded size.

It is handed to :meth:`glip_lightning.models.detector.Detector.encode_images`, which says what is frozen and computes
it. Nothing depends on the cache but time.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from glip_lightning import models
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.versions import versions
from glip_lightning.models.feature_store import FolderStore, MemoryStore, Store, tensor_bytes

log = logging.getLogger(__name__)

CODE = ("torch", "torchvision", "timm")  # packages whose code makes the features, beside models/


class FeatureCache:
    """Keeps the features of images by a key made of all that decides their numbers."""

    def __init__(self, gigabytes: float = 2.0, folder: str | None = None) -> None:
        """Keeps at most ``gigabytes`` in the memory of each process, or in ``folder``, where other runs (shots,
        seeds) and processes find them. 0 keeps nothing. P3..P7 of an image of 800x1333 take 23 MB, half in bf16."""
        if not gigabytes >= 0:
            message = f"features.gigabytes={gigabytes}: expected 0 (keep nothing) or more"
            raise GLIPError(message, code="bad-value")
        limit = int(gigabytes * 1e9)
        self.store: Store = (
            FolderStore(Path(folder), limit) if folder and limit else MemoryStore(limit)
        )
        self.hits = self.misses = 0
        self._full = False
        self._weights: tuple[object, str, Sequence[Tensor]] = (None, "", ())

    def fetch(self, key: Callable[[], bytes], compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Return what is kept under ``key``, or is computed and kept: tensors of one image."""
        if not self.store.limit:
            self.misses += 1
            return compute()
        name = hashlib.sha256(key()).hexdigest()
        found = self.store.get(name)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        found = compute()
        if not self.store.put(name, found) and not self._full and self.store.limit:
            self._full = True
            log.warning(
                "the cache of features is full after %d images (%g GB); those of the others are computed every time: "
                "raise model.features.gigabytes, or give it a folder",
                *(self.misses - 1, self.store.limit / 1e9),
            )
        return found

    def hash_of_weights(self, weights: Sequence[Tensor]) -> str:
        """Return the SHA-256 of weights; it is computed anew only where one of them was written to."""
        # a checkpoint that is loaded changes weights in place; an average of frozen ones is what it was
        state = [(id(x), x.data_ptr(), 0 if x.is_inference() else x._version) for x in weights]
        if self._weights[0] != state:
            digest = hashlib.sha256()
            for x in weights:
                digest.update(repr((tuple(x.shape), x.dtype)).encode())
                digest.update(tensor_bytes(x))
            self._weights = (
                state,
                digest.hexdigest(),
                weights,
            )  # held, so that no other tensor gets their id
        return self._weights[1]

    def summary(self) -> str:
        """Return what was computed and what was found, for the log."""
        return (
            f"{self.hits} taken from the cache, {self.misses} computed; "
            f"{self.store.used() / 1e9:.2f} of {self.store.limit / 1e9:g} GB kept"
        )


def precision_of(device: str) -> tuple[object, ...]:
    """Return the settings of torch that decide how precisely a device computes."""
    half = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return device, half, torch.get_float32_matmul_precision()


@cache
def hash_of_code() -> str:
    """Return the SHA-256 of the sources in models/ and of the versions of the packages that they compute with."""
    digest = hashlib.sha256(repr([versions()[name] for name in CODE]).encode())
    for path in sorted(Path(models.__path__[0]).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
