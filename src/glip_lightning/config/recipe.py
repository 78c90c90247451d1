"""From a recipe to a checked configuration and a run in a folder of its own."""

import logging
import os
import shlex
import sys
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from glip_lightning.common.errors import GLIPError, is_ours
from glip_lightning.common.imports import not_installed_message
from glip_lightning.common.locks import FolderLock
from glip_lightning.config.arguments import meant_by, translated
from glip_lightning.config.continuing import check_checkpoint
from glip_lightning.config.early_checks import check_data
from glip_lightning.config.everyday_options import RecipeParser
from glip_lightning.config.own_settings import fill_in
from glip_lightning.config.recipe_files import with_recipes
from glip_lightning.config.recipe_parser import (
    NOT_KEPT,
    add_parts,
    check_parts,
    complete_recipe,
    register_classes,
)
from glip_lightning.config.usage_errors import explain, options_of
from glip_lightning.training import run as runs
from glip_lightning.training.callbacks.progress import Lines, Progress
from glip_lightning.training.callbacks.run_folder import take_folder
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.lightning_messages import quiet_lightning
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord, Verb
from glip_lightning.weights.run_files import RECIPE_NAME, goes_on

log = logging.getLogger(__name__)

VERBS = ("fit", "validate", "test")


class GLIPCLI(LightningCLI):
    """The verbs of :mod:`glip_lightning.training.run` with the settings of a recipe."""

    model: GLIPModule
    datamodule: DetectionData

    def __init__(self, arguments: Sequence[str], *args: Any, **kwargs: Any) -> None:
        """Run the verb from start to end, as Lightning's class does.

        ``arguments`` are the words that a user would type. All others go to Lightning.
        """
        self.arguments = list(arguments)
        self.parsers: list[LightningArgumentParser] = []  # of the verbs, in their order
        self.lock = FolderLock()
        try:
            super().__init__(*args, **kwargs)
        finally:
            self.lock.release()

    @override
    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        names = LightningCLI.subcommands()
        return {verb: names[verb] | {"verbose"} for verb in VERBS}  # the summary is ours

    @override
    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        pass  # the seed is a part of the recipe

    @override
    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        add_parts(parser)
        self.parsers.append(parser)

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            command = self.arguments[0]
            options = options_of(self.parsers[VERBS.index(command)])
            raise explain(error, self.arguments, options, command) from None
        verb = str(self.config["subcommand"])
        config = self.config[verb]
        check_parts(config)
        check_data(config.data.class_path, config.data.init_args)
        filled = fill_in(config, config.model.detector)
        if filled:
            named = ", ".join(f"{key} {value}" for key, value in filled.items())
            log.info("%s: %s, which the recipe leaves open", config.model.detector, named)
        self._take_folder(verb)

    def _take_folder(self, verb: str) -> None:
        """Lock the folder of the run and check its checkpoint, before Lightning reads them."""
        config = self.config[verb]
        run = Path(config.run) if config.run else None
        checkpoint = config.get("ckpt_path")
        if run and is_first_process():
            take_folder(run, goes_on(verb, run, checkpoint), self.lock)
        if checkpoint:
            check_checkpoint(checkpoint, verb, config.get("weights_only") is False)

    def _recipe(self, verb: str) -> dict[str, Any]:
        """Return the checked, complete recipe for ``recipe.yaml``."""
        recipe = complete_recipe(self.parser, self.config)[verb]
        return {key: value for key, value in recipe.items() if key not in NOT_KEPT}

    @override
    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, TypeError) as error:
            raise _first_cause(error) from None

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        # the record of the run comes first; training.run brings it and the trainer together
        verb = str(self.subcommand)
        given = self.config_init[f"{verb}.trainer"]
        self.record = self._record(verb, wandb=given.logger is not False)
        callbacks = _listed(given.callbacks, Callback)
        retention = self.config_init[verb].retention
        if verb == "fit" and retention:
            # before the others: it reads data, whose faults are found before a folder is made
            callbacks.append(retention)
        has_progress = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if given.enable_progress_bar is not False and not has_progress:
            in_terminal = sys.stdout.isatty()
            callbacks.append(Progress() if in_terminal else Lines())
            kwargs["enable_progress_bar"] = in_terminal
        loggers = _listed(given.logger, Logger) or False
        root = {"default_root_dir": str(given.default_root_dir or Path.cwd())}
        try:
            return super().instantiate_trainer(
                callbacks=callbacks, logger=loggers, **root, **kwargs
            )
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise GLIPError(f"trainer: {error}", code="bad-trainer") from None

    def _record(self, verb: str, wandb: bool) -> RunRecord:
        run = self.config[verb].run
        command = shlex.join(["glip", *self.arguments])
        folder = Path(run) if run else None
        return RunRecord(cast(Verb, verb), self._recipe(verb), command, folder, self.lock, wandb)

    def fit(self, model: GLIPModule, datamodule: DetectionData, **options: Any) -> None:
        """Train by the recipe, with the trainer and the record that were made."""
        runs.fit(model, datamodule, self.trainer, self.record, **options)

    def validate(self, model: GLIPModule, datamodule: DetectionData, **options: Any) -> None:
        """Evaluate on the valid split."""
        runs.validate(model, datamodule, self.trainer, self.record, **options)

    def test(self, model: GLIPModule, datamodule: DetectionData, **options: Any) -> None:
        """Evaluate on the test split."""
        runs.test(model, datamodule, self.trainer, self.record, **options)


def is_first_process() -> bool:
    """Return whether this process of a run writes its files; no trainer is needed to know it."""
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return getattr(rank_zero_only, "rank", 0) == 0 and node == "0"


def _listed(given: Any, kind: type) -> list[Any]:
    """Return one object or several objects as a list; it is empty for none, true and false."""
    if isinstance(given, kind):
        return [given]
    if isinstance(given, list | tuple):
        return list(given)
    return []


def _first_cause(error: BaseException) -> BaseException:
    """Return the error that jsonargparse has wrapped into its own.

    It is the first error of ours, which explains its own cause, else the innermost error.
    """
    while not is_ours(error):
        cause = error.__cause__
        if cause is None and not error.__suppress_context__:
            cause = error.__context__
        if cause is None:
            break
        error = cause
    if isinstance(error, ModuleNotFoundError):
        return GLIPError(_not_installed(error), code="not-installed")
    return error


def _not_installed(error: ModuleNotFoundError) -> str:
    """Return the message about a package that a class of the recipe needs.

    Lightning's error names the package of its loggers.
    """
    text = " ".join(str(error).split())
    if "tensorboard" in text:
        return not_installed_message("tensorboard", "trainer.logger", "tensorboard")
    return f"a class of the recipe needs a package that is not installed: {text}"


def run(arguments: Sequence[str]) -> GLIPCLI:
    """Run ``fit``, ``validate`` or ``test`` with the arguments of the command line."""
    words = meant_by(arguments)
    return _start(words, with_recipes(words, translated))


def fit_recipe(recipe: Mapping[str, Any], folder: Path, checkpoint: Path | None = None) -> GLIPCLI:
    """Run ``fit`` by a recipe in ``folder``.

    With ``checkpoint``, of an earlier run in the folder, the run goes on from it. What is parsed is
    the recipe itself: the words are the command that repeats the run, for ``result.json`` and for
    messages.
    """
    place = {"run": str(folder)}
    if checkpoint:
        place["ckpt_path"] = str(checkpoint)
    words = ["fit", "--config", str(folder / RECIPE_NAME)]
    for name, value in place.items():
        words += [f"--{name}", value]
    return _start(words, {"subcommand": "fit", "fit": {**recipe, **place}})


def _start(arguments: Sequence[str], content: list[str] | dict[str, Any]) -> GLIPCLI:
    """Run a verb by ``content``, words or a configuration; messages quote ``arguments``."""
    register_classes()
    strict = {"exit_on_error": False, "allow_abbrev": False}
    try:
        with quiet_lightning():
            return GLIPCLI(
                arguments,
                GLIPModule,
                DetectionData,
                subclass_mode_data=True,
                args=content,
                auto_configure_optimizers=False,
                parser_class=RecipeParser,
                save_config_callback=None,
                parser_kwargs={**strict, **dict.fromkeys(VERBS, strict)},
            )
    except SystemExit as stop:  # Lightning makes it of Ctrl-C
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise stop.__context__ from None
        raise
