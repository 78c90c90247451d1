"""The 35 tasks of ODinW: their names, classes and prompts, and where a download keeps their files.

``odinw35.json`` holds the facts of the official configurations (microsoft/GLIP configs/odinw_35
and, where the 13-task benchmark differs, configs/odinw_13). Annotation files are relative to a
task's folder, and lie beside their images.
"""

import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.text.phrases import Phrase, clean_name

TABLE = Path(__file__).parent / "odinw35.json"
ANNOTATIONS = "annotations_without_background.json"
"""The annotation file of every split folder; a few flat tasks put ``train_`` etc. before it."""

FEWSHOT_SHOTS, FEWSHOT_SEEDS = (1, 3, 5, 10), (3, 30, 300)
"""What the official prepared lists of images exist for: every task, and every split but test."""

Yaml = Literal["odinw_13", "odinw_35"]
Benchmark = Literal["odinw13", "odinw35"]


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split: the folder of its images, and its COCO file."""

    image_dir: Path
    annotation_file: Path


@dataclass(frozen=True)
class ODinWTask:
    """One task; class k of its annotation files is ``categories[k]``, whatever they call it."""

    name: str  # official, e.g. "Raccoon_Raccoon.v2-raw.coco"
    dir: str  # below the folder "odinw" of a download
    zip: str  # official file; the variants of a task share one, which holds the first part of dir
    splits: Mapping[str, str]  # train, valid, test, sometimes minival -> annotation file in dir
    official_eval_split: str  # the official runs select models on it: minival if any, else valid
    categories: list[str]
    # prefix, name, suffix of each class; empty: the plain names
    caption_prompt: list[Mapping[str, str]]
    in_odinw13: bool
    # categories and caption_prompt of the 13-task benchmark; None: it is not in it
    odinw13_yaml: Mapping[str, list] | None

    @property
    def short(self) -> str:
        """The first part of the official name, e.g. "Raccoon"."""
        return self.name.split("_")[0]

    def phrases(self, yaml: Yaml = "odinw_35") -> list[Phrase]:
        """Return the classes as the official caption has them.

        Args:
            yaml: which configuration; the 13-task benchmark has plain names only.

        Raises:
            GLIPError: the task is not in ODinW-13.
        """
        names, prompt = self.categories, self.caption_prompt
        if yaml == "odinw_13":
            if self.odinw13_yaml is None:
                message = f"task {self.name!r} is not in ODinW-13; use its phrases of odinw_35"
                raise GLIPError(message, code="no-phrases")
            names, prompt = self.odinw13_yaml["categories"], self.odinw13_yaml["caption_prompt"]
        if prompt:
            return [Phrase(**entry) for entry in prompt]
        return [Phrase(clean_name(name)) for name in names]


@functools.cache
def tasks() -> dict[str, ODinWTask]:
    """Return all tasks by their official names."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    return {row["name"]: ODinWTask(**row) for row in rows}


def odinw_names(benchmark: Benchmark) -> list[str]:
    """Return the official names of the tasks of a benchmark, in the order of the table."""
    return [task.name for task in tasks().values() if task.in_odinw13 or benchmark == "odinw35"]


def odinw_task(name: str) -> ODinWTask:
    """Return the task of an official or a short name.

    A short name of two variants means the one in ODinW-13.

    Raises:
        GLIPError: no task is called so, or the name may mean two tasks.
    """
    if name in tasks():
        return tasks()[name]
    variants = _variants(name)
    for task in variants:
        if _has_short_name(task):
            return task
    if variants:
        both = " and ".join(repr(task.name) for task in variants)
        message = f"task {name!r} has the variants {both}; name one of them"
        raise GLIPError(message, code="ambiguous-task")
    hint = suggestion(name, known_names()) or f"the tasks are {', '.join(tasks())}"
    raise GLIPError(f"no ODinW task is called {name!r}; {hint}", code="unknown-task")


def _variants(short: str) -> list[ODinWTask]:
    return [task for task in tasks().values() if task.short == short]


def _has_short_name(task: ODinWTask) -> bool:
    """Return whether the short name means this task and not another variant."""
    return task.in_odinw13 or len(_variants(task.short)) == 1


def known_names() -> list[str]:
    """Return the short and the official names of all tasks."""
    names: dict[str, None] = {}
    for task in tasks().values():
        names |= {task.short: None, task.name: None}
    return list(names)


def suggestion(name: str, known: list[str]) -> str:
    """Return the question whether known names were meant that resemble ``name``.

    The text is empty if none does. Capitals do not matter.
    """
    lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
    meant = " or ".join(repr(lower[match]) for match in close)
    return f"did you mean {meant}?" if close else ""


def find_task(root: str | Path, task: str) -> Path:
    """Return the folder of ``task``.

    It is ROOT/odinw/<official path>, ROOT/<official path> or ROOT/<official or short name>. A
    folder counts if it holds the annotation file of at least one split.

    Raises:
        GLIPError: no task is called so.
        MissingFile: none of the folders has an annotation file.
    """
    found = odinw_task(task)
    names = [f"odinw/{found.dir}", found.dir, found.name]
    if _has_short_name(found):
        names.append(found.short)
    folders = [Path(root) / name for name in dict.fromkeys(names)]
    for folder in folders:
        if any((folder / file).is_file() for file in found.splits.values()):
            return folder
    looked = "\n  ".join(str(folder) for folder in folders)
    raise MissingFile(
        f"no annotations of ODinW task {found.short!r} below {root}; looked in\n  {looked}\n"
        f"for {found.splits['train']}; put the task into one of these folders or correct the root",
        code="missing-file",
    )


def split_files(root: str | Path, task: str, split: str) -> SplitFiles:
    """Return images and annotations of a split of a task.

    As official, PascalVOC's test files are those of valid.

    Args:
        root: folder of the data (:func:`find_task`).
        task: its official or short name.
        split: train, valid, test; minival for some tasks.

    Raises:
        GLIPError: the task has no such split.
        MissingFile: its files are not there.
    """
    splits = odinw_task(task).splits
    if split not in splits:
        message = f"task {task!r} has no split {split!r}; it has {', '.join(splits)}"
        raise GLIPError(message, code="unknown-split")
    file = find_task(root, task) / splits[split]
    if not file.is_file():
        message = f"{file}: the {split} annotations of ODinW task {task!r} are not there"
        raise MissingFile(message, code="missing-file")
    return SplitFiles(file.parent, file)


def fewshot_file(root: str | Path, task: str, split: str, shots: int, seed: int) -> SplitFiles:
    """Return the official prepared list: a COCO file of the chosen images of a split.

    It is beside the split's own file.

    Args:
        root: folder of the data (:func:`find_task`).
        task: its official or short name.
        split: train, valid or minival.
        shots: one of :data:`FEWSHOT_SHOTS`.
        seed: one of :data:`FEWSHOT_SEEDS`.

    Raises:
        GLIPError: the task has no such split.
        MissingFile: there is no such list, or the split's own file is not there.
    """
    files = split_files(root, task, split)
    name = f"fewshot_{split.replace('valid', 'val')}_shot{shots}_seed{seed}.json"
    file = files.image_dir / name
    if not file.is_file():
        there = sorted(path.name for path in files.image_dir.glob("fewshot_*.json"))
        all_shots = ", ".join(str(number) for number in FEWSHOT_SHOTS)
        all_seeds = ", ".join(str(number) for number in FEWSHOT_SEEDS)
        raise MissingFile(
            f"{file}: no such prepared list of ODinW task {task!r}; "
            f"beside it: {', '.join(there) or 'none'}. Official ones are for shots {all_shots} and "
            f"seeds {all_seeds} of every split but test; use one of them, or choose images without "
            "the prepared lists",
            code="missing-file",
        )
    return SplitFiles(files.image_dir, file)
