"""Learning rates that a detector has of its own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """Learning rates of AdamW at which a detector is tuned where nobody gives others.

    The defaults are those of GLIP; :data:`SMALL_RATES` are those of the nano detectors.
    """

    full: float = 1e-4  # the whole detector
    text: float = 1e-5  # its text encoder, so that words keep their meaning
    probe: float = 1e-4  # the last layers alone
    lora: float = 1e-4  # low-rank updates
    prompt: float = 0.05  # the prompt alone
    prompt_decay: float = 0.25  # weight decay of an offset, which pulls it towards zero


SMALL_RATES = Rates(full=1e-3, text=1e-4, probe=5e-3, lora=2e-3, prompt=0.3, prompt_decay=0.0)
"""Rates of detectors with few channels, as the nano detectors.

They were tried on tasks of the generated world and on photos (recipes/sweeps/).
"""
