"""Sizes of detectors of 0.2 million parameters, to stand where the official ones would be."""

from dataclasses import replace

from glip_lightning.models.config import GLIPConfig, TextConfig

_TINY = GLIPConfig(
    swin_dim=16,
    swin_depths=(1, 1, 1, 1),
    swin_heads=(1, 2, 4, 8),
    swin_window=4,
    channels=32,
    rounds=1,
    fusion_dim=32,
    fusion_heads=2,
    text=TextConfig(
        vocab_size=2800,  # nano_vocab.txt
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
    ),
)
SIZES = {
    "glip-tiny-a": replace(_TINY, fusion=False),
    "glip-tiny-b": _TINY,
    "glip-tiny-c": _TINY,
    "glip-tiny": _TINY,
    "glip-large": replace(_TINY, rounds=2),
}
