"""Layers that GLIP and Dynamic Head share: image backbone, feature pyramid, tower, prediction head."""
