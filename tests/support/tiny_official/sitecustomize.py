"""A Python with this folder on PYTHONPATH knows the official detectors as tiny ones; names, files, hashes stay theirs."""

from glip_lightning.models.config import VARIANTS
from tiny_sizes import SIZES

VARIANTS.update(SIZES)
