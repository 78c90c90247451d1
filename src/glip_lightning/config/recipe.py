"""A recipe file -> checked configuration -> a run in a folder of its own."""

import logging
import os
import shlex
import sys
import warnings
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

from glip_lightning.common.errors import GLIPError, is_ours
from glip_lightning.common.imports import not_installed_message
from glip_lightning.common.locks import FolderLock
from glip_lightning.config.arguments import meant_by, translated
from glip_lightning.config.continuing import check_checkpoint
from glip_lightning.config.everyday_options import RecipeParser
from glip_lightning.config.own_settings import fill_in
from glip_lightning.config.recipe_files import with_recipes
from glip_lightning.config.recipe_parser import (
    NOT_KEPT,
    PARTS,
    check_parts,
    complete_recipe,
    register_classes,
)
from glip_lightning.config.usage_errors import explain, options_of
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.training import run as runs
from glip_lightning.training.callbacks.progress import Lines, Progress
from glip_lightning.training.callbacks.run_folder import take_folder
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord, Verb
from glip_lightning.weights.run_files import RECIPE_NAME, goes_on

log = logging.getLogger(__name__)

VERBS = ("fit", "validate", "test")


class GLIPCLI(LightningCLI):
    """The verbs of :mod:`glip_lightning.training.run` with all that a recipe says."""

    model: GLIPModule
    datamodule: DetectionData

    def __init__(self, arguments: Sequence[str], *args: Any, **kwargs: Any) -> None:
        """Run the verb; Lightning does all of it in here. ``arguments`` are what a user would type for it."""
        self.arguments = list(arguments)
        self.lock = FolderLock()
        try:
            super().__init__(*args, **kwargs)
        finally:
            self.lock.release()

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        ours = {
            verb: names for verb, names in LightningCLI.subcommands().items() if verb != "predict"
        }
        return {verb: names | {"verbose"} for verb, names in ours.items()}  # the summary is ours

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add nothing; the seed is a part of the recipe."""

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for add_part in PARTS.values():
            add_part(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            raise self._explained(error) from None
        verb = str(self.config["subcommand"])
        config = self.config[verb]
        check_parts(config)
        if filled := fill_in(config.model, config.data, config.retention):
            named = ", ".join(f"{key} {value}" for key, value in filled.items())
            log.info("%s: %s, which the recipe leaves open", config.model.detector, named)
        self._take_folder(verb)

    def _take_folder(self, verb: str) -> None:
        """Take the folder and check the checkpoint before Lightning or anybody else reads it."""
        config = self.config[verb]
        run = Path(config.run) if config.run else None
        checkpoint = config.get("ckpt_path")
        if run and is_first_process():
            take_folder(run, goes_on(verb, run, checkpoint), self.lock)
        if checkpoint:
            check_checkpoint(checkpoint, verb, config.get("weights_only") is False)

    def _explained(self, error: ArgumentError) -> WrongUsage:
        verb = self.arguments[0]
        return explain(error, self.arguments, options_of(self._parser(verb)), verb)

    def _recipe(self, verb: str) -> dict[str, Any]:
        """Return the checked recipe, complete, as it stands in ``recipe.yaml``."""
        recipe = complete_recipe(self.parser, self.config)[verb]
        return {key: value for key, value in recipe.items() if key not in NOT_KEPT}

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, TypeError) as error:
            raise _first_cause(error) from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the record of the run, then the trainer; :mod:`~..training.run` brings them together."""
        verb = str(self.subcommand)
        given = self.config_init[f"{verb}.trainer"]
        self.record = self._record(verb, wandb=given.logger is not False)
        callbacks = _listed(given.callbacks, Callback)
        retention = self.config_init[verb].retention
        if verb == "fit" and retention:
            callbacks.append(
                retention
            )  # first: what cannot be read is known before a folder is made
        if given.enable_progress_bar is not False and not any(
            isinstance(c, ProgressBar) for c in callbacks
        ):
            callbacks.append(Progress() if sys.stdout.isatty() else Lines())
            kwargs["enable_progress_bar"] = sys.stdout.isatty()
        named = _listed(given.logger, Logger) or False
        root = {"default_root_dir": str(given.default_root_dir or Path.cwd())}
        try:
            return super().instantiate_trainer(callbacks=callbacks, logger=named, **root, **kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise GLIPError(f"trainer: {error}", code="bad-trainer") from None

    def _record(self, verb: str, wandb: bool) -> RunRecord:
        run = self.config[verb].run
        command = shlex.join(["glip", *self.arguments])
        folder = Path(run) if run else None
        return RunRecord(cast(Verb, verb), self._recipe(verb), command, folder, self.lock, wandb)

    def fit(self, model: GLIPModule, datamodule: DetectionData, **options: Any) -> None:
        runs.fit(model, datamodule, self.trainer, self.record, **options)

    def validate(self, model: GLIPModule, datamodule: DetectionData, **options: Any) -> None:
        runs.validate(model, datamodule, self.trainer, self.record, **options)

    def test(self, model: GLIPModule, datamodule: DetectionData, **options: Any) -> None:
        runs.test(model, datamodule, self.trainer, self.record, **options)


def is_first_process() -> bool:
    """Whether this is the process of a run that writes; known before there is a trainer."""
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return getattr(rank_zero_only, "rank", 0) == 0 and node == "0"


def _listed(given: Any, kind: type) -> list[Any]:
    """One, several or none (also true and false) as a list."""
    return (
        [given]
        if isinstance(given, kind)
        else list(given)
        if isinstance(given, list | tuple)
        else []
    )


def _first_cause(error: BaseException) -> BaseException:
    """Return what jsonargparse has wrapped into its paragraph about the ways in which a value could have been right.

    That is the first error of ours, which has explained its own cause, or where there is none the innermost error.
    """
    while not is_ours(error):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            break
        error = cause
    if isinstance(error, ModuleNotFoundError):
        return GLIPError(_not_installed(error), code="not-installed")
    return error


def _not_installed(error: ModuleNotFoundError) -> str:
    """Return the message about a package that a class of the recipe needs; Lightning names that of its loggers."""
    said = " ".join(str(error).split())
    if "tensorboard" in said:
        return not_installed_message("tensorboard", "trainer.logger", "tensorboard")
    return f"a class of the recipe needs a package that is not installed: {said}"


def run(arguments: Sequence[str]) -> GLIPCLI:
    """Run ``fit``, ``validate`` or ``test`` with the arguments of the command line."""
    words = meant_by(arguments)
    return _start(words, with_recipes(words, translated))


def fit_recipe(recipe: Mapping[str, Any], folder: Path, checkpoint: Path | None = None) -> GLIPCLI:
    """Run ``fit`` by a recipe in ``folder``, go on from ``checkpoint`` of an earlier run there if one is given."""
    place = {"run": str(folder), **({"ckpt_path": str(checkpoint)} if checkpoint else {})}
    words = [word for name, value in place.items() for word in (f"--{name}", value)]
    config = {"subcommand": "fit", "fit": {**recipe, **place}}
    return _start(["fit", "--config", str(folder / RECIPE_NAME), *words], config)


def _start(arguments: Sequence[str], content: list[str] | dict[str, Any]) -> GLIPCLI:
    """Run ``content``, which is what ``arguments`` mean."""
    _keep_quiet()
    register_classes()
    strict = {"exit_on_error": False, "allow_abbrev": False}
    try:
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
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise stop.__context__ from None
        raise


def _keep_quiet() -> None:
    """Warnings and advertisements of others that say nothing here."""
    warnings.filterwarnings(
        "ignore", message="LightningCLI's args parameter"
    )  # we pass what we were given
    warnings.filterwarnings(
        "ignore", message=".*LeafSpec.*"
    )  # raised inside lightning 2.6 on every fit
    warnings.filterwarnings(
        "ignore", message="The number of training batches"
    )  # few shots are few batches
    warnings.filterwarnings(
        "ignore", message=r"Found \d+ module\(s\) in eval mode"
    )  # what the tuning freezes
    warnings.filterwarnings(
        "ignore", message="Total length of `list` across ranks is zero"
    )  # no such split
    warnings.filterwarnings(
        "ignore", message="You're resuming from a checkpoint that ended before"
    )  # ours can
    warnings.filterwarnings(
        "ignore", message="Checkpoint directory .* exists"
    )  # there is a check of our own
    warnings.filterwarnings(
        "ignore", message="Experiment logs directory"
    )  # ours continues what is there
    warnings.filterwarnings(
        "ignore", message="This DataLoader will create"
    )  # said once, with the option's name
    warnings.filterwarnings(
        "ignore", message="The `srun` command is available"
    )  # sweeps submit, fit need not
    logging.getLogger("lightning.pytorch").setLevel(
        logging.WARNING
    )  # advertisements among the news
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
