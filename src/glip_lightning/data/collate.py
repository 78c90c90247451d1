"""Collation of samples to a batch: tokens of the captions, and which of them name each box.

Captions of detection samples are made of class names; grounding samples have one of their own. Both
give the same kind of batch and may be mixed in one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import cast

import torch
from torch import Tensor

from glip_lightning.data.grounding import GroundingSample
from glip_lightning.data.sampler import KeyedSample, random_stream
from glip_lightning.data.types import Batch
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.captions import Prompt, build_prompt, build_prompts, sample_phrases
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.token_spans import positive_map, token_indices
from glip_lightning.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class _Text:
    """The caption of a sample, and which of its boxes the caption names."""

    caption: str
    kept: Tensor  # bool [G]: boxes that stay
    tokens: list[tuple[int, ...]]  # of each box that stays


class Collate:
    """Makes a batch of samples.

    A class list that fits into one caption gives all images this caption, in the order of the list
    (the official DISABLE_SHUFFLE). A longer list gives each image a caption of its own: the classes
    of its boxes and random others, drawn from (seed, epoch, index). If the classes of its boxes
    alone are too many, some of them are not in the caption and, as official, their boxes are left
    out.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        phrases: Sequence[Phrase],
        seed: int = 0,
        prompts: Sequence[Prompt] | None = None,
    ) -> None:
        """Take the captions that are the same for all images, or make them.

        Args:
            tokenizer: reads the captions.
            phrases: ``phrases[k]`` is class k in a caption; none for grounding data only.
            seed: of the captions that are drawn.
            prompts: the captions of all phrases, where they are made already.
        """
        self.tokenizer, self.phrases, self.seed = tokenizer, tuple(phrases), seed
        if prompts is None:
            prompts = build_prompts(self.phrases, tokenizer) if self.phrases else []
        self._common = prompts[0] if len(prompts) == 1 else None
        """The caption of all images; None where each image has one of its own."""

    def __call__(self, samples: Sequence[KeyedSample | GroundingSample]) -> Batch:
        """Return the batch of some samples; captions that several have are encoded once."""
        texts = [self._text_of(sample) for sample in samples]
        captions = list(dict.fromkeys(text.caption for text in texts))
        input_ids, mask = self.tokenizer.encode(captions)
        length = input_ids.shape[1]
        boxes, labels = [], []
        for sample, text in zip(samples, texts, strict=True):
            boxes.append(sample["boxes"][text.kept])
            labels.append(sample["labels"][text.kept])
        return Batch(
            images=[sample["image"] for sample in samples],
            input_ids=input_ids,
            attention_mask=mask,
            caption_index=torch.tensor([captions.index(text.caption) for text in texts]),
            boxes=boxes,
            labels=labels,
            positive_maps=[positive_map(text.tokens, length) for text in texts],
            image_ids=[sample["image_id"] for sample in samples],
            original_sizes=[sample["original_size"] for sample in samples],
            names=[sample["name"] for sample in samples],
        )

    def _text_of(self, sample: KeyedSample | GroundingSample) -> _Text:
        if "caption" in sample:
            return self._text_of_grounding(cast(GroundingSample, sample))
        prompt = self._common
        if prompt is None:
            chosen = sampled_classes(self.phrases, sample, self.tokenizer, self.seed)
            prompt = build_prompt([self.phrases[k] for k in chosen], self.tokenizer, chosen)
        kept = torch.isin(sample["labels"], torch.tensor(prompt.classes))
        tokens_of = dict(zip(prompt.classes, prompt.tokens, strict=True))
        tokens = [tokens_of[label] for label in sample["labels"][kept].tolist()]
        return _Text(prompt.caption, kept, tokens)

    def _text_of_grounding(self, sample: GroundingSample) -> _Text:
        """Return the sample's own caption.

        As official, a box whose phrase has no token stays, with an empty row of the positive map.
        """
        offsets = self.tokenizer.offsets(sample["caption"])[: MAX_TOKENS - 1]  # [SEP] is the last
        tokens = [token_indices(spans, offsets) for spans in sample["spans"]]
        return _Text(sample["caption"], torch.ones(len(tokens), dtype=torch.bool), tokens)


def sampled_classes(
    phrases: Sequence[Phrase], sample: KeyedSample, tokenizer: Tokenizer, seed: int
) -> list[int]:
    """Draw the classes of one image's caption, in its order, from (seed, epoch, index).

    They are the classes of its boxes and random others, as many as fit into a caption.
    """
    numbers = random_stream("caption", seed, sample["epoch"], sample["index"])
    rng = Random(int(numbers.integers(2**63)))
    texts = [phrase.text for phrase in phrases]
    return sample_phrases(texts, sample["labels"].tolist(), tokenizer, rng, numbers)
