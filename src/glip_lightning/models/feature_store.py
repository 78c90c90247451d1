"""Stores of computed features: in memory, or in a folder that other runs may use, too."""

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import remove_parts, write_bytes

log = logging.getLogger(__name__)

SUFFIX = ".safetensors"
NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
HEADER = 1024  # bytes of a file beside its numbers, at most


class Store(Protocol):
    """A store of dense tensors for each image, with their shapes and strides, on the CPU."""

    limit: int  # bytes

    def get(self, key: str) -> list[Tensor] | None:
        """Return what is kept for ``key``."""
        ...

    def put(self, key: str, tensors: Sequence[Tensor]) -> bool:
        """Keep the tensors, unless that would pass the limit; return whether they were kept."""
        ...

    def used(self) -> int:
        """Return the bytes in use."""
        ...


class MemoryStore(Store):
    """A store in the memory of this process.

    Nothing is thrown out for something new: images come in turns, and the one that was not used for
    longest is the one that comes next.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: dict[str, list[Tensor]] = {}
        self._bytes = 0

    @override
    def get(self, key: str) -> list[Tensor] | None:
        return self._kept.get(key)

    @override
    def put(self, key: str, tensors: Sequence[Tensor]) -> bool:
        size = sum(x.nbytes for x in tensors)
        if self._bytes + size > self.limit:
            return False
        self._kept[key] = [x.detach().to("cpu", copy=True) for x in tensors]
        self._bytes += size
        return True

    @override
    def used(self) -> int:
        return self._bytes


class FolderStore(Store):
    """A store with a file per key, read by mapping it into memory.

    Several processes and later runs may share the folder. A file appears whole, under its name, or
    not at all. A file that is torn, foreign, of another key or shape is removed, and its features
    are computed anew; the content is checked when this process first opens it. Where the limit is
    reached, no more files are written.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._checked: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"features.folder={str(folder)!r}: cannot be made: {error.strerror}"
            raise GLIPError(message, code="no-folder") from None
        remove_parts(folder)

    @override
    def get(self, key: str) -> list[Tensor] | None:
        path = self._path(key)
        if not path.exists():
            return None
        try:
            tensors = self._read(path, key)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            log.warning(
                "%s is damaged or not ours (%s): removed, its features are computed anew",
                path,
                error,
            )
            self._checked.discard(key)
            path.unlink(missing_ok=True)
            return None
        return tensors

    def _read(self, path: Path, key: str) -> list[Tensor]:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            layout = json.loads(about["layout"])
            flat = [file.get_tensor(str(i)) for i in range(len(layout))]
        sizes = [torch.Size(shape).numel() for shape, _ in layout]
        if about["key"] != key or [x.numel() for x in flat] != sizes:
            raise ValueError("it holds something else")
        if key not in self._checked:
            if about["sha256"] != _checksum(flat, about["layout"]):
                raise ValueError("its checksum differs")
            self._checked.add(key)
        tensors = []
        for x, (shape, strides) in zip(flat, layout, strict=True):
            tensors.append(x.as_strided(shape, strides))
        return tensors

    @override
    def put(self, key: str, tensors: Sequence[Tensor]) -> bool:
        try:
            if self.used() + sum(x.nbytes for x in tensors) + HEADER > self.limit:
                return False
            self._write(key, tensors)
        except (OSError, SafetensorError) as error:  # the disk is full, or not ours to write to
            log.warning(
                "%s: cannot be written (%s); features that are not there are computed",
                self.folder,
                error,
            )
            self.limit = 0
            return False
        self._checked.add(key)
        return True

    def _write(self, key: str, tensors: Sequence[Tensor]) -> None:
        rows = [x.detach().to("cpu", copy=True) for x in tensors]
        flat = [x.as_strided((x.numel(),), (1,)) for x in rows]
        layout = json.dumps([(x.shape, x.stride()) for x in rows])
        about = {"key": key, "layout": layout, "sha256": _checksum(flat, layout)}
        write_bytes(self._path(key), save({str(i): x for i, x in enumerate(flat)}, about))

    @override
    def used(self) -> int:
        sizes = []
        for path in self.folder.iterdir():
            if NAME.fullmatch(path.name):
                with suppress(FileNotFoundError):  # another process has removed a damaged one
                    sizes.append(path.stat().st_size)
        return sum(sizes)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"


def _checksum(flat: Sequence[Tensor], layout: str) -> str:
    found = hashlib.sha256(layout.encode())
    for x in flat:
        found.update(f"{x.dtype}{x.numel()}".encode())
        found.update(tensor_bytes(x))
    return found.hexdigest()


def tensor_bytes(x: Tensor) -> memoryview:
    """Return the numbers of a tensor on any device, row-major, as bytes."""
    return x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
