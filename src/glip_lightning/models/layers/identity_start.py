"""An initialisation for small detectors that learn from random weights: the part of the images.

:mod:`glip_lightning.models.glip.small_start` gives the reasons, and adds the part of the words.
"""

from torch import nn

from glip_lightning.models.layers.fpn import FPN
from glip_lightning.models.layers.tower import Round


def start_as_identity(model: nn.Module) -> None:
    """Let the 3x3 convolutions that a level passes through begin as the identity."""
    for part in model.modules():
        if isinstance(part, FPN):
            for conv in part.output:
                nn.init.dirac_(conv.weight)  # pyrefly: ignore
        elif isinstance(part, Round):
            nn.init.dirac_(part.vision.convs[1].weight)  # of a level itself  # pyrefly: ignore
