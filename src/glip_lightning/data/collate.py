"""Samples to a batch: captions to tokens, and the tokens that name each box."""

from collections.abc import Sequence
from random import Random
from typing import Protocol

import torch
from torch import Tensor

from ..prompts import Phrase, Prompt, Span, build_prompt, build_prompts, positive_map, sample_phrases
from .sampler import KeyedSample, random_stream
from .types import Batch


class Encoder(Protocol):
    """What is needed of :class:`glip_lightning.text.Tokenizer`."""

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]: ...

    def offsets(self, caption: str) -> Sequence[Span]: ...


class Collate:
    """Collate function: ``phrases[k]`` is how class k stands in the caption.

    A class list that fits into one caption gives all images that caption, in that order (the official
    DISABLE_SHUFFLE). A longer one gives each image a caption of its own: the classes of its boxes and random
    others, drawn from (seed, epoch, index). Should the classes of its boxes alone be too many, some are left
    out of that caption and, as official, so are their boxes.
    """

    def __init__(self, tokenizer: Encoder, phrases: Sequence[Phrase], seed: int = 0) -> None:
        self.tokenizer, self.phrases, self.seed = tokenizer, tuple(phrases), seed
        prompts = build_prompts(self.phrases, tokenizer)
        self._common = prompts[0] if len(prompts) == 1 else None

    def __call__(self, samples: Sequence[KeyedSample]) -> Batch:
        prompts = [self._common or self._sampled(sample) for sample in samples]
        captions = list(dict.fromkeys(prompt.caption for prompt in prompts))
        input_ids, mask = self.tokenizer.encode(captions)
        batch = Batch(
            images=[sample["image"] for sample in samples],
            input_ids=input_ids,
            attention_mask=mask,
            caption_index=torch.tensor([captions.index(prompt.caption) for prompt in prompts]),
            boxes=[],
            labels=[],
            positive_maps=[],
            image_ids=[sample["image_id"] for sample in samples],
            original_sizes=[sample["original_size"] for sample in samples],
            names=[sample["name"] for sample in samples],
        )
        for sample, prompt in zip(samples, prompts, strict=True):
            named = torch.isin(sample["labels"], torch.tensor(prompt.classes))
            labels = sample["labels"][named]
            tokens = dict(zip(prompt.classes, prompt.tokens, strict=True))
            batch["boxes"].append(sample["boxes"][named])
            batch["labels"].append(labels)
            batch["positive_maps"].append(positive_map([tokens[k] for k in labels.tolist()], input_ids.shape[1]))
        return batch

    def _sampled(self, sample: KeyedSample) -> Prompt:
        """The caption of one image where the whole class list is too long for one."""
        numbers = random_stream("caption", self.seed, sample["epoch"], sample["index"])
        rng = Random(int(numbers.integers(2**63)))
        texts = [phrase.text for phrase in self.phrases]
        chosen = sample_phrases(texts, sample["labels"].tolist(), self.tokenizer, rng, numbers)
        return build_prompt([self.phrases[k] for k in chosen], self.tokenizer, chosen)
