"""Which class of detector a configuration means."""

from glip_lightning.models.config import GLIPConfig
from glip_lightning.models.detector import Detector
from glip_lightning.models.dynamic_head import DynamicHead
from glip_lightning.models.glip.model import GLIP


def build_detector(config: GLIPConfig) -> Detector:
    """Return a detector with initial weights: a Dynamic Head where the configuration has a table of classes."""
    return DynamicHead(config) if config.classes else GLIP(config)
