"""Callbacks that note in the record of a run how long it took, and which parameters it trains."""

from dataclasses import asdict
from typing import Any

from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord


class RunTime(Callback):
    """Adds the seconds that an interrupted run took before, in other processes, to its record."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self._fitting = False

    @property
    def state_key(self) -> str:
        """The key of its state in checkpoints, the same since version 0.1."""
        return "RunFolder"

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._fitting = stage == "fit"

    @override
    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.record.seconds}

    @override
    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        if self._fitting:  # not when the best checkpoint is evaluated
            self.record.earlier = state_dict["seconds"]


class TrainedParameters(Callback):
    """Notes how many parameters are trained, and the first learning rates and weight decays."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note rates and parameters.

        This is not in ``on_train_start``: a run that was killed after its last step never gets
        there.
        """
        assert isinstance(pl_module, GLIPModule)
        self.record.groups = group_settings(trainer)
        self.record.parts = {name: asdict(part) for name, part in pl_module.parts().items()}

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.record.fitted = trainer.global_step > 0


def group_settings(trainer: Trainer) -> list[dict[str, Any]]:
    """Return name, first learning rate, weight decay and size of each parameter group."""
    settings: list[dict[str, Any]] = []
    for optimizer in trainer.optimizers:
        for number, group in enumerate(optimizer.param_groups):
            settings.append(
                {
                    "name": group.get("name", str(number)),
                    "lr": group.get("initial_lr", group["lr"]),
                    "weight_decay": group.get("weight_decay"),
                    "parameters": sum(p.numel() for p in group["params"]),
                }
            )
    return settings
