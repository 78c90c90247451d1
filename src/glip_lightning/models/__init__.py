"""Detectors: GLIP and Dynamic Head, their layers, sizes and learning rates."""
