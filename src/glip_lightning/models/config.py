"""Every size of the detector in one dataclass, and the named variants as data.

Sources: microsoft/GLIP configs/pretrain/glip_{A_Swin_T_O365,Swin_T_O365,Swin_T_O365_GoldG,Swin_L}.yaml
and config/defaults.py. The nano variants are ours: the same structure with a few million parameters. Dynamic Head
(arXiv 2106.08322) is the detector that GLIP is built upon, without the text.
"""

import difflib
from dataclasses import dataclass, field, replace

from ..prompts import MAX_TOKENS

STRIDES = (8, 16, 32, 64, 128)
"""Strides of the five pyramid levels P3..P7; anchors are square with 8 times the stride."""

SIZE_DIVISOR = 32
"""Batches are zero-padded to multiples of the coarsest stride of the backbone."""


@dataclass(frozen=True)
class TextConfig:
    """BERT sizes (transformers.BertConfig); the defaults are bert-base-uncased."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    layer_norm_eps: float = 1e-12
    dropout: float = 0.1


@dataclass(frozen=True)
class GLIPConfig:
    """Sizes of a GLIP detector. ``fusion=False`` is variant A: text and image meet only in the last layer."""

    fusion: bool = True
    swin_dim: int = 96
    swin_depths: tuple[int, ...] = (2, 2, 6, 2)
    swin_heads: tuple[int, ...] = (3, 6, 12, 24)
    swin_window: int = 7
    drop_path: float = 0.2
    drop_block: float = 0.3  # FPN, training only (modeling/backbone/__init__.py:70)
    channels: int = 256
    rounds: int = 6  # MODEL.DYHEAD.NUM_CONVS
    fusion_dim: int = 2048  # hard-coded in modeling/rpn/vldyhead.py:350
    fusion_heads: int = 8
    fusion_dropout: float = 0.1
    text: TextConfig = field(default_factory=TextConfig)
    text_encoder: bool = True  # False: a detector that only runs tuned prompts
    classes: int = 0  # rows of a table that stands in the place of the text encoder; 0: there is no table
    log_scale: float = 0.0  # initial value; logits are divided by its exponential (MODEL.DYHEAD.LOG_SCALE)
    small_start: bool = False  # initialisation for training from random weights (starts.py)
    # BGR, 0..255, subtracted and divided before padding (INPUT.PIXEL_MEAN / PIXEL_STD)
    pixel_mean: tuple[float, float, float] = (103.53, 116.28, 123.675)
    pixel_std: tuple[float, float, float] = (57.375, 57.12, 58.395)

    def __post_init__(self) -> None:
        # a config that came from JSON holds lists and a plain mapping
        for name in ("swin_depths", "swin_heads", "pixel_mean", "pixel_std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if isinstance(self.text, dict):
            object.__setattr__(self, "text", TextConfig(**self.text))
        if not 0 <= self.classes <= MAX_TOKENS - 2:
            raise ValueError(f"classes={self.classes}: a table has 1 to {MAX_TOKENS - 2} rows, 0 means a text encoder")


_TINY = GLIPConfig()
_LARGE = GLIPConfig(
    swin_dim=192,
    swin_depths=(2, 2, 18, 2),
    swin_heads=(6, 12, 24, 48),
    swin_window=12,
    drop_path=0.4,
    rounds=8,
)
# Small enough that a training step on a CPU takes a fraction of a second, same structure otherwise.
# No dropout of any kind: so few channels underfit long before they overfit.
_NANO = GLIPConfig(
    swin_dim=32,
    swin_depths=(2, 2, 2, 1),
    swin_heads=(1, 2, 4, 8),
    swin_window=4,  # fits maps of 128 pixels without padding: 7 would pad them to up to three times their area
    drop_path=0.0,
    drop_block=0.0,
    channels=64,
    rounds=2,
    fusion_dim=256,
    fusion_heads=4,
    fusion_dropout=0.0,
    small_start=True,
    log_scale=-2.08,  # eight times the logits, see starts.py
    text=TextConfig(
        vocab_size=2800,  # assets/nano_vocab.txt
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=256,
        dropout=0.0,
    ),
)

VARIANTS: dict[str, GLIPConfig] = {
    "glip-tiny-a": replace(_TINY, fusion=False),
    "glip-tiny-b": _TINY,
    "glip-tiny-c": _TINY,
    "glip-tiny": _TINY,
    "glip-large": _LARGE,
    "glip-nano-a": replace(_NANO, fusion=False),
    "glip-nano-b": _NANO,
    "glip-nano-c": _NANO,
    "glip-nano": _NANO,
    "dyhead-nano": replace(_NANO, fusion=False, classes=128),  # all of COCO and of every ODinW task
}


def variant(name: str) -> GLIPConfig:
    """Configuration of a named variant; an unknown name is an error that lists the closest ones."""
    if name not in VARIANTS:
        close = difflib.get_close_matches(name, VARIANTS, n=3) or list(VARIANTS)
        raise ValueError(f"no detector is named {name!r}; the closest names are {', '.join(close)}")
    return VARIANTS[name]
