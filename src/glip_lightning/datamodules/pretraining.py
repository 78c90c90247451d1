"""Pre-training: several detection and grounding sets mixed, epoch by epoch."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..data.checks import align_classes, check_index
from ..data.coco import read_coco, read_json
from ..data.dataset import DetectionDataset
from ..data.findings import Findings
from ..data.grounding import GroundingDataset
from ..data.index import Index
from ..data.mixture import Detections, Mixture, MixtureSampler, Part, Sentences, portions
from ..data.odinw import ANNOTATIONS
from ..data.sampler import EpochSampler
from ..data.shapes.pretraining import SIZE, write_pretraining
from ..data.types import Split
from ..prompts import Phrase, clean_name
from .base import DetectionData

log = logging.getLogger(__name__)


@dataclass
class Source:
    """One data set of a mixture.

    Args:
        file: annotations, below the data's root: a COCO file, or a grounding file whose images have captions (MDETR).
        images: their folder below the root; the file's own if not given.
        share: how much of an epoch, relative to the other sources.
        first_epoch: the epoch (from 0) from which it takes part, ``last_epoch`` the one after which it no longer does.
    """

    file: str
    images: str | None = None
    share: float = 1.0
    first_epoch: int = 0
    last_epoch: int | None = None

    def share_in(self, epoch: int) -> float:
        part = self.first_epoch <= epoch and (self.last_epoch is None or epoch <= self.last_epoch)
        return self.share if part else 0.0


class Pretraining(DetectionData):
    """A mixture to train on; ``valid`` and ``test`` are detection sets whose classes are looked for."""

    label = "pretraining"

    def __init__(
        self,
        root: str,
        sources: dict[str, Source],
        epoch_images: int,
        valid: str,
        test: str | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            root: folder of all files.
            sources: what is mixed, by name.
            epoch_images: images per epoch, of all sources together; each source goes on where its last epoch ended,
                in random order.
            valid: annotation file, below the root, on which the best weights are chosen.
            test: the one for the result.
        """
        super().__init__(**kwargs)
        if epoch_images < 1:
            raise ValueError(f"epoch_images={epoch_images}: expected 1 or more")
        if wrong := [name for name, source in sources.items() if not source.share > 0]:
            raise ValueError(f"sources.{wrong[0]}.share={sources[wrong[0]].share}: expected a positive number")
        if not any(source.share_in(0) for source in sources.values()):
            raise ValueError("sources: none takes part in epoch 0; set first_epoch of one of them to 0")
        self.root, self.sources, self.epoch_images = Path(root), sources, epoch_images
        self.files: dict[Split, str | None] = {"valid": valid, "test": test}

    @property
    def class_names(self) -> list[str]:
        return self.datasets["valid"].class_names

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
        parts = [self._part(source) for source in self.sources.values()]
        self.findings.log_to(log)
        self.findings.raise_errors()
        found = align_classes(found, self.findings)
        self.datasets = {split: DetectionDataset(index, self.test_transform) for split, index in found.items()}
        self.datasets["train"] = Mixture([part for part in parts if part is not None], self.train_transform)

    def _part(self, source: Source) -> Part | None:
        file = self.root / source.file
        folder = self.root / source.images if source.images else file.parent
        return self.findings.attempt(file, partial(self._read_part, file, folder))

    def _read_part(self, file: Path, folder: Path) -> Part:
        images = read_json(file)["images"]
        if images and isinstance(images[0], dict) and "caption" in images[0]:
            data = GroundingDataset(file, folder, findings=self.findings)
            return Sentences(data.index, data.captions, data.phrases)
        index = read_coco(file, folder, self.findings)
        phrases = [Phrase(clean_name(name)) for name in index.class_names]
        return Detections(index, phrases, self._tokenizer(), self.seed or 0)

    def sampler(self, split: Split, shuffle: bool, rank: int, world: int) -> EpochSampler:
        if split != "train":
            return super().sampler(split, shuffle, rank, world)
        mixture = self.datasets["train"]
        assert isinstance(mixture, Mixture)
        sizes = [len(part.index) for part in mixture.parts]
        return MixtureSampler(sizes, self._counts, self.seed or 0, rank, world)

    def _counts(self, epoch: int) -> list[int]:
        """Images of each source in an epoch."""
        shares = [source.share_in(epoch) for source in self.sources.values()]
        if not any(shares):
            raise ValueError(f"sources: none takes part in epoch {epoch}; let one of them go on (last_epoch: null)")
        return portions(shares, self.epoch_images)


class ShapesPretraining(Pretraining):
    """The generated world's, written to ``root`` on first use (a few minutes)."""

    label = "shapes-pretraining"

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
        flip: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """``flip`` stays 0 where captions say what is left of what."""
        kwargs |= {"min_sizes": min_sizes, "max_size": max_size, "test_size": test_size, "flip": flip}
        super().__init__(root, sources, epoch_images, valid, test, **kwargs)

    def prepare_data(self) -> None:
        write_pretraining(self.root)


class ShapesDetection(DetectionData):
    """The detection data of the generated world alone, all names in every caption: for detectors with a table of
    classes, which cannot draw negative categories."""

    label = "shapes-detection"

    def __init__(
        self,
        root: str = "runs/.shapes/pretraining",
        min_sizes: Sequence[int] = (SIZE,),
        max_size: int = SIZE,
        test_size: int = SIZE,
        flip: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(min_sizes=min_sizes, max_size=max_size, test_size=test_size, flip=flip, **kwargs)
        self.root = Path(root)

    def prepare_data(self) -> None:
        write_pretraining(self.root)

    def read(self, findings: Findings) -> dict[Split, Index]:
        folders: dict[Split, Path] = {split: self.root / "detection" / split for split in ("train", "valid")}
        return {split: read_coco(folder / ANNOTATIONS, folder, findings) for split, folder in folders.items()}
