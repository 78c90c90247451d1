"""Tensors from files that another person made: read, then checked before they are used."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from glip_lightning.common.errors import GLIPError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_tensors(
    path: Path, where: str, wanted: Callable[[str], bool] | None = None
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors of a safetensors file.

    The header is not trusted: no tensor is larger than the file.

    Args:
        path: the file.
        where: how errors call it.
        wanted: whether a tensor of this name is read; None: all are.

    Raises:
        GLIPError: the file cannot be read as safetensors (code ``unreadable-tensors``).
    """
    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            if wanted is not None:
                keys = [key for key in keys if wanted(key)]
            return file.metadata() or {}, {key: file.get_tensor(key) for key in keys}
    except Exception as error:  # a damaged header can fail in any way
        reason = " ".join(str(error).split())
        message = f"{where}: no readable safetensors file ({reason})"
        raise GLIPError(message, code="unreadable-tensors") from error


def check_tensors(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise an error about the first tensor that does not hold finite numbers.

    Raises:
        GLIPError: a tensor is not dense or not of floats (code ``bad-tensor``), or it holds
            infinite numbers or NaN (code ``not-finite``).
    """
    for key, tensor in tensors.items():
        if tensor.dtype not in FLOATS or tensor.layout != torch.strided or tensor.is_meta:
            kind = f"{tensor.dtype}, {tensor.layout}".replace("torch.", "")
            if tensor.is_meta:
                kind = "without values"
            message = f"{where}: {key} is {kind}, expected a dense tensor of floats"
            raise GLIPError(message, code="bad-tensor")
        if not is_finite(tensor):
            bad = int((~tensor.isfinite()).sum())
            message = f"{where}: {bad} of {tensor.numel()} numbers of {key} are infinite or NaN"
            raise GLIPError(message, code="not-finite")


def is_finite(tensor: Tensor) -> bool:
    """Return whether all numbers of a tensor are finite.

    A finite sum proves it, and a sum is 15 times faster than a look at each number (27 ms for the
    232 million numbers of glip-tiny). A sum can overflow; then each number is looked at.
    """
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def check_storage(tensors: Mapping[object, Tensor], where: str) -> None:
    """Raise an error unless each number of each tensor stands in the file.

    A view that repeats numbers of a small file could outgrow the memory.

    Raises:
        GLIPError: a name is no text, or a tensor is not dense or larger than its storage (code
            ``bad-tensor``).
    """
    for key, tensor in tensors.items():
        if not isinstance(key, str):
            message = f"{where}: the name of a tensor is {key!r:.60}, no text"
            raise GLIPError(message, code="bad-tensor")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            message = f"{where}: {key} is no dense tensor ({tensor.layout}, {tensor.dtype})"
            raise GLIPError(message, code="bad-tensor")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            message = f"{where}: {key} {tuple(tensor.shape)} has more numbers than are in the file"
            raise GLIPError(message, code="bad-tensor")
