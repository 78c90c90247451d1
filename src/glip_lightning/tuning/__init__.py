"""What of a detector is trained, and how fast: one object per way of tuning, chosen in a recipe by its class name."""

from glip_lightning.tuning.base import (
    ParameterGroup,
    PartCount,
    Tuning,
    count_parts,
    eval_where_frozen,
    official_groups,
)
from glip_lightning.tuning.lora import LoRATuning
from glip_lightning.tuning.prompt import PromptTuning, SavedPrompt
from glip_lightning.tuning.weight_tunings import FullTuning, LanguageTuning, LinearProbe, PartialTuning

__all__ = [
    "FullTuning",
    "LanguageTuning",
    "LinearProbe",
    "LoRATuning",
    "ParameterGroup",
    "PartCount",
    "PartialTuning",
    "PromptTuning",
    "SavedPrompt",
    "Tuning",
    "count_parts",
    "eval_where_frozen",
    "official_groups",
]
