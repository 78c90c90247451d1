"""Official checkpoints to exchange folders and back; folders to smaller ones."""

import re
from pathlib import Path

import torch

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import replacing
from glip_lightning.weights.detector_files import CHECKPOINT_ENDING
from glip_lightning.weights.load import Loaded, load_detector, load_folder, load_official, save
from glip_lightning.weights.official_checkpoint import official_state

OFFICIAL_ENDINGS = (".pth", ".pt")


def convert_weights(
    source: str | Path,
    target: str | Path,
    vocab: str | Path | None = None,
    without_text: bool = False,
    half: bool = False,
) -> Path:
    """Write a detector in another form: the ending of ``target`` says which, ``.pth`` or ``.pt`` the official one.

    A name without an ending is that of an exchange folder. ``vocab`` is the vocabulary of an official file, by default
    ``vocab.txt`` beside it or bert-base-uncased. ``without_text``: the folder is written without the text encoder, for
    tuned prompts only. ``half``: it is written in half precision.

    Raises:
        GLIPError: the ending is another one, or does not go with the source and the options (``unknown-ending``); there
            is something at ``target`` (``file-exists``).
    """
    source, target = Path(source), Path(target)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise GLIPError(
            f"{target}: exists already; remove it or choose another target", code="file-exists"
        )
    official = _is_official(target)
    if official and (without_text or half):
        message = (
            f"{target}: --without-text and --half are for folders; give a name without an ending"
        )
        raise GLIPError(message, code="unknown-ending")
    if official and not source.is_dir():
        message = f"{target}: {source} is a file, of which a folder is made; give a name without an ending"
        raise GLIPError(message, code="unknown-ending")
    if source.is_dir() and vocab is not None:
        message = f"vocab={str(vocab)!r}: {source} is a folder with a vocabulary of its own; leave vocab out"
        raise GLIPError(message, code="option-without-use")
    loaded = _load(source, vocab, text=not without_text)
    if official:
        return _save_official(loaded, source, target)
    if not loaded.model.reads_text and without_text:
        message = (
            f"{source}: has no text encoder to leave out, but a table of classes, which it needs"
        )
        raise GLIPError(message, code="no-text-encoder")
    return save(loaded.model, loaded.tokenizer, target, loaded.task, half, loaded.words)


def _is_official(target: Path) -> bool:
    """Return whether an official file is asked for, not a folder; a dot before digits (``v1.5``) begins no ending."""
    if target.suffix in OFFICIAL_ENDINGS:
        return True
    if not target.is_dir() and re.fullmatch(r"\.[A-Za-z]\w*", target.suffix):
        message = f"{target}: convert writes official files (.pth, .pt) and exchange folders (names without an "
        message += (
            f"ending), not {target.suffix} (nor ONNX, TensorRT, TFLite, ...); give another name"
        )
        raise GLIPError(message, code="unknown-ending")
    return False


def _load(source: Path, vocab: str | Path | None, text: bool) -> Loaded:
    if source.is_dir():
        return load_folder(source, text=text)
    if source.suffix == CHECKPOINT_ENDING:
        return load_detector(str(source))
    return load_official(str(source), source, vocab=vocab, text=text)


def _save_official(loaded: Loaded, source: Path, target: Path) -> Path:
    state = official_state(loaded.model, str(source))
    with (
        replacing(target) as fresh,
        fresh.open("wb") as file,
    ):  # of a name torch would make one of its archive
        torch.save({"model": state}, file)
    return target
