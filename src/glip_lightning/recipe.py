"""A recipe file -> checked configuration -> a run in a folder of its own."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import yaml
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger

from .callbacks import RESULT_NAME, RunFolder
from .datamodules import DetectionData
from .module import GLIPModule

RUNS = Path("runs")


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

    def instantiate_trainer(self, **kwargs: object) -> Trainer:
        self.folder = self._folder()
        recipe = yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self.subcommand]
        given = self.config_init[f"{self.subcommand}.trainer.callbacks"] or []  # pyrefly: ignore
        own: list[Callback] = [RunFolder(self.folder, recipe)]
        if self.subcommand == "fit":
            checkpoints = self.folder / "checkpoints"
            own.append(ModelCheckpoint(checkpoints, filename="best", monitor="val/AP", mode="max", save_last=True))
        logger = CSVLogger(self.folder, name="", version="logs")
        return super().instantiate_trainer(
            default_root_dir=str(self.folder), logger=logger, callbacks=[*given, *own], **kwargs
        )

    def _folder(self) -> Path:
        given = self._get(self.config, "run")
        if given is None:
            return next_folder(RUNS, self.datamodule.label)
        folder = Path(given)
        if (folder / RESULT_NAME).exists() and self.subcommand == "fit":
            raise FileExistsError(f"--run {folder}: holds a finished run; choose another folder or remove it")
        return folder

    def after_fit(self) -> None:
        best = self.trainer.checkpoint_callback
        assert isinstance(best, ModelCheckpoint)
        self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=best.best_model_path or None)
        metrics = self.model.results
        print(
            f"AP {metrics['test']['AP']:.3f}, AP50 {metrics['test']['AP50']:.3f} on {metrics['test']['images']} test "
            f"images\nrun      {self.folder}\npictures {self.folder / 'predictions'}\n"
            f"next     glip predict PHOTO --detector {self.folder}"
        )


def next_folder(parent: Path, label: str) -> Path:
    """``parent/label-001`` or the first number after it that is free."""
    number = 1
    while (folder := parent / f"{label}-{number:03}").exists():
        number += 1
    return folder


def run(arguments: Sequence[str]) -> GLIPCLI:
    """Run ``fit``, ``validate`` or ``test`` with the arguments of the command line."""
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")  # we pass what we were given
    return GLIPCLI(
        GLIPModule,
        DetectionData,
        subclass_mode_data=True,
        args=list(arguments),
        auto_configure_optimizers=False,
        save_config_callback=None,
        trainer_defaults={"use_distributed_sampler": False},
        seed_everything_default=0,
    )
