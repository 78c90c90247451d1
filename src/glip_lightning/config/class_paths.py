"""What recipes call classes: ``glip_lightning.NAME``, and what version 0.1 called them.

A recipe that somebody wrote is changed by its owner, once; what a run of version 0.1 wrote is translated when it is
read and stays as it is.
"""

from pathlib import Path
from typing import Any

import yaml

from glip_lightning import PUBLIC
from glip_lightning.weights.run_files import CHECKPOINTS, RECIPE_NAME, RESULT_NAME

_MODULES_0_1 = {
    **dict.fromkeys(
        ("FullTuning", "LinearProbe", "LanguageTuning", "PartialTuning"),
        ("tuning", "tuning.weights"),
    ),
    **dict.fromkeys(("PromptTuning", "SavedPrompt"), ("tuning", "tuning.prompt")),
    "LoRATuning": ("tuning", "tuning.lora"),
    "FeatureCache": ("features",),
    **dict.fromkeys(("Constant", "Cosine", "MultiStep", "Plateau"), ("schedules",)),
    "EMA": ("ema",),
    "EarlyStop": ("selection",),
    "DivergenceGuard": ("divergence",),
    "Retention": ("retention",),
    "Alignment": ("alignment",),
    **dict.fromkeys(
        ("ODinW", "CustomData", "HubData", "Shapes"), ("datamodules", "datamodules.sources")
    ),
    **dict.fromkeys(
        ("Pretraining", "ShapesDetection", "ShapesPretraining"),
        ("datamodules", "datamodules.pretraining"),
    ),
}
"""The modules of version 0.1 in which a recipe could name each class."""

OLD = {
    f"glip_lightning.{module}.{name}": f"glip_lightning.{name}"
    for name, modules in _MODULES_0_1.items()
    for module in modules
}
"""Class paths of version 0.1 and what they are called now."""

_PUBLIC = {
    **OLD,
    **{f"{module}.{name}": f"glip_lightning.{name}" for name, module in PUBLIC.items()},
}
"""What recipes call a class, by all paths that it has or had."""

RUN_FILES = ("logs", CHECKPOINTS, RESULT_NAME)
"""One of these lies beside the recipe.yaml that a run has written."""


def of_a_run(recipe: Path) -> bool:
    """Return whether a run wrote this recipe, so that nobody has to change it."""
    return recipe.name == RECIPE_NAME and any((recipe.parent / name).exists() for name in RUN_FILES)


def old_names(text: str) -> list[tuple[int, str]]:
    """Return each class path of version 0.1 in a YAML text with its line, counted from 1."""
    scalars = [token for token in yaml.scan(text) if isinstance(token, yaml.ScalarToken)]
    return [(token.start_mark.line + 1, token.value) for token in scalars if token.value in OLD]


def with_public_names(content: Any) -> Any:
    """Return what a recipe holds, each class under its public name."""
    if isinstance(content, dict):
        return {key: with_public_names(value) for key, value in content.items()}
    if isinstance(content, list):
        return [with_public_names(value) for value in content]
    return _PUBLIC.get(content, content) if isinstance(content, str) else content
