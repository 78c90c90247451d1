"""Detections and annotations -> metrics, one file per protocol."""
