"""Layers of detectors: image backbone, pyramid, tower, prediction head, table of classes."""
