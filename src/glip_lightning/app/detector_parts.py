"""The parts of a detector, their parameters, and how many parameters each tuning trains."""

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
"""Tunings that train the same whatever the recipe says: not PartialTuning and SavedPrompt."""


def describe_parts(detector: str) -> str:
    """Return two tables: the submodules of each part, and the parameters by part and tuning.

    A named detector, a folder and a run are not loaded: their sizes are enough.
    """
    model = skeleton(detector) or load_detector(detector).model.to("meta")
    parts = []
    for part, names in model.parts().items():
        parts.append([part, ", ".join(_name_patterns(names)) or "(none)"])
    counts = count_parts(model, LinearProbe())
    columns = [part for part in counts if part != "all"]
    totals = [f"{counts[part].total:,}" for part in columns]
    rows = [
        ["parameters", *columns, "added", "all"],
        ["there are", *totals, "", f"{counts['all'].total:,}"],
    ]
    notes = []
    for kind in TUNINGS:
        try:
            trained = _count_trained(deepcopy(model), kind())
        except ValueError as error:
            notes.append(f"{kind.__name__}: not with its defaults: {error}")
            continue
        numbers = [f"{trained.get(part, 0):,}" for part in (*columns, "tuning", "all")]
        rows.append([kind.__name__, *numbers])
    title = f"{type(model).__name__} {detector}"
    return "\n".join([title, *_table_of_texts(parts), "", *_table_of_numbers(rows), *notes])


def _count_trained(model: Detector, tuning: Tuning) -> dict[str, int]:
    """Return how many numbers of each part a tuning trains."""
    tokenizer = Tokenizer.nano()  # any: the sizes of a prompt are the same for all
    prompt = build_prompts([Phrase("object")], tokenizer)[0]
    with torch.device("meta"):
        tuning.setup(model, prompt, tokenizer)
    return {part: count.trainable for part, count in count_parts(model, tuning).items()}


def _name_patterns(names: Sequence[str]) -> list[str]:
    """Return names of submodules; names that differ in a number are one: ``rounds.*.vision``."""
    return list(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".*", name) for name in names))


def _table_of_texts(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of a name and a text as lines."""
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _table_of_numbers(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of a name and numbers as lines, the numbers aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *numbers in rows:
        cells = [name.ljust(widths[0]), *map(str.rjust, numbers, widths[1:])]
        lines.append("  ".join(cells))
    return lines
