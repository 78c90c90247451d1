"""A recipe file -> checked configuration -> a run in a folder of its own."""

import itertools
import logging
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from .callbacks import RESULT_NAME, RunFolder
from .datamodules import DetectionData
from .module import GLIPModule

RUNS = Path("runs")
FOLDER_VARIABLE = "GLIP_RUN_FOLDER"


class GLIPCLI(LightningCLI):
    """``fit`` trains, re-loads the weights of the best ``val/AP``, tests them and keeps the detector."""

    model: GLIPModule
    datamodule: DetectionData

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {verb: names for verb, names in LightningCLI.subcommands().items() if verb != "predict"}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run", type=str, default=None, help="folder for all that the run leaves (default: runs/<data>-<number>)"
        )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        self.folder = self._folder()
        given = self.config_init[f"{self.subcommand}.trainer"]
        callbacks = [given.callbacks] if isinstance(given.callbacks, Callback) else list(given.callbacks or [])
        recipe = yaml.safe_load(self.parser.dump(self.config))[self.subcommand]
        callbacks.append(RunFolder(self.folder, recipe))
        if self.subcommand == "fit":
            folder = self.folder / "checkpoints"
            self.best = ModelCheckpoint(folder, filename="best", monitor="val/AP", mode="max")
            last = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True)  # to resume from
            callbacks += [self.best, last]
        if given.logger in (None, True):
            kwargs["logger"] = CSVLogger(self.folder, name="", version="logs")
        return super().instantiate_trainer(default_root_dir=str(self.folder), callbacks=callbacks, **kwargs)

    def _folder(self) -> Path:
        """The folder of the run. Processes that this one starts take it from the environment."""
        given = self.config[f"{self.subcommand}.run"] or (os.environ.get(FOLDER_VARIABLE) if _rank() else None)
        if given is None and _rank():
            raise ValueError("--run: give the run's folder where processes are started from outside (torchrun, SLURM)")
        folder = claim_folder(RUNS, self.datamodule.label) if given is None else Path(given)
        if (folder / RESULT_NAME).exists():
            raise FileExistsError(f"--run {folder}: holds a finished run; choose another folder or remove it")
        os.environ[FOLDER_VARIABLE] = str(folder)
        return folder

    def after_fit(self) -> None:
        """Validate and test the weights of the best ``val/AP``; the last ones where nothing was validated."""
        self.model.best_epoch = None
        best = self.best.best_model_path or None
        self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False)
        self.trainer.test(self.model, datamodule=self.datamodule)  # the weights that validate has loaded
        metrics = self.model.results["test"]
        if self.trainer.is_global_zero:
            print(
                f"AP {metrics['AP']:.3f}, AP50 {metrics['AP50']:.3f} on {metrics['images']} test images\n"
                f"run      {self.folder}\npictures {self.folder / 'predictions'}\n"
                f"next     glip predict PHOTO --detector {self.folder}"
            )


def claim_folder(parent: Path, label: str) -> Path:
    """Make ``parent/label-001`` or the first number after it that nobody has."""
    for number in itertools.count(1):
        folder = parent / f"{label}-{number:03}"
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("counting ends")


def _rank() -> int:
    return getattr(rank_zero_only, "rank", None) or 0


def run(arguments: Sequence[str]) -> GLIPCLI:
    """Run ``fit``, ``validate`` or ``test`` with the arguments of the command line."""
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")  # we pass what we were given
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # raised inside lightning 2.6 on every fit
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # advertisements among the news
    return GLIPCLI(
        GLIPModule,
        DetectionData,
        subclass_mode_data=True,
        args=list(arguments),
        auto_configure_optimizers=False,
        save_config_callback=None,
        trainer_defaults={"use_distributed_sampler": False, "enable_model_summary": False},
        seed_everything_default=0,
    )
