"""A cache of image features, so that frozen layers run once per image, view and padded size.

``Tuning.frozen_stages`` says what is frozen, ``EncodedImages`` of the detector computes and fetches
it, and ``GLIPModule.caches_training_features`` says when training images are cached. The cache
saves time and changes no number.
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
from glip_lightning.common.private_names import version_of
from glip_lightning.common.versions import versions
from glip_lightning.models.feature_store import FolderStore, MemoryStore, Store, tensor_bytes

log = logging.getLogger(__name__)

CODE = ("torch", "torchvision", "timm")  # packages whose code makes the features, beside models/


class FeatureCache:
    """A cache of image features. Its keys are made of all that decides the numbers."""

    def __init__(self, gigabytes: float = 2.0, folder: str | None = None) -> None:
        """Make an empty cache, or open the one in ``folder``.

        P3..P7 of an image of 800x1333 take 23 MB, half of that in bf16.

        Args:
            gigabytes: limit for the memory of each process, or for ``folder``. 0 keeps nothing.
            folder: keeps the features in files, which other processes and runs (shots, seeds) use.
        """
        if not gigabytes >= 0:
            message = f"features.gigabytes={gigabytes}: expected 0 (keep nothing) or more"
            raise GLIPError(message, code="bad-value")
        limit = int(gigabytes * 1e9)
        self.store: Store = MemoryStore(limit)
        if folder and limit:
            self.store = FolderStore(Path(folder), limit)
        self.hits = self.misses = 0
        self._full = False
        self._hashed: _HashedWeights | None = None

    def fetch(self, key: Callable[[], bytes], compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Return the tensors of one image that are kept under ``key``, else compute and keep them.

        Args:
            key: returns all that decides the numbers; called only if something can be kept.
            compute: returns the tensors; called only if none are kept.
        """
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
                "the cache of features is full after %d images (%g GB); the features of the other "
                "images are computed every time: raise model.features.gigabytes, or give it a "
                "folder",
                self.misses - 1,
                self.store.limit / 1e9,
            )
        return found

    def hash_of_weights(self, weights: Sequence[Tensor]) -> str:
        """Return the SHA-256 of weights; it is computed anew only after one of them changed."""
        # a checkpoint that is loaded changes weights in place; an average of frozen ones is equal
        places = [(id(x), x.data_ptr()) for x in weights]
        state = list(zip(places, versions_of(weights), strict=True))
        if self._hashed is None or self._hashed.state != state:
            self._hashed = _HashedWeights(state, weights)
        return self._hashed.sha256

    def summary(self) -> str:
        """Return how many features were computed and how many found, for the log."""
        return (
            f"{self.hits} taken from the cache, {self.misses} computed; "
            f"{self.store.used() / 1e9:.2f} of {self.store.limit / 1e9:g} GB kept"
        )


class _HashedWeights:
    """The SHA-256 of weights in one state. It holds the tensors, so no other ones get their id."""

    def __init__(self, state: object, weights: Sequence[Tensor]) -> None:
        self.state, self.weights = state, weights
        digest = hashlib.sha256()
        for x in weights:
            digest.update(repr((tuple(x.shape), x.dtype)).encode())
            digest.update(tensor_bytes(x))
        self.sha256 = digest.hexdigest()


def versions_of(tensors: Sequence[Tensor]) -> list[int]:
    """Return torch's counters of changes in place; 0 for tensors of the inference mode."""
    return [0 if x.is_inference() else version_of(x) for x in tensors]


def precision_of(device: str) -> tuple[object, ...]:
    """Return the settings of torch that decide how precisely a type of device computes."""
    half = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return device, half, torch.get_float32_matmul_precision()


@cache
def hash_of_code() -> str:
    """Return the SHA-256 of the sources in models/ and of the versions of their packages."""
    digest = hashlib.sha256(repr([versions()[name] for name in CODE]).encode())
    for path in sorted(Path(models.__path__[0]).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
