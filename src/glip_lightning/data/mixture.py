"""Several data sets as one: detection and grounding data in the shares that a recipe gives them.

Every sample is a grounding sample with a caption of its own. That of a detection image is made of
the classes of its boxes and of random others (negative categories), as in official pre-training. A
photo that a file lists once for each of its captions counts as that many images.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.collate import sampled_classes
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.grounding import GroundingSample, Spans
from glip_lightning.data.images import Header, ImageSource, Names
from glip_lightning.data.index import Boxes, Index
from glip_lightning.data.sampler import EpochSampler, Key, KeyedSample, random_stream
from glip_lightning.data.transforms import Transform
from glip_lightning.text.captions import caption_of
from glip_lightning.text.noun_phrases import WORD, noun
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer

ABSENT = 3
"""Nouns of other captions that are added to those of an image."""


@dataclass(frozen=True, slots=True)
class CaptionedBoxes:
    """The caption of a sample, and which of its boxes the caption names."""

    caption: str
    kept: Tensor  # bool [G]: the boxes that stay
    spans: list[Spans]  # of each box that stays, the characters of the caption that name it


class Part(Protocol):
    """One data set of a mixture."""

    index: Index

    def caption(self, sample: KeyedSample, image: int) -> CaptionedBoxes:
        """Return the caption of image ``image`` of this part, which ``sample`` was made of."""
        ...


class DetectionPart:
    """Detection data; a caption is drawn from (seed, epoch, index).

    The tokenizer, which decides how many classes a caption holds, may be given later.
    """

    def __init__(
        self, index: Index, phrases: Sequence[Phrase], tokenizer: Tokenizer | None, seed: int
    ) -> None:
        self.index, self.phrases, self.tokenizer, self.seed = index, tuple(phrases), tokenizer, seed

    def caption(self, sample: KeyedSample, image: int) -> CaptionedBoxes:
        """Return a caption with the classes of the boxes and random others."""
        assert self.tokenizer is not None
        chosen = sampled_classes(self.phrases, sample, self.tokenizer, self.seed)
        caption, class_spans = caption_of([self.phrases[label] for label in chosen])
        span_of = dict(zip(chosen, class_spans, strict=True))
        kept, spans = [], []
        for label in sample["labels"].tolist():
            kept.append(label in span_of)
            if label in span_of:
                spans.append((span_of[label],))
        return CaptionedBoxes(caption, torch.tensor(kept, dtype=torch.bool), spans)


class GroundingPart:
    """Grounding data: captions, and the spans of each label, as ``GroundingDataset`` has them."""

    def __init__(self, index: Index, captions: Names, phrases: Sequence[Spans]) -> None:
        self.index, self.captions, self.phrases = index, captions, phrases

    def caption(self, sample: KeyedSample, image: int) -> CaptionedBoxes:
        """Return the image's own caption, which names all boxes."""
        labels = sample["labels"]
        spans = [self.phrases[label] for label in labels.tolist()]
        return CaptionedBoxes(
            self.captions[image], torch.ones_like(labels, dtype=torch.bool), spans
        )


class NounPart(GroundingPart):
    """Grounding data with captions of nouns only, for example "arrow. moon. circle".

    In a whole phrase, the words around a new noun tell the detector what to look for ("orange" in
    "an orange arrow"). If the caption has only the noun, the detector must understand it.

    The nouns are those of the phrases that have boxes, and a few of other captions, in a random
    order. Without those of other captions, the detector would never be asked for a thing that the
    image does not show. They and the order are drawn from (seed, epoch, index). A box whose phrase
    has no noun is left out. A thing that no phrase means counts as background, even where one of
    the nouns is true of it.
    """

    def __init__(self, index: Index, captions: Names, phrases: Sequence[Spans], seed: int) -> None:
        super().__init__(index, captions, phrases)
        self.seed = seed
        pairs: set[tuple[str, Spans]] = set()
        for image in range(len(index)):
            _, labels = index.target(image)
            pairs.update((captions[image], phrases[label]) for label in labels.tolist())
        known: set[str] = set()
        for caption, spans in pairs:
            known.update(_nouns(caption, spans))
        self.known = sorted(known)

    def caption(self, sample: KeyedSample, image: int) -> CaptionedBoxes:
        """Return the nouns of the caption and a few of others; the whole caption if it has none."""
        whole = super().caption(sample, image)
        nouns_of_boxes = [_nouns(whole.caption, spans) for spans in whole.spans]
        named: list[str] = []
        for nouns in nouns_of_boxes:
            named += [word for word in nouns if word not in named]
        if not named:
            return whole
        rng = random_stream("caption", self.seed, sample["epoch"], sample["index"])
        others = _words_not_said(self.known, whole.caption)
        asked = named + rng.choice(others, min(ABSENT, len(others)), replace=False).tolist()
        rng.shuffle(asked)
        caption, noun_spans = caption_of([Phrase(word) for word in asked])
        span_of = dict(zip(asked, noun_spans, strict=True))
        kept, spans = [], []
        for nouns in nouns_of_boxes:
            kept.append(bool(nouns))
            if nouns:
                spans.append(tuple(span_of[word] for word in nouns))
        return CaptionedBoxes(caption, torch.tensor(kept, dtype=torch.bool), spans)


def _nouns(caption: str, spans: Spans) -> list[str]:
    """Return the nouns of the phrases in small letters, each once."""
    nouns: list[str] = []
    for start, end in spans:
        word = noun(caption[start:end])
        if word is not None and word.lower() not in nouns:
            nouns.append(word.lower())
    return nouns


def _words_not_said(words: Sequence[str], caption: str) -> list[str]:
    """Return the words that a caption does not say, neither in the singular nor in the plural.

    Singular and plural: one of the two begins with the other. Of words with up to two letters that
    says nothing.
    """
    said = [word.lower() for word in WORD.findall(caption)]
    longer = tuple(word for word in said if len(word) > 2)
    known = set(said)
    for word in longer:
        known.update(word[:end] for end in range(1, len(word)))
    return [word for word in words if word not in known and not word.startswith(longer)]


class Mixture(DetectionDataset):
    """The samples of all parts, one part after the other."""

    def __init__(self, parts: Sequence[Part], transform: Transform) -> None:
        super().__init__(_join([part.index for part in parts]), transform)
        self.parts = list(parts)
        self.starts = _starts([len(part.index) for part in parts])

    @override
    def __getitem__(self, index: Key | int) -> GroundingSample:
        sample = super().__getitem__(index)
        part, image = _place(self.starts, sample["index"] % len(self.index))
        captioned = self.parts[part].caption(sample, image)
        sample["boxes"] = sample["boxes"][captioned.kept]
        sample["labels"] = torch.zeros_like(sample["labels"][captioned.kept])
        return GroundingSample(**sample, caption=captioned.caption, spans=captioned.spans)


class MixtureSampler(EpochSampler):
    """Keys of a :class:`Mixture`: in epoch e ``counts(e)[k]`` random images of part k, shuffled.

    Within an epoch all images of a part come before one comes again, in another view: item i shows
    image ``i % N`` of the N images of all parts. Each epoch draws anew. The order is a function of
    (seed, epoch).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        counts: Callable[[int], Sequence[int]],
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Make the sampler of one process.

        Args:
            sizes: numbers of images of the parts.
            counts: gives for an epoch how many images of each part it shows; the sum is the same
                in every epoch.
            seed: of the order.
            rank: number of this process.
            world: number of processes.

        Raises:
            GLIPError: a part has no images (``bad-value``).
        """
        super().__init__(sum(counts(0)), seed, shuffle=True, rank=rank, world=world)
        if 0 in sizes:
            message = f"sizes={list(sizes)}: a part without images has none to draw"
            raise GLIPError(message, code="bad-value")
        self.sizes, self.counts = sizes, counts

    @override
    def order(self) -> np.ndarray:
        rng = random_stream("order", self.seed, self.epoch)
        total = sum(self.sizes)
        parts = zip(_starts(self.sizes), self.sizes, self.counts(self.epoch), strict=True)
        drawn = []
        for start, size, count in parts:
            for times, images in enumerate(_permutations(rng, size, count)):
                drawn.append(start + images + times * total)
        return rng.permutation(np.concatenate(drawn))


def _starts(sizes: Sequence[int]) -> list[int]:
    """Return where each of several lists begins when they are joined."""
    return [0, *np.cumsum(sizes)[:-1].tolist()]


def _place(starts: Sequence[int], index: int) -> tuple[int, int]:
    """Return in which of the lists that begin at ``starts`` an item is, and where in it."""
    k = int(np.searchsorted(starts, index, side="right")) - 1
    return k, index - starts[k]


def _permutations(rng: np.random.Generator, size: int, count: int) -> Iterator[np.ndarray]:
    """Yield ``count`` numbers below ``size``: whole permutations, then a part of one."""
    while True:
        yield rng.permutation(size)[:count].astype(np.int64)
        if count <= size:
            return
        count -= size


def portions(shares: Sequence[float], total: int) -> list[int]:
    """Divide ``total`` in the ratio of ``shares`` into whole numbers, by the largest remainders."""
    exact = [total * share / sum(shares) for share in shares]
    whole = [int(portion) for portion in exact]
    by_remainder = sorted(range(len(exact)), key=lambda k: whole[k] - exact[k])
    for k in by_remainder[: total - sum(whole)]:
        whole[k] += 1
    return whole


class _JoinedSources:
    """Images of several sources, one source after the other."""

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self.sources = list(sources)
        self.starts = _starts([len(source) for source in sources])

    def _source_and_row(self, index: int) -> tuple[ImageSource, int]:
        k, row = _place(self.starts, index)
        return self.sources[k], row

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def name(self, index: int) -> str:
        source, row = self._source_and_row(index)
        return source.name(row)

    def header(self, index: int) -> Header:
        source, row = self._source_and_row(index)
        return source.header(row)

    def read(self, index: int, *, upright: bool) -> Image.Image:
        source, row = self._source_and_row(index)
        return source.read(row, upright=upright)


def _join(indexes: Sequence[Index]) -> Index:
    """Return one index over all images, numbered from 1; labels keep the meaning of their part."""
    box_counts = [len(index.boxes.labels) for index in indexes]
    first_image = _starts([len(index) for index in indexes])
    first_box = _starts(box_counts)
    first_row = _starts([len(index.source) for index in indexes])
    rows, starts, boxes = [], [], []
    for k, index in enumerate(indexes):
        rows.append(index.rows + first_row[k])
        starts.append(index.starts[:-1] + first_box[k])
        boxes.append(replace(index.boxes, images=index.boxes.images + first_image[k]))
    columns = {}
    for name in vars(boxes[0]):
        columns[name] = np.concatenate([vars(part)[name] for part in boxes])
    files = dict.fromkeys(str(Path(index.where)) for index in indexes)
    return Index(
        where=", ".join(files),
        class_names=("named in captions",),
        category_ids=(1,),
        source=_JoinedSources([index.source for index in indexes]),
        rows=np.concatenate(rows),
        ids=np.arange(1, sum(len(index) for index in indexes) + 1),
        sizes=np.concatenate([index.sizes for index in indexes]),
        upright=np.concatenate([index.upright for index in indexes]),
        boxes=Boxes(**columns),
        starts=np.concatenate([*starts, [sum(box_counts)]]),
    )
