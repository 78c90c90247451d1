"""Several data sets as one: detection and grounding data in the shares that a recipe says, epoch by epoch.

Every sample comes out as grounding data, with a caption of its own. That of a detection image is made of the classes
of its boxes and of random others (negative categories), as in official pre-training. A photo that stands in a file
once for each of its captions counts as that many images.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

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
"""Nouns of other captions among those of an image."""


class Asked(NamedTuple):
    """What a sample reads: its caption, the boxes that stay, and of each of these the characters that name it."""

    caption: str
    kept: Tensor  # bool [G]
    spans: list[Spans]


class Part(Protocol):
    """One data set of a mixture."""

    index: Index

    def caption(self, sample: KeyedSample, image: int) -> Asked:
        """Of image ``image`` of this part."""
        ...


class Detections:
    """Detection data: the caption is drawn from (seed, epoch, index).

    The tokenizer, which says how many classes a caption holds, may be given later.
    """

    def __init__(
        self, index: Index, phrases: Sequence[Phrase], tokenizer: Tokenizer | None, seed: int
    ) -> None:
        self.index, self.phrases, self.tokenizer, self.seed = index, tuple(phrases), tokenizer, seed

    def caption(self, sample: KeyedSample, image: int) -> Asked:
        assert self.tokenizer is not None
        chosen = sampled_classes(self.phrases, sample, self.tokenizer, self.seed)
        caption, spans = caption_of([self.phrases[k] for k in chosen])
        span_of = dict(zip(chosen, spans, strict=True))
        labels = sample["labels"].tolist()
        kept = torch.tensor([label in span_of for label in labels], dtype=torch.bool)
        return Asked(caption, kept, [(span_of[label],) for label in labels if label in span_of])


class Sentences:
    """Grounding data: captions and the spans of each label, as :class:`~.grounding.GroundingDataset` reads them."""

    def __init__(self, index: Index, captions: Names, phrases: Sequence[Spans]) -> None:
        self.index, self.captions, self.phrases = index, captions, phrases

    def caption(self, sample: KeyedSample, image: int) -> Asked:
        labels = sample["labels"]
        return Asked(
            self.captions[image],
            torch.ones_like(labels, dtype=torch.bool),
            [self.phrases[k] for k in labels.tolist()],
        )


class Nouns(Sentences):
    """Grounding data whose captions are cut down to the nouns of the phrases that have boxes: "arrow. moon. circle".

    In a phrase a new noun need not be understood, the words around it say enough ("orange" of "an orange arrow");
    asked for alone, it must be. A few nouns of other captions stand between them, in a random order; without those, no
    picture without an arrow would ever be asked for one. Both are drawn from (seed, epoch, index). A box whose phrase
    has no noun is left out. A thing that no phrase means counts as background, also where a noun is true of it.
    """

    def __init__(self, index: Index, captions: Names, phrases: Sequence[Spans], seed: int) -> None:
        super().__init__(index, captions, phrases)
        self.seed = seed
        labels = (index.target(image)[1].tolist() for image in range(len(index)))
        pairs = {
            (captions[image], phrases[label])
            for image, found in enumerate(labels)
            for label in found
        }
        self.known = sorted({word for caption, spans in pairs for word in _nouns(caption, spans)})

    def caption(self, sample: KeyedSample, image: int) -> Asked:
        whole = super().caption(sample, image)
        nouns = [_nouns(whole.caption, spans) for spans in whole.spans]
        named = list(dict.fromkeys(word for words in nouns for word in words))
        if not named:
            return whole
        rng = random_stream("caption", self.seed, sample["epoch"], sample["index"])
        others = _unsaid(self.known, whole.caption)
        asked = [*named, *rng.choice(others, min(ABSENT, len(others)), replace=False).tolist()]
        rng.shuffle(asked)
        caption, spans = caption_of([Phrase(word) for word in asked])
        span_of = dict(zip(asked, spans, strict=True))
        kept = torch.tensor([bool(words) for words in nouns], dtype=torch.bool)
        return Asked(
            caption, kept, [tuple(span_of[word] for word in words) for words in nouns if words]
        )


def _nouns(caption: str, spans: Spans) -> list[str]:
    """In small letters, each once."""
    found = (noun(caption[start:end]) for start, end in spans)
    return list(dict.fromkeys(word.lower() for word in found if word is not None))


def _unsaid(words: Sequence[str], caption: str) -> list[str]:
    """Those that the caption does not say, in the singular or the plural: one of the two begins with the other, which
    nothing says of words of two letters."""
    said = [other.lower() for other in WORD.findall(caption)]
    longer = tuple(other for other in said if len(other) > 2)
    known = {*said, *(other[:end] for other in longer for end in range(1, len(other)))}
    return [word for word in words if word not in known and not word.startswith(longer)]


class Mixture(DetectionDataset):
    """The samples of all parts, one part after the other."""

    def __init__(self, parts: Sequence[Part], transform: Transform) -> None:
        super().__init__(_joined([part.index for part in parts]), transform)
        self.parts = list(parts)
        self.starts = _starts([len(part.index) for part in parts])

    def __getitem__(self, index: Key | int) -> GroundingSample:
        sample = super().__getitem__(index)
        part, image = _place(self.starts, sample["index"] % len(self.index))
        caption, kept, spans = self.parts[part].caption(sample, image)
        sample["boxes"] = sample["boxes"][kept]
        sample["labels"] = torch.zeros_like(sample["labels"][kept])
        return GroundingSample(**sample, caption=caption, spans=spans)


class MixtureSampler(EpochSampler):
    """Keys of a :class:`Mixture`: in epoch e, ``counts(e)[k]`` random images of part k, shuffled together.

    Within an epoch all images of a part come before one comes again, in another view: item i shows image ``i % N`` of
    the N of all parts. Each epoch draws anew. The order is a function of (seed, epoch), as every order here. ``sizes``
    are the parts' numbers of images, ``counts`` gives the same sum for every epoch.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        counts: Callable[[int], Sequence[int]],
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(sum(counts(0)), seed, shuffle=True, rank=rank, world=world)
        if 0 in sizes:
            message = f"sizes={list(sizes)}: a part without images has none to draw"
            raise GLIPError(message, code="bad-value")
        self.sizes, self.counts = sizes, counts

    def order(self) -> np.ndarray:
        rng = random_stream("order", self.seed, self.epoch)
        total = sum(self.sizes)
        drawn = [
            start + once + times * total
            for start, size, count in zip(
                _starts(self.sizes), self.sizes, self.counts(self.epoch), strict=True
            )
            for times, once in enumerate(_permutations(rng, size, count))
        ]
        return rng.permutation(np.concatenate(drawn))


def _starts(sizes: Sequence[int]) -> list[int]:
    return [0, *np.cumsum(sizes)[:-1].tolist()]


def _place(starts: Sequence[int], index: int) -> tuple[int, int]:
    """In which of the lists that begin at ``starts`` an item is, and where in it."""
    k = int(np.searchsorted(starts, index, side="right")) - 1
    return k, index - starts[k]


def _permutations(rng: np.random.Generator, size: int, count: int) -> Iterator[np.ndarray]:
    """``count`` numbers below ``size``: whole permutations, then a part of one."""
    while True:
        yield rng.permutation(size)[:count].astype(np.int64)
        if count <= size:
            return
        count -= size


def portions(shares: Sequence[float], total: int) -> list[int]:
    """``total`` divided as ``shares`` say; the largest remainders get what rounding left."""
    exact = [total * share / sum(shares) for share in shares]
    whole = [int(x) for x in exact]
    remainders = sorted(range(len(exact)), key=lambda k: whole[k] - exact[k])
    for k in remainders[: total - sum(whole)]:
        whole[k] += 1
    return whole


class _Sources:
    """Images of several sources, one source after the other."""

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self.sources = list(sources)
        self.starts = _starts([len(source) for source in sources])

    def _at(self, index: int) -> tuple[ImageSource, int]:
        k, row = _place(self.starts, index)
        return self.sources[k], row

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def name(self, index: int) -> str:
        source, row = self._at(index)
        return source.name(row)

    def header(self, index: int) -> Header:
        source, row = self._at(index)
        return source.header(row)

    def read(self, index: int, *, upright: bool) -> Image.Image:
        source, row = self._at(index)
        return source.read(row, upright=upright)


def _joined(indexes: Sequence[Index]) -> Index:
    """One index over all images, numbered from 1. Labels keep the meaning that they have in their own part."""
    images, boxes = (
        _starts([len(x) for x in indexes]),
        _starts([len(x.boxes.labels) for x in indexes]),
    )
    rows = _starts([len(x.source) for x in indexes])
    count = sum(map(len, indexes))
    parts = [
        replace(x.boxes, images=x.boxes.images + start)
        for x, start in zip(indexes, images, strict=True)
    ]
    columns = {
        name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])
    }
    starts = [x.starts[:-1] + start for x, start in zip(indexes, boxes, strict=True)]
    return Index(
        where=", ".join(dict.fromkeys(str(Path(x.where)) for x in indexes)),
        class_names=("named in captions",),
        category_ids=(1,),
        source=_Sources([x.source for x in indexes]),
        rows=np.concatenate([x.rows + start for x, start in zip(indexes, rows, strict=True)]),
        ids=np.arange(1, count + 1),
        sizes=np.concatenate([x.sizes for x in indexes]),
        upright=np.concatenate([x.upright for x in indexes]),
        boxes=Boxes(**columns),
        starts=np.concatenate([*starts, [sum(len(x.boxes.labels) for x in indexes)]]),
    )
