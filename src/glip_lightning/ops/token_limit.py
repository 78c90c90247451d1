"""How long a caption can be: apart from what needs torch, since names are checked by it before torch is imported."""

MAX_TOKENS = 256
"""Longest caption of the official models, [CLS] and [SEP] included (MODEL.LANGUAGE_BACKBONE.MAX_QUERY_LEN)."""
