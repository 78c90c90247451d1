"""What the name of a detector means, its configuration and its vocabulary: all but the weights, without torch."""

import difflib
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from glip_lightning.common import registry
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.schema import CLASS_NAMES, PHRASES, InputSize, Keys, read_json
from glip_lightning.data.checks.class_words import Reader
from glip_lightning.models.config import CONFIG, VARIANTS, GLIPConfig, variant
from glip_lightning.models.rates import Rates
from glip_lightning.text.phrases import Phrase, words_of
from glip_lightning.text.tokenizer import VOCAB_NAME, ClassTokenizer, Tokenizer, read_words
from glip_lightning.weights.base_model import (
    CONTENT_NAME,
    base_of,
    read_base,
    read_content,
)
from glip_lightning.weights.hub_files import (
    OFFICIAL,
    OFFICIAL_VOCAB,
    HubFile,
    NotInRepository,
    hub_file,
)
from glip_lightning.weights.run_files import RUN_ADAPTER, RUN_DETECTOR, started_from

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
EXCHANGE = (CONFIG_NAME, WEIGHTS_NAME, VOCAB_NAME)
CHECKPOINT_ENDING = ".ckpt"

TASK_NAME = "task.json"
"""Of a fine-tuned detector's exchange folder: what it was trained to find."""
_TASK = Keys(
    {"phrases": PHRASES, "names": CLASS_NAMES, "input_size": InputSize()}, optional=("names",)
)

WORDS_NAME = "words.txt"
"""Of an exchange folder: the words that training has shown the detector, one a line, where they are on record."""


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


def load_reader(detector: str) -> Reader:
    """Return who reads the words of a class list, of what ``load_detector`` takes; weights are not read."""
    return Reader(load_tokenizer(detector), detector, load_words(detector), load_classes(detector))


def load_classes(detector: str) -> tuple[Phrase, ...]:
    """Return the classes that a folder or run was trained for last, as its captions had them; empty if unknown."""
    path = as_path(detector)
    task = (path / RUN_DETECTOR if (path / RUN_DETECTOR).is_dir() else path) / TASK_NAME
    if (path / RUN_ADAPTER).is_dir():
        phrases = read_content(path / RUN_ADAPTER)["phrases"]
    elif detector not in VARIANTS and task.is_file():
        where = f"{task}: not the task of a detector"
        content = read_json(task, where)
        phrases = content.get("phrases", ()) if isinstance(content, dict) else ()
        PHRASES.check(phrases, where, "phrases")
    else:
        return ()
    return tuple(Phrase(**phrase) for phrase in phrases)


def load_words(detector: str) -> frozenset[str] | None:
    """Return the words that the training of a name, folder or run has shown; None where they are not on record."""
    path = as_path(detector)
    if detector in VARIANTS:
        shipped = None if detector in OFFICIAL else registry.detector_weights.get(detector)
        return None if shipped is None else words_in(shipped)
    if (path / RUN_ADAPTER).is_dir():
        base = load_words(base_of(path / RUN_ADAPTER))
        phrases = read_content(path / RUN_ADAPTER)["phrases"]
        return (
            None if base is None else base | words_of(Phrase(**phrase).text for phrase in phrases)
        )
    return words_in(path / RUN_DETECTOR if (path / RUN_DETECTOR).is_dir() else path)


def words_in(folder: Path) -> frozenset[str] | None:
    """Return the words that an exchange folder lists, None where it lists none."""
    file = folder / WORDS_NAME
    return frozenset(read_words(file)) if file.is_file() else None


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
    return (
        re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", detector) is not None
        and Path(detector).suffix != ".pth"
    )


def unknown_detector(detector: str) -> GLIPError:
    """Return the error about what is no detector; it lists names like it."""
    close = difflib.get_close_matches(detector, VARIANTS, n=3) or list(VARIANTS)
    message = f"detector={detector!r}: no such name, file or folder. Names: {', '.join(close)}; or give an exchange "
    message += (
        "folder, a finished run's folder, an official .pth file or a Hub repository (user/name)"
    )
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


def read_task(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the beginning of messages about the task of a fine-tuned detector, and what its file holds."""
    where = f"{path}: not the task of a detector, expected phrases and input_size"
    content = read_json(path, where)
    _TASK.check(content, where)
    return where, content


def own_settings(detector: str) -> tuple[tuple[int, int], Rates]:
    """Return the input size (short side, longest side) and the learning rates of what ``load_detector`` takes.

    A fine-tuned detector has the size that it was trained at. Weights are neither read nor downloaded; what cannot be
    loaded has GLIP's.
    """
    path = as_path(detector)
    if detector in VARIANTS:
        config = variant(detector)
        return config.input_size, config.rates
    if (path / RUN_ADAPTER).is_dir():
        base = read_base(read_content(path / RUN_ADAPTER)["base"])
        return base.input_size, own_settings(base_of(path / RUN_ADAPTER))[1]
    folder = path / RUN_DETECTOR if (path / RUN_DETECTOR).is_dir() else path
    if not path.exists() and is_repository(detector):
        folder = hub_file(HubFile(detector, CONFIG_NAME)).parent
        with suppress(NotInRepository):
            hub_file(HubFile(detector, TASK_NAME))
    config = read_config(folder / CONFIG_NAME) if (folder / CONFIG_NAME).is_file() else GLIPConfig()
    if not (folder / TASK_NAME).is_file():
        return config.input_size, config.rates
    short, longest = read_task(folder / TASK_NAME)[1]["input_size"]
    return (short, longest), config.rates
