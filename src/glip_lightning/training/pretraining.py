"""Pre-training: several detection and grounding sets mixed, epoch by epoch."""

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.consistency import align_classes, check_index, report_leaks
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.checks.photo_check import check_photos
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.formats.coco_json import load_coco, read_coco
from glip_lightning.data.grounding import GroundingDataset
from glip_lightning.data.index import Index
from glip_lightning.data.mixture import (
    DetectionPart,
    GroundingPart,
    Mixture,
    MixtureSampler,
    NounPart,
    Part,
    portions,
)
from glip_lightning.data.sampler import EpochSampler
from glip_lightning.data.types import Split
from glip_lightning.text.phrases import Phrase, clean_name
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.training.data_module import DetectionData, TaskPrompt, photo_bar

log = logging.getLogger(__name__)


@dataclass
class Source:
    """One data set of a mixture.

    Args:
        file: annotations, below the data's root: a COCO file, or a grounding file whose images have
            captions (MDETR).
        images: their folder below the root; the folder of the file if not given.
        nouns: of a grounding file, the captions are only the nouns of its phrases
            (:class:`~glip_lightning.data.mixture.NounPart`).
        share: how much of an epoch, relative to the other sources.
        first_epoch: the first epoch (from 0) in which it takes part.
        last_epoch: the last epoch in which it takes part; null for no last one.
    """

    file: str
    images: str | None = None
    nouns: bool = False
    share: float = 1.0
    first_epoch: int = 0
    last_epoch: int | None = None

    def check(self, place: str) -> None:
        """Raise GLIPError for a share or epochs that cannot be (``bad-value``, ``unused-source``).

        Args:
            place: where the recipe has this source.
        """
        if not 0 < self.share < math.inf:
            raise GLIPError(
                f"{place}.share={self.share}: expected a positive number", code="bad-value"
            )
        if self.first_epoch < 0:
            raise GLIPError(
                f"{place}.first_epoch={self.first_epoch}: epochs are counted from 0",
                code="bad-value",
            )
        if self.last_epoch is not None and self.last_epoch < self.first_epoch:
            raise GLIPError(
                f"{place}.last_epoch={self.last_epoch}: lies before "
                f"first_epoch={self.first_epoch}, so it would never take part; "
                "remove the source or correct one of them",
                code="unused-source",
            )

    def share_in(self, epoch: int) -> float:
        """Return the share in an epoch (from 0), 0 where the source takes no part."""
        if epoch < self.first_epoch:
            return 0.0
        if self.last_epoch is not None and epoch > self.last_epoch:
            return 0.0
        return self.share


class Pretraining(DetectionData):
    """A mixture of data sets to train on.

    ``valid`` and ``test`` are detection sets; the captions of both name the classes of both.
    """

    label = "pretraining"

    def __init__(
        self,
        root: str,
        sources: dict[str, Source],
        epoch_images: int,
        valid: str,
        test: str | None = None,
        flip: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Choose the sources; options of all data are those of :class:`DetectionData`.

        Args:
            root: folder of all files.
            sources: the data sets of the mixture, by name.
            epoch_images: images per epoch, of all sources together, drawn anew in each epoch. An
                image of a source comes again in an epoch only after all its images came.
            valid: annotation file, below the root, on which the best weights are chosen.
            test: annotation file, below the root, for the result.
            flip: probability of mirroring a training image; 0 where captions say what is left of
                what.
            **kwargs: those of :class:`DetectionData`.

        Raises:
            GLIPError: an option that a mixture does not have (codes ``bad-value``,
                ``option-without-use``), or an epoch without a source (``no-sources``).
        """
        super().__init__(flip=flip, **kwargs)
        self._refuse_other_options()
        if epoch_images < 1:
            raise GLIPError(f"epoch_images={epoch_images}: expected 1 or more", code="bad-value")
        if not sources:
            raise GLIPError(
                "sources={}: there is nothing to mix; name one file at least", code="no-sources"
            )
        self.root = Path(root)
        self.epoch_images = epoch_images
        self.sources: dict[str, Source] = {}
        for name, given in sources.items():
            # a sweep builds data from the mappings of its recipe
            source = Source(**given) if isinstance(given, Mapping) else given
            source.check(f"sources.{name}")
            self.sources[name] = source
        self._images_of_sources(0)
        self._grounding: dict[Path, GroundingDataset] = {}
        self.files: dict[Split, str | None] = {"valid": valid, "test": test}

    def _refuse_other_options(self) -> None:
        """Raise GLIPError for an option of :class:`DetectionData` that a mixture does not have."""
        if self.classes is not None:
            raise GLIPError(
                "data.classes: captions name what is trained here; "
                "choose classes of --data CustomData or ODinW",
                code="bad-value",
            )
        chosen = self.shots not in ("all", 0) or self.copies != 1 or not self.negatives
        if chosen or self.group_by_size:
            raise GLIPError(
                f"shots={self.shots}, copies={self.copies}, negatives={self.negatives}, "
                f"group_by_size={self.group_by_size}: a mixture does not have these options; "
                "leave them out, and set shares and epoch_images",
                code="option-without-use",
            )
        if self.augment is not None:
            raise GLIPError(
                f"augment={self.augment.name}: a mixture shows its images as they are, for "
                "captions speak of colours and of all things in view; leave it out",
                code="bad-value",
            )

    @property
    @override
    def class_names(self) -> list[str]:
        return self.datasets["valid"].class_names

    @property
    @override
    def category_ids(self) -> list[int]:
        return list(self.datasets["valid"].index.category_ids)

    @override
    def count(self, train: Index | None) -> int:
        return self.epoch_images

    @override
    def images_per_epoch(self) -> int:
        return self.epoch_images

    @override
    def captions(self) -> Iterator[str]:
        # the names of detection data, the captions of grounding data
        for part in self._mixture().parts:
            if isinstance(part, DetectionPart):
                yield from (phrase.text for phrase in part.phrases)
            elif isinstance(part, GroundingPart):
                yield from (part.captions[image] for image in range(len(part.index)))

    @override
    def chosen(self) -> dict[str, Any]:
        sources: dict[str, Any] = {}
        for (name, source), size in zip(self.sources.items(), self._sizes(), strict=True):
            sources[name] = {**asdict(source), "size": size}
        return {"image_ids": None, "epoch_images": self.epoch_images, "sources": sources}

    @override
    def setup(self, stage: str) -> None:
        if stage == "fit" and self.trainer is not None:
            # an epoch without a source is an error now, not after days
            for source in self.sources.values():
                if source.last_epoch is not None and source.last_epoch + 1 < self._epochs():
                    self._images_of_sources(source.last_epoch + 1)
        super().setup(stage)

    @override
    def ask_with(self, prompt: TaskPrompt) -> None:
        if not prompt.tokenizer.reads_words:
            raise GLIPError(
                "the detector has a table of classes and reads no captions, but a mixture has "
                "captions; take a detector that reads, or data with one list of classes "
                "(ShapesDetection)",
                code="reads-no-words",
            )
        if prompt == self.task_prompt:
            return
        super().ask_with(prompt)
        for part in self._mixture().parts:
            if isinstance(part, DetectionPart):
                part.tokenizer = prompt.tokenizer
        self._report_unnamed(prompt.tokenizer)

    def _report_unnamed(self, tokenizer: Tokenizer) -> None:
        """Report how many boxes have no token in their caption."""
        found = Findings()
        for file, data in self._grounding.items():
            count = data.unnamed(tokenizer)
            if count:
                found.add("unnamed-box", file, count)
        found.log_to(log)
        self.findings += found

    def _epochs(self) -> float:
        """Return how many epochs a fit has at most, infinite where it has no end."""
        assert self.trainer is not None
        ends: list[float] = []
        if self.trainer.max_epochs not in (None, -1, 0):
            ends.append(self.trainer.max_epochs)
        if self.trainer.max_steps >= 0:
            ends.append(self.trainer.max_steps * self.batch_size / self.epoch_images)
        return min(ends, default=math.inf)

    @override
    def read(self, findings: Findings) -> dict[Split, Index]:
        # the splits that are evaluated; read_splits reads the sources
        found: dict[Split, Index] = {}
        for split, name in self.files.items():
            if name is not None:
                file = self.root / name
                index = findings.attempt(file, partial(read_coco, file, file.parent, findings))
                if index is not None:
                    found[split] = index
        return found

    @override
    def read_splits(self) -> None:
        found = self.read(self.findings)
        for split, index in found.items():
            check_index(split, index, self.findings)
        parts = [part for part in self._parts() if part is not None]
        sources = {id(part.index): part.index for part in parts}  # sources of one file share it
        for index in sources.values():
            check_photos({"train": index}, self.findings, photo_bar)
        found = check_photos(found, self.findings, photo_bar, self.skip_unreadable)
        trained: list[tuple[Split, Index]] = [("train", part.index) for part in parts]
        report_leaks([*trained, *found.items()], self.findings)
        found = align_classes(found, self.findings)
        self.findings.log_to(log)
        self.findings.raise_errors()
        for split, index in found.items():
            self.datasets[split] = DetectionDataset(index, self.test_transform)
        self.datasets["train"] = Mixture(parts, self.train_transform)

    def _parts(self) -> Iterator[Part | None]:
        """Yield the part of each source, None where its files have faults.

        Two sources of the same files share their part.
        """
        known: dict[tuple[Path, Path], Part | None] = {}
        for name, source in self.sources.items():
            file = self.root / source.file
            folder = self.root / source.images if source.images else file.parent
            if (file, folder) not in known:
                read = partial(self._read_part, file, folder)
                known[file, folder] = self.findings.attempt(file, read)
            part = known[file, folder]
            if source.nouns and part is not None:
                part = self._nouns(f"sources.{name}", file, part)
            yield part

    def _nouns(self, place: str, file: Path, part: Part) -> Part:
        if isinstance(part, GroundingPart):
            return NounPart(part.index, part.captions, part.phrases, self._draws_seed)
        self.findings.add("no-caption/nouns", file, place=place)
        return part

    def _read_part(self, file: Path, folder: Path) -> Part:
        findings = Findings()  # of its own, since a grounding file raises all that it is given
        images = load_coco(file)["images"]
        part: Part
        if any(isinstance(image, dict) and "caption" in image for image in images):
            data = GroundingDataset(file, folder, findings=findings)
            self._grounding[file] = data
            part = GroundingPart(data.index, data.captions, data.phrases)
        else:
            part = self._detections(read_coco(file, folder, findings))
        check_index("train", part.index, findings)
        self.findings += findings
        return part

    def _detections(self, index: Index) -> DetectionPart:
        phrases = [Phrase(clean_name(name)) for name in index.class_names]
        return DetectionPart(index, phrases, None, self._draws_seed)

    @override
    def sampler(self, split: Split, shuffle: bool, rank: int, world: int) -> EpochSampler:
        if split != "train":
            return super().sampler(split, shuffle, rank, world)
        seed = self._draws_seed
        return MixtureSampler(self._sizes(), self._images_of_sources, seed, rank, world)

    def _sizes(self) -> list[int]:
        """Return the number of images of each source."""
        return [len(part.index) for part in self._mixture().parts]

    def _mixture(self) -> Mixture:
        mixture = self.datasets["train"]
        assert isinstance(mixture, Mixture)
        return mixture

    def _images_of_sources(self, epoch: int) -> list[int]:
        """Return the number of images of each source in an epoch (from 0)."""
        shares = [source.share_in(epoch) for source in self.sources.values()]
        if not any(shares):
            way = "let one of them go on (last_epoch: null)"
            if epoch == 0:
                way = "set first_epoch of one of them to 0"
            raise GLIPError(f"sources: none takes part in epoch {epoch}; {way}", code="no-sources")
        return portions(shares, self.epoch_images)
