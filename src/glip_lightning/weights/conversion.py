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
    """Write a detector in another form, official file or exchange folder.

    Args:
        source: an official file, an exchange folder, a run or a checkpoint.
        target: what to write. The ending ``.pth`` or ``.pt`` asks for an official file, a name
            without an ending for an exchange folder.
        vocab: the vocabulary of an official file; None takes ``vocab.txt`` beside it or
            bert-base-uncased.
        without_text: leaves the text encoder out of the folder, for tuned prompts only.
        half: writes the folder in half precision.

    Returns:
        The target.

    Raises:
        GLIPError: the target has another ending, or one that does not go with the source and the
            options (``unknown-ending``); something lies at the target (``file-exists``).
    """
    source, target = Path(source), Path(target)
    empty = target.is_dir() and not any(target.iterdir())
    if target.exists() and not empty:
        message = f"{target}: exists already; remove it or choose another target"
        raise GLIPError(message, code="file-exists")
    official = _is_official(target)
    if official and (without_text or half):
        message = (
            f"{target}: --without-text and --half are for folders; give a name without an ending"
        )
        raise GLIPError(message, code="unknown-ending")
    if official and not source.is_dir():
        message = f"{target}: a file ({source}) can only be converted to a folder; give a name "
        message += "without an ending"
        raise GLIPError(message, code="unknown-ending")
    if source.is_dir() and vocab is not None:
        message = f"vocab={str(vocab)!r}: {source} is a folder with a vocabulary of its own; "
        message += "leave vocab out"
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
    """Return whether ``target`` is an official file, not a folder.

    A dot before digits (``v1.5``) begins no ending.
    """
    if target.suffix in OFFICIAL_ENDINGS:
        return True
    if not target.is_dir() and re.fullmatch(r"\.[A-Za-z]\w*", target.suffix):
        message = f"{target}: convert writes official files (.pth, .pt) and exchange folders "
        message += f"(names without an ending), not {target.suffix} (nor ONNX, TensorRT, TFLite, "
        message += "...); give another name"
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
    # an open file, since torch would write a file's name into its archive
    with replacing(target) as fresh, fresh.open("wb") as file:
        torch.save({"model": state}, file)
    return target
