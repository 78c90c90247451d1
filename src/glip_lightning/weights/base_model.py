"""The base of a tuned prompt or an adapter: the detector that it was made for, and its check."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.schema import (
    BASE,
    CLASS_NAMES,
    MOST_CLASSES,
    PHRASES,
    Items,
    Keys,
    Text,
    Whole,
    check_format,
    read_json,
)
from glip_lightning.weights.run_files import RUN_ADAPTER

if TYPE_CHECKING:  # the name of a base is read without torch
    from glip_lightning.models.detector import Detector

CONTENT_NAME = "adapter.json"
FORMAT = 1
NO_ADAPTER = "not an adapter of glip-lightning"
_CONTENT = Keys(
    {
        "format": Whole(FORMAT, FORMAT),
        "tuning": Text(),
        "base": BASE,
        "phrases": PHRASES,
        "names": CLASS_NAMES,
        "captions": Items(Text(), 1, MOST_CLASSES),
    },
    optional=("names",),
)


@dataclass(frozen=True, slots=True)
class Base:
    """The detector that something was tuned on."""

    name: str  # as it was asked for
    sha256: str  # :func:`weights_hash`
    input_size: tuple[int, int]  # short side, longest side in pixels, as it was tuned


def weights_hash(model: "Detector", text: bool) -> str:
    """Return the SHA-256 over the sorted names and the float32 bytes of all tensors.

    fp16 and fp32 copies of the same numbers have the same hash.

    Args:
        model: the detector.
        text: whether the text encoder counts; a tuned prompt does not need it.
    """
    import torch

    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        if text or model.part_of(key) != "text":
            digest.update(key.encode())
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_base(file: str, base: Base, model: "Detector", name: str, text: bool) -> None:
    """Raise GLIPError if a file was made for another detector.

    Args:
        file: the file, for the message.
        base: the detector that the file was made for.
        model: the detector that it is used with.
        name: of ``model``.
        text: whether the text encoder counts (:func:`weights_hash`).

    Raises:
        GLIPError: with the code ``other-base``; the message names both hashes.
    """
    ours = weights_hash(model, text)
    if base.sha256 != ours:
        message = f"{file}: tuned on the detector {base.name} with weights {base.sha256}, but "
        message += f"{name} has {ours}; give that detector (--detector), or tune on this one"
        raise GLIPError(message, code="other-base")


def absolute(name: str) -> str:
    """Return the full path of a folder or file, so that it is found from anywhere.

    Other names stay as they are.
    """
    return str(Path(name).resolve()) if Path(name).exists() else name


def read_base(content: dict[str, Any]) -> Base:
    """Return the base in the JSON of a file.

    ``content`` has passed the check of :data:`~glip_lightning.common.schema.BASE`.
    """
    short, longest = content["input_size"]
    return Base(content["name"], content["sha256"], (short, longest))


def base_of(folder: Path) -> str:
    """Return the name of the base of an adapter.

    Raises:
        GLIPError: the adapter is its own base, perhaps through others (``own-base``).
    """
    name = read_base(read_content(folder)["base"]).name
    seen, base = {folder.resolve()}, Path(name) / RUN_ADAPTER
    while base.is_dir():
        if base.resolve() in seen:
            raise GLIPError(
                f"{folder}: {NO_ADAPTER}: it was trained on itself (base {base.parent})",
                code="own-base",
            )
        seen.add(base.resolve())
        base = Path(read_base(read_content(base)["base"]).name) / RUN_ADAPTER
    return name


def read_content(folder: Path) -> dict[str, Any]:
    """Read the JSON file in the folder of an adapter."""
    where = f"{folder / CONTENT_NAME}: {NO_ADAPTER}"
    content = read_json(folder / CONTENT_NAME, where)
    check_format(content, FORMAT, where)
    _CONTENT.check(content, where)
    return content
