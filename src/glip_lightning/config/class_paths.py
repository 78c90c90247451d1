"""Names of classes in recipes: ``glip_lightning.NAME``, and those of version 0.1.

The owner of a recipe changes old names in it once. The recipe of a run of version 0.1 stays as it
is: its names are translated when it is read.
"""

from pathlib import Path
from typing import Any

import yaml

from glip_lightning import PUBLIC
from glip_lightning.weights.run_files import CHECKPOINTS, RECIPE_NAME, RESULT_NAME

_MODULES_0_1 = {
    "FullTuning": ("tuning", "tuning.weights"),
    "LinearProbe": ("tuning", "tuning.weights"),
    "LanguageTuning": ("tuning", "tuning.weights"),
    "PartialTuning": ("tuning", "tuning.weights"),
    "PromptTuning": ("tuning", "tuning.prompt"),
    "SavedPrompt": ("tuning", "tuning.prompt"),
    "LoRATuning": ("tuning", "tuning.lora"),
    "FeatureCache": ("features",),
    "Constant": ("schedules",),
    "Cosine": ("schedules",),
    "MultiStep": ("schedules",),
    "Plateau": ("schedules",),
    "EMA": ("ema",),
    "EarlyStop": ("selection",),
    "DivergenceGuard": ("divergence",),
    "Retention": ("retention",),
    "Alignment": ("alignment",),
    "ODinW": ("datamodules", "datamodules.sources"),
    "CustomData": ("datamodules", "datamodules.sources"),
    "HubData": ("datamodules", "datamodules.sources"),
    "Shapes": ("datamodules", "datamodules.sources"),
    "Pretraining": ("datamodules", "datamodules.pretraining"),
    "ShapesDetection": ("datamodules", "datamodules.pretraining"),
    "ShapesPretraining": ("datamodules", "datamodules.pretraining"),
}
"""The modules of version 0.1 in which a recipe could name each class."""

OLD = {
    f"glip_lightning.{module}.{name}": f"glip_lightning.{name}"
    for name, modules in _MODULES_0_1.items()
    for module in modules
}
"""Public names of classes by their class paths in version 0.1."""

_PRESENT = {f"{module}.{name}": f"glip_lightning.{name}" for name, module in PUBLIC.items()}

_PUBLIC_NAMES = {**OLD, **_PRESENT}
"""Public names of classes by all class paths that they have or had."""

RUN_FILES = ("logs", CHECKPOINTS, RESULT_NAME)
"""At least one of these lies beside the recipe.yaml that a run has written."""


def of_a_run(recipe: Path) -> bool:
    """Return whether a run wrote this recipe: nobody has to change it."""
    beside = [recipe.parent / name for name in RUN_FILES]
    return recipe.name == RECIPE_NAME and any(path.exists() for path in beside)


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
    if isinstance(content, str):
        return _PUBLIC_NAMES.get(content, content)
    return content
