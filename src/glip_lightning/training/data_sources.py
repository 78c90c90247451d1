"""Where data come from: tasks of ODinW, folders of one's own, the Hub, generated pictures."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks.odinw import (
    ODinWTask,
    SplitFiles,
    Yaml,
    fewshot_file,
    find_task,
    split_files,
)
from glip_lightning.data.benchmarks.tasks import get_task, set_of
from glip_lightning.data.checks.findings import DataError, Findings
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.formats.hub_dataset import read_hub
from glip_lightning.data.formats.layouts import read_folder
from glip_lightning.data.index import Index
from glip_lightning.data.splits import complete_splits
from glip_lightning.data.types import SPLITS, Split
from glip_lightning.text.phrases import Phrase, clean_name, read_phrases_file
from glip_lightning.training.data_module import DetectionData


class ODinW(DetectionData):
    """A task of the ODinW benchmark, in the official layout or as ``ROOT/<Task>/{train,valid,test}``."""

    def __init__(
        self,
        root: str,
        task: str,
        prompts: Yaml = "odinw_13",
        prepared: bool = False,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            root: what ``glip download --root`` was given, or a folder of tasks.
            task: a short (``Raccoon``) or official name.
            prompts: the official captions: odinw_13 has plain class names, odinw_35 manual prompts for some tasks.
            prepared: train on the official list of images for shots (1, 3, 5, 10) and seed (3, 30, 300).
        """
        super().__init__(**kwargs)
        if prepared and (self.shots in ("all", 0) or self.seed is None):
            raise GLIPError(
                f"prepared=true with shots={self.shots}, seed={self.seed}: official lists are for 1, 3, 5 or 10 "
                "shots and seed 3, 30 or 300; give both",
                code="no-official-list",
            )
        if others := set_of(task):
            text = f"task {task!r} is one of {others.title}, not of ODinW: use --data {others.data}"
            raise GLIPError(text, code="other-benchmark")
        found = get_task(task)
        assert isinstance(found, ODinWTask)
        self.root, self.task, self.prompts, self.prepared = root, found, prompts, prepared
        self.label = found.short.lower()

    @property
    def task_name(self) -> str:
        return self.task.short

    def read(self, findings: Findings) -> dict[Split, Index]:
        find_task(
            self.root, self.task.name
        )  # a task that is nowhere is an error, a missing split is not
        found: dict[Split, Index] = {}
        for split in SPLITS:
            files = self._files(split)
            if files is not None:
                read = partial(read_coco, files.annotation_file, files.image_dir, findings)
                index = findings.attempt(files.annotation_file, read)
                found |= {split: index} if index is not None else {}
        return found

    def _files(self, split: Split) -> SplitFiles | None:
        """Models are selected on the official minival where there is one, else on valid."""
        name = self.task.name
        if split == "train" and self.prepared:
            assert isinstance(self.shots, int)
            assert self.seed is not None
            return fewshot_file(self.root, name, split, self.shots, self.seed)
        for each in (
            dict.fromkeys([self.task.official_eval_split, "valid"]) if split == "valid" else [split]
        ):
            with suppress(FileNotFoundError):
                return split_files(self.root, name, each)
        return None

    def choose(self, index: Index) -> Index:
        return index.select(index.with_boxes()) if self.prepared else super().choose(index)

    def phrases(self) -> list[Phrase]:
        official = self.of_chosen(
            self.task.phrases(self.prompts if self.task.in_odinw13 else "odinw_35")
        )
        if len(official) != len(self.class_names):
            raise DataError(
                f"task {self.task.short}: {len(self.class_names)} categories in {self.root}, officially "
                f"{len(official)} ({', '.join(p.name for p in official)}); use the official annotation files",
                code="class-count",
            )
        return official


class CustomData(DetectionData):
    """A folder of your own photos: COCO, ODinW, Roboflow, YOLO, Pascal VOC or saved by ``datasets``."""

    def __init__(
        self, root: str, phrases_file: str | None = None, split_seed: int = 0, **kwargs: Any
    ) -> None:
        """
        Args:
            root: the folder.
            phrases_file: how each class stands in the caption, in the order of the categories: one phrase a
                line, or YAML or JSON with prefix, name and suffix. Default: the names of the classes.
            split_seed: where ``root`` has no splits, this makes them once; they are kept in its ``splits.json``.
        """
        super().__init__(**kwargs)
        self.root, self.phrases_file, self.split_seed = root, phrases_file, split_seed
        self.label = Path(root).resolve().name.lower() or self.label

    def read(self, findings: Findings) -> dict[Split, Index]:
        return read_folder(self.root, findings, self.split_seed, write=True).splits

    def phrases(self) -> list[Phrase]:
        if self.phrases_file is None:
            return super().phrases()
        phrases = self.of_chosen(read_phrases_file(self.phrases_file))
        if len(phrases) != len(self.class_names):
            raise DataError(
                f"{self.phrases_file}: {len(phrases)} phrases for {len(self.class_names)} classes; write one for "
                f"each of {', '.join(self.class_names)}, in this order",
                code="bad-phrases",
            )
        self._check_order(phrases)
        return phrases

    def _check_order(self, phrases: Sequence[Phrase]) -> None:
        """Raise an error for a phrase that is the name of another class than its own."""
        places = {
            clean_name(name).strip().lower(): place for place, name in enumerate(self.class_names)
        }
        for place, phrase in enumerate(phrases):
            other = places.get(phrase.text.strip().lower(), place)
            own = clean_name(self.class_names[place]).strip().lower()
            if other != place and own != phrase.text.strip().lower():
                message = f"{self.phrases_file}: phrase {place + 1} is {phrase.text!r}, the name of class {other + 1}; "
                message += (
                    f"write one phrase for each class in this order: {', '.join(self.class_names)}"
                )
                raise DataError(message, code="phrase-of-other-class")


class HubData(DetectionData):
    """A detection set of the Hugging Face Hub."""

    def __init__(
        self, name: str, subset: str | None = None, split_seed: int = 0, **kwargs: Any
    ) -> None:
        """``name`` is OWNER/NAME, ``subset`` its configuration if it has several. Where it has a train split
        only, ``split_seed`` divides it."""
        super().__init__(**kwargs)
        self.repository, self.subset, self.split_seed = (
            name,
            subset,
            split_seed,
        )  # Lightning has a "name"
        self.label = name.split("/")[-1].lower()

    def read(self, findings: Findings) -> dict[Split, Index]:
        return complete_splits(
            read_hub(self.repository, findings, self.subset), None, findings, self.split_seed
        )
