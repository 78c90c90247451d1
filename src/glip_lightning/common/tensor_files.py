"""Tensors out of files that another person made: what is read, and that it can be computed with."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from glip_lightning.common.errors import GLIPError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_tensors(
    path: Path, where: str, wanted: Callable[[str], bool] = lambda key: True
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return metadata and the ``wanted`` tensors of a safetensors file; no sizes beyond the file's own are believed."""
    try:
        with safe_open(path, framework="pt") as file:
            keys = [key for key in file.keys() if wanted(key)]  # noqa: SIM118 - not a mapping
            return file.metadata() or {}, {key: file.get_tensor(key) for key in keys}
    except Exception as error:  # a damaged header can fail in any way
        reason = " ".join(str(error).split())
        raise GLIPError(
            f"{where}: no readable safetensors file ({reason})", code="unreadable-tensors"
        ) from error


def check_tensors(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise an error that names the first tensor that does not hold finite numbers."""
    for key, tensor in tensors.items():
        if tensor.dtype not in FLOATS or tensor.layout != torch.strided or tensor.is_meta:
            kind = (
                "without values"
                if tensor.is_meta
                else f"{tensor.dtype}, {tensor.layout}".replace("torch.", "")
            )
            raise GLIPError(
                f"{where}: {key} is {kind}, expected a dense tensor of floats", code="bad-tensor"
            )
        if not is_finite(tensor):
            bad = int((~tensor.isfinite()).sum())
            message = f"{where}: {bad} of {tensor.numel()} numbers of {key} are infinite or NaN"
            raise GLIPError(message, code="not-finite")


def is_finite(tensor: Tensor) -> bool:
    """Return whether all numbers are finite. The sum is, if all are, unless it overflows: 15 times faster than to look
    at each (27 ms for the 232 million numbers of glip-tiny)."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def check_storage(tensors: Mapping[object, Tensor], where: str) -> None:
    """Raise an error unless every number stands in the file: a view that repeats some may outgrow any memory."""
    for key, tensor in tensors.items():
        if not isinstance(key, str):
            raise GLIPError(
                f"{where}: the name of a tensor is {key!r:.60}, no text", code="bad-tensor"
            )
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise GLIPError(
                f"{where}: {key} is no dense tensor ({tensor.layout}, {tensor.dtype})",
                code="bad-tensor",
            )
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            message = f"{where}: {key} {tuple(tensor.shape)} has more numbers than are in the file"
            raise GLIPError(message, code="bad-tensor")
