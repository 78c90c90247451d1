"""The end of a run: what it leaves in its folder."""

import json

from lightning import Trainer

from glip_lightning.common.files import write_text
from glip_lightning.data.types import Split
from glip_lightning.training.callbacks.prediction_pictures import PREDICTIONS
from glip_lightning.training.logging.loggers import close
from glip_lightning.training.logging.wandb_run import CarefulWandb, conclude, sync_command
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord
from glip_lightning.training.result import print_summary, result_of, write_result

DETECTIONS_NAME = "detections.json"


def finish(record: RunRecord, trainer: Trainer, module: GLIPModule) -> None:
    """Write what was learned and what was reached into the folder of the run, after its last evaluation.

    That is ``result.json``, ``detections.json`` (COCO results of the last split that was evaluated) and, if something
    was trained, what :meth:`GLIPModule.keep` writes, which ``glip predict`` uses. The first process does it.
    """
    if not trainer.is_global_zero:
        return
    folder = record.folder
    assert folder is not None
    result = result_of(record, trainer, module)
    if record.fitted:
        module.keep(folder)
    split: Split = "test" if record.metrics["test"] else "valid"
    conclude(trainer.loggers, result, module.data.datasets.get(split))
    close(trainer.loggers)
    write_text(folder / DETECTIONS_NAME, json.dumps(record.detections))
    write_result(folder, result)
    logs = [str(folder / "logs" / "metrics.csv")]
    if any(isinstance(logger, CarefulWandb) for logger in trainer.loggers):
        logs.append(f"{folder / 'wandb'} (W&B)")
        logs += [command] if (command := sync_command(folder)) else []
    print_summary(result, folder, sorted((folder / PREDICTIONS).glob("*.jpg")), logs)
