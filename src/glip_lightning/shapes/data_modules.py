"""The generated world as data modules of Lightning: its tasks, and its pre-training data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.benchmarks.tasks import get_task
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.index import Index
from glip_lightning.data.types import SPLITS, Split
from glip_lightning.shapes.natural_pictures import SIZE as NATURAL_SIZE
from glip_lightning.shapes.natural_pictures import VERSION as NATURAL_VERSION
from glip_lightning.shapes.natural_pictures import write_natural
from glip_lightning.shapes.pretraining_pictures import SIZE, VERSION, write_pretraining
from glip_lightning.shapes.shapes13 import ShapesTask
from glip_lightning.shapes.task_pictures import SIZE as TASK_SIZE
from glip_lightning.shapes.task_pictures import VERSION as TASK_VERSION
from glip_lightning.shapes.task_pictures import write_task
from glip_lightning.text.phrases import Phrase
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.pretraining import Pretraining, Source


class Shapes(DetectionData):
    """A task of generated pictures; the first use writes ``ROOT/<Task>/{train,valid,test}``."""

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
        """Make the data module of a task.

        Args:
            root: the folder of the generated tasks.
            task: one of Shapes-13, or Blocks, which is learned in minutes.
            prompts: the names of the classes, or descriptions in words of pre-training.
            min_sizes: as in DetectionData.
            max_size: as in DetectionData.
            test_size: as in DetectionData.
            kwargs: all other options of DetectionData.

        Raises:
            GLIPError: the task is not one of generated pictures (code ``other-benchmark``).
        """
        super().__init__(min_sizes=min_sizes, max_size=max_size, test_size=test_size, **kwargs)
        found = get_task(task)
        if not isinstance(found, ShapesTask):
            message = f"task {task!r} is one of ODinW, not of generated pictures: use --data ODinW"
            raise GLIPError(message, code="other-benchmark")
        self.root = root
        self.task = found
        self.prompts = prompts
        self.label = found.name.lower()

    @property
    @override
    def task_name(self) -> str:
        """The name of the task."""
        return self.task.short

    @property
    def folder(self) -> Path:
        """The folder of the task."""
        return Path(self.root) / self.task.name

    @override
    def prepare_data(self) -> None:
        write_task(self.folder, self.task.name)

    @override
    def read(self, findings: Findings) -> dict[Split, Index]:
        """Return the index of each split."""
        return _read_splits(self.folder, SPLITS, findings)

    @override
    def phrases(self) -> list[Phrase]:
        """Return the phrases of the classes: their names or their descriptions."""
        if self.prompts != "described":
            return super().phrases()
        return self.of_chosen([each.prompt for each in self.task.classes])


class ShapesPretraining(Pretraining):
    """The pre-training data of the generated world; the first use writes ``root`` in minutes."""

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

    @override
    def prepare_data(self) -> None:
        write_pretraining(self.root)


class NaturalPretraining(Pretraining):
    """Pictures with the statistics of photos; the first use writes ``root`` in 20 minutes."""

    label, version = "natural-pretraining", NATURAL_VERSION

    def __init__(
        self,
        sources: dict[str, Source],
        root: str = "runs/.shapes/natural",
        epoch_images: int = 8000,
        valid: str = f"valid/{ANNOTATIONS}",
        min_sizes: Sequence[int] = (NATURAL_SIZE,),
        max_size: int = NATURAL_SIZE,
        test_size: int = NATURAL_SIZE,
        **kwargs: Any,
    ) -> None:
        kwargs |= {"min_sizes": min_sizes, "max_size": max_size, "test_size": test_size}
        super().__init__(root, sources, epoch_images, valid, None, **kwargs)

    @override
    def prepare_data(self) -> None:
        write_natural(self.root)


class ShapesDetection(DetectionData):
    """The detection data of the generated world alone, with all names in every caption.

    They are for detectors with a table of classes, which cannot draw negative categories.
    """

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

    @override
    def prepare_data(self) -> None:
        write_pretraining(self.root)

    @override
    def read(self, findings: Findings) -> dict[Split, Index]:
        """Return the index of each split."""
        return _read_splits(self.root / "detection", ("train", "valid"), findings)


def _read_splits(root: Path, splits: Sequence[Split], findings: Findings) -> dict[Split, Index]:
    found = {}
    for split in splits:
        folder = root / split
        found[split] = read_coco(folder / ANNOTATIONS, folder, findings)
    return found
