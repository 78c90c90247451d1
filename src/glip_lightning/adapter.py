"""A tuned detector as what was trained and the name of its base: megabytes where a copy takes a gigabyte.

A folder of ``adapter.safetensors`` (``new.<name>`` replaces a tensor, ``up.<name>``, ``down.<name>`` and
``scale.<name>`` are a low-rank update that is added to one) and ``adapter.json`` (base, its hash, classes, caption).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .base_model import Base, read_base
from .files import replacing
from .models.glip import GLIP
from .prompts import Phrase

RUN_ADAPTER = "adapter"
"""Where a finished run keeps it."""

TENSORS_NAME, CONTENT_NAME = "adapter.safetensors", "adapter.json"
FORMAT = 1


class Adapter(NamedTuple):
    """What was learned on a base, for which classes."""

    tensors: Mapping[str, Tensor]
    phrases: tuple[Phrase, ...]
    captions: tuple[str, ...]
    tuning: str  # class and settings, for people to read
    base: Base


def save_adapter(folder: Path, adapter: Adapter) -> None:
    """Write the folder at once or not at all."""
    content = {
        "format": FORMAT,
        "tuning": adapter.tuning,
        "base": adapter.base._asdict(),
        "phrases": [phrase._asdict() for phrase in adapter.phrases],
        "captions": adapter.captions,
    }
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in adapter.tensors.items()}
    with replacing(folder) as fresh:
        fresh.mkdir()
        save_file(tensors, fresh / TENSORS_NAME)
        (fresh / CONTENT_NAME).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def load_adapter(folder: Path) -> Adapter:
    """Read a folder of :func:`save_adapter`; anything else is an error that says why."""
    if missing := [name for name in (TENSORS_NAME, CONTENT_NAME) if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder}: no adapter, {' and '.join(missing)} missing")
    try:
        content: dict[str, Any] = json.loads((folder / CONTENT_NAME).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, this version reads {FORMAT}")
        return Adapter(
            load_file(folder / TENSORS_NAME),
            tuple(Phrase(**phrase) for phrase in content["phrases"]),
            tuple(content["captions"]),
            content["tuning"],
            read_base(content["base"]),
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: not an adapter of glip-lightning ({error!r})") from error


@torch.no_grad()
def apply_adapter(model: GLIP, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put what was learned into the base; the same sums as merging it after the training."""
    state = model.state_dict()
    names = {key.split(".", 1)[1] for key in tensors}
    if unknown := sorted(names - state.keys()):
        raise ValueError(f"{where}: the base has no {_some(unknown)}")
    for name in names:
        new, update = tensors.get(f"new.{name}"), [tensors.get(f"{part}.{name}") for part in ("up", "down", "scale")]
        changed = new if new is not None else low_rank(*update, state[name].shape)  # pyrefly: ignore
        if changed.shape != state[name].shape:
            raise ValueError(f"{where}: {name} is {tuple(changed.shape)}, in the base {tuple(state[name].shape)}")
        state[name].copy_(changed) if new is not None else state[name].add_(changed)


def low_rank(up: Tensor, down: Tensor, scale: Tensor | float, shape: Sequence[int]) -> Tensor:
    """[out, r] and [r, in] -> what is added to a weight of ``shape``."""
    return (up @ down * scale).view(*shape)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
