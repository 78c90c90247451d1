"""Checkpoints as files: written whole or not at all, and known for damaged before they are used."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins.io import TorchCheckpointIO

from glip_lightning.common.files import disk_error, replacing


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then gives it its name.

    Lightning passes checkpoints through memory and the temporary folder of the system, which may be on a smaller
    disk, where a killed process leaves its part for ever.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save the checkpoint at a path of the file system; an address of a cloud's storage is left to Lightning.

        Raises:
            OSError: it could not be written; what was there before is as it was.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with replacing(Path(path)) as fresh, fresh.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                raise disk_error(error) or error from None


def write_whole(trainer: Trainer) -> None:
    """Let all checkpoint callbacks of ``trainer`` write by :class:`WholeCheckpoints`, unless it has a plugin for it."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpoints()


def damage(path: Path, trusted: bool = False) -> str | None:
    """Return what is wrong with a checkpoint, in words that follow its name; None if it can be loaded.

    All of the file is read and compared with its checksums. ``trusted`` ones may hold any object, which is not looked
    at here.
    """
    if path.is_dir():
        return "is a folder"
    if not path.exists():
        return "is not there"
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if not start:
            return "is empty"
        if not zipfile.is_zipfile(path):
            return "is cut off" if start == b"PK\x03\x04" else "is no checkpoint"
        with zipfile.ZipFile(path) as parts:
            if not any(name.endswith("data.pkl") for name in parts.namelist()):
                return "is no checkpoint"
            if torn := parts.testzip():
                return f"is damaged (checksum of {torn})"
        if trusted:
            return None
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError:  # torch's message advises to load it all the same
        return "is no checkpoint of ours: it holds more than numbers and names, and is not loaded, for safety"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except Exception as error:  # whatever a foreign file makes of the readers of zip and pickle
        return f"is damaged ({type(error).__name__})"
    if (
        not isinstance(content, dict)
        or not {"state_dict", "global_step", "epoch"} <= content.keys()
    ):
        return "is no checkpoint of a training"
    return None


def about(path: Path) -> dict[str, Any]:
    """Return the content of a whole checkpoint, its tensors mapped from the file."""
    return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
