"""On PYTHONPATH: the names of the official detectors mean tiny ones; files keep their names."""

from glip_lightning.models.config import VARIANTS
from tiny_sizes import SIZES

VARIANTS.update(SIZES)
