"""What of a detector is trained, and how fast: one object per way of tuning, chosen in a recipe by its class name."""

from .base import ParameterGroup, PartCount, Tuning, count_parts, eval_where_frozen, official_groups
from .lora import LoRATuning
from .prompt import PromptTuning, SavedPrompt
from .weights import FullTuning, LanguageTuning, LinearProbe, PartialTuning

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
