"""What the name of a detector means, its configuration and its vocabulary: all but the weights, without torch."""

import difflib
import re
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.schema import read_json
from glip_lightning.models.config import CONFIG, VARIANTS, GLIPConfig, variant
from glip_lightning.text.tokenizer import VOCAB_NAME, ClassTokenizer, Tokenizer
from glip_lightning.weights.base_model import CONTENT_NAME, RUN_ADAPTER, base_of
from glip_lightning.weights.hub_files import OFFICIAL, OFFICIAL_VOCAB, HubFile, hub_file
from glip_lightning.weights.run_files import started_from

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
EXCHANGE = (CONFIG_NAME, WEIGHTS_NAME, VOCAB_NAME)
CHECKPOINT_ENDING = ".ckpt"
RUN_DETECTOR = "detector"
"""Where a finished run keeps its exchange folder."""


def load_tokenizer(detector: str) -> Tokenizer:
    """Return the vocabulary alone of what ``load_detector`` takes; weights are neither read nor downloaded."""
    path = as_path(detector)
    if detector in VARIANTS:
        return named_tokenizer(detector)
    if path.is_dir():
        for adapter in (path / RUN_ADAPTER, path):
            if (adapter / CONTENT_NAME).is_file():
                return load_tokenizer(base_of(adapter))
        folder = path / RUN_DETECTOR if (path / RUN_DETECTOR).is_dir() else path
        base = None if (folder / CONFIG_NAME).is_file() else started_from(path)
        return load_tokenizer(base) if base else tokenizer_in(folder)
    if path.suffix == CHECKPOINT_ENDING and (base := started_from(path.parent.parent)):
        return load_tokenizer(base)
    if path.is_file():
        return Tokenizer(official_vocab(path))
    if is_repository(detector):
        folder = hub_file(HubFile(detector, CONFIG_NAME)).parent
        if VOCAB_NAME in exchange_files(folder):
            hub_file(HubFile(detector, VOCAB_NAME))
        return tokenizer_in(folder)
    raise unknown_detector(detector)


def named_tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer of a variant; that of the official ones comes from the Hub."""
    if rows := variant(name).classes:
        return ClassTokenizer(rows)
    return Tokenizer(hub_file(OFFICIAL_VOCAB)) if name in OFFICIAL else Tokenizer.nano()


def tokenizer_in(folder: Path) -> Tokenizer:
    """Return the tokenizer of an exchange folder."""
    if VOCAB_NAME in exchange_files(folder):
        return Tokenizer.from_folder(folder)
    return ClassTokenizer(read_config(folder / CONFIG_NAME).classes)


def exchange_files(folder: Path) -> tuple[str, ...]:
    """Return what an exchange folder has to hold: no vocabulary where its configuration has a table of classes."""
    config = folder / CONFIG_NAME
    return EXCHANGE[:2] if config.is_file() and read_config(config).classes else EXCHANGE


def check_detector(detector: str) -> None:
    """Raise GLIPError for what ``load_detector`` does not take; whether a repository exists is not asked."""
    if detector not in VARIANTS and not as_path(detector).exists() and not is_repository(detector):
        raise unknown_detector(detector)


def as_path(detector: str) -> Path:
    """Return ``detector`` as a path; ``~`` is somebody's home where there is one."""
    try:
        return Path(detector).expanduser()
    except RuntimeError:
        return Path(detector)


def is_repository(detector: str) -> bool:
    """Return whether it can be the name of a Hub repository."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", detector) is not None and Path(detector).suffix != ".pth"


def unknown_detector(detector: str) -> GLIPError:
    """Return the error about what is no detector; it lists names like it."""
    close = difflib.get_close_matches(detector, VARIANTS, n=3) or list(VARIANTS)
    message = f"detector={detector!r}: no such name, file or folder. Names: {', '.join(close)}; or give an exchange "
    message += "folder, a finished run's folder, an official .pth file or a Hub repository (user/name)"
    return GLIPError(message, code="unknown-detector")


def official_vocab(checkpoint: Path) -> Path:
    """Return ``vocab.txt`` beside an official file, else that of bert-base-uncased."""
    beside = checkpoint.with_name(VOCAB_NAME)
    return beside if beside.is_file() else hub_file(OFFICIAL_VOCAB)


def read_config(path: Path) -> GLIPConfig:
    """Read ``config.json`` of an exchange folder."""
    where = f"{path}: not the configuration of a GLIP detector"
    return parse_config(read_json(path, where), where)


def parse_config(content: Any, where: str) -> GLIPConfig:
    """Return the configuration that a JSON content is; ``where`` begins the message if it is none."""
    CONFIG.check(content, where)
    try:
        return GLIPConfig(**content)
    except GLIPError as error:  # sizes that do not fit each other
        raise GLIPError(f"{where}: {error}", code=error.code) from error
