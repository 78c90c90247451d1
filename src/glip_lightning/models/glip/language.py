"""The text encoder: BERT's features of class names.

Source (BERT without its pooler): microsoft/GLIP modeling/language_backbone/bert_model.py.
"""

import torch
from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.models.config import TextConfig
from glip_lightning.models.text_features import TextFeatures


class Language(nn.Module):
    """BERT: token ids [U, T] and attention mask [U, T] -> text features [U, T, D]."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        # 0.5 s that tuned prompts and tables of classes do not need
        from transformers import BertConfig, BertModel

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

    @override
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return TextFeatures(hidden, attention_mask.to(torch.bool))

    def from_embeddings(self, embeddings: Tensor, attention_mask: Tensor) -> TextFeatures:
        """Return the text features of word embeddings [U, T, D]; some of them may be learned."""
        output = self.bert(inputs_embeds=embeddings, attention_mask=attention_mask)
        return TextFeatures(output.last_hidden_state, attention_mask.to(torch.bool))
