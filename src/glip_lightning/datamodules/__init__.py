"""Data sets as Lightning takes them, chosen in a recipe by class name."""

from .base import DetectionData
from .pretraining import Pretraining, ShapesDetection, ShapesPretraining, Source
from .sources import CustomData, HubData, ODinW, Shapes

__all__ = [
    "CustomData",
    "DetectionData",
    "HubData",
    "ODinW",
    "Pretraining",
    "Shapes",
    "ShapesDetection",
    "ShapesPretraining",
    "Source",
]
