"""Grounding data: photos with a sentence each, and boxes for phrases of the sentence (MDETR's annotation files).

An image entry has a ``caption``, an annotation ``tokens_positive``: the characters ``[start, end]`` of the
phrase that its box shows, perhaps several pieces. The same photo comes once for each of its sentences.

Source: microsoft/GLIP data/datasets/modulated_coco.py:238-330.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from glip_lightning.common.escaping import is_text
from glip_lightning.data.checks.findings import Findings, listing, short
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.formats.coco_json import index_coco, load_coco
from glip_lightning.data.images import Names
from glip_lightning.data.sampler import Key, KeyedSample
from glip_lightning.data.transforms import Transform
from glip_lightning.text.token_spans import Span, token_indices
from glip_lightning.text.tokenizer import Tokenizer

Spans = tuple[Span, ...]


class GroundingSample(KeyedSample):
    """A sample with a caption of its own; its labels are all 0, its spans tell the boxes apart."""

    caption: str
    spans: list[Spans]  # G times: the characters of the caption that name the box


class GroundingDataset(DetectionDataset):
    """One sample per image-caption pair of a file whose images lie in ``image_dir``.

    Faults are a :class:`DataError`; ``findings`` takes what is only worth knowing.
    """

    def __init__(
        self,
        annotation_file: str | Path,
        image_dir: str | Path,
        transform: Transform | None = None,
        findings: Findings | None = None,
    ) -> None:
        findings = Findings() if findings is None else findings
        file = Path(annotation_file)
        content = load_coco(file)
        captions = _captions(content, file, findings)
        self.phrases = _number_phrases(content, file, findings)
        # one class per distinct span, so that every rule about boxes also holds for what they show
        index = index_coco(content, file, image_dir, findings)
        findings.raise_errors()
        self.captions = Names([captions[number] for number in index.ids.tolist()])
        super().__init__(index, transform)

    def __getitem__(self, index: Key | int) -> GroundingSample:
        sample = super().__getitem__(index)
        spans = [self.phrases[label] for label in sample["labels"].tolist()]
        caption = self.captions[sample["index"] % len(self.index)]
        sample["labels"] = torch.zeros_like(sample["labels"])
        return GroundingSample(**sample, caption=caption, spans=spans)

    def unnamed(self, tokenizer: Tokenizer) -> int:
        """Number of boxes to train on whose spans name no token: nothing but background is taught on them."""
        return sum(self._unnamed(image, tokenizer) for image in range(len(self.index)))

    def _unnamed(self, image: int, tokenizer: Tokenizer) -> int:
        caption = self.captions[image]
        named = [self.phrases[label] for label in self.index.target(image)[1].tolist()]
        doubtful = [spans for spans in named if not any(_is_said(caption, *span) for span in spans)]
        offsets = (
            tokenizer.offsets(caption) if doubtful else []
        )  # which takes longer than to read the file
        return sum(not token_indices(spans, offsets) for spans in doubtful)


def _is_said(caption: str, start: int, end: int) -> bool:
    """Whether a span surely has a token: letters or digits stand at both of its ends, and each belongs to one."""
    return end <= len(caption) and caption[start].isalnum() and caption[end - 1].isalnum()


def _captions(content: Mapping[str, Any], file: Path, findings: Findings) -> dict[Any, str]:
    """Image id -> caption."""
    found: dict[Any, str] = {}
    without = []
    for place, entry in enumerate(content["images"], start=1):
        caption = entry.get("caption") if isinstance(entry, dict) else None
        number = entry.get("id") if isinstance(entry, dict) else None
        if (
            isinstance(caption, str)
            and caption.strip()
            and isinstance(number, int)
            and is_text(caption)
        ):
            found[number] = caption
        else:
            without.append(f"number {place} (id {short(number)}, caption {short(caption)})")
    if without:
        findings.add("no-caption", file, len(without), items=listing(without))
    return found


def _number_phrases(content: dict[str, Any], file: Path, findings: Findings) -> list[Spans]:
    """The distinct spans; each annotation's category becomes the number of its own."""
    numbers: dict[Spans, int] = {}
    bad = []
    annotations = []
    for place, entry in enumerate(content["annotations"], start=1):
        spans = _spans(entry.get("tokens_positive")) if isinstance(entry, dict) else None
        if spans is None:
            number = (
                entry.get("id", f"number {place}") if isinstance(entry, dict) else f"number {place}"
            )
            bad.append(short(number))
        else:
            annotations.append(
                {**entry, "category_id": numbers.setdefault(spans, len(numbers) + 1)}
            )
    if bad:
        findings.add("bad-span", file, len(bad), items=listing(bad))
    content["annotations"] = annotations
    names = (", ".join(f"{start}-{end}" for start, end in spans) for spans in numbers)
    content["categories"] = [
        {"id": k, "name": f"characters {name}"} for k, name in enumerate(names, start=1)
    ]
    if not numbers:
        content["categories"] = [{"id": 1, "name": "characters"}]
    return list(numbers)


def _spans(value: object) -> Spans | None:
    """Pairs of characters; they may reach beyond the caption (official files have such) and then name less."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return None
    pairs = [tuple(pair) for pair in value if isinstance(pair, Sequence) and len(pair) == 2]
    whole = all(type(x) is int and abs(x) < 2**31 for pair in pairs for x in pair)
    if len(pairs) < len(value) or not whole or any(not 0 <= start < end for start, end in pairs):
        return None
    return tuple((int(start), int(end)) for start, end in pairs)
