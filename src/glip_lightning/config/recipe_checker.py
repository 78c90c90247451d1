"""Recipes of ``fit`` checked, with neither detector nor trainer built: a mapping in, the complete mapping out."""

import json
from argparse import ArgumentError
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ActionConfigFile, Namespace
from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from glip_lightning.config.arguments import fresh
from glip_lightning.config.own_settings import fill_in
from glip_lightning.config.recipe_parser import (
    NOT_KEPT,
    PARTS,
    check_parts,
    complete_recipe,
    register_classes,
)
from glip_lightning.config.usage_errors import explain, options_of
from glip_lightning.models.rates import Rates
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.run import refuse_untrained
from glip_lightning.weights.detector_files import check_detector, own_settings

T = TypeVar("T")


@dataclass(frozen=True)
class CheckedRecipe:
    """A recipe without errors."""

    recipe: dict[str, Any]
    """Complete, as a run writes it."""
    data: DetectionData
    """Built, not read."""
    tuning: Namespace | None
    """Class and arguments, for :func:`built`."""
    probe: DetectionData | None
    """The data of retention."""


class Once:
    """Results by what they were made from. An error is a result, too: who asks again gets it again."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def get(self, key: object, make: Callable[[], T]) -> T:
        """Return what ``make`` returned for an equal ``key``, or raise what it raised."""
        text = json.dumps(key, sort_keys=True, default=str)
        if text not in self._known:
            try:
                self._known[text] = make()
            except (ValueError, TypeError, OSError) as error:
                self._known[text] = error
        found = self._known[text]
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found


class RecipeChecker:
    """Checks recipes; each part once, however many recipes have it."""

    def __init__(self) -> None:
        register_classes()
        self._parsers = {part: _parser_of(part) for part in PARTS}
        self._options = [
            option for parser in self._parsers.values() for option in options_of(parser)
        ]
        self._once = Once()

    def check(
        self,
        file: Path,
        content: Mapping[str, Any],
        changes: Mapping[str, Any] | None = None,
        words: Sequence[str] = (),
    ) -> CheckedRecipe:
        """Check the recipe ``content`` with ``changes``, values by dotted key, and ``words`` of the command line.

        ``file`` is where the content was read; messages name it.

        Raises:
            WrongUsage: a key or the type of a value is wrong.
            GLIPError: data, tuning or schedule refuse a value.
        """
        options = [*(f"--{key}={_text(value)}" for key, value in (changes or {}).items()), *words]
        recipe: dict[str, Any] = {}
        configs: dict[str, Namespace] = {}
        for part in PARTS:
            own = {key: value for key, value in content.items() if _part_of(key) == part}
            of_part = _options_of(part, options)
            read = partial(self._read, part, own, of_part, ["fit", "--config", str(file), *options])
            configs[part], complete = self._once.get([part, str(file), own, of_part], read)
            recipe |= complete
        recipe = deepcopy(recipe)  # a part is that of many recipes
        model, data, retention = (
            deepcopy(part)
            for part in (configs["model"].model, configs["data"].data, configs["run"].retention)
        )
        fill_in(model, data, retention, self._own)
        fill_in(recipe["model"], recipe["data"], recipe["retention"], self._own)
        self._once.get(["model", recipe["model"]], lambda: _check_model(model))
        data_module = self._once.get(["data", recipe["data"]], lambda: built(data))
        if retention is None:
            return CheckedRecipe(recipe, data_module, model.tuning, None)
        probe = self._once.get(
            ["probe", recipe["retention"]], lambda: built(retention.init_args.data)
        )
        return CheckedRecipe(recipe, data_module, model.tuning, probe)

    def _own(self, detector: str) -> tuple[tuple[int, int], Rates]:
        return self._once.get(["own", detector], lambda: own_settings(detector))

    def _read(
        self, part: str, own: Mapping[str, Any], options: list[str], given: list[str]
    ) -> tuple[Namespace, dict[str, Any]]:
        """Return one part of a recipe, complete: as parsed, and as plain values.

        Messages look for the place of a fault in ``given``. jsonargparse has dotted keys that know the classes of a
        recipe on its command line only.
        """
        parser = self._parsers[part]
        try:
            config = parser.parse_args(["--config", yaml.safe_dump(dict(own)), *options])
        except ArgumentError as error:
            raise explain(error, given, self._options, "fit") from None
        check_parts(config)
        recipe = complete_recipe(parser, config)
        return config, {key: value for key, value in recipe.items() if key not in NOT_KEPT}


def _parser_of(part: str) -> LightningArgumentParser:
    parser = LightningArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action=ActionConfigFile)
    PARTS[part](parser)
    if part == "run":
        parser.add_method_arguments(Trainer, "fit", skip=set(LightningCLI.subcommands()["fit"]))
    return parser


def _part_of(key: str) -> str:
    first = str(key).split(".")[0]
    return first if first in PARTS else "run"


def _options_of(part: str, words: Sequence[str]) -> list[str]:
    """Return the options of ``part`` on a command line, each with its value."""
    found, belongs = [], part == "run"
    for word in fresh(words):
        if word.startswith("--"):
            belongs = _part_of(word.removeprefix("--").split("=")[0].rstrip("+")) == part
        if belongs:
            found.append(word)
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _check_model(model: Namespace) -> None:
    """Raise an error if there is no such detector, or tuning or schedule refuse a value."""
    check_detector(model.detector)
    tuning, _ = (given and built(given) for given in (model.tuning, model.schedule))
    refuse_untrained(tuning)


def built(given: Namespace) -> Any:
    """Return the object that a part of a recipe describes by ``class_path`` and ``init_args``."""
    module, _, name = given.class_path.rpartition(".")
    return getattr(import_module(module), name)(**given.get("init_args", Namespace()).as_dict())
