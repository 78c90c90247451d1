"""The 35 tasks of ODinW: their names, classes and prompts, and where a download keeps their files.

``odinw35.json`` holds the facts of the official configurations (microsoft/GLIP configs/odinw_35 and,
where the 13-task benchmark differs, configs/odinw_13); annotation files are relative to a task's folder, and
in that same folder as their images.
"""

import difflib
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.text.phrases import Phrase, clean_name

TABLE = Path(__file__).parent / "odinw35.json"
ANNOTATIONS = "annotations_without_background.json"
"""The annotation file of every split folder; a few flat tasks put ``train_`` etc. before it."""

FEWSHOT_SHOTS, FEWSHOT_SEEDS = (1, 3, 5, 10), (3, 30, 300)
"""What the official prepared lists of images exist for, at every task and every split but test."""

Yaml = Literal["odinw_13", "odinw_35"]
Benchmark = Literal["odinw13", "odinw35"]


class SplitFiles(NamedTuple):
    image_dir: Path
    annotation_file: Path


class ODinWTask(NamedTuple):
    """One task; class k of its annotation files is ``categories[k]``, whatever name these give it."""

    name: str  # official, e.g. "Raccoon_Raccoon.v2-raw.coco"
    dir: str  # below the folder "odinw" of a download
    zip: str  # official file; the variants of a task share one, which holds the first folder of ``dir``
    splits: Mapping[str, str]  # train, valid, test and sometimes minival -> annotation file in dir
    official_eval_split: (
        str  # what the official runs select models on: minival where there is one, else valid
    )
    categories: list[str]
    caption_prompt: list[
        Mapping[str, str]
    ]  # prefix, name, suffix of each class; empty: the plain names
    in_odinw13: bool
    odinw13_yaml: (
        Mapping[str, list] | None
    )  # categories and caption_prompt of the 13-task benchmark

    @property
    def short(self) -> str:
        """The first part of the official name, e.g. "Raccoon"."""
        return self.name.split("_")[0]

    def phrases(self, yaml: Yaml = "odinw_35") -> list[Phrase]:
        """The classes as they stand in the official caption; the 13-task benchmark has plain names only."""
        source: Mapping[str, list] | None = (
            self._asdict() if yaml == "odinw_35" else self.odinw13_yaml
        )
        if source is None:
            raise GLIPError(
                f"task {self.name!r} is not in ODinW-13; use its phrases of odinw_35",
                code="no-phrases",
            )
        if source["caption_prompt"]:
            return [Phrase(**entry) for entry in source["caption_prompt"]]
        return [Phrase(clean_name(name)) for name in source["categories"]]


@functools.cache
def tasks() -> dict[str, ODinWTask]:
    """All tasks by their official names."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    return {row["name"]: ODinWTask(**row) for row in rows}


def odinw_names(benchmark: Benchmark) -> list[str]:
    """The official names of the 13 or 35 tasks of a benchmark, in the order of the table."""
    return [task.name for task in tasks().values() if task.in_odinw13 or benchmark == "odinw35"]


def odinw_task(name: str) -> ODinWTask:
    """The task of an official or a short name; a short name of two variants means the one in ODinW-13."""
    if name in tasks():
        return tasks()[name]
    variants = _variants(name)
    meant = [task for task in variants if name in _short_names(task)]
    if meant:
        return meant[0]
    if variants:
        both = " and ".join(repr(task.name) for task in variants)
        raise GLIPError(
            f"task {name!r} has the variants {both}; name one of them", code="ambiguous-task"
        )
    raise GLIPError(f"no ODinW task is called {name!r}; {_suggestion(name)}", code="unknown-task")


def _variants(short: str) -> list[ODinWTask]:
    return [task for task in tasks().values() if task.short == short]


def _short_names(task: ODinWTask) -> list[str]:
    """The short name, if it means this task and not another variant."""
    others = len(_variants(task.short)) - 1
    return [task.short] if task.in_odinw13 or not others else []


def known_names() -> list[str]:
    """Short and official names."""
    return list(
        dict.fromkeys(name for task in tasks().values() for name in (task.short, task.name))
    )


def _suggestion(name: str) -> str:
    known = {known.lower(): known for known in known_names()}
    close = [
        known[match] for match in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    ]
    return (
        f"did you mean {' or '.join(map(repr, close))}?"
        if close
        else f"the tasks are {', '.join(tasks())}"
    )


def find_task(root: str | Path, task: str) -> Path:
    """The folder of ``task``: ROOT/odinw/<official path>, ROOT/<official path>, ROOT/<short or official name>.

    A folder counts if it holds the annotation file of at least one split.
    """
    found = odinw_task(task)
    names = dict.fromkeys([f"odinw/{found.dir}", found.dir, found.name, *_short_names(found)])
    folders = [Path(root) / name for name in names]
    for folder in folders:
        if any((folder / file).is_file() for file in found.splits.values()):
            return folder
    looked = "\n  ".join(map(str, folders))
    raise MissingFile(
        f"no annotations of ODinW task {found.short!r} below {root}; looked in\n  {looked}\n"
        f"for {found.splits['train']}; put the task into one of these folders or correct the root",
        code="missing-file",
    )


def split_files(root: str | Path, task: str, split: str) -> SplitFiles:
    """Images and annotations of ``split`` (train, valid, test, for some tasks minival) of ``task``.

    As official, PascalVOC's test files are those of valid.
    """
    splits = odinw_task(task).splits
    if split not in splits:
        raise GLIPError(
            f"task {task!r} has no split {split!r}; it has {', '.join(splits)}",
            code="unknown-split",
        )
    file = find_task(root, task) / splits[split]
    if not file.is_file():
        raise MissingFile(
            f"{file}: the {split} annotations of ODinW task {task!r} are not there",
            code="missing-file",
        )
    return SplitFiles(file.parent, file)


def fewshot_file(root: str | Path, task: str, split: str, shots: int, seed: int) -> SplitFiles:
    """The official prepared list: a COCO file of the chosen images of ``split``, beside the split's own file."""
    image_dir, annotation_file = split_files(root, task, split)
    file = annotation_file.with_name(
        f"fewshot_{split.replace('valid', 'val')}_shot{shots}_seed{seed}.json"
    )
    if not file.is_file():
        there = sorted(path.name for path in annotation_file.parent.glob("fewshot_*.json"))
        raise MissingFile(
            f"{file}: no such prepared list of ODinW task {task!r}; beside it: {', '.join(there) or 'none'}. Official "
            f"ones are for shots {_listed(FEWSHOT_SHOTS)} and seeds {_listed(FEWSHOT_SEEDS)} of every split but test; "
            "use one of them, or choose images without the prepared lists",
            code="missing-file",
        )
    return SplitFiles(image_dir, file)


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))
