"""Grounding data: photos with a sentence each, and boxes for phrases of the sentence.

The annotation files are those of MDETR. An image entry has a ``caption``, an annotation has
``tokens_positive``: the characters ``[start, end]`` of the phrase that its box shows, perhaps in
several pieces. A file lists the same photo once for each of its sentences.

Source: microsoft/GLIP data/datasets/modulated_coco.py:238-330.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

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
    """A sample with a caption of its own; all labels are 0, the spans say what each box shows."""

    caption: str
    spans: list[Spans]  # G times: the characters of the caption that name the box


class GroundingDataset(DetectionDataset):
    """One sample per image-caption pair of a file with its images in ``image_dir``.

    Faults are a :class:`DataError`; ``findings`` get what is only good to know.
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
        # one class per distinct span: all rules about boxes of a class then hold for phrases
        index = index_coco(content, file, image_dir, findings)
        findings.raise_errors()
        self.captions = Names([captions[number] for number in index.ids.tolist()])
        super().__init__(index, transform)

    @override
    def __getitem__(self, index: Key | int) -> GroundingSample:
        sample = super().__getitem__(index)
        spans = [self.phrases[label] for label in sample["labels"].tolist()]
        caption = self.captions[sample["index"] % len(self.index)]
        sample["labels"] = torch.zeros_like(sample["labels"])
        return GroundingSample(**sample, caption=caption, spans=spans)

    def unnamed(self, tokenizer: Tokenizer) -> int:
        """Count the boxes to train on whose spans name no token: they are taught as background."""
        count = 0
        for image in range(len(self.index)):
            caption = self.captions[image]
            _, labels = self.index.target(image)
            phrases = [self.phrases[label] for label in labels.tolist()]
            # tokenizing a caption takes longer than reading it from the file, and is rarely needed
            doubtful = [spans for spans in phrases if not _surely_has_token(spans, caption)]
            if doubtful:
                offsets = tokenizer.offsets(caption)
                count += sum(not token_indices(spans, offsets) for spans in doubtful)
        return count


def _surely_has_token(spans: Spans, caption: str) -> bool:
    """Return whether a span has letters or digits at both ends: each of them belongs to a token."""
    for start, end in spans:
        phrase = caption[start:end]
        is_whole = len(phrase) == end - start  # spans may reach beyond the caption
        if is_whole and phrase[0].isalnum() and phrase[-1].isalnum():
            return True
    return False


def _captions(content: Mapping[str, Any], file: Path, findings: Findings) -> dict[int, str]:
    """Return the caption of each image id; report entries without one."""
    found: dict[int, str] = {}
    without = []
    for place, entry in enumerate(content["images"], start=1):
        caption, number = None, None
        if isinstance(entry, dict):
            caption, number = entry.get("caption"), entry.get("id")
        has_caption = isinstance(caption, str) and caption.strip() and is_text(caption)
        if has_caption and isinstance(number, int):
            found[number] = caption
        else:
            without.append(f"number {place} (id {short(number)}, caption {short(caption)})")
    if without:
        findings.add("no-caption", file, len(without), items=listing(without))
    return found


def _number_phrases(content: dict[str, Any], file: Path, findings: Findings) -> list[Spans]:
    """Return the distinct spans, after their numbers became the categories in ``content``."""
    numbers: dict[Spans, int] = {}
    bad = []
    annotations = []
    for place, entry in enumerate(content["annotations"], start=1):
        spans, number = None, f"number {place}"
        if isinstance(entry, dict):
            spans = _spans(entry.get("tokens_positive"))
            number = entry.get("id", number)
        if spans is None:
            bad.append(short(number))
        else:
            category = numbers.setdefault(spans, len(numbers) + 1)
            annotations.append({**entry, "category_id": category})
    if bad:
        findings.add("bad-span", file, len(bad), items=listing(bad))
    content["annotations"] = annotations
    categories = []
    for spans, number in numbers.items():
        characters = ", ".join(f"{start}-{end}" for start, end in spans)
        categories.append({"id": number, "name": f"characters {characters}"})
    content["categories"] = categories or [{"id": 1, "name": "characters"}]
    return list(numbers)


def _spans(value: object) -> Spans | None:
    """Return ``[start, end]`` pairs as a tuple; None if they are none.

    Pairs may reach beyond the caption, as some of official files do; they then name less.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return None
    spans = []
    for pair in value:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            return None
        start, end = pair
        if type(start) is not int or type(end) is not int or not 0 <= start < end < 2**31:
            return None
        spans.append((start, end))
    return tuple(spans)
