"""A recipe file -> checked configuration -> a run in a folder of its own."""

import logging
import os
import shlex
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from jsonargparse import Namespace
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateMonitor, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from glip_lightning.common import registry
from glip_lightning.common.errors import is_ours
from glip_lightning.common.locks import FolderLock
from glip_lightning.common.schema import shown
from glip_lightning.config.class_paths import of_a_run, with_public_names
from glip_lightning.config.continuing import check_checkpoint, resumed
from glip_lightning.config.recipe_files import given_recipes, with_recipes
from glip_lightning.config.usage_errors import Option, WrongUsage, explain
from glip_lightning.training import data_sources, pretraining  # noqa: F401 - a recipe may name their classes
from glip_lightning.training.batching import GlobalBatch
from glip_lightning.training.callbacks import divergence, ema  # noqa: F401 - as above
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from glip_lightning.training.callbacks.estimate import Estimate
from glip_lightning.training.callbacks.progress import Lines, Progress
from glip_lightning.training.callbacks.resume import LAST, Resumable
from glip_lightning.training.callbacks.retention import Retention
from glip_lightning.training.callbacks.run_folder import CHECKPOINTS, RECIPE_NAME, RunFolder, take_folder
from glip_lightning.training.callbacks.sample_pictures import SamplePictures
from glip_lightning.training.checkpoint_files import damage
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.module import GLIPModule
from glip_lightning.tuning import lora  # noqa: F401 - as above
from glip_lightning.tuning.base import Tuning
from glip_lightning.tuning.prompt import SavedPrompt
from glip_lightning.tuning.weight_tunings import FullTuning
from glip_lightning.weights.adapter import RUN_ADAPTER
from glip_lightning.weights.detector_files import check_detector
from glip_lightning.weights.load import RUN_DETECTOR
from glip_lightning.weights.prompt_file import PROMPT_NAME

log = logging.getLogger(__name__)

CLI = TypeVar("CLI", bound="GLIPCLI")

NOT_KEPT = ("config", "run", "resume", "ckpt_path")  # belong to one start, not to the recipe
VERBS = ("fit", "validate", "test")
DEFAULTS = {"use_distributed_sampler": False, "enable_model_summary": False, "log_every_n_steps": 5}


class GLIPCLI(LightningCLI):
    """``fit`` trains, re-loads the weights of the best ``val/AP``, tests them and keeps the detector."""

    model: GLIPModule
    datamodule: DetectionData

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Run the verb; Lightning does all of it in here."""
        self.lock = FolderLock()
        try:
            super().__init__(*args, **kwargs)
        finally:
            self.lock.release()

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        ours = {verb: names for verb, names in LightningCLI.subcommands().items() if verb != "predict"}
        return {verb: names | {"verbose"} for verb, names in ours.items()}  # the summary is ours

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run", type=str, default=None, help="folder for all that the run leaves (default: runs/<data>-<number>)"
        )
        parser.add_argument(
            "--resume", type=str, default=None, metavar="RUN", help="fit only: go on with the interrupted run in RUN"
        )
        text = "fit only: AP on another set before and after, and of weights between (default: none)"
        parser.add_argument("--retention", type=Retention | None, default=None, help=text)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.arguments: list[str] = list(args)
        try:
            super().parse_arguments(parser, with_recipes(self.arguments, _translated))
        except ArgumentError as error:
            raise self._explained(error, self.arguments) from None
        verb = str(self.config["subcommand"])
        _check_parts(self.config[verb])
        self._take_folder(verb)

    def _take_folder(self, verb: str) -> None:
        """Take the folder and check the checkpoint before Lightning or anybody else reads it."""
        config = self.config[verb]
        run = Path(config.run) if config.run else None
        checkpoint = config.get("ckpt_path")
        resuming = bool(run and checkpoint and Path(checkpoint).resolve().is_relative_to(run.resolve()))
        if run and is_first_process():
            take_folder(run, resuming, self.lock)
        if checkpoint:
            check_checkpoint(checkpoint, verb, config.get("weights_only") is False)

    def _explained(self, error: ArgumentError, arguments: Sequence[str]) -> WrongUsage:
        verb = arguments[0]
        actions = self._parser(verb)._actions
        options = [Option(action.dest, getattr(action, "_typehint", None)) for action in actions]
        return WrongUsage(explain(error, arguments, options, verb))

    def _recipe(self, verb: str) -> dict[str, Any]:
        """Return the configuration of the last parse, complete, as it stands in ``recipe.yaml``."""
        recipe = with_public_names(yaml.safe_load(self.parser.dump(self.config, skip_none=False))[verb])
        return {key: value for key, value in recipe.items() if key not in NOT_KEPT}

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, TypeError) as error:
            raise _first_cause(error) from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self.config_init[f"{self.subcommand}.trainer"]
        named = _listed(given.logger, Logger)
        callbacks = _listed(given.callbacks, Callback)
        self.run_folder = self._run_folder(named, wandb=given.logger is not False)
        self.retention: Retention | None = self.config_init[str(self.subcommand)].retention
        if self.subcommand == "fit" and self.retention:
            callbacks.append(self.retention)  # first: what cannot be read is known before a folder is made
        callbacks += [self.run_folder, SamplePictures()]
        if given.enable_progress_bar is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
            callbacks.append(Progress() if sys.stdout.isatty() else Lines())
            kwargs["enable_progress_bar"] = sys.stdout.isatty()
        if self.subcommand == "fit":
            self.best = BestCheckpoint()
            callbacks += [GlobalBatch(), Estimate(), LearningRateMonitor()]
            callbacks += [self.best, Resumable(CHECKPOINTS)]  # in the folder that RunFolder finds
        root = {"default_root_dir": str(given.default_root_dir or Path.cwd())}
        try:
            return super().instantiate_trainer(callbacks=callbacks, logger=named or False, **root, **kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise ValueError(f"trainer: {error}") from None

    def _run_folder(self, named: list[Logger], wandb: bool) -> RunFolder:
        config = self.config[str(self.subcommand)]
        return RunFolder(
            Path(config.run) if config.run else None,
            str(self.subcommand),
            self._recipe(str(self.subcommand)),
            shlex.join(["glip", *self.arguments]),
            self.lock,
            loggers=named,
            wandb=wandb,
        )

    def fit(self, **kwargs: Any) -> None:
        refuse_untrained(self.model.tuning)
        if self.datamodule.shots == 0:
            log.info("data.shots 0: nothing is trained, the starting weights are evaluated")
            self.model.tuning = FullTuning()  # learned words would be random ones
        else:
            self.trainer.fit(**kwargs)

    def after_fit(self) -> None:
        """Validate and test the weights of the best ``val/AP``; the last ones where nothing was validated."""
        self.model.best_epoch = None
        try:
            learned = self._learned()
            self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path=learned, verbose=False)
            if learned and Path(learned).name == LAST:
                self.model.best_epoch = None
            if self.retention:
                self.retention.conclude(self.trainer, self.model)
            self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)  # what validate has loaded
        except Exception:  # a photo that cannot be read must not cost the training; after Ctrl-C it can go on
            self.run_folder.finish(self.trainer, self.model)
            raise
        self.run_folder.finish(self.trainer, self.model)

    def _learned(self) -> str | None:
        """Return the checkpoint with the weights that the run keeps; None for those that the model has."""
        if self.datamodule.shots == 0:
            return None
        best, last = self.best.best_model_path, self.run_folder.folder / CHECKPOINTS / LAST
        if best and (wrong := damage(Path(best))):
            self.best.lose(wrong, f"the weights of {LAST} are evaluated and kept")
            return str(last)
        if not best and self.trainer.ckpt_path and last.is_file():
            return str(last)  # a run that was over when it was resumed has not got its average back
        return best or None

    def validate(self, **kwargs: Any) -> None:
        self.trainer.validate(**kwargs, verbose=False)
        self.run_folder.finish(self.trainer, self.model)

    def test(self, **kwargs: Any) -> None:
        self.trainer.test(**kwargs, verbose=False)
        self.run_folder.finish(self.trainer, self.model)


def is_first_process() -> bool:
    """Whether this is the process of a run that writes; known before there is a trainer."""
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return getattr(rank_zero_only, "rank", 0) == 0 and node == "0"


class Resolved(NamedTuple):
    recipe: dict[str, Any]  # complete, as a run writes it
    data: DetectionData  # built, not read
    tuning: Tuning | None
    probe: DetectionData | None  # of retention


class Resolver(GLIPCLI):
    """Checks recipes of ``fit`` one after another. Builds neither detector nor trainer, seeds nothing."""

    def resolve(self, file: Path, content: Mapping[str, Any], options: Sequence[str]) -> Resolved:
        """The recipe ``content``, read from ``file`` (for messages), with ``options`` of the command line.

        Raises :class:`WrongUsage` for keys and types, ValueError for values that data, tuning or schedule refuse.
        """
        try:
            self.config = self.parser.parse_args(["fit", "--config", yaml.safe_dump(dict(content)), *fresh(options)])
        except ArgumentError as error:
            raise self._explained(error, ["fit", "--config", str(file), *options]) from None
        given = self.config["fit"]
        _check_parts(given)
        check_detector(given.model.detector)
        tuning, _ = (part and _built(part) for part in (given.model.tuning, given.model.schedule))
        refuse_untrained(tuning)
        probe = given.retention and _built(given.retention.init_args.data)
        return Resolved(self._recipe("fit"), _built(given.data), tuning, probe)

    def _set_seed(self) -> None: ...

    def instantiate_classes(self) -> None: ...

    def _run_subcommand(self, subcommand: str) -> None: ...


def _check_parts(config: Namespace) -> None:
    """Raise an error if model or trainer is no mapping: the parser takes whatever stands there (``model: false``)."""
    for name in ("model", "trainer"):
        if not isinstance(config[name], Namespace):
            raise WrongUsage(f"{name}: {shown(config[name])}, expected a mapping of the options of --{name}")


def refuse_untrained(tuning: Tuning | None) -> None:
    """An error for what ``fit`` cannot train."""
    if isinstance(tuning, SavedPrompt):
        raise ValueError(f"model.tuning SavedPrompt trains nothing; glip test and validate evaluate {tuning.file}")


def _built(given: Any) -> Any:
    module, _, name = given.class_path.rpartition(".")
    return getattr(import_module(module), name)(**given.get("init_args", Namespace()).as_dict())


def _translated(recipe: str) -> str:
    """Return a recipe as text in which classes have their present names if a run wrote it; else its path as it is."""
    if not of_a_run(Path(recipe)):
        return recipe
    content = yaml.safe_load(Path(recipe).read_text(encoding="utf-8"))
    present = with_public_names(content)
    return recipe if present == content else yaml.safe_dump(present)


def resolver() -> Resolver:
    """Making its parser takes longer than checking a recipe with it."""
    _keep_quiet()
    return _start(Resolver, ["fit", "--data", "CustomData", "--data.root", "."])


def _listed(given: Any, kind: type) -> list[Any]:
    """One, several or none (also true and false) as a list."""
    return [given] if isinstance(given, kind) else list(given) if isinstance(given, list | tuple) else []


def _first_cause(error: BaseException) -> BaseException:
    """Return what jsonargparse has wrapped into its paragraph about the ways in which a value could have been right.

    That is the first error of ours, which has explained its own cause, or where there is none the innermost error.
    """
    while not is_ours(error):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            break
        error = cause
    if isinstance(error, ModuleNotFoundError) and "tensorboard" in str(error):
        return ValueError("trainer.logger: TensorBoard is not installed: pip install 'glip-lightning[tensorboard]'")
    return error


def fresh(arguments: Sequence[str]) -> list[str]:
    """Another tuning or schedule on the command line begins with its own defaults: jsonargparse would keep what the
    recipe says for the other one (a learning rate!) wherever the names agree."""
    kept: list[str] = []
    for argument in arguments:
        name = argument.split("=")[0]
        if name in ("--model.tuning", "--model.schedule"):
            if early := next((a for a in kept if a.startswith(f"{name}.")), None):
                raise WrongUsage(f"{name}: give it before {early.split('=')[0]}, which is an option of it")
            kept.append(f"{name}=null")
        kept.append(argument)
    return kept


def finished(arguments: Sequence[str]) -> list[str]:
    """``test`` and ``validate`` of a finished run's own recipe mean what it learned, not what it started from."""
    runs = [Path(file).parent for file in given_recipes(arguments) if Path(file).name == RECIPE_NAME]
    learned = (RUN_DETECTOR, RUN_ADAPTER, PROMPT_NAME)
    run = next((run for run in runs if any((run / name).exists() for name in learned)), None)
    given = ("--model.detector", "--model.tuning", "--ckpt_path")  # a checkpoint fits what the run started from
    named = any(a.split("=")[0] in given for a in arguments)
    if arguments[0] not in ("validate", "test") or run is None or named:
        return list(arguments)
    changed = list(arguments)
    if (run / RUN_DETECTOR).is_dir() or (run / RUN_ADAPTER).is_dir():
        log.info("the detector of the finished run %s", run)
        changed += [f"--model.detector={run}", "--model.weights=pretrained"]
    if (run / PROMPT_NAME).is_file():
        log.info("the tuned prompt of the finished run %s", run)
        changed += ["--model.tuning=SavedPrompt", f"--model.tuning.file={run / PROMPT_NAME}"]
    return changed


def run(arguments: Sequence[str]) -> GLIPCLI:
    """Run ``fit``, ``validate`` or ``test`` with the arguments of the command line."""
    _keep_quiet()
    try:
        return _start(GLIPCLI, fresh(finished(resumed(arguments))))
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise stop.__context__ from None
        raise


def _start(kind: type[CLI], arguments: Sequence[str]) -> CLI:
    for table in (registry.data_modules, registry.callbacks):
        table.rows()  # imports them: a recipe may name classes without their path
    strict = {"exit_on_error": False, "allow_abbrev": False}
    return kind(
        GLIPModule,
        DetectionData,
        subclass_mode_data=True,
        args=list(arguments),
        auto_configure_optimizers=False,
        save_config_callback=None,
        trainer_defaults=DEFAULTS,
        seed_everything_default=0,
        parser_kwargs={**strict, **dict.fromkeys(VERBS, strict)},
    )


def _keep_quiet() -> None:
    """Warnings and advertisements of others that say nothing here."""
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")  # we pass what we were given
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # raised inside lightning 2.6 on every fit
    warnings.filterwarnings("ignore", message="The number of training batches")  # few shots are few batches
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")  # what the tuning freezes
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")  # no such split
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before")  # ours can
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists")  # there is a check of our own
    warnings.filterwarnings("ignore", message="Experiment logs directory")  # ours continues what is there
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # advertisements among the news
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
