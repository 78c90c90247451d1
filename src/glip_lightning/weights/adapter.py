"""A tuned detector as the tensors that were trained and the name of its base.

It takes megabytes where a copy of the detector takes a gigabyte. The folder holds
``adapter.safetensors`` and ``adapter.json`` (base, its hash, classes, captions). In the tensors
``new.<name>`` replaces a tensor; ``up.<name>``, ``down.<name>`` and ``scale.<name>`` are a low-rank
update that is added to one.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Adapter:
    """The tensors that were trained on a base detector, and the classes they were trained for."""

    tensors: Mapping[str, Tensor]
    phrases: tuple[Phrase, ...]
    captions: tuple[str, ...]
    tuning: str  # class and settings, for people to read
    base: Base
    names: tuple[str, ...] = ()  # of the classes in the data; empty where these are not on record


def save_adapter(folder: Path, adapter: Adapter) -> None:
    """Write the folder at once or not at all."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "tuning": adapter.tuning,
        "base": asdict(adapter.base),
        "phrases": [phrase._asdict() for phrase in adapter.phrases],
        "captions": adapter.captions,
    }
    if adapter.names:
        content["names"] = adapter.names
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in adapter.tensors.items()}
    with replacing(folder) as fresh:
        fresh.mkdir()
        save_file(tensors, fresh / TENSORS_NAME)
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (fresh / CONTENT_NAME).write_text(text, encoding="utf-8")


def load_adapter(folder: Path) -> Adapter:
    """Read a folder of :func:`save_adapter`.

    Raises:
        MissingFile: a file is missing (``missing-file``).
        GLIPError: a file is damaged or holds something else; the message says what.
    """
    missing = [name for name in (TENSORS_NAME, CONTENT_NAME) if not (folder / name).is_file()]
    if missing:
        message = f"{folder}: no adapter, {' and '.join(missing)} missing"
        raise MissingFile(message, code="missing-file")
    content = read_content(folder)
    where = f"{folder / TENSORS_NAME}: {NO_ADAPTER}"
    _, tensors = read_tensors(folder / TENSORS_NAME, where)
    _check_names(tensors, where)
    check_tensors(tensors, where)
    return Adapter(
        tensors=tensors,
        phrases=tuple(Phrase(**phrase) for phrase in content["phrases"]),
        captions=tuple(content["captions"]),
        tuning=content["tuning"],
        base=read_base(content["base"]),
        names=class_names(content, "phrases", f"{folder / CONTENT_NAME}: {NO_ADAPTER}"),
    )


def _check_names(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise GLIPError unless each tensor is a new one, or a low-rank update with all its parts."""
    given: dict[str, set[str]] = {}
    for key in tensors:
        kind, _, name = key.partition(".")
        given.setdefault(name, set()).add(kind)
    for name, kinds in given.items():
        if kinds not in ({"new"}, set(UPDATE)):
            found = f"{', '.join(sorted(kinds))} of the tensor {name!r:.100}"
            message = f"{where}: {found}, expected new, or {', '.join(UPDATE)}"
            raise GLIPError(message, code="unknown-key")


@torch.no_grad()
def apply_adapter(model: Detector, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put the tensors of an adapter into its base, in place.

    The sums are the same as those of merging it after the training.

    Args:
        model: the base.
        tensors: of the adapter.
        where: the beginning of messages.

    Raises:
        GLIPError: the base lacks a tensor (``unknown-key``), a tensor does not fit
            (``bad-tensor``), or a sum is infinite (``not-finite``).
    """
    state = model.state_dict()
    names = {key.split(".", 1)[1] for key in tensors}
    unknown = sorted(names - state.keys())
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        message = f"{where}: the base has no {', '.join(unknown[:3])}{more}"
        raise GLIPError(message, code="unknown-key")
    for name in names:
        new, shape = tensors.get(f"new.{name}"), tuple(state[name].shape)
        if new is None:
            up, down, scale = (tensors[f"{part}.{name}"] for part in UPDATE)
            _check_update(up, down, scale, shape, f"{where}: the update of {name}")
            state[name].add_(low_rank(up, down, scale, shape))
        elif new.shape == shape:
            state[name].copy_(new)
        else:
            message = f"{where}: {name} is {tuple(new.shape)}, in the base {shape}"
            raise GLIPError(message, code="bad-tensor")
        check_tensors({name: state[name]}, where)  # an update of finite numbers may be infinite


def _check_update(
    up: Tensor, down: Tensor, scale: Tensor, shape: tuple[int, ...], where: str
) -> None:
    """Raise GLIPError unless these are [out, r], [r, in] and one number for ``shape``."""
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
    """Return the update ``up @ down * scale`` of a weight, in its ``shape``.

    up [out, r], down [r, in]; the axes of ``shape`` after the first one make up ``in``.
    """
    return (up @ down * scale).view(*shape)
