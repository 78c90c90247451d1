"""Official checkpoints to exchange folders and back; folders to smaller ones."""

from pathlib import Path

import torch

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import replacing
from glip_lightning.weights.load import load_folder, load_official, save
from glip_lightning.weights.official_checkpoint import official_state


def convert_weights(
    source: str | Path,
    target: str | Path,
    vocab: str | Path | None = None,
    without_text: bool = False,
    half: bool = False,
) -> Path:
    """Official ``.pth`` file -> exchange folder, or exchange folder -> official ``.pth`` file.

    ``vocab`` is the vocabulary of an official file, by default ``vocab.txt`` beside it or bert-base-uncased.
    ``without_text``: file or folder -> exchange folder without the text encoder, for tuned prompts only.
    ``half``: file or folder -> exchange folder in half precision.
    """
    source, target = Path(source), Path(target)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise GLIPError(f"{target}: exists already; remove it or choose another target", code="file-exists")
    if source.is_dir() and vocab is not None:
        raise GLIPError(
            f"vocab={str(vocab)!r}: {source} is a folder with a vocabulary of its own; leave vocab out",
            code="option-without-use",
        )
    if not source.is_dir() or without_text or half:
        text = not without_text
        loaded = (
            load_folder(source, text=text)
            if source.is_dir()
            else load_official(str(source), source, vocab=vocab, text=text)
        )
        if not loaded.model.reads_text and without_text:
            raise GLIPError(
                f"{source}: has no text encoder to leave out, but a table of classes, which it needs",
                code="no-text-encoder",
            )
        return save(loaded.model, loaded.tokenizer, target, loaded.task, half, loaded.words)
    state = official_state(load_folder(source).model, str(source))
    with replacing(target) as fresh, fresh.open("wb") as file:  # of a name torch would make one of its archive
        torch.save({"model": state}, file)
    return target
