"""Data sets as Lightning takes them: where the splits are, what their classes are called, how they are batched."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.long_work import tracked
from glip_lightning.common.signals import heed_parent_only
from glip_lightning.data.augment import Augment, AugmentName
from glip_lightning.data.checks.class_words import Reader, check_words
from glip_lightning.data.checks.consistency import check_names, check_splits, choose_classes
from glip_lightning.data.checks.findings import DataError, Findings, listing
from glip_lightning.data.checks.photo_check import check_photos
from glip_lightning.data.collate import Collate
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.few_shot import few_shot
from glip_lightning.data.index import Index
from glip_lightning.data.sampler import EpochSampler
from glip_lightning.data.transforms import MAX_SIZE, TEST_SIZE, Transform, train_sizes
from glip_lightning.data.types import Split
from glip_lightning.text.captions import Prompt, build_prompts
from glip_lightning.text.phrases import Phrase, clean_name
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.training.batching import BatchPlan, check_applied, plan
from glip_lightning.training.callbacks.threads import cores
from glip_lightning.tuning.base import Tuning

Shots = int | Literal["all"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskPrompt:
    """What the classes of a task are called in captions, for one detector and one tuning of it."""

    phrases: tuple[Phrase, ...]
    """One per class, in the order of the labels, with the words that the tuning adds."""
    prompts: tuple[Prompt, ...]
    """The captions that hold all phrases, with the tokens of each class."""
    tokenizer: Tokenizer

    @classmethod
    def of(cls, data: "DetectionData", tuning: Tuning, tokenizer: Tokenizer) -> "TaskPrompt":
        """Return the prompt of data that are set up.

        Raises:
            GLIPError: a name is broken or too long for a caption (:func:`check_names`).
        """
        phrases = tuning.phrases(data.phrases())
        check_names(phrases, tokenizer, data.where)
        return cls(tuple(phrases), tuple(build_prompts(phrases, tokenizer)), tokenizer)

    @property
    def single(self) -> Prompt | None:
        """The caption of the task, None where its classes need several."""
        return self.prompts[0] if len(self.prompts) == 1 else None


class DetectionData(LightningDataModule, ABC):
    """Splits of one data set; a subclass says how they are read and may say how classes are named.

    ``setup`` reads them. Captions are made for a detector: batches can be made from :meth:`ask_with` on, which
    ``GLIPModule.setup`` calls.
    """

    label = "data"  # names the run's folder
    version: int | None = None  # of generated data, another one when they change

    def __init__(
        self,
        batch_size: int = 4,
        images_per_device: int | None = None,
        shots: Shots = "all",
        copies: int | dict[int, int] = 1,
        seed: int | None = 0,
        negatives: bool = True,
        min_sizes: Sequence[int] | None = None,
        max_size: int | None = None,
        test_size: int | None = None,
        flip: float = 0.5,
        augment: AugmentName | None = None,
        workers: int = 0,
        skip_unreadable: bool = False,
        classes: list[str] | None = None,
    ) -> None:
        """
        Args:
            batch_size: images per optimizer step, over all devices.
            images_per_device: at most so many in one device at once; the batch is kept by accumulation.
            shots: images are chosen so that each class comes in this many, if it does; 0 trains nothing.
            copies: how often an image comes in an epoch, or a mapping from shots to that (1 for others).
            seed: chooses the images of few shots, their order and views; null takes the first images of the file.
            negatives: train on images without boxes, too.
            min_sizes: the shorter side in training is one of these, in pixels; the longer at most ``max_size``. Null,
                here and below: the detector's own (GLIP 480 to 800, nano 128).
            max_size: the longest side, in pixels (GLIP 1333, nano 128).
            test_size: the shorter side in evaluation (GLIP 800, nano 128).
            flip: probability of mirroring a training image.
            augment: show training images in other colours and at other scales, too, a little (light) or much (strong).
            workers: processes that read images.
            skip_unreadable: go on without images that cannot be read; they are counted.
            classes: names of the classes to train and to test; boxes of others are left out. Null are all.
        """
        super().__init__()
        if shots != "all" and shots < 0:
            raise GLIPError(
                f"shots={shots}: expected 0 or more images per class, or all", code="bad-value"
            )
        least = {
            "batch_size": (batch_size, 1),
            "images_per_device": (images_per_device, 1),
            "seed": (seed, 0),
        }
        least |= {"workers": (workers, 0), "test_size": (test_size, 1)}
        for name, (value, bound) in least.items():
            if value is not None and value < bound:
                raise GLIPError(f"{name}={value}: expected {bound} or more", code="bad-value")
        self.batch_size, self.images_per_device, self.workers = (
            batch_size,
            images_per_device,
            workers,
        )
        self.shots: Shots = shots
        self.skip_unreadable = skip_unreadable
        self.copies = (
            copies if isinstance(copies, int) else copies.get(shots, 1) if shots != "all" else 1
        )
        self.seed, self.negatives, self.classes = seed, negatives, classes
        self.augment = None if augment is None else Augment(augment, seed or 0)
        self._given_sizes = min_sizes, max_size, test_size
        self.train_transform = Transform(flip=flip, seed=seed or 0)
        self.test_transform = Transform()
        self.use_input_size((min(TEST_SIZE, max_size or TEST_SIZE), MAX_SIZE))
        self.datasets: dict[Split, DetectionDataset] = {}
        self.all_classes: list[str] = []
        """Of the data set, of which ``classes`` chooses."""
        self.findings = Findings()
        self.task_prompt: TaskPrompt | None = None
        self._words_checked = False
        self._resume_position: dict[
            str, int
        ] = {}  # where the next training data starts, if a checkpoint said so

    def use_input_size(self, own: tuple[int, int]) -> None:
        """Resize as a detector wants it whose ``own`` size is (short side, longest side), unless other sizes are given.

        Until there is a detector, sizes are GLIP's.
        """
        min_sizes, max_size, test_size = self._given_sizes
        short, longest = own
        self.max_size = longest if max_size is None else max_size
        self.test_size = short if test_size is None else test_size
        if self.test_size > self.max_size:
            text = f"test_size={self.test_size}: the shorter side cannot be above max_size={self.max_size}"
            raise GLIPError(text, code="bad-value")
        self.train_transform.resize_to(
            train_sizes(short) if min_sizes is None else min_sizes, self.max_size
        )
        self.test_transform.resize_to((self.test_size,), self.max_size)

    def check_settings(self) -> None:
        """Warn where evaluation shows another size than training ever does, and of more workers than cores."""
        if self.workers > cores():
            log.warning(
                "data.workers=%d: this process may use %d cores; more workers wait for each other",
                self.workers,
                cores(),
            )
        sizes = self.train_transform.min_sizes
        if not min(sizes) <= self.test_size <= max(sizes):
            shown = f"data.min_sizes={list(sizes)}, data.test_size={self.test_size}"
            log.warning(
                "%s: training never shows the size of evaluation; let test_size lie within min_sizes",
                shown,
            )

    @abstractmethod
    def read(self, findings: Findings) -> dict[Split, Index]:
        """The splits that there are; faults go to ``findings``."""

    def phrases(self) -> list[Phrase]:
        """How each class stands in the caption, in the order of the labels."""
        return [Phrase(clean_name(name)) for name in self.class_names]

    def of_chosen(self, phrases: Sequence[Phrase]) -> list[Phrase]:
        """Return the phrases of the chosen classes, where there is one for each class of the data set."""
        if len(phrases) != len(self.all_classes):
            return list(phrases)
        named = zip(self.all_classes, phrases, strict=True)
        return [phrase for name, phrase in named if name in self.class_names]

    @property
    def task_name(self) -> str:
        """What sweeps and reports call it: the short name of a task of a benchmark, else the label."""
        return self.label

    @property
    def class_names(self) -> list[str]:
        return next(iter(self.datasets.values())).class_names

    @property
    def category_ids(self) -> list[int]:
        """The ids that the data set has for its classes."""
        return list(next(iter(self.datasets.values())).index.category_ids)

    @property
    def where(self) -> str:
        """File or folder of the first split, for messages."""
        return next(iter(self.datasets.values())).index.where

    def setup(self, stage: str) -> None:
        if not self.datasets:
            self.read_splits()

    def ask_with(self, prompt: TaskPrompt) -> None:
        """Make all captions from now on as ``prompt`` says."""
        if prompt == self.task_prompt:
            return
        self.task_prompt = prompt

    def check_words(self, reader: Reader) -> None:
        """Say what is wrong with the words of the classes for a detector, once.

        Raises:
            DataError: its vocabulary has no word of any class.
        """
        if self._words_checked:
            return
        self._words_checked, found = True, Findings()
        phrases = self.phrases()
        pairs = zip(self.class_names, phrases, strict=True)
        if said := [
            f"{name} = {phrase.text!r}" for name, phrase in pairs if phrase.text != clean_name(name)
        ]:
            log.info("classes in captions: %s", listing(said))
        check_words(self.class_names, phrases, reader, self.where, found)
        found.log_to(log)
        self.findings += found
        found.raise_errors()

    def captions(self) -> Iterable[str]:
        """Return texts that hold every word which training on these data shows."""
        return (phrase.text for phrase in self.phrases())

    def read_splits(self) -> None:
        """Read and check all splits at once: a fault of the test split must not wait for the end of a training."""
        log.info("reading the data: %s", self.label)
        splits = check_photos(
            self.read(self.findings), self.findings, photo_bar, self.skip_unreadable
        )
        splits = check_splits(splits, self.findings)
        self.all_classes = list(next(iter(splits.values())).class_names) if splits else []
        splits = choose_classes(splits, self.classes, self.findings)
        self.findings.log_to(log)
        self.findings.raise_errors()
        if not splits:
            raise DataError("there is no split at all; check the path", code="no-split")
        for split, index in splits.items():
            if split == "train":
                chosen = self.choose(index)
                if self.augment is not None:
                    gone, boxes = self.augment.out_of_view(chosen)
                    log.info(
                        "augment %s: %d of %d boxes are out of view at first",
                        self.augment.name,
                        gone,
                        boxes,
                    )
                self.datasets[split] = DetectionDataset(
                    chosen, self.train_transform, self.copies, self.augment
                )
            else:
                self.datasets[split] = DetectionDataset(index, self.test_transform)

    def choose(self, index: Index) -> Index:
        """The images to train on: those of few shots, or all but, if so wished, the ones without boxes."""
        if self.shots == "all" or self.shots == 0:
            return index if self.negatives else index.select(index.with_boxes())
        chosen = few_shot(index, self.shots, self.seed)
        if rare := [
            name for name, n in zip(index.class_names, chosen.counts, strict=True) if n < self.shots
        ]:
            log.warning(
                "%s: fewer than %d images show %s", index.where, self.shots, ", ".join(rare)
            )
        return index.select(chosen.images)

    def count(self, train: Index | None) -> int:
        """Images that are trained on, of the ``train`` split as it was read, before anything is set up."""
        if train is None:
            raise DataError(
                f"{self.label}: there is no train split to train on", code="missing-split"
            )
        return len(self.choose(train))

    def images_per_epoch(self) -> int:
        """Training images that an epoch shows, whatever the copies."""
        return len(self.datasets["train"].index)

    def chosen(self) -> dict[str, Any]:
        """Which images are trained on, for ``result.json`` and loggers."""
        train = self.datasets.get("train")
        return {"image_ids": train.image_ids if train and self.shots != 0 else []}

    def batch_plan(self) -> BatchPlan:
        """How ``batch_size``, the global batch, is spread over the devices of the trainer; one without a trainer."""
        devices = self.trainer.world_size if self.trainer is not None else 1
        return plan(self.batch_size, devices, self.images_per_device)

    def train_dataloader(self) -> DataLoader[Any]:
        if "train" not in self.datasets:
            raise DataError(
                f"{self.label}: there is no train split to train on", code="missing-split"
            )
        batches = self.batch_plan()
        if self.trainer is not None:
            check_applied(batches, self.trainer)
        loader = self._loader("train", batches.per_device, shuffle=True)
        sampler = cast(EpochSampler, loader.sampler)
        position, self._resume_position = self._resume_position, {}
        sampler.set_epoch(position.get("epoch", 0))  # before workers ask for the first images
        sampler.skip(min(position.get("batches", 0) * batches.per_device, len(sampler)))
        return loader

    def state_dict(self) -> dict[str, int]:
        """The epoch that a resumed run begins in, and the batches of it that it need not see again."""
        assert self.trainer is not None
        loop, now = self.trainer.fit_loop, self.batch_plan()
        epochs: Any = (
            loop.epoch_progress.current
        )  # Lightning's annotation is a base class without these counters
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
            raise GLIPError(
                f"the checkpoint lies within epoch {state_dict['epoch']}, {then[0]} devices x {then[1]} images; "
                f"this run has {now.devices} x {now.per_device}: resume with the same devices, data.batch_size and "
                "data.images_per_device, or from a checkpoint between two epochs",
                code="other-batch-size",
            )
        self._resume_position = state_dict

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        return self._evaluated("valid")

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        return self._evaluated("test")

    def _evaluated(self, split: Split) -> DataLoader[Any] | list[Any]:
        """One by one: padding must not depend on neighbours. Nothing where there is no such split."""
        return self._loader(split, 1, shuffle=False) if len(self.datasets.get(split, ())) else []

    def _loader(self, split: Split, batch_size: int, shuffle: bool) -> DataLoader[Any]:
        if self.task_prompt is None or self.trainer is None:
            text = "captions are made for a detector: a trainer makes batches, trainer.fit(GLIPModule(...), data)"
            raise GLIPError(f"{self.label}: {text}", code="no-detector")
        return DataLoader(
            self.datasets[split],
            batch_size=batch_size,
            sampler=self.sampler(split, shuffle, self.trainer.global_rank, self.trainer.world_size),
            collate_fn=Collate(
                self.task_prompt.tokenizer, self.task_prompt.phrases, self.seed or 0
            ),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=_leave_signals,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def sampler(self, split: Split, shuffle: bool, rank: int, world: int) -> EpochSampler:
        """Which images of a split this process reads, in which order."""
        return EpochSampler(len(self.datasets[split]), self.seed or 0, shuffle, rank, world)


def photo_bar(steps: Iterator[None], total: int) -> Iterator[None]:
    """Show how many photos are checked."""
    return tracked(steps, "checking photos", total)


def _leave_signals(_: int) -> None:
    """Leave signals that reach the whole group to the parent: the step that it finishes still needs its images."""
    heed_parent_only()
