"""The class of detector that a configuration means.

Each class is imported when it is built: a Dynamic Head needs no BERT.
"""

from glip_lightning.models.config import GLIPConfig
from glip_lightning.models.detector import Detector


def build_detector(config: GLIPConfig) -> Detector:
    """Return a detector with initial weights.

    It is a Dynamic Head where the configuration has a table of classes, else GLIP.
    """
    if config.classes:
        from glip_lightning.models.dynamic_head import DynamicHead

        return DynamicHead(config)
    from glip_lightning.models.glip.model import GLIP

    return GLIP(config)
