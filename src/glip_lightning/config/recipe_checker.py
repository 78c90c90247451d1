"""The check of recipes of ``fit``, without a detector or a trainer.

A mapping goes in, the complete mapping comes out.
"""

import json
from argparse import ArgumentError
from collections.abc import Callable, Mapping
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
from glip_lightning.config.overrides import Overrides
from glip_lightning.config.own_settings import fill_in
from glip_lightning.config.recipe_parser import (
    NOT_KEPT,
    PARTS,
    add_parts,
    check_parts,
    complete_recipe,
    register_classes,
)
from glip_lightning.config.usage_errors import Option, explain, options_of
from glip_lightning.models.rates import Rates
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.run import refuse_untrained
from glip_lightning.weights.detector_files import check_detector, own_settings

T = TypeVar("T")


@dataclass(frozen=True)
class CheckedRecipe:
    """A recipe without errors."""

    recipe: dict[str, Any]
    """The complete recipe as a run writes it."""
    data: DetectionData
    """The data module; its data are not read."""
    tuning: Namespace | None
    """Class and arguments, for :func:`built`."""
    probe: DetectionData | None
    """The data of retention."""


class Once:
    """Results by the values that they were made from, each made once.

    An error is a result, too: it is raised again for the same values.
    """

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
    """A checker of recipes. A part that many recipes have is checked once."""

    def __init__(self) -> None:
        register_classes()
        self._parsers = {part: _parser_of(part) for part in PARTS}
        self._options: list[Option] = []
        for parser in self._parsers.values():
            self._options += options_of(parser)
        self._once = Once()

    def check(
        self, file: Path, content: Mapping[str, Any], overrides: Overrides = ()
    ) -> CheckedRecipe:
        """Check a recipe and return it complete, with its data module.

        Args:
            file: where the content was read; messages name it.
            content: the recipe as it stands in the file.
            overrides: other values of the recipe, by dotted key.

        Raises:
            WrongUsage: a key or the type of a value is wrong.
            GLIPError: data, tuning or schedule refuse a value.
        """
        options = fresh([f"--{key}={_text(value)}" for key, value in overrides])
        command = ["fit", "--config", str(file), *options]
        configs: dict[str, Namespace] = {}
        for part in PARTS:
            own = {key: value for key, value in content.items() if _part_of(key) == part}
            of_part = [word for word in options if _part_of(_key_of(word)) == part]
            read = partial(self._read, part, own, of_part, command)
            configs[part] = self._once.get([part, str(file), own, of_part], read)
        recipe: dict[str, Any] = {}
        detector = configs["model"].model.detector
        for part in PARTS:
            fill = partial(self._complete, part, configs[part], detector)
            # the id stays with its part, which lives as long as the results
            key = ["complete", part, id(configs[part]), detector]
            configs[part], complete = self._once.get(key, fill)
            recipe |= deepcopy(complete)  # a part is that of many recipes
        model, retention = configs["model"].model, configs["run"].retention
        self._once.get(["model", recipe["model"]], partial(_check_model, model))
        make_data = partial(built, configs["data"].data)
        data_module = self._once.get(["data", recipe["data"]], make_data)
        probe = None
        if retention is not None:
            make_probe = partial(built, retention.init_args.data)
            probe = self._once.get(["probe", recipe["retention"]], make_probe)
        return CheckedRecipe(recipe, data_module, model.tuning, probe)

    def _own_settings(self, detector: str) -> tuple[tuple[int, int], Rates]:
        return self._once.get(["own", detector], partial(own_settings, detector))

    def _read(
        self, part: str, own: Mapping[str, Any], options: list[str], given: list[str]
    ) -> Namespace:
        """Return one part of a recipe as jsonargparse parses it.

        Messages look for the place of a fault in ``given``.
        """
        # Content and overrides become words here, and only here. jsonargparse's parse_object takes
        # mappings, but it does not know the dotted keys of a class that an override has changed, of
        # a callback in a list, or after callbacks+. As words they mean what they mean in fit.
        words = ["--config", yaml.safe_dump(dict(own)), *options]
        try:
            config = self._parsers[part].parse_args(words)
        except ArgumentError as error:
            raise explain(error, given, self._options, "fit") from None
        check_parts(config)
        return config

    def _complete(
        self, part: str, config: Namespace, detector: str
    ) -> tuple[Namespace, dict[str, Any]]:
        """Return a part with the settings that it leaves open: as it was parsed, and plain."""
        config = deepcopy(config)
        fill_in(config, detector, self._own_settings)
        recipe = complete_recipe(self._parsers[part], config)
        return config, {key: value for key, value in recipe.items() if key not in NOT_KEPT}


def _parser_of(part: str) -> LightningArgumentParser:
    """Return the parser of one part, as LightningCLI makes that of ``fit`` with all parts."""
    parser = LightningArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action=ActionConfigFile)
    add_parts(parser, [part])
    if part == "run":
        parser.add_method_arguments(Trainer, "fit", skip=set(LightningCLI.subcommands()["fit"]))
    return parser


def _part_of(key: str) -> str:
    first = str(key).split(".")[0]
    return first if first in PARTS else "run"


def _key_of(option: str) -> str:
    return option.removeprefix("--").split("=")[0].rstrip("+")


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _check_model(model: Namespace) -> None:
    """Raise GLIPError if there is no such detector, or tuning or schedule refuse a value."""
    check_detector(model.detector)
    tuning = built(model.tuning) if model.tuning else None
    if model.schedule:
        built(model.schedule)
    refuse_untrained(tuning)


def built(given: Namespace) -> Any:
    """Return the object that a part of a recipe describes by ``class_path`` and ``init_args``."""
    module, _, name = given.class_path.rpartition(".")
    return getattr(import_module(module), name)(**given.get("init_args", Namespace()).as_dict())
