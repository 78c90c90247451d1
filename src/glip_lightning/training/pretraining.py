"""Pre-training: several detection and grounding sets mixed, epoch by epoch."""

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

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
from glip_lightning.text.tokenizer import ClassTokenizer, Tokenizer
from glip_lightning.training.data_module import DetectionData, TaskPrompt, photo_bar

log = logging.getLogger(__name__)


@dataclass
class Source:
    """One data set of a mixture.

    Args:
        file: annotations, below the data's root: a COCO file, or a grounding file whose images have captions (MDETR).
        images: their folder below the root; the file's own if not given.
        nouns: of a grounding file, ask for its phrases' nouns alone (:class:`~glip_lightning.data.mixture.NounPart`).
        share: how much of an epoch, relative to the other sources.
        first_epoch: the epoch (from 0) from which it takes part, ``last_epoch`` the one after which it no longer does.
    """

    file: str
    images: str | None = None
    nouns: bool = False
    share: float = 1.0
    first_epoch: int = 0
    last_epoch: int | None = None

    def check(self, place: str) -> None:
        """Refuse what can never be drawn from; ``place`` is where the recipe has it."""
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
            text = (
                f"{place}.last_epoch={self.last_epoch}: lies before first_epoch={self.first_epoch}"
            )
            raise GLIPError(
                f"{text}, so it would never take part; remove the source or correct one of them",
                code="unused-source",
            )

    def share_in(self, epoch: int) -> float:
        part = self.first_epoch <= epoch and (self.last_epoch is None or epoch <= self.last_epoch)
        return self.share if part else 0.0


class Pretraining(DetectionData):
    """A mixture to train on; ``valid`` and ``test`` are detection sets, in each of which the classes of both are asked
    for."""

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
        """
        Args:
            root: folder of all files.
            sources: what is mixed, by name.
            epoch_images: images per epoch, of all sources together, drawn anew in each; none of a source comes twice
                in an epoch before all of it came once.
            valid: annotation file, below the root, on which the best weights are chosen.
            test: the one for the result.
            flip: probability of mirroring a training image; 0 where captions say what is left of what.
        """
        super().__init__(flip=flip, **kwargs)
        if self.classes is not None:
            text = "data.classes: captions name what is trained here; choose classes of --data CustomData or ODinW"
            raise GLIPError(text, code="bad-value")
        if epoch_images < 1:
            raise GLIPError(f"epoch_images={epoch_images}: expected 1 or more", code="bad-value")
        if self.shots not in ("all", 0) or self.copies != 1 or not self.negatives:
            text = f"shots={self.shots}, copies={self.copies}, negatives={self.negatives}"
            raise GLIPError(
                f"{text}: a mixture has no such choice; leave them out, shares and epoch_images say it",
                code="option-without-use",
            )
        if self.augment is not None:
            text = "a mixture shows its images as they are, for captions speak of colours and of all things in view"
            raise GLIPError(f"augment={self.augment.name}: {text}; leave it out", code="bad-value")
        if not sources:
            raise GLIPError(
                "sources={}: there is nothing to mix; name one file at least", code="no-sources"
            )
        # a sweep builds data from the mappings of its recipe
        sources = {
            name: Source(**x) if isinstance(x, Mapping) else x for name, x in sources.items()
        }
        for name, source in sources.items():
            source.check(f"sources.{name}")
        self.root, self.sources, self.epoch_images = Path(root), sources, epoch_images
        self._counts(0)
        self._grounding: dict[Path, GroundingDataset] = {}
        self.files: dict[Split, str | None] = {"valid": valid, "test": test}

    @property
    def class_names(self) -> list[str]:
        return self.datasets["valid"].class_names

    @property
    def category_ids(self) -> list[int]:
        return list(self.datasets["valid"].index.category_ids)

    def count(self, train: Index | None) -> int:
        return self.epoch_images  # of sources, which only a run reads

    def images_per_epoch(self) -> int:
        return self.epoch_images

    def captions(self) -> Iterator[str]:
        """Return the names of detection data and the captions of grounding data."""
        for part in self._mixture().parts:
            if isinstance(part, DetectionPart):
                yield from (phrase.text for phrase in part.phrases)
            elif isinstance(part, GroundingPart):
                yield from (part.captions[image] for image in range(len(part.index)))

    def chosen(self) -> dict[str, Any]:
        """The sources instead of the ids of all their images."""
        named = zip(self.sources.items(), self._sizes(), strict=True)
        sources = {name: {**asdict(source), "size": size} for (name, source), size in named}
        return {"image_ids": None, "epoch_images": self.epoch_images, "sources": sources}

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.trainer is not None:
            for source in self.sources.values():
                if source.last_epoch is not None and source.last_epoch + 1 < self._epochs():
                    self._counts(
                        source.last_epoch + 1
                    )  # an epoch without a source must not be met after days
        super().setup(stage)

    def ask_with(self, prompt: TaskPrompt) -> None:
        if isinstance(prompt.tokenizer, ClassTokenizer):
            text = "the detector has a table of classes and reads no captions, of which a mixture is made"
            raise GLIPError(
                f"{text}; take a detector that reads, or data with one list of classes (ShapesDetection)",
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
        """Count the boxes that ``tokenizer`` finds no token for."""
        found = Findings()
        for file, data in self._grounding.items():
            if silent := data.unnamed(tokenizer):
                found.add("unnamed-box", file, silent)
        found.log_to(log)
        self.findings += found

    def _epochs(self) -> float:
        """How many a fit has at most."""
        assert self.trainer is not None
        ends = [
            self.trainer.max_epochs or -1,
            self.trainer.max_steps * self.batch_size / self.epoch_images,
        ]
        return min((end for end in ends if end >= 0), default=math.inf)

    def read(self, findings: Findings) -> dict[Split, Index]:
        """The splits that are evaluated."""
        found: dict[Split, Index] = {}
        for split, name in self.files.items():
            if name is not None:
                file = self.root / name
                index = findings.attempt(file, partial(read_coco, file, file.parent, findings))
                found |= {split: index} if index is not None else {}
        return found

    def read_splits(self) -> None:
        found = self.read(self.findings)
        for split, index in found.items():
            check_index(split, index, self.findings)
        parts = [part for part in self._parts() if part is not None]
        indexes = {id(part.index): part.index for part in parts}  # sources of one file share it
        for index in indexes.values():
            check_photos({"train": index}, self.findings, photo_bar)
        found = check_photos(found, self.findings, photo_bar, self.skip_unreadable)
        report_leaks([*(("train", part.index) for part in parts), *found.items()], self.findings)
        found = align_classes(found, self.findings)
        self.findings.log_to(log)
        self.findings.raise_errors()
        self.datasets = {
            split: DetectionDataset(index, self.test_transform) for split, index in found.items()
        }
        self.datasets["train"] = Mixture(parts, self.train_transform)

    def _parts(self) -> Iterator[Part | None]:
        """Of each source, None where its files have faults; two sources of the same files share them."""
        known: dict[tuple[Path, Path], Part | None] = {}
        for name, source in self.sources.items():
            file = self.root / source.file
            folder = self.root / source.images if source.images else file.parent
            if (file, folder) not in known:
                known[file, folder] = self.findings.attempt(
                    file, partial(self._read_part, file, folder)
                )
            part = known[file, folder]
            yield (
                self._nouns(f"sources.{name}", file, part)
                if source.nouns and part is not None
                else part
            )

    def _nouns(self, place: str, file: Path, part: Part) -> Part:
        if isinstance(part, GroundingPart):
            return NounPart(part.index, part.captions, part.phrases, self.seed or 0)
        self.findings.add("no-caption/nouns", file, place=place)
        return part

    def _read_part(self, file: Path, folder: Path) -> Part:
        findings = Findings()  # of its own, since a grounding file raises all that there are
        if any(
            isinstance(image, dict) and "caption" in image for image in load_coco(file)["images"]
        ):
            data = self._grounding[file] = GroundingDataset(file, folder, findings=findings)
            part: Part = GroundingPart(data.index, data.captions, data.phrases)
        else:
            part = self._detections(read_coco(file, folder, findings))
        check_index("train", part.index, findings)
        self.findings += findings
        return part

    def _detections(self, index: Index) -> DetectionPart:
        phrases = [Phrase(clean_name(name)) for name in index.class_names]
        return DetectionPart(index, phrases, None, self.seed or 0)

    def sampler(self, split: Split, shuffle: bool, rank: int, world: int) -> EpochSampler:
        if split != "train":
            return super().sampler(split, shuffle, rank, world)
        return MixtureSampler(self._sizes(), self._counts, self.seed or 0, rank, world)

    def _sizes(self) -> list[int]:
        """Images of each source."""
        return [len(part.index) for part in self._mixture().parts]

    def _mixture(self) -> Mixture:
        mixture = self.datasets["train"]
        assert isinstance(mixture, Mixture)
        return mixture

    def _counts(self, epoch: int) -> list[int]:
        """Images of each source in an epoch."""
        shares = [source.share_in(epoch) for source in self.sources.values()]
        if not any(shares):
            text = (
                "set first_epoch of one of them to 0"
                if epoch == 0
                else "let one of them go on (last_epoch: null)"
            )
            raise GLIPError(f"sources: none takes part in epoch {epoch}; {text}", code="no-sources")
        return portions(shares, self.epoch_images)
