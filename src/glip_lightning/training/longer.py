"""Whether a finished run can be trained for longer, and the command to use where it cannot."""

import itertools
import shlex
from pathlib import Path
from typing import Any

from lightning import Trainer

from glip_lightning.common.errors import GLIPError
from glip_lightning.training.callbacks.run_folder import RECIPE_NAME
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.trial import TRIAL_NAME
from glip_lightning.weights.run_files import RUN_ADAPTER, RUN_DETECTOR, read_result


def check_longer(folder: Path, module: GLIPModule, trainer: Trainer) -> None:
    """Check that the finished run in ``folder`` can be trained up to the trainer's end.

    Raises:
        GLIPError: that end is not later than the run's (code ``no-later-end``); or the run cannot
            go on (``finished-run``): its learning rates depend on its end, it was ended early, or
            it belongs to a sweep. The message has a command that works. Or ``result.json`` is
            damaged (:func:`~.run_files.read_result`).
    """
    result = read_result(folder, ("steps", "epochs", "ended", "weights"))
    schedule = type(module.schedule).__name__
    if (folder / TRIAL_NAME).exists():
        why = "it is a trial of a sweep, whose recipe says how long all are trained"
    elif result["ended"]:
        why = f"its training was ended: {result['ended']}"
    elif module.schedule.needs_end:
        why = f"the learning rate of {schedule} has come to its end, which was set at the start"
    else:
        _check_later_end(folder, result, trainer)
        return
    raise GLIPError(
        f"{folder}: this run is finished and cannot be trained for longer: {why}; "
        f"{command_from(folder, result)}",
        code="finished-run",
    )


def _check_later_end(folder: Path, result: dict[str, Any], trainer: Trainer) -> None:
    """Raise GLIPError for an end of the trainer that the run has reached."""
    epochs, steps = result["epochs"], result["steps"]
    reached: list[str] = []
    if trainer.max_epochs not in (None, -1) and trainer.max_epochs <= epochs:
        reached.append(f"--trainer.max_epochs {trainer.max_epochs}")
    if trainer.max_steps != -1 and trainer.max_steps <= steps:
        reached.append(f"--trainer.max_steps {trainer.max_steps}")
    if reached:
        raise GLIPError(
            f"{folder}: this run is finished after epoch {epochs}, step {steps}; "
            f"{' and '.join(reached)}: give a number above that",
            code="no-later-end",
        )


def command_from(folder: Path, result: dict[str, Any]) -> str:
    """Return, in words, the command that starts a new run from the weights of a finished one.

    Without a detector in the folder it starts a run like it.
    """
    names = (f"{folder}-{number}" for number in itertools.count(2))
    new = next(name for name in names if not Path(name).exists())
    words = ["glip", "fit", "--config", str(folder / RECIPE_NAME), "--run", new]
    if not any((folder / name).is_dir() for name in (RUN_DETECTOR, RUN_ADAPTER)):
        return f"start another one like it: {shlex.join(words)}"
    words += ["--model.detector", str(folder)]
    if result["weights"] == "random":
        words += ["--model.weights", "pretrained"]
    return f"start a new one from its weights: {shlex.join(words)}"
