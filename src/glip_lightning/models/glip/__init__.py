"""GLIP: image encoder, text encoder, fusion and head."""
