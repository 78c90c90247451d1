"""Which detector a tuned prompt or an adapter was made for, and the check that it is that one."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch

from glip_lightning.models.detector import Detector


class Base(NamedTuple):
    """The detector that something was tuned on."""

    name: str  # as it was asked for
    sha256: str  # :func:`weights_hash`
    input_size: tuple[int, int]  # short side, longest side in pixels, as it was tuned


def weights_hash(model: Detector, text: bool) -> str:
    """SHA-256 over the sorted names and the float32 bytes of all tensors, those of the text encoder only with
    ``text``: a tuned prompt does not need it. So fp16 and fp32 copies of the same numbers are the same base."""
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        if text or model.part_of(key) != "text":
            digest.update(key.encode())
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_base(file: str, base: Base, model: Detector, name: str, text: bool) -> None:
    """An error that names both hashes if ``file`` belongs to another detector than ``model``, called ``name``."""
    ours = weights_hash(model, text)
    if base.sha256 != ours:
        raise ValueError(
            f"{file}: tuned on the detector {base.name} with weights {base.sha256}, but {name} has {ours}; "
            "give that detector (--detector), or tune on this one"
        )


def absolute(name: str) -> str:
    """The full path of a folder or file, so that it is found from anywhere; other names as they are."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def read_base(content: dict[str, Any]) -> Base:
    """Return the base that the JSON of a file names, once :data:`~glip_lightning.common.schema.BASE` has checked it."""
    short, longest = content["input_size"]
    return Base(content["name"], content["sha256"], (short, longest))
