"""Whether a finished run can be trained for longer, and what works where it cannot."""

import itertools
import json
import shlex
from pathlib import Path

from lightning import Trainer

from glip_lightning.common.errors import GLIPError
from glip_lightning.training.callbacks.run_folder import RECIPE_NAME
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.trial import TRIAL_NAME
from glip_lightning.weights.run_files import RESULT_NAME, RUN_ADAPTER, RUN_DETECTOR


def check_longer(folder: Path, module: GLIPModule, trainer: Trainer) -> None:
    """Let the finished run in ``folder`` be trained up to the end that ``trainer`` says.

    Raises:
        GLIPError: that is no later end (code ``no-later-end``); or the run cannot go on (``finished-run``), since its
            learning rates depend on its end, something else than its end has ended it, or it belongs to a sweep. The
            message holds a command that works.
    """
    result = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
    epochs, steps = result["epochs"], result["steps"]
    name = type(module.schedule).__name__
    if (folder / TRIAL_NAME).exists():
        why = "it is a trial of a sweep, whose recipe says how long all are trained"
    elif result["ended"]:
        why = f"its training was ended: {result['ended']}"
    elif module.schedule.needs_end:
        why = (
            f"under {name} the learning rate has come to its end, which was set when the run began"
        )
    else:
        bounds = (
            ("max_epochs", trainer.max_epochs, epochs),
            ("max_steps", trainer.max_steps, steps),
        )
        early = [
            f"--trainer.{key} {bound}"
            for key, bound, done in bounds
            if bound not in (None, -1) and bound <= done
        ]
        if not early:
            return
        message = f"{folder}: this run is finished after epoch {epochs}, step {steps}; "
        raise GLIPError(
            f"{message}{' and '.join(early)}: give a number above that", code="no-later-end"
        )
    message = f"{folder}: this run is finished and cannot be trained for longer: {why}"
    raise GLIPError(f"{message}; {command_from(folder, result)}", code="finished-run")


def command_from(folder: Path, result: dict[str, object]) -> str:
    """Return the command that starts a new run from the weights of a finished one, if it has left a detector."""
    new = next(f"{folder}-{n}" for n in itertools.count(2) if not Path(f"{folder}-{n}").exists())
    words = ["glip", "fit", "--config", str(folder / RECIPE_NAME), "--run", new]
    if not any((folder / name).is_dir() for name in (RUN_DETECTOR, RUN_ADAPTER)):
        return f"start another one like it: {shlex.join(words)}"
    words += ["--model.detector", str(folder)]
    if result["weights"] == "random":
        words += ["--model.weights", "pretrained"]
    return f"start a new one from its weights: {shlex.join(words)}"
