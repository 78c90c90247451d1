"""Fine-tune GLIP, the detector that understands words, on your own images.

All public names are here. They are imported when they are asked for: ``import glip_lightning``
needs neither torch nor Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glip_lightning.common.errors import GLIPError as GLIPError
    from glip_lightning.data.formats.hub_dataset import to_hub as to_hub
    from glip_lightning.data.formats.layouts import read_dataset as read_dataset
    from glip_lightning.inference.drawing import draw_boxes as draw_boxes
    from glip_lightning.inference.prediction import Prediction as Prediction
    from glip_lightning.inference.predictor import Predictor as Predictor
    from glip_lightning.models.config import GLIPConfig as GLIPConfig
    from glip_lightning.models.detector import Detector as Detector
    from glip_lightning.models.feature_cache import FeatureCache as FeatureCache
    from glip_lightning.models.glip.model import GLIP as GLIP
    from glip_lightning.shapes.alignment import Alignment as Alignment
    from glip_lightning.shapes.data_modules import NaturalPretraining as NaturalPretraining
    from glip_lightning.shapes.data_modules import Shapes as Shapes
    from glip_lightning.shapes.data_modules import ShapesDetection as ShapesDetection
    from glip_lightning.shapes.data_modules import ShapesPretraining as ShapesPretraining
    from glip_lightning.training.callbacks.best_checkpoint import EarlyStop as EarlyStop
    from glip_lightning.training.callbacks.divergence import DivergenceGuard as DivergenceGuard
    from glip_lightning.training.callbacks.ema import EMA as EMA
    from glip_lightning.training.callbacks.last_validation import LastValidation as LastValidation
    from glip_lightning.training.callbacks.retention import Retention as Retention
    from glip_lightning.training.callbacks.retention import interpolate as interpolate
    from glip_lightning.training.data_module import DetectionData as DetectionData
    from glip_lightning.training.data_sources import CustomData as CustomData
    from glip_lightning.training.data_sources import HubData as HubData
    from glip_lightning.training.data_sources import ODinW as ODinW
    from glip_lightning.training.module import GLIPModule as GLIPModule
    from glip_lightning.training.pretraining import Pretraining as Pretraining
    from glip_lightning.training.run import fit as fit
    from glip_lightning.training.run import test as test
    from glip_lightning.training.run import validate as validate
    from glip_lightning.training.schedules import Constant as Constant
    from glip_lightning.training.schedules import Cosine as Cosine
    from glip_lightning.training.schedules import MultiStep as MultiStep
    from glip_lightning.training.schedules import Plateau as Plateau
    from glip_lightning.tuning.base import Tuning as Tuning
    from glip_lightning.tuning.lora import LoRATuning as LoRATuning
    from glip_lightning.tuning.prompt import PromptTuning as PromptTuning
    from glip_lightning.tuning.prompt import SavedPrompt as SavedPrompt
    from glip_lightning.tuning.weight_tunings import FullTuning as FullTuning
    from glip_lightning.tuning.weight_tunings import LanguageTuning as LanguageTuning
    from glip_lightning.tuning.weight_tunings import LinearProbe as LinearProbe
    from glip_lightning.tuning.weight_tunings import PartialTuning as PartialTuning
    from glip_lightning.weights.load import load_detector as load_detector

__version__ = "0.2.0"

PUBLIC = {
    # detectors
    "GLIP": "glip_lightning.models.glip.model",
    "GLIPConfig": "glip_lightning.models.config",
    "Detector": "glip_lightning.models.detector",
    "load_detector": "glip_lightning.weights.load",
    "Predictor": "glip_lightning.inference.predictor",
    "Prediction": "glip_lightning.inference.prediction",
    "draw_boxes": "glip_lightning.inference.drawing",
    "to_hub": "glip_lightning.data.formats.hub_dataset",
    "interpolate": "glip_lightning.training.callbacks.retention",
    # training
    "GLIPModule": "glip_lightning.training.module",
    "fit": "glip_lightning.training.run",
    "validate": "glip_lightning.training.run",
    "test": "glip_lightning.training.run",
    "Constant": "glip_lightning.training.schedules",
    "Cosine": "glip_lightning.training.schedules",
    "MultiStep": "glip_lightning.training.schedules",
    "Plateau": "glip_lightning.training.schedules",
    "EMA": "glip_lightning.training.callbacks.ema",
    "LastValidation": "glip_lightning.training.callbacks.last_validation",
    "EarlyStop": "glip_lightning.training.callbacks.best_checkpoint",
    "DivergenceGuard": "glip_lightning.training.callbacks.divergence",
    "Retention": "glip_lightning.training.callbacks.retention",
    "Alignment": "glip_lightning.shapes.alignment",
    # tunings
    "Tuning": "glip_lightning.tuning.base",
    "FullTuning": "glip_lightning.tuning.weight_tunings",
    "LinearProbe": "glip_lightning.tuning.weight_tunings",
    "PromptTuning": "glip_lightning.tuning.prompt",
    "LanguageTuning": "glip_lightning.tuning.weight_tunings",
    "LoRATuning": "glip_lightning.tuning.lora",
    "PartialTuning": "glip_lightning.tuning.weight_tunings",
    "SavedPrompt": "glip_lightning.tuning.prompt",
    "FeatureCache": "glip_lightning.models.feature_cache",
    # data
    "DetectionData": "glip_lightning.training.data_module",
    "ODinW": "glip_lightning.training.data_sources",
    "CustomData": "glip_lightning.training.data_sources",
    "HubData": "glip_lightning.training.data_sources",
    "Pretraining": "glip_lightning.training.pretraining",
    "Shapes": "glip_lightning.shapes.data_modules",
    "ShapesDetection": "glip_lightning.shapes.data_modules",
    "ShapesPretraining": "glip_lightning.shapes.data_modules",
    "NaturalPretraining": "glip_lightning.shapes.data_modules",
    "read_dataset": "glip_lightning.data.formats.layouts",
    # errors
    "GLIPError": "glip_lightning.common.errors",
}
"""The module of each public name. Recipes write ``glip_lightning.NAME``."""

__all__ = ["__version__", *PUBLIC]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for the first time (PEP 562)."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(PUBLIC[name]), name)
    return value


def __dir__() -> list[str]:
    """Return all names, also those that are not imported yet."""
    return sorted({*globals(), *PUBLIC})
