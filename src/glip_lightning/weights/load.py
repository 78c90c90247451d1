"""A name, file, folder or Hub repository -> detector and tokenizer, and back.

An exchange folder holds ``config.json``, ``model.safetensors`` and, where the detector reads names, ``vocab.txt``;
``task.json`` beside them says what a fine-tuned detector was trained to find. Official weights come from the Hub,
into its cache.
"""

import json
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from glip_lightning.common import registry
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import replacing
from glip_lightning.common.schema import PHRASES, InputSize, Keys, read_json
from glip_lightning.common.tensor_files import check_tensors, read_tensors
from glip_lightning.data.transforms import MAX_SIZE, TEST_SIZE
from glip_lightning.models.build import build_detector
from glip_lightning.models.config import CONFIG, VARIANTS, GLIPConfig, variant
from glip_lightning.models.detector import Detector
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import VOCAB_NAME, ClassTokenizer, Tokenizer
from glip_lightning.weights.adapter import RUN_ADAPTER, apply_adapter, base_of, load_adapter
from glip_lightning.weights.base_model import check_base
from glip_lightning.weights.detector_files import as_path, is_repository, unknown_detector
from glip_lightning.weights.hub_files import OFFICIAL, OFFICIAL_VOCAB, DownloadError, HubFile, NotInRepository, hub_file
from glip_lightning.weights.official_checkpoint import (
    CheckpointError,
    check,
    expected_shapes,
    from_official,
    infer_config,
    read_official,
)
from glip_lightning.weights.prompt_file import PROMPT_NAME, load_prompt

CONFIG_NAME, WEIGHTS_NAME, TASK_NAME = "config.json", "model.safetensors", "task.json"
EXCHANGE = (CONFIG_NAME, WEIGHTS_NAME, VOCAB_NAME)
MAY_REPLACE = {*EXCHANGE, TASK_NAME, "README.md"}  # the Hub mixin writes a model card
TEXT_PREFIX = "language."  # of the text encoder's tensors
RUN_DETECTOR = "detector"  # where a finished run keeps its exchange folder
_TASK = Keys({"phrases": PHRASES, "input_size": InputSize()})

Origin = Literal["random", "official", "shipped", "folder"]


class Task(NamedTuple):
    """What a fine-tuned detector looks for, and the input size (short side, longest side) it was trained at."""

    phrases: tuple[Phrase, ...]
    input_size: tuple[int, int] = (TEST_SIZE, MAX_SIZE)


class Loaded(NamedTuple):
    """A detector in eval mode, its tokenizer, and where both come from."""

    model: Detector
    tokenizer: Tokenizer
    name: str  # as asked for
    weights: Origin
    task: Task | None = None


def load_detector(detector: str, weights: Literal["pretrained", "random"] = "pretrained", text: bool = True) -> Loaded:
    """Build the detector that ``detector`` means, in eval mode on the CPU, with its tokenizer.

    Args:
        detector: a name (``glip-tiny``, ``glip-nano-a``, ...), a folder (exchange folder or finished run), an
            official ``.pth`` file, or a Hub repository (``user/name``) with the files of an exchange folder.
        weights: ``random`` starts a named detector from its initialisation.
        text: False leaves the text encoder out, which tuned prompts do not need.

    Raises:
        ValueError: nothing has this name, or weights are asked for that it does not have.
        FileNotFoundError: a folder in which files are missing.
        GLIPError: files that are damaged or do not fit each other, a download that failed.
    """
    if weights not in ("pretrained", "random"):
        raise ValueError(f"weights={weights!r}: expected 'pretrained' or 'random'")
    if detector in VARIANTS:
        return _load_name(detector, weights, text)
    if weights == "random":
        raise ValueError(
            f"weights='random' starts a named detector ({', '.join(VARIANTS)}), and {detector!r} is none; "
            "weights='pretrained' loads folders, runs, files and repositories"
        )
    path = as_path(detector)
    if path.is_dir():
        return load_folder(path, text=text)
    if path.is_file():
        return load_official(detector, path, text=text)
    if is_repository(detector):
        return _load_repository(detector, text)
    raise unknown_detector(detector)


def load_tokenizer(detector: str) -> Tokenizer:
    """Return the vocabulary alone of what :func:`load_detector` takes; weights are neither read nor downloaded."""
    path = as_path(detector)
    if detector in VARIANTS:
        return _named_tokenizer(detector)
    if path.is_dir():
        if (path / RUN_ADAPTER).is_dir():
            return load_tokenizer(base_of(path / RUN_ADAPTER))
        return _tokenizer_in(path / RUN_DETECTOR if (path / RUN_DETECTOR).is_dir() else path)
    if path.is_file():
        return Tokenizer(_official_vocab(path))
    if is_repository(detector):
        folder = hub_file(HubFile(detector, CONFIG_NAME)).parent
        if VOCAB_NAME in _files(folder):
            hub_file(HubFile(detector, VOCAB_NAME))
        return _tokenizer_in(folder)
    raise unknown_detector(detector)


def _named_tokenizer(name: str) -> Tokenizer:
    if rows := variant(name).classes:
        return ClassTokenizer(rows)
    return Tokenizer(hub_file(OFFICIAL_VOCAB)) if name in OFFICIAL else Tokenizer.nano()


def _tokenizer_in(folder: Path) -> Tokenizer:
    if VOCAB_NAME in _files(folder):
        return Tokenizer.from_folder(folder)
    return ClassTokenizer(_read_config(folder / CONFIG_NAME).classes)


def _files(folder: Path) -> tuple[str, ...]:
    """What an exchange folder has to hold: no vocabulary where its configuration has a table of classes."""
    config = folder / CONFIG_NAME
    return EXCHANGE[:2] if config.is_file() and _read_config(config).classes else EXCHANGE


def _load_name(name: str, weights: str, text: bool) -> Loaded:
    config = variant(name)
    if weights == "random":
        return _loaded(build_detector(replace(config, text_encoder=text)), _named_tokenizer(name), name, "random")
    if name in OFFICIAL:
        return load_official(name, hub_file(OFFICIAL[name]), config, text=text)
    folder = shipped(name)
    if folder is None:
        raise GLIPError(
            f"detector={name!r}: no installed package has its weights; weights='random' starts from its initialisation",
            code="no-weights",
        )
    return load_folder(folder, name, text, "shipped")


def shipped(name: str) -> Path | None:
    """Return the exchange folder of a name whose weights come with an installed package, as nano detectors' do."""
    return None if name in OFFICIAL else registry.detector_weights.get(name)


def load_official(
    name: str,
    path: Path,
    config: GLIPConfig | None = None,
    vocab: str | Path | None = None,
    text: bool = True,
) -> Loaded:
    state = read_official(path)
    try:
        config = config or infer_config(state)
        ours = from_official(state, config)
    except GLIPError as error:
        raise CheckpointError(f"{path}: {error}", code=error.code) from error
    check_tensors(ours, str(path))
    return _loaded(_build(config, ours, text), Tokenizer(vocab or _official_vocab(path)), name, "official")


def _official_vocab(checkpoint: Path) -> Path:
    """``vocab.txt`` beside an official file, else that of bert-base-uncased."""
    beside = checkpoint.with_name(VOCAB_NAME)
    return beside if beside.is_file() else hub_file(OFFICIAL_VOCAB)


def load_folder(folder: Path, name: str | None = None, text: bool = True, origin: Origin = "folder") -> Loaded:
    name = name or str(folder)
    if (folder / RUN_ADAPTER).is_dir():
        return _load_adapted(folder / RUN_ADAPTER, name)
    folder = folder / RUN_DETECTOR if (folder / RUN_DETECTOR).is_dir() else folder
    if (folder / PROMPT_NAME).is_file() and not (folder / CONFIG_NAME).is_file():
        base = load_prompt(folder / PROMPT_NAME).base.name
        raise FileNotFoundError(f"{folder}: this run tuned a prompt for {base} and left no detector; give {base}")
    if missing := [file for file in _files(folder) if not (folder / file).is_file()]:
        raise FileNotFoundError(
            f"{folder}: no exchange folder, {' and '.join(missing)} missing; it holds {', '.join(EXCHANGE)}. "
            f"A run has one in {RUN_DETECTOR}/ when it is finished; `glip convert` makes one of an official file"
        )
    config = _read_config(folder / CONFIG_NAME)
    try:
        state = _read_weights(folder / WEIGHTS_NAME, text)
        check(state, expected_shapes(replace(config, text_encoder=config.text_encoder and text)))
    except CheckpointError as error:
        raise CheckpointError(f"{folder / WEIGHTS_NAME}: {error}") from error
    check_tensors(state, str(folder / WEIGHTS_NAME))
    task, tokenizer = _read_task(folder / TASK_NAME, config), _tokenizer_in(folder)
    return _loaded(_build(config, state, text), tokenizer, name, origin, task)


def _load_adapted(folder: Path, name: str) -> Loaded:
    base_of(folder)  # no circle
    adapter = load_adapter(folder)
    base = adapter.base
    try:
        loaded = load_detector(base.name)
    except (OSError, ValueError) as error:
        message = f"{folder} was trained on the detector {base.name}, which cannot be had: {error}"
        raise GLIPError(message, code=getattr(error, "code", "no-base")) from error
    check_base(str(folder), base, loaded.model, base.name, text=True)
    apply_adapter(loaded.model, adapter.tensors, str(folder))
    return loaded._replace(name=name, weights="folder", task=Task(adapter.phrases, base.input_size))


def _read_weights(path: Path, text: bool) -> dict[str, Tensor]:
    _, tensors = read_tensors(path, str(path), lambda key: text or not key.startswith(TEXT_PREFIX))
    return tensors


def _load_repository(repo: str, text: bool) -> Loaded:
    try:
        folder = hub_file(HubFile(repo, CONFIG_NAME)).parent
        for name in _files(folder)[1:]:
            hub_file(HubFile(repo, name))
        with suppress(NotInRepository):
            hub_file(HubFile(repo, TASK_NAME))
    except DownloadError as error:
        raise type(error)(f"detector={repo!r} is no folder here, so it was looked for on the Hub: {error}") from error
    return load_folder(folder, repo, text)


def _build(config: GLIPConfig, state: dict[str, Tensor], text: bool = True) -> Detector:
    config = replace(config, text_encoder=config.text_encoder and text)
    model = build_detector(config)
    model.load_state_dict({k: x for k, x in state.items() if config.text_encoder or not k.startswith(TEXT_PREFIX)})
    return model


def _loaded(
    model: Detector,
    tokenizer: Tokenizer,
    name: str,
    weights: Origin,
    task: Task | None = None,
) -> Loaded:
    _check_vocabulary(model, tokenizer, name)
    return Loaded(model.eval(), tokenizer, name, weights, task)


def _check_vocabulary(model: Detector, tokenizer: Tokenizer, name: str) -> None:
    expected = model.config.classes or model.config.text.vocab_size
    if len(tokenizer) != expected:
        raise ValueError(
            f"{name}: the vocabulary has {len(tokenizer)} tokens, the text encoder {expected}; "
            f"use the {VOCAB_NAME} that belongs to these weights"
        )


def skeleton(detector: str) -> Detector | None:
    """Return a named detector, or that of a folder or run, without numbers (on the meta device).

    None for what would have to be loaded first.
    """
    files = [as_path(detector) / name / CONFIG_NAME for name in (RUN_DETECTOR, ".")]
    if detector in VARIANTS:
        config = variant(detector)
    elif found := [file for file in files if file.is_file()]:
        config = _read_config(found[0])
    else:
        return None
    with torch.device("meta"):
        return build_detector(config)


def _read_config(path: Path) -> GLIPConfig:
    where = f"{path}: not the configuration of a GLIP detector"
    content = read_json(path, where)
    CONFIG.check(content, where)
    try:
        return GLIPConfig(**content)
    except GLIPError as error:  # sizes that do not fit each other
        raise GLIPError(f"{where}: {error}", code=error.code) from error


def _read_task(path: Path, config: GLIPConfig) -> Task | None:
    if not path.is_file():
        return None
    where = f"{path}: not the task of a detector, expected phrases and input_size"
    content = read_json(path, where)
    _TASK.check(content, where)
    phrases = tuple(Phrase(**phrase) for phrase in content["phrases"])
    if config.classes and len(phrases) > config.classes:
        message = f"{where}: {len(phrases)} phrases, expected at most {config.classes}, as {CONFIG_NAME} says (classes)"
        raise GLIPError(message, code="bad-value")
    short, longest = content["input_size"]
    return Task(phrases, (short, longest))


def save(
    model: Detector, tokenizer: Tokenizer, folder: str | Path, task: Task | None = None, half: bool = False
) -> Path:
    """Write an exchange folder at once or not at all; another exchange folder in its place is replaced.

    ``half`` stores the numbers in half precision; they are loaded as float32 again.
    """
    folder = Path(folder)
    _check_vocabulary(model, tokenizer, str(folder))
    if folder.is_file():
        raise FileExistsError(f"{folder}: is a file; give a folder to write to")
    if folder.exists() and (foreign := sorted({path.name for path in folder.iterdir()} - MAY_REPLACE)):
        raise FileExistsError(
            f"{folder}: holds {foreign[0]}, which is no part of an exchange folder; choose another folder or remove it"
        )
    with replacing(folder) as fresh:
        fresh.mkdir()
        (deepcopy(model).half() if half else model).save_pretrained(fresh)
        tokenizer.save(fresh)
        if task is not None:
            content = {"phrases": [phrase._asdict() for phrase in task.phrases], "input_size": task.input_size}
            (fresh / TASK_NAME).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    return folder
