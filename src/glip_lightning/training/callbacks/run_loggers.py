"""The loggers of a run: the table of its metrics always, W&B unless another one is named."""

from collections.abc import Sequence

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from typing_extensions import override

from glip_lightning.training.logging.loggers import close, log_settings, make_loggers
from glip_lightning.training.logging.metrics_table import MetricsTable
from glip_lightning.training.logging.run_names import UNTUNED, RunLabels, label_run, label_trial
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord


class RunLoggers(Callback):
    """Gives the trainer the loggers of the run, and continues the table of an interrupted run.

    It has to come after :class:`~.run_folder.RunFolder`, which makes the folder.
    """

    def __init__(self, record: RunRecord, named: Sequence[Logger]) -> None:
        """Take the loggers ``named`` in the recipe or given to the trainer."""
        self.record, self._named = record, named
        self._made = False

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._made:
            return
        assert isinstance(pl_module, GLIPModule)
        assert self.record.folder is not None
        self._made = True
        labels = run_labels(self.record, pl_module)
        wandb = self.record.wandb and trainer.is_global_zero
        trainer.loggers = make_loggers(self.record.folder, labels, self._named, wandb)
        if trainer.is_global_zero:
            data = pl_module.data
            content = {"recipe": self.record.recipe, **data.chosen(), "classes": data.class_names}
            log_settings(trainer.loggers, content)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _continue_table(trainer)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # a run that was killed after its last step never comes to on_train_start
        _continue_table(trainer)

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        close(trainer.loggers, status=1)


def _continue_table(trainer: Trainer) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, MetricsTable):
            logger.forget_from(trainer.global_step)


def run_labels(record: RunRecord, module: GLIPModule) -> RunLabels:
    """Return the labels of a run: those of its trial in a sweep, else of its own data and tuning.

    The job type is the tuning of a fit, and the verb of other runs.
    """
    if record.trial is not None:
        return label_trial(record.trial, module.detector)
    assert record.folder is not None
    data, tuning = module.data, type(module.tuning).__name__
    if record.verb == "fit" and data.shots == 0:
        tuning = UNTUNED
    axes = {"task": data.task_name, "shots": data.shots, "seed": data.seed, "tuning": tuning}
    job_type = tuning if record.verb == "fit" else record.verb
    return label_run(record.folder, data.label, job_type, axes, module.detector)
