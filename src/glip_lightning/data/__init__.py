"""Annotations -> samples -> batches."""
