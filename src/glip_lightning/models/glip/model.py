"""GLIP: Dynamic Head with a text encoder, and fusion of image and text in its tower.

Source: microsoft/GLIP modeling/detector/generalized_vl_rcnn.py, modeling/rpn/vldyhead.py.
"""

from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.config import GLIPConfig
from glip_lightning.models.dense import DenseDetector, NoLanguage
from glip_lightning.models.glip.fusion import Fusion, TextLayer
from glip_lightning.models.glip.language import Language
from glip_lightning.models.glip.small_start import start_small
from glip_lightning.models.layers.fpn import FPN
from glip_lightning.models.layers.grounding_head import GroundingHead
from glip_lightning.models.layers.swin import Swin
from glip_lightning.models.layers.tower import DyHead, Round
from glip_lightning.models.text_features import TextFeatures


class GLIP(DenseDetector):
    """The detector of the GLIP paper (arXiv 2112.03857), in any of its sizes and variants."""

    def __init__(self, config: GLIPConfig) -> None:
        super().__init__()
        if config.classes:
            message = f"classes={config.classes}: GLIP reads words; a DynamicHead has a table of "
            message += "classes"
            raise GLIPError(message, code="wrong-detector")
        self.config = config
        self.backbone = Swin(config)
        self.fpn = FPN(self.backbone.channels, config.channels, config.drop_block)
        self.language = Language(config.text) if config.text_encoder else NoLanguage()
        self.dyhead = DyHead(_round(config) for _ in range(config.rounds))
        self.grounding = GroundingHead(config)
        if config.small_start:
            start_small(self)

    def encode_text(
        self, input_ids: Tensor, attention_mask: Tensor, embeddings: Tensor | None = None
    ) -> TextFeatures:
        """Return BERT's features [U, T, D] of token ids and mask [U, T].

        They enter the first fusion layer.
        """
        if embeddings is None:
            return self.language(input_ids, attention_mask)
        assert isinstance(self.language, Language)
        return self.language.from_embeddings(embeddings, attention_mask)

    @property
    @override
    def word_embeddings(self) -> nn.Module:
        if not isinstance(self.language, Language):
            return super().word_embeddings
        return self.language.bert.embeddings.word_embeddings


def _round(config: GLIPConfig) -> Round:
    """Return one round of the tower; variant A has neither fusion nor text layers."""
    if not config.fusion:
        return Round(config.channels)
    fusion = Fusion(
        config.channels,
        config.text.hidden_size,
        config.fusion_dim,
        config.fusion_heads,
        config.fusion_dropout,
        gate=1 / config.rounds,
    )
    return Round(config.channels, fusion, TextLayer(config.text))
