"""Which detector a tuned prompt or an adapter was made for, and the check that it is that one."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Base(NamedTuple):
    """The detector that something was tuned on."""

    name: str  # as it was asked for
    sha256: str  # :func:`weights_hash`
    input_size: tuple[int, int]  # short side, longest side in pixels, as it was tuned


def weights_hash(model: "Detector", text: bool) -> str:
    """SHA-256 over the sorted names and the float32 bytes of all tensors, those of the text encoder only with
    ``text``: a tuned prompt does not need it. So fp16 and fp32 copies of the same numbers are the same base."""
    import torch

    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        if text or model.part_of(key) != "text":
            digest.update(key.encode())
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_base(file: str, base: Base, model: "Detector", name: str, text: bool) -> None:
    """An error that names both hashes if ``file`` belongs to another detector than ``model``, called ``name``."""
    ours = weights_hash(model, text)
    if base.sha256 != ours:
        message = f"{file}: tuned on the detector {base.name} with weights {base.sha256}, but {name} has {ours}; "
        message += "give that detector (--detector), or tune on this one"
        raise GLIPError(message, code="other-base")


def absolute(name: str) -> str:
    """The full path of a folder or file, so that it is found from anywhere; other names as they are."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def read_base(content: dict[str, Any]) -> Base:
    """Return the base that the JSON of a file names, once :data:`~glip_lightning.common.schema.BASE` has checked it."""
    short, longest = content["input_size"]
    return Base(content["name"], content["sha256"], (short, longest))


def base_of(folder: Path) -> str:
    """Return the name of the base; an adapter that is its own base, perhaps through others, is an error."""
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
    """Read the JSON file of an adapter."""
    where = f"{folder / CONTENT_NAME}: {NO_ADAPTER}"
    content = read_json(folder / CONTENT_NAME, where)
    check_format(content, FORMAT, where)
    _CONTENT.check(content, where)
    return content
