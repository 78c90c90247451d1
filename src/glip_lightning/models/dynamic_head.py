"""Dynamic Head (arXiv 2106.08322), the detector that GLIP is built upon: a learned row per class.

It reads no text. It is GLIP without fusion whose text features are a table, so that losses,
assignment and post-processing are the same.
"""

from collections.abc import Sequence

from torch import Tensor

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.config import GLIPConfig
from glip_lightning.models.dense import DenseDetector, NoLanguage
from glip_lightning.models.layers.class_table import TABLE, ClassTable
from glip_lightning.models.layers.fpn import FPN
from glip_lightning.models.layers.grounding_head import GroundingHead
from glip_lightning.models.layers.identity_start import start_as_identity
from glip_lightning.models.layers.swin import Swin
from glip_lightning.models.layers.tower import DyHead, Round
from glip_lightning.models.text_features import TextFeatures


class DynamicHead(DenseDetector):
    """The baseline without text.

    Its captions are those of :class:`glip_lightning.text.tokenizer.ClassTokenizer`, whose ids are
    rows of the table.
    """

    reads_text = False

    def __init__(self, config: GLIPConfig) -> None:
        super().__init__()
        if not config.classes:
            message = f"classes={config.classes}: a DynamicHead has a table of classes; GLIP reads "
            message += "words"
            raise GLIPError(message, code="wrong-detector")
        self.config = config
        self.backbone = Swin(config)
        self.fpn = FPN(self.backbone.channels, config.channels, config.drop_block)
        self.language = NoLanguage()
        if config.text_encoder:
            self.language = ClassTable(config.classes, config.text.hidden_size)
        self.dyhead = DyHead(Round(config.channels) for _ in range(config.rounds))
        self.grounding = GroundingHead(config)
        if config.small_start:
            start_as_identity(self)

    def encode_text(
        self, input_ids: Tensor, attention_mask: Tensor, embeddings: Tensor | None = None
    ) -> TextFeatures:
        """Return the rows of the table: ids and mask [U, T] -> [U, T, D]."""
        if embeddings is not None:
            message = "a Dynamic Head has a table of classes and no embeddings of words"
            raise GLIPError(message, code="no-text-encoder")
        return self.language(input_ids, attention_mask)

    def class_parameters(self) -> Sequence[str]:
        """Return the table of classes."""
        return (TABLE,) if isinstance(self.language, ClassTable) else ()

    def start_classes_anew(self, seed: int) -> None:
        """Draw the rows of the table anew."""
        if isinstance(self.language, ClassTable):
            self.language.start_anew(seed)
