"""The detector in a checkpoint of a training: its configuration, weights and classes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.schema import (
    CLASS_NAMES,
    PHRASES,
    Flag,
    InputSize,
    Keys,
    Real,
    Text,
    parse_json,
)
from glip_lightning.models.config import GLIPConfig
from glip_lightning.models.detector import Detector
from glip_lightning.text.phrases import Phrase
from glip_lightning.weights.detector_files import parse_config
from glip_lightning.weights.official_checkpoint import load_tensors

_DETECTOR = Keys(
    {
        "name": Text(4096, shortest=1),
        "config": Text(),
        "phrases": PHRASES,
        "names": CLASS_NAMES,
        "input_size": InputSize(),
        "learns_text": Flag(),
        "update_scale": Real(-1e6, 1e6),
    }
)
"""The key ``detector`` in the checkpoint of a training."""


@dataclass(frozen=True)
class TrainedWeights:
    """The weights of a detector as a training has saved them."""

    base: str  # the detector that the training began with
    config: GLIPConfig
    state: dict[str, Tensor]
    phrases: tuple[Phrase, ...]
    names: tuple[str, ...]  # of the classes in the data
    input_size: tuple[int, int]  # short side, longest side in pixels
    updates: dict[str, Tensor]  # low-rank ones, as those of an adapter
    epoch: int  # from 0


def describe_trained_detector(
    model: Detector,
    *,
    base: str,
    phrases: Sequence[Phrase],
    names: Sequence[str],
    input_size: tuple[int, int],
    learns_text: bool,
    update_scale: float,
) -> dict[str, Any]:
    """Return the key ``detector`` of a checkpoint: all that makes a detector of its weights.

    Args:
        model: the detector that is trained.
        base: the detector that the training began with.
        phrases: how the classes stand in the caption.
        names: what the data call the classes.
        input_size: short side and longest side in pixels.
        learns_text: whether a prompt is tuned.
        update_scale: factor of low-rank updates.
    """
    return {
        "name": base,
        "config": json.dumps(asdict(model.config)),
        "phrases": [phrase._asdict() for phrase in phrases],
        "names": list(names),
        "input_size": list(input_size),
        "learns_text": learns_text,
        "update_scale": update_scale,
    }


def read_checkpoint(path: Path) -> TrainedWeights:
    """Read a checkpoint of Lightning, half precision as float32.

    Raises:
        GLIPError: it does not say which detector it holds (``no-detector``), or its run learns a
            prompt, which is saved only at the end of the run (``unfinished-prompt``).
    """
    content = load_tensors(path)
    about = content.get("detector") if isinstance(content, dict) else None
    if not isinstance(content, dict) or about is None:
        message = f"{path}: does not say of what detector it is (a checkpoint of version 0.1, or "
        message += "of another program); go on with its run (glip fit --resume RUN) and give the "
        message += "finished run"
        raise GLIPError(message, code="no-detector")
    _DETECTOR.check(about, str(path), "detector")
    if about["learns_text"]:
        message = f"{path}: of a run that tunes a prompt, which is saved at the end of the run; "
        message += "finish it (glip fit --resume RUN)"
        raise GLIPError(message, code="unfinished-prompt")
    state, others = {}, {}
    for key, tensor in content["state_dict"].items():
        if tensor.is_floating_point():
            tensor = tensor.float()
        if key.startswith("model."):
            state[key.removeprefix("model.")] = tensor
        else:
            others[key] = tensor
    config = parse_json(about["config"], str(path))
    short, longest = about["input_size"]
    return TrainedWeights(
        base=about["name"],
        config=parse_config(config, f"{path}: not a GLIP detector"),
        state=state,
        phrases=tuple(Phrase(**phrase) for phrase in about["phrases"]),
        names=tuple(about["names"]),
        input_size=(short, longest),
        updates=_low_rank_updates(others, about["update_scale"]),
        epoch=int(content.get("epoch", 0)),
    )


def _low_rank_updates(tensors: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Return the low-rank updates of a checkpoint as tensors of an adapter.

    LoRATuning names layers with slashes.
    """
    found = {}
    for key, tensor in tensors.items():
        if key.startswith("tuning.updates."):
            layer, _, part = key.removeprefix("tuning.updates.").rpartition(".")
            weight = f"{layer.replace('/', '.')}.weight"
            found[f"{part}.{weight}"] = tensor
            found[f"scale.{weight}"] = torch.tensor(scale)
    return found
