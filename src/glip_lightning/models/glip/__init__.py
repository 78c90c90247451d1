"""GLIP: the Dynamic Head with a text encoder and fusion."""
