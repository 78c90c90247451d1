"""Data sets as Lightning takes them: where the splits are, what their classes are called, how they are batched."""

import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from .batching import BatchPlan, check_applied, plan
from .data.coco import CocoDetection
from .data.collate import Collate, Encoder
from .data.odinw import SplitFiles, get_task, split_files
from .data.sampler import EpochSampler
from .data.shapes import write_shapes
from .data.transforms import MAX_SIZE, TEST_SIZE, TRAIN_SIZES, Transform
from .prompts import Phrase, build_prompts, classes_without_tokens, clean_name

log = logging.getLogger(__name__)

Split = Literal["train", "valid", "test"]


class DetectionData(LightningDataModule, ABC):
    """Three splits in COCO format; a subclass says where they are and may say how classes are named.

    The tokenizer is the detector's, so batches can only be made while attached to a trainer.
    """

    label = "data"  # names the run's folder
    images_per_device: int | None = None  # how many images of a batch are in one device at once; None: all its share

    def __init__(
        self,
        batch_size: int = 4,
        min_sizes: Sequence[int] = TRAIN_SIZES,
        max_size: int = MAX_SIZE,
        test_size: int = TEST_SIZE,
        flip: float = 0.5,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        """Images are resized so that the shorter side is one of ``min_sizes`` (``test_size`` in evaluation) and
        the longer at most ``max_size``. ``seed`` decides order and views; ``workers`` processes read images."""
        super().__init__()
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.test_size, self.max_size = test_size, max_size
        self.train_transform = Transform(min_sizes, max_size, flip, seed)
        self.test_transform = Transform((test_size,), max_size)
        self.datasets: dict[str, CocoDetection] = {}
        self._position: dict[str, int] = {}  # where the next training data starts, if a checkpoint said so

    @abstractmethod
    def files(self, split: Split) -> SplitFiles:
        """Images and annotation file of a split."""

    def phrases(self) -> list[Phrase]:
        """How each class stands in the caption, in the order of the labels."""
        return [Phrase(clean_name(name)) for name in self.class_names]

    @property
    def class_names(self) -> list[str]:
        return next(iter(self.datasets.values())).class_names

    def setup(self, stage: str) -> None:
        splits: dict[str, tuple[Split, ...]] = {"fit": ("train", "valid"), "validate": ("valid",), "test": ("test",)}
        for split in splits[stage]:
            if split in self.datasets:
                continue
            image_dir, annotation_file = self.files(split)
            transform = self.train_transform if split == "train" else self.test_transform
            self.datasets[split] = CocoDetection(annotation_file, image_dir, transform)
        self._check_classes()
        prompts = build_prompts(self.phrases(), self._tokenizer())
        if silent := classes_without_tokens(prompts, self.class_names):
            log.warning("no token names %s: never trained, never found", ", ".join(map(repr, silent)))

    def _check_classes(self) -> None:
        """The splits must agree: a label is an index into one list of names."""
        for split, dataset in self.datasets.items():
            if dataset.class_names != self.class_names:
                first = next(iter(self.datasets))
                raise ValueError(
                    f"{dataset.annotation_file}: the {split} classes {dataset.class_names} differ from those of "
                    f"{first}, {self.class_names}; give all splits the same categories"
                )

    def batch_plan(self) -> BatchPlan:
        """How ``batch_size``, the global batch, is spread over the devices of the trainer."""
        assert self.trainer is not None
        return plan(self.batch_size, self.trainer.world_size, self.images_per_device)

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        batches = self.batch_plan()
        check_applied(batches, self.trainer)
        loader = self._loader("train", batches.per_device, shuffle=True)
        sampler = cast(EpochSampler, loader.sampler)
        position, self._position = self._position, {}
        sampler.set_epoch(position.get("epoch", 0))  # before workers ask for the first images
        sampler.skip(min(position.get("batches", 0) * batches.per_device, len(sampler)))
        return loader

    def state_dict(self) -> dict[str, int]:
        """The epoch that a resumed run begins in, and the batches of it that it need not see again."""
        assert self.trainer is not None
        loop, now = self.trainer.fit_loop, self.batch_plan()
        epochs: Any = loop.epoch_progress.current  # Lightning's annotation is a base class without these counters
        begun = epochs.started > epochs.processed
        return {
            "epoch": epochs.processed,
            "batches": loop.epoch_loop.batch_progress.current.ready if begun else 0,
            "per_device": now.per_device,
            "devices": now.devices,
        }

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        assert self.trainer is not None
        if self.trainer.state.fn != "fit":  # the same checkpoint may be read for its weights only
            return
        now = self.batch_plan()
        then = state_dict["devices"], state_dict["per_device"]
        if state_dict["batches"] and then != (now.devices, now.per_device):
            raise ValueError(
                f"the checkpoint lies within epoch {state_dict['epoch']}, {then[0]} devices x {then[1]} images; "
                f"this run has {now.devices} x {now.per_device}: resume with the same devices, data.batch_size and "
                "data.images_per_device, or from a checkpoint between two epochs"
            )
        self._position = state_dict

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader("valid", 1, shuffle=False)  # one by one: padding must not depend on neighbours

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader("test", 1, shuffle=False)

    def _loader(self, split: Split, batch_size: int, shuffle: bool) -> DataLoader[Any]:
        assert self.trainer is not None
        dataset = self.datasets[split]
        rank, world = self.trainer.global_rank, self.trainer.world_size
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=EpochSampler(len(dataset), self.seed, shuffle, rank, world),
            collate_fn=Collate(self._tokenizer(), self.phrases(), self.seed),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=_ignore_interrupt,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def _tokenizer(self) -> Encoder:
        """The detector's: captions are tokenised for whatever model the trainer has."""
        assert self.trainer is not None
        return cast(Encoder, self.trainer.lightning_module.tokenizer)


def _ignore_interrupt(_: int) -> None:
    """Ctrl-C reaches every process of the terminal, but the step that is to be finished still needs its images."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class ODinW(DetectionData):
    """A task of the ODinW benchmark, in the official layout or as ``ROOT/<Task>/{train,valid,test}``."""

    def __init__(
        self,
        root: str,
        task: str,
        prompts: Literal["odinw_13", "odinw_35"] = "odinw_13",
        batch_size: int = 4,
        min_sizes: Sequence[int] = TRAIN_SIZES,
        max_size: int = MAX_SIZE,
        test_size: int = TEST_SIZE,
        flip: float = 0.5,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        """``task`` is a short (``Raccoon``) or official name; ``prompts`` the official caption set: that of
        ODinW-13 has plain class names, that of ODinW-35 manual prompts for some tasks."""
        super().__init__(batch_size, min_sizes, max_size, test_size, flip, seed, workers)
        self.root, self.task, self.prompts = root, get_task(task), prompts
        self.label = self.task.short.lower()

    def files(self, split: Split) -> SplitFiles:
        return split_files(self.root, self.task.name, split)

    def phrases(self) -> list[Phrase]:
        official = self.task.phrases(self.prompts if self.task.in_odinw13 else "odinw_35")
        if len(official) != len(self.class_names):
            raise ValueError(
                f"task {self.task.short}: {len(self.class_names)} categories in {self.root}, officially "
                f"{len(official)} ({', '.join(p.name for p in official)}); use the official annotation files"
            )
        return official


class Shapes(DetectionData):
    """A few dozen generated pictures of coloured shapes, written to ``root`` on first use."""

    label = "shapes"

    def __init__(
        self,
        root: str = "runs/.shapes",
        batch_size: int = 4,
        min_sizes: Sequence[int] = (256,),
        max_size: int = 256,
        test_size: int = 256,
        flip: float = 0.5,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__(batch_size, min_sizes, max_size, test_size, flip, seed, workers)
        self.root = root

    def prepare_data(self) -> None:
        write_shapes(self.root)

    def files(self, split: Split) -> SplitFiles:
        folder = Path(self.root) / split
        return SplitFiles(folder, folder / "annotations_without_background.json")
