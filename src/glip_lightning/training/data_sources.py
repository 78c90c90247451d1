"""Data modules of tasks of ODinW, of folders of one's own, and of data sets of the Hub."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

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
from glip_lightning.data.checks.findings import Findings, data_error
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.formats.hub_dataset import read_hub
from glip_lightning.data.formats.layouts import read_folder
from glip_lightning.data.index import Index
from glip_lightning.data.splits import complete_splits
from glip_lightning.data.types import SPLITS, Split
from glip_lightning.text.phrases import Phrase, clean_name, read_phrases_file
from glip_lightning.training.data_module import DetectionData


class ODinW(DetectionData):
    """A task of the ODinW benchmark, officially laid out or ``ROOT/<Task>/{train,valid,test}``."""

    def __init__(
        self,
        root: str,
        task: str,
        prompts: Yaml = "odinw_13",
        prepared: bool = False,
        **kwargs: Any,
    ) -> None:
        """Choose a task; options of all data are those of :class:`DetectionData`.

        Args:
            root: what ``glip download --root`` was given, or a folder of tasks.
            task: a short (``Raccoon``) or official name.
            prompts: the official captions: odinw_13 has plain class names, odinw_35 manual prompts
                for some tasks.
            prepared: train on the official list of images for shots (1, 3, 5, 10) and seed (3, 30,
                300).
            **kwargs: those of :class:`DetectionData`.

        Raises:
            GLIPError: no official list for these shots and seed (code ``no-official-list``), or a
                task of another benchmark (``other-benchmark``) or of none (``unknown-task``).
        """
        super().__init__(**kwargs)
        if prepared and (self.shots in ("all", 0) or self.seed is None):
            raise GLIPError(
                f"prepared=true with shots={self.shots}, seed={self.seed}: official lists are for "
                "1, 3, 5 or 10 shots and seed 3, 30 or 300; give both",
                code="no-official-list",
            )
        others = set_of(task)
        if others:
            raise GLIPError(
                f"task {task!r} is one of {others.title}, not of ODinW: use --data {others.data}",
                code="other-benchmark",
            )
        found = get_task(task)
        assert isinstance(found, ODinWTask)
        self.root = root
        self.task = found
        self.prompts = prompts
        self.prepared = prepared
        self.label = found.short.lower()

    @property
    @override
    def task_name(self) -> str:
        return self.task.short

    @override
    def read(self, findings: Findings) -> dict[Split, Index]:
        # a missing task is an error, a missing split is not
        find_task(self.root, self.task.name)
        found: dict[Split, Index] = {}
        for split in SPLITS:
            files = self._files(split)
            if files is not None:
                read = partial(read_coco, files.annotation_file, files.image_dir, findings)
                index = findings.attempt(files.annotation_file, read)
                if index is not None:
                    found[split] = index
        return found

    def _files(self, split: Split) -> SplitFiles | None:
        """Return the files of a split, None if there are none.

        The valid split is the official minival where there is one.
        """
        name = self.task.name
        if split == "train" and self.prepared:
            assert isinstance(self.shots, int)
            assert self.seed is not None
            return fewshot_file(self.root, name, split, self.shots, self.seed)
        folders = [split]
        if split == "valid":
            folders = [self.task.official_eval_split, "valid"]
        for folder in folders:
            with suppress(FileNotFoundError):
                return split_files(self.root, name, folder)
        return None

    @override
    def choose(self, index: Index) -> Index:
        if self.prepared:
            return index.select(index.with_boxes())
        return super().choose(index)

    @override
    def phrases(self) -> list[Phrase]:
        prompts = self.prompts if self.task.in_odinw13 else "odinw_35"
        official = self.of_chosen(self.task.phrases(prompts))
        if len(official) != len(self.class_names):
            names = ", ".join(phrase.name for phrase in official)
            raise data_error(
                "class-count/official",
                f"task {self.task.short}",
                len(self.class_names),
                root=self.root,
                official=len(official),
                names=names,
            )
        return official


class CustomData(DetectionData):
    """A folder of photos: COCO, ODinW, Roboflow, YOLO, Pascal VOC, or saved by ``datasets``."""

    def __init__(
        self, root: str, phrases_file: str | None = None, split_seed: int = 0, **kwargs: Any
    ) -> None:
        """Choose a folder; options of all data are those of :class:`DetectionData`.

        Args:
            root: the folder.
            phrases_file: how each class is called in the caption, in the order of the categories:
                one phrase per line, or YAML or JSON with prefix, name and suffix. Default: the
                names of the classes.
            split_seed: where ``root`` has no splits, this makes them once; they are kept in its
                ``splits.json``.
            **kwargs: those of :class:`DetectionData`.
        """
        super().__init__(**kwargs)
        self.root = root
        self.phrases_file = phrases_file
        self.split_seed = split_seed
        name = Path(root).resolve().name.lower()
        if name:
            self.label = name

    @override
    def read(self, findings: Findings) -> dict[Split, Index]:
        return read_folder(self.root, findings, self.split_seed, write=True).splits

    @override
    def phrases(self) -> list[Phrase]:
        if self.phrases_file is None:
            return super().phrases()
        phrases = self.of_chosen(read_phrases_file(self.phrases_file))
        if len(phrases) != len(self.class_names):
            raise data_error(
                "bad-phrases",
                self.phrases_file,
                len(phrases),
                classes=len(self.class_names),
                names=", ".join(self.class_names),
            )
        self._check_order(phrases)
        return phrases

    def _check_order(self, phrases: Sequence[Phrase]) -> None:
        """Raise DataError for a phrase that names another class (``phrase-of-other-class``)."""
        names = [clean_name(name).strip().lower() for name in self.class_names]
        place_of = {name: place for place, name in enumerate(names)}
        for place, phrase in enumerate(phrases):
            text = phrase.text.strip().lower()
            other = place_of.get(text, place)
            if other != place and text != names[place]:
                raise data_error(
                    "phrase-of-other-class",
                    self.phrases_file,
                    number=place + 1,
                    phrase=phrase.text,
                    other=other + 1,
                    names=", ".join(self.class_names),
                )


class HubData(DetectionData):
    """A detection set of the Hugging Face Hub."""

    def __init__(
        self, name: str, subset: str | None = None, split_seed: int = 0, **kwargs: Any
    ) -> None:
        """Choose a data set; options of all data are those of :class:`DetectionData`.

        Args:
            name: OWNER/NAME of the repository.
            subset: its configuration, if it has several.
            split_seed: divides a data set that has only a train split.
            **kwargs: those of :class:`DetectionData`.
        """
        super().__init__(**kwargs)
        self.repository = name  # Lightning has a "name"
        self.subset = subset
        self.split_seed = split_seed
        self.label = name.split("/")[-1].lower()

    @override
    def read(self, findings: Findings) -> dict[Split, Index]:
        splits = read_hub(self.repository, findings, self.subset)
        return complete_splits(splits, None, findings, self.split_seed)
