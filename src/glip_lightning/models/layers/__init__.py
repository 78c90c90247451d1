"""Layers that detectors are built of: image backbone, feature pyramid, tower, prediction head, table of classes."""
