"""Lightning data modules of detection data sets: splits, captions of the classes, batches."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from lightning import LightningDataModule
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.long_work import tracked
from glip_lightning.common.plurals import count_with_noun
from glip_lightning.common.signals import heed_parent_only
from glip_lightning.data.augment import Augment, AugmentName
from glip_lightning.data.checks.class_words import Reader, check_words
from glip_lightning.data.checks.consistency import check_names, check_splits, choose_classes
from glip_lightning.data.checks.findings import Findings, data_error, listing
from glip_lightning.data.checks.photo_check import check_photos
from glip_lightning.data.collate import Collate
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.few_shot import few_shot
from glip_lightning.data.index import Index
from glip_lightning.data.loader import Batches, Loader, as_it_is
from glip_lightning.data.sampler import EpochSampler, Grouping
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
    """The captions that ask one detector, with one tuning, for the classes of a task."""

    phrases: tuple[Phrase, ...]
    """One per class, in the order of the labels, with the words that the tuning adds."""
    prompts: tuple[Prompt, ...]
    """The captions that hold all phrases, with the tokens of each class."""
    tokenizer: Tokenizer

    @classmethod
    def of(cls, data: "DetectionData", tuning: Tuning, tokenizer: Tokenizer) -> "TaskPrompt":
        """Return the captions for ``data``, whose splits must have been read.

        Raises:
            GLIPError: a name is broken or too long for a caption (:func:`check_names`).
        """
        phrases = tuning.phrases(data.phrases())
        check_names(phrases, tokenizer, data.where)
        return cls(tuple(phrases), tuple(build_prompts(phrases, tokenizer)), tokenizer)

    @property
    def single(self) -> Prompt | None:
        """The caption of the task, None where its classes need several."""
        if len(self.prompts) == 1:
            return self.prompts[0]
        return None


class DetectionData(LightningDataModule, ABC):
    """The splits of one data set.

    A subclass says how the splits are read, and may say how captions call the classes. ``setup``
    reads the splits. Captions depend on the detector, so there are no batches before
    :meth:`ask_with`, which ``GLIPModule.setup`` calls.
    """

    label = "data"
    """Name of the data; names of run folders begin with it."""
    version: int | None = None
    """Version of the content of generated data; None for other data."""

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
        group_by_size: bool = False,
        workers: int = 0,
        skip_unreadable: bool = False,
        classes: list[str] | None = None,
    ) -> None:
        """Check the options; nothing is read yet.

        Args:
            batch_size: images per optimizer step, over all devices.
            images_per_device: the most images on a device at once; the gradients of several such
                batches are then accumulated for one optimizer step.
            shots: train on few images, chosen so that each class is shown by this many of them, or
                by all images that show it; 0 trains nothing.
            copies: how often an epoch shows each image; may be a mapping from shots to this number
                (1 for shots that it does not list).
            seed: decides which images are chosen for few shots, their order and their augmentation;
                null chooses the first images of the file.
            negatives: train on images without boxes, too.
            min_sizes: the shorter side in training is one of these, in pixels; the longer one is at
                most ``max_size``. Null takes the sizes of the detector (GLIP 480 to 800, nano
                128), also for ``max_size`` and ``test_size``.
            max_size: the longest side, in pixels (GLIP 1333, nano 128).
            test_size: the shorter side in evaluation (GLIP 800, nano 128).
            flip: probability of mirroring a training image.
            augment: vary colours and scale of training images, a little (light) or much (strong).
            group_by_size: put images of similar size into a batch. A batch is padded to its largest
                image, so this saves a quarter of the time where ``min_sizes`` vary.
            workers: processes that read images.
            skip_unreadable: go on without images that cannot be read; they are counted.
            classes: names of the classes to train and to test; boxes of other classes are left out.
                Null takes all classes.

        Raises:
            GLIPError: a number outside of its range (code ``bad-value``).
        """
        super().__init__()
        if shots != "all" and shots < 0:
            raise GLIPError(
                f"shots={shots}: expected 0 or more images per class, or all", code="bad-value"
            )
        _check_at_least(1, batch_size=batch_size, images_per_device=images_per_device)
        _check_at_least(0, seed=seed, workers=workers)
        _check_at_least(1, max_size=max_size, test_size=test_size)
        self.batch_size = batch_size
        self.images_per_device = images_per_device
        self.workers = workers
        self.shots: Shots = shots
        self.copies = _copies_for(shots, copies)
        self.seed = seed
        self.negatives = negatives
        self.classes = classes
        self.skip_unreadable = skip_unreadable
        self.augment = None if augment is None else Augment(augment, self._draws_seed)
        self.group_by_size = group_by_size
        self._given_sizes = min_sizes, max_size, test_size
        self.train_transform = Transform(flip=flip, seed=self._draws_seed)
        self.test_transform = Transform()
        # GLIP's sizes until a detector is known; a given max_size may be below GLIP's test size
        short = TEST_SIZE if max_size is None else min(TEST_SIZE, max_size)
        self.use_input_size((short, MAX_SIZE))
        self.datasets: dict[Split, DetectionDataset] = {}
        self.all_classes: list[str] = []
        """The classes of the data set, from which the option ``classes`` chooses."""
        self.findings = Findings()
        self.task_prompt: TaskPrompt | None = None
        self._words_checked = False
        self._resume_position: dict[str, int] = {}
        """Where the next training loader starts: what :meth:`state_dict` says in a checkpoint."""

    @property
    def _draws_seed(self) -> int:
        """The seed of order and augmentation, which need a number also where ``seed`` is None."""
        return 0 if self.seed is None else self.seed

    def use_input_size(self, own: tuple[int, int]) -> None:
        """Resize images to the sizes of a detector, except where options gave other sizes.

        Args:
            own: shorter side and longest side of the detector, in pixels.

        Raises:
            GLIPError: ``test_size`` is above ``max_size`` (code ``bad-value``).
        """
        min_sizes, max_size, test_size = self._given_sizes
        short, longest = own
        self.max_size = longest if max_size is None else max_size
        self.test_size = short if test_size is None else test_size
        if self.test_size > self.max_size:
            raise GLIPError(
                f"test_size={self.test_size}: the shorter side cannot be above "
                f"max_size={self.max_size}",
                code="bad-value",
            )
        if min_sizes is None:
            min_sizes = train_sizes(short)
        self.train_transform.resize_to(min_sizes, self.max_size)
        self.test_transform.resize_to((self.test_size,), self.max_size)

    def check_settings(self) -> None:
        """Warn about too many workers, and about an evaluation size that training never uses."""
        if self.workers > cores():
            log.warning(
                "data.workers=%d: this process may use %s; more workers wait for each other",
                self.workers,
                count_with_noun(cores(), "core"),
            )
        sizes = self.train_transform.min_sizes
        if not min(sizes) <= self.test_size <= max(sizes):
            log.warning(
                "data.min_sizes=%s, data.test_size=%d: training never shows the size of "
                "evaluation; let test_size lie within min_sizes",
                list(sizes),
                self.test_size,
            )

    @abstractmethod
    def read(self, findings: Findings) -> dict[Split, Index]:
        """Return the splits that the data have; add faults of the data to ``findings``."""

    def phrases(self) -> list[Phrase]:
        """Return the phrase of each class in the caption, in the order of the labels."""
        return [Phrase(clean_name(name)) for name in self.class_names]

    def of_chosen(self, phrases: Sequence[Phrase]) -> list[Phrase]:
        """Return those of ``phrases`` that belong to the chosen classes.

        Args:
            phrases: one for each class of the data set, in their order. A list of another length is
                returned as it is, to be checked by the caller.
        """
        if len(phrases) != len(self.all_classes):
            return list(phrases)
        named = zip(self.all_classes, phrases, strict=True)
        return [phrase for name, phrase in named if name in self.class_names]

    @property
    def task_name(self) -> str:
        """The name in sweeps and reports: the short name of a benchmark's task, else the label."""
        return self.label

    @property
    def class_names(self) -> list[str]:
        """The classes that are trained and tested, in the order of the labels."""
        return next(iter(self.datasets.values())).class_names

    @property
    def category_ids(self) -> list[int]:
        """The ids that the data set has for its classes."""
        return list(next(iter(self.datasets.values())).index.category_ids)

    @property
    def where(self) -> str:
        """File or folder of the first split, for messages."""
        return next(iter(self.datasets.values())).index.where

    @override
    def setup(self, stage: str) -> None:
        if not self.datasets:
            self.read_splits()

    def ask_with(self, prompt: TaskPrompt) -> None:
        """Make batches with the captions of ``prompt`` from now on."""
        self.task_prompt = prompt

    def check_words(self, reader: Reader) -> None:
        """Log what a detector cannot read in the names of the classes, at the first call only.

        Raises:
            DataError: the detector's vocabulary has no word of any class.
        """
        if self._words_checked:
            return
        self._words_checked = True
        phrases = self.phrases()
        changed: list[str] = []
        for name, phrase in zip(self.class_names, phrases, strict=True):
            if phrase.text != clean_name(name):
                changed.append(f"{name} = {phrase.text!r}")
        if changed:
            log.info("classes in captions: %s", listing(changed))
        found = Findings()
        check_words(self.class_names, phrases, reader, self.where, found)
        found.log_to(log)
        self.findings += found
        found.raise_errors()

    def captions(self) -> Iterable[str]:
        """Return texts that contain every word of the captions in training."""
        return (phrase.text for phrase in self.phrases())

    def read_splits(self) -> None:
        """Read and check all splits at once.

        So a fault of the test split is found before the training, not after it.

        Raises:
            DataError: the data have faults, or there is no split (code ``no-split``).
        """
        log.info("reading the data: %s", self.label)
        splits = self.read(self.findings)
        splits = check_photos(splits, self.findings, photo_bar, self.skip_unreadable)
        splits = check_splits(splits, self.findings)
        self.all_classes = list(next(iter(splits.values())).class_names) if splits else []
        splits = choose_classes(splits, self.classes, self.findings)
        self.findings.log_to(log)
        self.findings.raise_errors()
        if not splits:
            raise data_error("no-split", self.label)
        for split, index in splits.items():
            if split == "train":
                self.datasets[split] = self._train_dataset(self.choose(index))
            else:
                self.datasets[split] = DetectionDataset(index, self.test_transform)

    def _train_dataset(self, chosen: Index) -> DetectionDataset:
        if self.augment is not None:
            outside, boxes = self.augment.out_of_view(chosen)
            if outside:
                log.info(
                    "augment %s: in the first epoch %d of %d boxes are out of view",
                    self.augment.name,
                    outside,
                    boxes,
                )
        return DetectionDataset(chosen, self.train_transform, self.copies, self.augment)

    def choose(self, index: Index) -> Index:
        """Return the images to train on: those chosen for few shots, or all.

        If ``negatives`` is false, images without boxes are left out.
        """
        if self.shots in ("all", 0):
            return index if self.negatives else index.select(index.with_boxes())
        assert isinstance(self.shots, int)
        chosen = few_shot(index, self.shots, self.seed)
        rare: list[str] = []
        for name, count in zip(index.class_names, chosen.counts, strict=True):
            if count < self.shots:
                rare.append(name)
        if rare:
            log.warning(
                "%s: fewer than %d images show %s", index.where, self.shots, ", ".join(rare)
            )
        return index.select(chosen.images)

    def count(self, train: Index | None) -> int:
        """Return the number of training images; this needs no ``setup``.

        Args:
            train: the train split as it was read; None where there is none.

        Raises:
            DataError: there is no train split (code ``missing-split``).
        """
        if train is None:
            raise data_error("missing-split/needed", self.label)
        return len(self.choose(train))

    def images_per_epoch(self) -> int:
        """Return the number of different training images in an epoch, without their copies."""
        return len(self.datasets["train"].index)

    def chosen(self) -> dict[str, Any]:
        """Return the ids of the images that are trained on, for ``result.json`` and loggers."""
        train = self.datasets.get("train")
        if train is None or self.shots == 0:
            return {"image_ids": []}
        return {"image_ids": train.image_ids}

    def batch_plan(self) -> BatchPlan:
        """Return how ``batch_size`` images are divided among the devices of the trainer.

        Without a trainer there is one device.
        """
        devices = self.trainer.world_size if self.trainer is not None else 1
        return plan(self.batch_size, devices, self.images_per_device)

    @override
    def train_dataloader(self) -> Loader:
        if "train" not in self.datasets:
            raise data_error("missing-split/needed", self.label)
        batches = self.batch_plan()
        if self.trainer is not None:
            check_applied(batches, self.trainer)
        loader = self._loader("train", batches.per_device, shuffle=True)
        sampler = cast(EpochSampler, loader.sampler)
        position = self._resume_position
        self._resume_position = {}  # it is for this loader only
        sampler.set_epoch(position.get("epoch", 0))  # before workers ask for the first images
        images_seen = position.get("batches", 0) * batches.per_device
        sampler.skip(min(images_seen, len(sampler)))
        return loader

    @override
    def state_dict(self) -> dict[str, int]:
        # where a resumed run goes on: in which epoch, and after how many of its batches
        assert self.trainer is not None
        loop = self.trainer.fit_loop
        batches = self.batch_plan()
        epochs: Any = (
            loop.epoch_progress.current
        )  # Lightning annotates a base class without counters
        batches_seen = 0
        if epochs.started > epochs.processed:  # within an epoch
            batches_seen = loop.epoch_loop.batch_progress.current.ready
        return {
            "epoch": epochs.processed,
            "batches": batches_seen,
            "per_device": batches.per_device,
            "devices": batches.devices,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        assert self.trainer is not None
        if self.trainer.state.fn != "fit":  # the same checkpoint may be read for its weights only
            return
        now = self.batch_plan()
        devices, per_device = state_dict["devices"], state_dict["per_device"]
        if state_dict["batches"] and (devices, per_device) != (now.devices, now.per_device):
            raise GLIPError(
                f"the checkpoint was made within epoch {state_dict['epoch']}, with {devices} "
                f"devices x {per_device} images; this run has {now.devices} x {now.per_device}: "
                "resume with the same devices, data.batch_size and data.images_per_device, or from "
                "a checkpoint between two epochs",
                code="other-batch-size",
            )
        self._resume_position = state_dict

    @override
    def val_dataloader(self) -> Loader | list[Any]:
        return self._evaluation_loader("valid")

    @override
    def test_dataloader(self) -> Loader | list[Any]:
        return self._evaluation_loader("test")

    def _evaluation_loader(self, split: Split) -> Loader | list[Any]:
        """Return batches of one image, so that no image is padded to the size of another.

        There are none if the split is missing or empty.
        """
        if split not in self.datasets or len(self.datasets[split]) == 0:
            return []
        return self._loader(split, 1, shuffle=False)

    def _loader(self, split: Split, batch_size: int, shuffle: bool) -> Loader:
        if self.task_prompt is None or self.trainer is None:
            raise GLIPError(
                f"{self.label}: batches need the captions of a detector; let a trainer make them: "
                "trainer.fit(GLIPModule(...), data)",
                code="no-detector",
            )
        prompt = self.task_prompt
        collate = Collate(prompt.tokenizer, prompt.phrases, self._draws_seed, prompt.prompts)
        return Loader(
            Batches(self.datasets[split], collate),
            batch_size=batch_size,
            sampler=self.sampler(split, shuffle, self.trainer.global_rank, self.trainer.world_size),
            collate_fn=as_it_is,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=_leave_signals,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def sampler(self, split: Split, shuffle: bool, rank: int, world: int) -> EpochSampler:
        """Return the order in which the process ``rank`` of ``world`` reads images of a split."""
        dataset, grouping = self.datasets[split], None
        if self.group_by_size and shuffle:
            grouping = Grouping(self.batch_plan().per_device * world, dataset.sizes)
        return EpochSampler(len(dataset), self._draws_seed, shuffle, rank, world, grouping)


def _check_at_least(least: int, **values: int | None) -> None:
    """Raise GLIPError for a value below ``least`` (code ``bad-value``); None is no value."""
    for name, value in values.items():
        if value is not None and value < least:
            raise GLIPError(f"{name}={value}: expected {least} or more", code="bad-value")


def _copies_for(shots: Shots, copies: int | dict[int, int]) -> int:
    if isinstance(copies, int):
        return copies
    if shots == "all":
        return 1
    return copies.get(shots, 1)


def photo_bar(steps: Iterator[None], total: int) -> Iterator[None]:
    """Show how many photos are checked."""
    return tracked(steps, "checking photos", total)


def _leave_signals(_: int) -> None:
    """Make a worker process ignore the signals that reach the whole group of processes.

    The main process still needs the worker's images to finish its step.
    """
    heed_parent_only()
