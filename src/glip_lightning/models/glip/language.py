"""What a class is known by: BERT's features of its name, or a row of a table.

Source of the text encoder (BERT without its pooler): microsoft/GLIP modeling/language_backbone/bert_model.py.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from glip_lightning.models.config import TextConfig


class TextFeatures(NamedTuple):
    """Encoded captions. A row of ``mask`` is True at [CLS], words, separators and [SEP]."""

    hidden: Tensor  # [B, T, D]; rows of padding hold numbers without meaning
    mask: Tensor  # bool [B, T]

    def select(self, rows: Tensor) -> "TextFeatures":
        """The features of some captions, in the given order (int64 [B]): one caption may serve many images."""
        return TextFeatures(self.hidden[rows], self.mask[rows])


class Language(nn.Module):
    """Token ids [U, T] and attention mask [U, T] -> text features [U, T, D]."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        sizes = BertConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=config.max_position_embeddings,
            layer_norm_eps=config.layer_norm_eps,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.dropout,
        )
        self.bert = BertModel(sizes, add_pooling_layer=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return TextFeatures(hidden, attention_mask.to(torch.bool))

    def from_embeddings(self, embeddings: Tensor, attention_mask: Tensor) -> TextFeatures:
        """The same from word embeddings [U, T, D] instead of ids: some of them may be learned."""
        hidden = self.bert(inputs_embeds=embeddings, attention_mask=attention_mask).last_hidden_state
        return TextFeatures(hidden, attention_mask.to(torch.bool))


class ClassTable(nn.Module):
    """Learned features of classes without names: position k of a caption is class k (Dynamic Head).

    Its rows mean the classes of the list that they were trained with, and nothing for another list.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        # as large as BERT's features; the head reads their direction alone, and random ones are far apart
        self.rows = nn.Parameter(torch.randn(classes, width))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        return TextFeatures(F.embedding(input_ids, self.rows), attention_mask.to(torch.bool))

    @torch.no_grad()
    def start_anew(self, seed: int) -> None:
        """Initial rows for another class list: a function of ``seed``, drawn from no global generator."""
        generator = torch.Generator("cpu").manual_seed(seed)  # the same rows on all devices
        self.rows.copy_(torch.randn(self.rows.shape, generator=generator, device="cpu"))


class NoLanguage(nn.Module):
    """Stands where a detector has no text encoder: it runs tuned prompts, which hold their features."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        raise ValueError("this detector has no text encoder: it only runs tuned prompts (glip predict --prompt FILE)")
