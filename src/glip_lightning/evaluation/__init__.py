"""Metrics from detections and ground truth, one file per protocol."""
