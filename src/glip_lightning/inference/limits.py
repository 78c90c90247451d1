"""How many boxes of a photo are kept, and which of them are one object; imports nothing."""

MAX_DETECTIONS = 300
"""Boxes of a photo that are kept by default; evaluations keep the detector's own number, 100."""

ONE_LABEL_IOU = 0.6
"""Overlap from which boxes of different classes are one object.

The official NMS takes boxes of one class for one from this overlap on.
"""
