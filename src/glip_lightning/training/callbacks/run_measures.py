"""What a run measures of itself for its record: its time, and what it trains."""

from dataclasses import asdict
from typing import Any

from lightning import Callback, LightningModule, Trainer

from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord


class RunTime(Callback):
    """Adds the seconds of the processes in which an interrupted run has worked before."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self._fitting = False

    @property
    def state_key(self) -> str:
        """The name that it has in checkpoints since version 0.1."""
        return "RunFolder"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._fitting = stage == "fit"

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.record.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        if self._fitting:  # not when the best checkpoint is evaluated
            self.record.earlier = state_dict["seconds"]


class TrainedParameters(Callback):
    """Counts what is trained, and notes the rates and decays that training begins with."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Not when the training starts: a run that was killed after its last step trains no more."""
        assert isinstance(pl_module, GLIPModule)
        self.record.groups = group_settings(trainer)
        self.record.parts = {name: asdict(part) for name, part in pl_module.parts().items()}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.record.fitted = trainer.global_step > 0


def group_settings(trainer: Trainer) -> list[dict[str, Any]]:
    """Learning rate and weight decay of each parameter group as the run began."""
    return [
        {
            "name": group.get("name", str(number)),
            "lr": group.get("initial_lr", group["lr"]),
            "weight_decay": group.get("weight_decay"),
            "parameters": sum(p.numel() for p in group["params"]),
        }
        for optimizer in trainer.optimizers
        for number, group in enumerate(optimizer.param_groups)
    ]
