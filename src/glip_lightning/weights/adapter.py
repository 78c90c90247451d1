"""A tuned detector as what was trained and the name of its base: megabytes where a copy takes a gigabyte.

A folder of ``adapter.safetensors`` (``new.<name>`` replaces a tensor, ``up.<name>``, ``down.<name>`` and
``scale.<name>`` are a low-rank update that is added to one) and ``adapter.json`` (base, its hash, classes, caption).
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.files import replacing
from glip_lightning.common.schema import class_names
from glip_lightning.common.tensor_files import check_tensors, read_tensors
from glip_lightning.models.detector import Detector
from glip_lightning.text.phrases import Phrase
from glip_lightning.weights.base_model import (
    CONTENT_NAME,
    FORMAT,
    NO_ADAPTER,
    Base,
    read_base,
    read_content,
)

TENSORS_NAME = "adapter.safetensors"
UPDATE = ("up", "down", "scale")  # of a low-rank update


class Adapter(NamedTuple):
    """What was learned on a base, for which classes."""

    tensors: Mapping[str, Tensor]
    phrases: tuple[Phrase, ...]
    captions: tuple[str, ...]
    tuning: str  # class and settings, for people to read
    base: Base
    names: tuple[str, ...] = ()  # of the classes in the data; empty where these are not on record


def save_adapter(folder: Path, adapter: Adapter) -> None:
    """Write the folder at once or not at all."""
    content = {
        "format": FORMAT,
        "tuning": adapter.tuning,
        "base": adapter.base._asdict(),
        "phrases": [phrase._asdict() for phrase in adapter.phrases],
        "captions": adapter.captions,
        **({"names": adapter.names} if adapter.names else {}),
    }
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in adapter.tensors.items()}
    with replacing(folder) as fresh:
        fresh.mkdir()
        save_file(tensors, fresh / TENSORS_NAME)
        (fresh / CONTENT_NAME).write_text(
            json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8"
        )


def load_adapter(folder: Path) -> Adapter:
    """Read a folder of :func:`save_adapter`; anything else is an error that says why."""
    if missing := [name for name in (TENSORS_NAME, CONTENT_NAME) if not (folder / name).is_file()]:
        message = f"{folder}: no adapter, {' and '.join(missing)} missing"
        raise MissingFile(message, code="missing-file")
    content = read_content(folder)
    where = f"{folder / TENSORS_NAME}: {NO_ADAPTER}"
    _, tensors = read_tensors(folder / TENSORS_NAME, where)
    _check_names(tensors, where)
    check_tensors(tensors, where)
    return Adapter(
        tensors,
        tuple(Phrase(**phrase) for phrase in content["phrases"]),
        tuple(content["captions"]),
        content["tuning"],
        read_base(content["base"]),
        class_names(content, "phrases", f"{folder / CONTENT_NAME}: {NO_ADAPTER}"),
    )


def _check_names(tensors: Mapping[str, Tensor], where: str) -> None:
    """Each tensor of the base is replaced, or updated by all parts of a low-rank update."""
    given: dict[str, set[str]] = {}
    for key in tensors:
        kind, _, name = key.partition(".")
        given.setdefault(name, set()).add(kind)
    for name, kinds in given.items():
        if kinds not in ({"new"}, set(UPDATE)):
            told = f"{', '.join(sorted(kinds))} of the tensor {name!r:.100}"
            raise GLIPError(
                f"{where}: {told}, expected new, or {', '.join(UPDATE)}", code="unknown-key"
            )


@torch.no_grad()
def apply_adapter(model: Detector, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put what was learned into the base; the same sums as merging it after the training."""
    state = model.state_dict()
    names = {key.split(".", 1)[1] for key in tensors}
    if unknown := sorted(names - state.keys()):
        raise GLIPError(f"{where}: the base has no {_some(unknown)}", code="unknown-key")
    for name in names:
        new, shape = tensors.get(f"new.{name}"), tuple(state[name].shape)
        if new is not None:
            if new.shape != shape:
                raise GLIPError(
                    f"{where}: {name} is {tuple(new.shape)}, in the base {shape}", code="bad-tensor"
                )
            state[name].copy_(new)
        else:
            up, down, scale = (tensors[f"{part}.{name}"] for part in UPDATE)
            _check_update(up, down, scale, shape, f"{where}: the update of {name}")
            state[name].add_(low_rank(up, down, scale, shape))
        check_tensors({name: state[name]}, where)  # an update of finite numbers may be infinite


def _check_update(
    up: Tensor, down: Tensor, scale: Tensor, shape: tuple[int, ...], where: str
) -> None:
    """[out, r], [r, in] and one number for a weight of ``shape``."""
    size = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    rank = up.shape[-1] if up.ndim else 0
    if up.shape != (size[0], rank) or down.shape != (rank, size[1]) or scale.numel() != 1:
        found = ", ".join(str(tuple(x.shape)) for x in (up, down, scale))
        expected = f"({size[0]}, r), (r, {size[1]}) and one number"
        raise GLIPError(f"{where} is {found}, expected {expected}", code="bad-tensor")
    if up.dtype != down.dtype:
        raise GLIPError(
            f"{where} is {up.dtype} and {down.dtype}, expected one of them", code="bad-tensor"
        )


def low_rank(up: Tensor, down: Tensor, scale: Tensor | float, shape: Sequence[int]) -> Tensor:
    """[out, r] and [r, in] -> what is added to a weight of ``shape``."""
    return (up @ down * scale).view(*shape)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
