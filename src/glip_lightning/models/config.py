"""Every size of the detector in one dataclass, and the named variants as data.

Sources: microsoft/GLIP config/defaults.py and
configs/pretrain/glip_{A_Swin_T_O365,Swin_T_O365,Swin_T_O365_GoldG,Swin_L}.yaml. The nano variants
are ours: the same structure with a few million parameters. Dynamic Head (arXiv 2106.08322) is the
detector that GLIP is built upon, without the text.
"""

import difflib
from dataclasses import dataclass, field, replace

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.schema import Flag, InputSize, Items, Keys, Real, Whole
from glip_lightning.models.rates import SMALL_RATES, Rates
from glip_lightning.ops.dense_outputs import MAX_TOKENS

STRIDES = (8, 16, 32, 64, 128)
"""Strides of the five pyramid levels P3..P7; anchors are square with 8 times the stride."""

SIZE_DIVISOR = 32
"""Batches are zero-padded to multiples of the coarsest stride of the backbone."""

GROUPS = 16
"""Groups of the group norms in the head (dynamic_conv.py)."""

RATE = Real(0, 0.99)
"""The share that is dropped in training: where all is dropped, nothing is left to divide by."""

# Sizes end about four times above the largest published model of the kind, which is named.
_TEXT = Keys(
    {
        "vocab_size": Whole(5, 1_000_000),  # the special tokens; XLM-R has 250,002
        "hidden_size": Whole(1, 4096),  # BERT-large 1024
        "num_hidden_layers": Whole(1, 96),  # BERT-large 24
        "num_attention_heads": Whole(1, 64),  # BERT-large 16
        "intermediate_size": Whole(1, 16_384),  # BERT-large 4096
        "max_position_embeddings": Whole(1, 8192),  # BERT 512; longer captions are cut at 256
        # BERT 1e-12; 0 divides by zero where all features are equal
        "layer_norm_eps": Real(1e-15, 0.1),
        "dropout": RATE,
    }
)
_SIZES = Keys(
    {
        "fusion": Flag(),
        "swin_dim": Whole(1, 1024),  # Swin-L 192, Swin V2-G 512
        "swin_depths": Items(Whole(1, 96), 4, 4),  # Swin-L 18; the pyramid is built on four stages
        "swin_heads": Items(Whole(1, 256), 4, 4),  # Swin-L 48
        "swin_window": Whole(1, 64),  # Swin-L 12, Swin V2-G 24
        "drop_path": RATE,
        "drop_block": RATE,
        "channels": Whole(16, 1024),  # GLIP 256
        "rounds": Whole(1, 32),  # GLIP-L 8
        "fusion_dim": Whole(1, 8192),  # GLIP 2048
        "fusion_heads": Whole(1, 64),  # GLIP 8
        "fusion_dropout": RATE,
        "text": _TEXT,
        "text_encoder": Flag(),
        "classes": Whole(0, MAX_TOKENS - 2),  # rows of the table: a caption without [CLS] and [SEP]
        "log_scale": Real(-20, 20),  # its exponential divides: 5e8 is far above any use
        "small_start": Flag(),
        "input_size": InputSize(),
        "pixel_mean": Items(Real(0, 255), 3, 3),  # pixels are 0 to 255
        "pixel_std": Items(Real(0.01, 1000), 3, 3),  # it divides; official 57
    }
)
_TEXT_FROM_JSON = Keys(_TEXT.fields, optional=_TEXT.fields.keys())
CONFIG = Keys({**_SIZES.fields, "text": _TEXT_FROM_JSON}, optional=_SIZES.fields.keys())
"""The content of ``config.json``; keys that it lacks have their defaults."""


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

    def __post_init__(self) -> None:
        _TEXT.check(vars(self), "the text encoder")
        _check_multiple(
            self.hidden_size, "text.hidden_size", self.num_attention_heads, "num_attention_heads"
        )


@dataclass(frozen=True)
class GLIPConfig:
    """Sizes of a GLIP detector.

    ``fusion=False`` is variant A: text and image meet only in the last layer.
    """

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
    # rows of a table that stands in the place of the text encoder; 0: there is no table
    classes: int = 0
    # initial value; logits are divided by its exponential (MODEL.DYHEAD.LOG_SCALE)
    log_scale: float = 0.0
    small_start: bool = False  # initialisation for training from random weights (small_start.py)
    # short side and longest side of an image in evaluations, no part of the architecture (repr);
    # INPUT.MIN_SIZE_TEST, INPUT.MAX_SIZE_TEST
    input_size: tuple[int, int] = field(default=(800, 1333), repr=False)
    # BGR, 0..255, subtracted and divided before padding (INPUT.PIXEL_MEAN / PIXEL_STD)
    pixel_mean: tuple[float, float, float] = (103.53, 116.28, 123.675)
    pixel_std: tuple[float, float, float] = (57.375, 57.12, 58.395)

    def __post_init__(self) -> None:
        # a configuration from JSON holds lists and a plain mapping
        if not isinstance(self.text, TextConfig):
            _TEXT_FROM_JSON.check(self.text, "the detector's sizes", "text")
            object.__setattr__(self, "text", TextConfig(**self.text))
        _SIZES.check({**vars(self), "text": vars(self.text)}, "the detector's sizes")
        for name in ("swin_depths", "swin_heads", "input_size", "pixel_mean", "pixel_std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for stage, heads in enumerate(self.swin_heads):
            width = self.swin_dim * 2**stage
            _check_multiple(width, f"the width of stage {stage}", heads, f"swin_heads[{stage}]")
        _check_multiple(self.channels, "channels", GROUPS, "the groups of its norms")
        if self.classes and self.fusion:
            message = f"classes is {self.classes}, expected 0 with fusion: a table of classes has "
            message += "no words to fuse with"
            raise GLIPError(f"the detector's sizes: {message}", code="bad-value")
        if self.fusion:
            _check_multiple(self.fusion_dim, "fusion_dim", self.fusion_heads, "fusion_heads")
        longest = self.text.max_position_embeddings
        if self.text_encoder and not self.classes and longest < MAX_TOKENS:
            message = f"text.max_position_embeddings is {longest}, expected at least {MAX_TOKENS}, "
            message += "the longest caption"
            raise GLIPError(f"the detector's sizes: {message}", code="bad-value")

    @property
    def rates(self) -> Rates:
        """Return the learning rates that it is tuned at.

        They are those of the official recipes, but for detectors with few channels.
        """
        return SMALL_RATES if self.small_start else Rates()


def _check_multiple(size: int, what: str, parts: int, of: str) -> None:
    """Raise GLIPError that names both if ``size`` cannot be cut into equal ``parts``."""
    if size % parts:
        message = f"{what} is {size}, expected a multiple of {of} ({parts})"
        raise GLIPError(f"the detector's sizes: {message}", code="bad-value")


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
    # fits maps of 128 pixels without padding: 7 would pad them to up to three times their area
    swin_window=4,
    drop_path=0.0,
    drop_block=0.0,
    channels=64,
    rounds=2,
    fusion_dim=256,
    fusion_heads=4,
    fusion_dropout=0.0,
    small_start=True,
    input_size=(128, 128),
    log_scale=-2.08,  # eight times the logits, see small_start.py
    text=TextConfig(
        vocab_size=2800,  # nano_vocab.txt
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
    """Return the configuration of a named variant.

    Raises:
        GLIPError: there is none (``unknown-detector``); the message lists the closest names.
    """
    if name not in VARIANTS:
        close = difflib.get_close_matches(name, VARIANTS, n=3) or list(VARIANTS)
        message = f"no detector is named {name!r}; the closest names are {', '.join(close)}"
        raise GLIPError(message, code="unknown-detector")
    return VARIANTS[name]
