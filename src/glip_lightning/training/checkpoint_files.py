"""Checkpoints as files: written whole or not at all, and checked before they are used."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins.io import TorchCheckpointIO

from glip_lightning.common.files import disk_error, replacing


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint under another name in the same folder, then renames it.

    Lightning takes the memory and the temporary folder of the system, which may be on a smaller
    disk; there the partial file of a killed process would stay for ever.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save a checkpoint at a path; Lightning saves those at an address of a cloud's storage.

        Raises:
            OSError: it cannot be written; a file that was there before is unchanged.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with replacing(Path(path)) as fresh, fresh.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                full = disk_error(error)
                raise error if full is None else full from None


def write_whole(trainer: Trainer) -> None:
    """Let a trainer save all checkpoints by :class:`WholeCheckpoints`, unless it has a plugin."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpoints()


def damage(path: Path, trusted: bool = False) -> str | None:
    """Return what is wrong with a checkpoint, in words that follow its name; None if it is whole.

    The whole file is read and compared with its checksums.

    Args:
        path: of the checkpoint.
        trusted: it may hold any object: its content is not loaded here.
    """
    if path.is_dir():
        return "is a folder"
    if not path.exists():
        return "is not there"
    try:
        fault = _fault_of_archive(path)
        if fault is None and not trusted:
            fault = _fault_of_content(path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except Exception as error:  # the readers of zip and pickle raise many kinds for foreign files
        return f"is damaged ({type(error).__name__})"
    return fault


def _fault_of_archive(path: Path) -> str | None:
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        return "is empty"
    if not zipfile.is_zipfile(path):
        return "is cut off" if start == b"PK\x03\x04" else "is no checkpoint"
    with zipfile.ZipFile(path) as parts:
        if not any(name.endswith("data.pkl") for name in parts.namelist()):
            return "is no checkpoint"
        torn = parts.testzip()
    return None if torn is None else f"is damaged (checksum of {torn})"


def _fault_of_content(path: Path) -> str | None:
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError:  # torch's message advises to load it all the same
        return (
            "is no checkpoint of ours: it holds more than numbers and names, "
            "and is not loaded, for safety"
        )
    needed = {"state_dict", "global_step", "epoch"}
    if not isinstance(content, dict) or not needed <= content.keys():
        return "is no checkpoint of a training"
    return None


def checkpoint_content(path: Path) -> dict[str, Any]:
    """Return the content of a whole checkpoint, its tensors mapped from the file."""
    return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
