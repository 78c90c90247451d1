"""The generated world as data for Lightning: its tasks, and what a detector is pre-trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.benchmarks.tasks import get_task
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.index import Index
from glip_lightning.data.types import SPLITS, Split
from glip_lightning.shapes.pretraining_pictures import SIZE, VERSION, write_pretraining
from glip_lightning.shapes.shapes13 import ShapesTask
from glip_lightning.shapes.task_pictures import SIZE as TASK_SIZE
from glip_lightning.shapes.task_pictures import VERSION as TASK_VERSION
from glip_lightning.shapes.task_pictures import write_task
from glip_lightning.text.phrases import Phrase
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.pretraining import Pretraining, Source


class Shapes(DetectionData):
    """A task of generated pictures, written to ``ROOT/<Task>/{train,valid,test}`` on first use."""

    version = TASK_VERSION

    def __init__(
        self,
        root: str = "runs/.shapes",
        task: str = "Blocks",
        prompts: Literal["names", "described"] = "names",
        min_sizes: Sequence[int] = (TASK_SIZE,),
        max_size: int = TASK_SIZE,
        test_size: int = TASK_SIZE,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            root: where generated tasks are kept.
            task: one of Shapes-13, or Blocks, which is learned in minutes.
            prompts: the names of the classes, or words of pre-training that describe what is meant.
        """
        super().__init__(min_sizes=min_sizes, max_size=max_size, test_size=test_size, **kwargs)
        found = get_task(task)
        if not isinstance(found, ShapesTask):
            text = f"task {task!r} is one of ODinW, not of generated pictures: use --data ODinW"
            raise GLIPError(text, code="other-benchmark")
        self.root, self.task, self.prompts = root, found, prompts
        self.label = found.name.lower()

    @property
    def task_name(self) -> str:
        return self.task.short

    @property
    def folder(self) -> Path:
        return Path(self.root) / self.task.name

    def prepare_data(self) -> None:
        write_task(self.folder, self.task.name)

    def read(self, findings: Findings) -> dict[Split, Index]:
        folders = {split: self.folder / split for split in SPLITS}
        return {
            split: read_coco(folder / ANNOTATIONS, folder, findings)
            for split, folder in folders.items()
        }

    def phrases(self) -> list[Phrase]:
        if self.prompts != "described":
            return super().phrases()
        return self.of_chosen([named.prompt for named in self.task.classes])


class ShapesPretraining(Pretraining):
    """The generated world's, written to ``root`` on first use (a few minutes)."""

    label, version = "shapes-pretraining", VERSION

    def __init__(
        self,
        sources: dict[str, Source],
        root: str = "runs/.shapes/pretraining",
        epoch_images: int = 8000,
        valid: str = f"names/valid/{ANNOTATIONS}",
        test: str | None = f"names/test/{ANNOTATIONS}",
        min_sizes: Sequence[int] = (SIZE,),
        max_size: int = SIZE,
        test_size: int = SIZE,
        **kwargs: Any,
    ) -> None:
        kwargs |= {"min_sizes": min_sizes, "max_size": max_size, "test_size": test_size}
        super().__init__(root, sources, epoch_images, valid, test, **kwargs)

    def prepare_data(self) -> None:
        write_pretraining(self.root)


class ShapesDetection(DetectionData):
    """The detection data of the generated world alone, all names in every caption: for detectors with a table of
    classes, which cannot draw negative categories."""

    label, version = "shapes-detection", VERSION

    def __init__(
        self,
        root: str = "runs/.shapes/pretraining",
        min_sizes: Sequence[int] = (SIZE,),
        max_size: int = SIZE,
        test_size: int = SIZE,
        flip: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            min_sizes=min_sizes, max_size=max_size, test_size=test_size, flip=flip, **kwargs
        )
        self.root = Path(root)

    def prepare_data(self) -> None:
        write_pretraining(self.root)

    def read(self, findings: Findings) -> dict[Split, Index]:
        folders: dict[Split, Path] = {
            split: self.root / "detection" / split for split in ("train", "valid")
        }
        return {
            split: read_coco(folder / ANNOTATIONS, folder, findings)
            for split, folder in folders.items()
        }
