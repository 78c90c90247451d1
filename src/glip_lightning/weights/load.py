"""A name, file, folder or Hub repository -> detector and tokenizer, and back.

An exchange folder holds ``config.json``, ``model.safetensors`` and, where the detector reads names,
``vocab.txt``. ``task.json`` beside them says what a fine-tuned detector was trained to find,
``words.txt`` which words it saw in training. Official weights come from the Hub, into its cache.
"""

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from glip_lightning.common import registry
from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.files import replacing
from glip_lightning.common.schema import class_names
from glip_lightning.common.tensor_files import check_tensors, read_tensors
from glip_lightning.data.checks.class_words import Reader
from glip_lightning.data.transforms import MAX_SIZE, TEST_SIZE
from glip_lightning.models.build import build_detector
from glip_lightning.models.config import VARIANTS, GLIPConfig, variant
from glip_lightning.models.detector import Detector
from glip_lightning.text.phrases import Phrase, words_of
from glip_lightning.text.tokenizer import VOCAB_NAME, Tokenizer
from glip_lightning.weights.adapter import apply_adapter, load_adapter
from glip_lightning.weights.base_model import CONTENT_NAME, base_of, check_base
from glip_lightning.weights.detector_files import (
    CHECKPOINT_ENDING,
    CONFIG_NAME,
    EXCHANGE,
    TASK_NAME,
    WEIGHTS_NAME,
    WORDS_NAME,
    as_path,
    exchange_files,
    exchange_folder,
    is_repository,
    load_tokenizer,
    named_tokenizer,
    official_vocab,
    read_config,
    read_task,
    tokenizer_in,
    unknown_detector,
    words_in,
)
from glip_lightning.weights.hub_files import (
    OFFICIAL,
    DownloadError,
    HubFile,
    NotInRepository,
    hub_file,
)
from glip_lightning.weights.official_checkpoint import (
    CheckpointError,
    check,
    expected_shapes,
    from_official,
    infer_config,
    read_official,
)
from glip_lightning.weights.prompt_file import load_prompt
from glip_lightning.weights.run_files import (
    BEST,
    CHECKPOINTS,
    LAST,
    PROMPT_NAME,
    RUN_ADAPTER,
    RUN_DETECTOR,
    read_result,
    started_from,
)
from glip_lightning.weights.trained_weights import read_checkpoint

log = logging.getLogger(__name__)

MAY_REPLACE = {*EXCHANGE, TASK_NAME, WORDS_NAME, "README.md"}  # the Hub mixin writes a model card
TEXT_PREFIX = "language."  # of the text encoder's tensors

Origin = Literal["random", "official", "shipped", "folder"]


@dataclass(frozen=True, slots=True)
class Task:
    """The classes that a fine-tuned detector looks for, and the input size it was trained at."""

    phrases: tuple[Phrase, ...]
    input_size: tuple[int, int] = (TEST_SIZE, MAX_SIZE)  # short side, longest side in pixels
    names: tuple[str, ...] = ()  # of the classes in the data; empty where these are not on record


@dataclass(frozen=True, slots=True)
class Loaded:
    """A detector in eval mode, its tokenizer, and where both come from."""

    model: Detector
    tokenizer: Tokenizer
    name: str  # as asked for
    weights: Origin
    task: Task | None = None
    words: frozenset[str] | None = None  # seen in training; None where they are not on record

    @property
    def reader(self) -> Reader:
        """Return the reader of class names that belongs to the detector."""
        phrases = self.task.phrases if self.task else ()
        return Reader(self.tokenizer, self.name, self.words, phrases)


def load_detector(
    detector: str, weights: Literal["pretrained", "random"] = "pretrained", text: bool = True
) -> Loaded:
    """Build the detector that ``detector`` means, in eval mode on the CPU, with its tokenizer.

    Args:
        detector: a name (``glip-tiny``, ``glip-nano-a``, ...), a folder (exchange folder or
            finished run), an official ``.pth`` file, or a Hub repository (OWNER/NAME) with the
            files of an exchange folder.
        weights: ``random`` starts a named detector from its initialisation.
        text: False leaves the text encoder out, which tuned prompts do not need.

    Raises:
        GLIPError: nothing has this name (``unknown-detector``); it has no weights (``no-weights``);
            files are missing, damaged or do not fit each other.
        DownloadError: a download failed.
    """
    if weights not in ("pretrained", "random"):
        raise GLIPError(f"weights={weights!r}: expected 'pretrained' or 'random'", code="bad-value")
    if detector in VARIANTS:
        return _load_name(detector, weights, text)
    if weights == "random":
        message = f"weights='random' starts a named detector ({', '.join(VARIANTS)}), and "
        message += f"{detector!r} is none; weights='pretrained' loads folders, runs, files and "
        message += "repositories"
        raise GLIPError(message, code="bad-value")
    path = as_path(detector)
    if path.is_dir():
        return load_folder(path, text=text)
    if path.is_file() and path.suffix == CHECKPOINT_ENDING:
        loaded, epoch = load_checkpoint(path, detector, text)
        log.info("%s: weights of epoch %d", detector, epoch + 1)
        return loaded
    if path.suffix == ".safetensors" and path.is_file():
        message = f"{path}: weights alone are no detector, the files beside them belong to it; "
        message += f"give {path.parent}"
        raise GLIPError(message, code="not-a-detector")
    if path.is_file():
        return load_official(detector, path, text=text)
    if is_repository(detector):
        return _load_repository(detector, text)
    raise unknown_detector(detector)


def _load_name(name: str, weights: str, text: bool) -> Loaded:
    config = variant(name)
    if weights == "random":
        model = build_detector(replace(config, text_encoder=text))
        return _loaded(model, named_tokenizer(name), name, "random")
    if name in OFFICIAL:
        return load_official(name, hub_file(OFFICIAL[name]), config, text=text)
    folder = shipped(name)
    if folder is None:
        message = f"detector={name!r}: no installed package has its weights; weights='random' "
        message += "starts from its initialisation"
        raise GLIPError(message, code="no-weights")
    return load_folder(folder, name, text, "shipped")


def shipped(name: str) -> Path | None:
    """Return the exchange folder of a named detector whose weights an installed package brings."""
    return None if name in OFFICIAL else registry.detector_weights.get(name)


def load_official(
    name: str,
    path: Path,
    config: GLIPConfig | None = None,
    vocab: str | Path | None = None,
    text: bool = True,
) -> Loaded:
    """Load an official ``.pth`` file.

    Args:
        name: what messages and results call the detector.
        path: the file.
        config: its sizes; None reads them from the shapes of its tensors.
        vocab: its vocabulary; None takes ``vocab.txt`` beside it or bert-base-uncased.
        text: False leaves the text encoder out.

    Raises:
        CheckpointError: the file cannot be read, or its tensors do not fit the detector.
        DownloadError: the vocabulary could not be downloaded.
    """
    state = read_official(path)
    try:
        config = config or infer_config(state)
        ours = from_official(state, config)
    except GLIPError as error:
        raise CheckpointError(f"{path}: {error}", code=error.code) from error
    check_tensors(ours, str(path))
    tokenizer = Tokenizer(vocab or official_vocab(path))
    return _loaded(_build(config, ours, text), tokenizer, name, "official")


def load_folder(
    folder: Path, name: str | None = None, text: bool = True, origin: Origin = "folder"
) -> Loaded:
    """Load an exchange folder, an adapter, or a run, finished or not.

    Args:
        folder: the folder.
        name: what messages and results call the detector; None calls it by the folder.
        text: False leaves the text encoder out.
        origin: where the weights come from.

    Raises:
        MissingFile: files are missing, or a run tuned a prompt (``missing-file``).
        GLIPError: files are damaged or do not fit each other, or a run has learned nothing.
    """
    name = name or str(folder)
    for adapter in (folder / RUN_ADAPTER, folder):
        if (adapter / CONTENT_NAME).is_file():
            return _load_adapted(adapter, name)
    run = folder
    folder = exchange_folder(run)
    if (folder / PROMPT_NAME).is_file() and not (folder / CONFIG_NAME).is_file():
        base = load_prompt(folder / PROMPT_NAME).base.name
        message = f"{folder}: this run tuned a prompt for {base} and left no detector; give {base}"
        raise MissingFile(message, code="missing-file")
    missing = [file for file in exchange_files(folder) if not (folder / file).is_file()]
    if len(missing) == len(EXCHANGE) and started_from(run):
        return _load_run(run, name, text)
    if missing:
        message = f"{folder}: no exchange folder, {' and '.join(missing)} missing; one holds "
        message += f"{', '.join(EXCHANGE)}. A run has one in {RUN_DETECTOR}/ when it is finished; "
        message += "`glip convert` makes one of an official file"
        raise MissingFile(message, code="missing-file")
    config = read_config(folder / CONFIG_NAME)
    try:
        state = _read_weights(folder / WEIGHTS_NAME, text)
        check(state, expected_shapes(replace(config, text_encoder=config.text_encoder and text)))
    except CheckpointError as error:
        raise CheckpointError(f"{folder / WEIGHTS_NAME}: {error}", code=error.code) from error
    check_tensors(state, str(folder / WEIGHTS_NAME))
    task, tokenizer = _read_task(folder / TASK_NAME, config), tokenizer_in(folder)
    return _loaded(_build(config, state, text), tokenizer, name, origin, task, words_in(folder))


def _load_run(run: Path, name: str, text: bool) -> Loaded:
    """Return the detector of a run that has not kept one.

    It has the best weights so far, or those that the run began with.

    Raises:
        GLIPError: an unfinished run has saved nothing yet (``unfinished-run``), or a finished one
            has trained nothing and began with random weights (``nothing-trained``).
    """
    result = read_result(run, ("detector", "weights", "phrases", "classes", "recipe"))
    if result:
        return _load_untrained(run, name, result, text)
    for file, which in (
        (BEST, "best weights so far"),
        (LAST, "last weights, none were validated yet"),
    ):
        path = run / CHECKPOINTS / file
        if path.is_file():
            loaded, epoch = load_checkpoint(path, name, text)
            log.warning("%s: unfinished run; its %s, epoch %d", name, which, epoch + 1)
            return loaded
    message = f"{run}: unfinished run that has saved no weights yet; train it first "
    message += "(glip fit --run FOLDER ...)"
    raise GLIPError(message, code="unfinished-run")


def _load_untrained(run: Path, name: str, result: dict[str, Any], text: bool) -> Loaded:
    """Return the detector that a finished run without training used, with the run's classes.

    Such a run had 0 shots, or evaluated only.
    """
    base = result["detector"]
    if result["weights"] == "random" or as_path(base).resolve() == run.resolve():
        message = f"{run}: this run trained nothing and began with random weights, which it has "
        message += f"not kept; give {base}"
        raise GLIPError(message, code="nothing-trained")
    log.info("%s: nothing was trained in this run; %s with its classes", name, base)
    loaded = load_detector(base, text=text)
    data = (result["recipe"].get("data") or {}).get("init_args") or {}
    short, longest = loaded.model.defaults.input_size
    if type(data.get("test_size")) is int:
        short = data["test_size"]
    if type(data.get("max_size")) is int:
        longest = data["max_size"]
    phrases = tuple(Phrase(**phrase) for phrase in result["phrases"])
    task = Task(phrases, (short, longest), tuple(result["classes"]))
    return replace(loaded, name=name, weights="folder", task=task)


def load_checkpoint(path: Path, name: str, text: bool = True) -> tuple[Loaded, int]:
    """Load the detector in a checkpoint of a training.

    Args:
        path: the checkpoint.
        name: what messages and results call the detector.
        text: False leaves the text encoder out.

    Returns:
        The detector, and the epoch of its weights, from 0.

    Raises:
        GLIPError: as :func:`~glip_lightning.weights.trained_weights.read_checkpoint`.
    """
    trained = read_checkpoint(path)
    check(trained.state, expected_shapes(trained.config))
    check_tensors(trained.state, str(path))
    task = Task(trained.phrases, trained.input_size, trained.names)
    model = _build(trained.config, trained.state, text)
    loaded = _loaded(model, load_tokenizer(trained.base), name, "folder", task)
    apply_adapter(loaded.model, trained.updates, str(path))
    return loaded, trained.epoch


def _load_adapted(folder: Path, name: str) -> Loaded:
    base_of(folder)  # no circle
    adapter = load_adapter(folder)
    base = adapter.base
    try:
        loaded = load_detector(base.name)
    except (OSError, ValueError) as error:
        message = f"{folder} was trained on the detector {base.name}, which cannot be loaded: "
        message += str(error)
        raise GLIPError(message, code=getattr(error, "code", "no-base")) from error
    check_base(str(folder), base, loaded.model, base.name, text=True)
    apply_adapter(loaded.model, adapter.tensors, str(folder))
    words = loaded.words
    if words is not None:
        words |= words_of(phrase.text for phrase in adapter.phrases)
    task = Task(adapter.phrases, base.input_size, adapter.names)
    return replace(loaded, name=name, weights="folder", task=task, words=words)


def _read_weights(path: Path, text: bool) -> dict[str, Tensor]:
    _, tensors = read_tensors(path, str(path), lambda key: text or not key.startswith(TEXT_PREFIX))
    return tensors


def _load_repository(repo: str, text: bool) -> Loaded:
    try:
        folder = hub_file(HubFile(repo, CONFIG_NAME)).parent
        for name in exchange_files(folder)[1:]:
            hub_file(HubFile(repo, name))
        for name in (TASK_NAME, WORDS_NAME):
            with suppress(NotInRepository):
                hub_file(HubFile(repo, name))
    except DownloadError as error:
        raise type(error)(
            f"detector={repo!r} is no folder here, so it was looked for on the Hub: {error}"
        ) from error
    return load_folder(folder, repo, text)


def _build(config: GLIPConfig, state: dict[str, Tensor], text: bool = True) -> Detector:
    config = replace(config, text_encoder=config.text_encoder and text)
    model = build_detector(config)
    if not config.text_encoder:
        state = {key: x for key, x in state.items() if not key.startswith(TEXT_PREFIX)}
    model.load_state_dict(state)
    return model


def _loaded(
    model: Detector,
    tokenizer: Tokenizer,
    name: str,
    weights: Origin,
    task: Task | None = None,
    words: frozenset[str] | None = None,
) -> Loaded:
    _check_vocabulary(model, tokenizer, name)
    return Loaded(model.eval(), tokenizer, name, weights, task, words)


def _check_vocabulary(model: Detector, tokenizer: Tokenizer, name: str) -> None:
    expected = model.config.classes or model.config.text.vocab_size
    if len(tokenizer) != expected:
        message = f"{name}: the vocabulary has {len(tokenizer)} tokens, the text encoder "
        message += f"{expected}; use the {VOCAB_NAME} that belongs to these weights"
        raise GLIPError(message, code="other-vocabulary")


def skeleton(detector: str) -> Detector | None:
    """Return a named detector, or that of a folder or run, without numbers (on the meta device).

    None where it would have to be loaded first.
    """
    files = [as_path(detector) / name / CONFIG_NAME for name in (RUN_DETECTOR, ".")]
    found = [file for file in files if file.is_file()]
    if detector in VARIANTS:
        config = variant(detector)
    elif found:
        config = read_config(found[0])
    else:
        return None
    with torch.device("meta"):
        return build_detector(config)


def _read_task(path: Path, config: GLIPConfig) -> Task | None:
    if not path.is_file():
        return None
    where, content = read_task(path)
    phrases = tuple(Phrase(**phrase) for phrase in content["phrases"])
    if config.classes and len(phrases) > config.classes:
        message = f"{where}: {len(phrases)} phrases, expected at most {config.classes}, as "
        message += f"{CONFIG_NAME} says (classes)"
        raise GLIPError(message, code="bad-value")
    short, longest = content["input_size"]
    return Task(phrases, (short, longest), class_names(content, "phrases", where))


def save(
    model: Detector,
    tokenizer: Tokenizer,
    folder: str | Path,
    task: Task | None = None,
    half: bool = False,
    words: Iterable[str] | None = None,
) -> Path:
    """Write an exchange folder, at once or not at all; it replaces another exchange folder.

    Args:
        model: the detector.
        tokenizer: its tokenizer.
        folder: where to write.
        task: the classes of a fine-tuned detector.
        half: stores the numbers in half precision; they are loaded as float32 again.
        words: the words that the detector saw in training; None where they are not on record.

    Returns:
        The folder.

    Raises:
        GLIPError: a file or other things lie in its place (``file-exists``), or the tokenizer has
            another number of tokens than the detector (``other-vocabulary``).
    """
    folder = Path(folder)
    _check_vocabulary(model, tokenizer, str(folder))
    if folder.is_file():
        raise GLIPError(f"{folder}: is a file; give a folder to write to", code="file-exists")
    there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    foreign = sorted(there - MAY_REPLACE)
    if foreign:
        message = f"{folder}: holds {foreign[0]}, which is no part of an exchange folder; "
        message += "choose another folder or remove it"
        raise GLIPError(message, code="file-exists")
    with replacing(folder) as fresh:
        fresh.mkdir()
        written = deepcopy(model).half() if half else model
        written.save_pretrained(fresh)
        tokenizer.save(fresh)
        if task is not None:
            content: dict[str, Any] = {
                "phrases": [phrase._asdict() for phrase in task.phrases],
                "input_size": task.input_size,
            }
            if task.names:
                content["names"] = task.names
            text = json.dumps(content, indent=2, ensure_ascii=False)
            (fresh / TASK_NAME).write_text(text, encoding="utf-8")
        if words is not None:
            lines = "".join(f"{word}\n" for word in sorted(words))
            (fresh / WORDS_NAME).write_text(lines, encoding="utf-8", newline="\n")
    return folder
