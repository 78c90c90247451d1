"""What the name of a detector means: its files, configuration and vocabulary, without torch.

Only the weights are read elsewhere (:mod:`glip_lightning.weights.load`).
"""

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
"""File in the exchange folder of a fine-tuned detector: what it was trained to find."""
_TASK = Keys(
    {"phrases": PHRASES, "names": CLASS_NAMES, "input_size": InputSize()}, optional=("names",)
)

WORDS_NAME = "words.txt"
"""File in an exchange folder: the words that the detector saw in training, one a line."""

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # OWNER/NAME
_LISTED = 5  # names of a folder in a message


def load_tokenizer(detector: str) -> Tokenizer:
    """Return the tokenizer of a detector; weights are neither read nor downloaded.

    Args:
        detector: what ``load_detector`` takes: a name, file, folder, run or Hub repository.

    Raises:
        GLIPError: there is no such detector (``unknown-detector``), or its files are damaged.
        DownloadError: its vocabulary is on the Hub and could not be downloaded.
    """
    path = as_path(detector)
    if detector in VARIANTS:
        return named_tokenizer(detector)
    if path.is_dir():
        for adapter in (path / RUN_ADAPTER, path):
            if (adapter / CONTENT_NAME).is_file():
                return load_tokenizer(base_of(adapter))
        folder = exchange_folder(path)
        base = None if (folder / CONFIG_NAME).is_file() else started_from(path)
        return load_tokenizer(base) if base else tokenizer_in(folder)
    if path.suffix == CHECKPOINT_ENDING:
        base = started_from(path.parent.parent)
        if base:
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
    """Return the reader of class names that belongs to a detector; weights are not read."""
    return Reader(load_tokenizer(detector), detector, load_words(detector), load_classes(detector))


def load_classes(detector: str) -> tuple[Phrase, ...]:
    """Return the classes that a folder or run was trained for last, as they stood in captions.

    Empty where they are not on record, as for names.
    """
    path = as_path(detector)
    task = exchange_folder(path) / TASK_NAME
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
    """Return the words that a detector saw in training; None where they are not on record."""
    path = as_path(detector)
    if detector in VARIANTS:
        shipped = None if detector in OFFICIAL else registry.detector_weights.get(detector)
        return None if shipped is None else words_in(shipped)
    if not (path / RUN_ADAPTER).is_dir():
        return words_in(exchange_folder(path))
    known = load_words(base_of(path / RUN_ADAPTER))
    if known is None:
        return None
    phrases = read_content(path / RUN_ADAPTER)["phrases"]
    return known | words_of(Phrase(**phrase).text for phrase in phrases)


def words_in(folder: Path) -> frozenset[str] | None:
    """Return the words that an exchange folder lists, None where it lists none."""
    file = folder / WORDS_NAME
    return frozenset(read_words(file)) if file.is_file() else None


def named_tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer of a named detector; that of the official ones comes from the Hub."""
    classes = variant(name).classes
    if classes:
        return ClassTokenizer(classes)
    return Tokenizer(hub_file(OFFICIAL_VOCAB)) if name in OFFICIAL else Tokenizer.nano()


def tokenizer_in(folder: Path) -> Tokenizer:
    """Return the tokenizer of an exchange folder."""
    if VOCAB_NAME in exchange_files(folder):
        return Tokenizer.from_folder(folder)
    return ClassTokenizer(read_config(folder / CONFIG_NAME).classes)


def exchange_folder(path: Path) -> Path:
    """Return the exchange folder of a run; ``path`` itself where it holds no such folder."""
    inner = path / RUN_DETECTOR
    return inner if inner.is_dir() else path


def exchange_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files that an exchange folder has to hold.

    A detector with a table of classes needs no vocabulary.
    """
    config = folder / CONFIG_NAME
    if config.is_file() and read_config(config).classes:
        return CONFIG_NAME, WEIGHTS_NAME
    return EXCHANGE


def check_detector(detector: str) -> None:
    """Raise GLIPError for what ``load_detector`` does not take; the Hub is not asked."""
    if detector not in VARIANTS and not as_path(detector).exists() and not is_repository(detector):
        raise unknown_detector(detector)


def as_path(detector: str) -> Path:
    """Return ``detector`` as a path; a leading ``~`` becomes the home folder, if there is one."""
    try:
        return Path(detector).expanduser()
    except RuntimeError:
        return Path(detector)


def is_repository(detector: str) -> bool:
    """Return whether ``detector`` can be the name of a Hub repository (OWNER/NAME).

    Where a folder OWNER exists, it is a path of this machine.
    """
    if not _REPOSITORY.fullmatch(detector) or Path(detector).suffix == ".pth":
        return False
    return not Path(detector).parent.is_dir()


def unknown_detector(detector: str) -> GLIPError:
    """Return the error for what is no detector, with names like it."""
    path = as_path(detector)
    if len(path.parts) > 1:
        message = f"detector={detector!r}: no such file or folder; {_near_paths(path)}"
        if _REPOSITORY.fullmatch(detector) and path.parent.is_dir():
            message += f" (the Hub is not asked, since the folder {path.parent} exists here)"
        return GLIPError(message, code="unknown-detector")
    close = difflib.get_close_matches(detector, VARIANTS, n=3) or list(VARIANTS)
    message = (
        f"detector={detector!r}: no such name, file or folder. Names: {', '.join(close)}; or give "
        "an exchange folder, a finished run's folder, an official .pth file or a Hub repository "
        "(OWNER/NAME)"
    )
    return GLIPError(message, code="unknown-detector")


def _near_paths(path: Path) -> str:
    """Return what exists in the place of a missing ``path``, for its error."""
    missing = path
    while not missing.parent.is_dir():
        missing = missing.parent
    folder = missing.parent
    if missing != path:
        return f"there is no folder {missing}"
    try:
        entries = list(folder.iterdir())
    except OSError as error:  # not ours to read
        return f"the folder {folder} cannot be read: {error.strerror}"
    names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    close = difflib.get_close_matches(path.name, names, n=3)
    if close:
        return f"did you mean {' or '.join(str(folder / name) for name in close)}?"
    if not names:
        return f"the folder {folder} is empty"
    listed = ", ".join(names[:_LISTED])
    return f"the folder {folder} holds {listed}" + (", ..." if len(names) > _LISTED else "")


def official_vocab(checkpoint: Path) -> Path:
    """Return ``vocab.txt`` beside an official file, else that of bert-base-uncased."""
    beside = checkpoint.with_name(VOCAB_NAME)
    return beside if beside.is_file() else hub_file(OFFICIAL_VOCAB)


def read_config(path: Path) -> GLIPConfig:
    """Read ``config.json`` of an exchange folder."""
    where = f"{path}: not the configuration of a GLIP detector"
    return parse_config(read_json(path, where), where)


def parse_config(content: Any, where: str) -> GLIPConfig:
    """Return the configuration in a JSON content; ``where`` begins the message if it is none."""
    CONFIG.check(content, where)
    try:
        return GLIPConfig(**content)
    except GLIPError as error:  # sizes that do not fit each other
        raise GLIPError(f"{where}: {error}", code=error.code) from error


def read_task(path: Path) -> tuple[str, dict[str, Any]]:
    """Read the task of a fine-tuned detector.

    Returns:
        The beginning of messages about the file, and its content, checked.
    """
    where = f"{path}: not the task of a detector, expected phrases and input_size"
    content = read_json(path, where)
    _TASK.check(content, where)
    return where, content


def own_settings(detector: str) -> tuple[tuple[int, int], Rates]:
    """Return the input size (short side, longest side) and the learning rates of a detector.

    A fine-tuned detector has the size that it was trained at. Weights are neither read nor
    downloaded. What cannot be loaded gets the settings of GLIP.

    Args:
        detector: what ``load_detector`` takes.
    """
    path = as_path(detector)
    if detector in VARIANTS:
        config = variant(detector)
        return config.input_size, config.rates
    if (path / RUN_ADAPTER).is_dir():
        base = read_base(read_content(path / RUN_ADAPTER)["base"])
        _, rates = own_settings(base_of(path / RUN_ADAPTER))
        return base.input_size, rates
    folder = exchange_folder(path)
    if not path.exists() and is_repository(detector):
        folder = hub_file(HubFile(detector, CONFIG_NAME)).parent
        with suppress(NotInRepository):
            hub_file(HubFile(detector, TASK_NAME))
    config = read_config(folder / CONFIG_NAME) if (folder / CONFIG_NAME).is_file() else GLIPConfig()
    if not (folder / TASK_NAME).is_file():
        return config.input_size, config.rates
    _, task = read_task(folder / TASK_NAME)
    short, longest = task["input_size"]
    return (short, longest), config.rates
