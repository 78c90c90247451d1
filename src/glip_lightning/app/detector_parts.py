"""The parts of a detector, their parameters, and how many of them each tuning trains."""

import re
from collections.abc import Sequence
from copy import deepcopy

import torch

from glip_lightning.models.detector import Detector
from glip_lightning.text.captions import build_prompts
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.tuning.base import Tuning, count_parts
from glip_lightning.tuning.lora import LoRATuning
from glip_lightning.tuning.prompt import PromptTuning
from glip_lightning.tuning.weight_tunings import FullTuning, LanguageTuning, LinearProbe
from glip_lightning.weights.load import load_detector, skeleton

TUNINGS = (FullTuning, LinearProbe, LanguageTuning, LoRATuning, PromptTuning)
"""Those that train the same, by their defaults, whatever the recipe says: not PartialTuning and SavedPrompt."""


def describe_parts(detector: str) -> str:
    """Return two tables as text: the submodules of each part, and the parameters by part and tuning.

    A named detector, a folder and a run are not loaded: their sizes are enough.
    """
    model = skeleton(detector) or load_detector(detector).model.to("meta")
    parts = [
        [part, ", ".join(_patterns(names)) or "(none)"] for part, names in model.parts().items()
    ]
    counts = count_parts(model, LinearProbe())
    columns = [part for part in counts if part != "all"]
    rows = [["parameters", *columns, "added", "all"]]
    rows.append(
        [
            "there are",
            *(f"{counts[part].total:,}" for part in columns),
            "",
            f"{counts['all'].total:,}",
        ]
    )
    notes = []
    for kind in TUNINGS:
        tuning = kind()
        try:
            trained = _trained(deepcopy(model), tuning)
        except ValueError as error:
            notes.append(f"{kind.__name__}: not with its defaults: {error}")
            continue
        rows.append(
            [kind.__name__, *(f"{trained.get(part, 0):,}" for part in [*columns, "tuning", "all"])]
        )
    return "\n".join(
        [f"{type(model).__name__} {detector}", *_aligned(parts), "", *_aligned(rows), *notes]
    )


def _trained(model: Detector, tuning: Tuning) -> dict[str, int]:
    """Return how many numbers of each part a tuning trains."""
    tokenizer = Tokenizer.nano()  # any: the sizes of a prompt are the same for all
    prompt = build_prompts([Phrase("object")], tokenizer)[0]
    with torch.device("meta"):
        tuning.setup(model, prompt, tokenizer)
    return {part: count.trainable for part, count in count_parts(model, tuning).items()}


def _patterns(names: Sequence[str]) -> list[str]:
    """Return the names of submodules, those that differ in a number only once: ``rounds.*.vision``."""
    return list(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".*", name) for name in names))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines; the first column is aligned to the left, columns of numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if len(widths) == 2:
        return [f"{name:<{widths[0]}}  {text}" for name, text in rows]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
