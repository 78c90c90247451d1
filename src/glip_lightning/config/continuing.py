"""Which checkpoint a command uses, and what still works if the checkpoint is damaged."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.schema import parse_yaml
from glip_lightning.config.early_checks import is_path
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.training.checkpoint_files import checkpoint_content, damage
from glip_lightning.weights.run_files import (
    BEST,
    CHECKPOINTS,
    LAST,
    RECIPE_NAME,
    RESULT_NAME,
    is_in_run,
)

PLAIN = (bool, int, float, str, list)
ENDS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
MAY_CHANGE = (
    *ENDS,
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.logger",
    "trainer.enable_progress_bar",
    "data.root",
    "data.workers",
    "data.images_per_device",
)
"""Options that may change when a run is resumed.

Others come from the checkpoint, or the first steps of the run were made with them.
"""
NO_SETTINGS = ("help", "print_config", "weights_only")
"""Options of one start that change nothing in the run."""


def resumed(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that ``fit --resume RUN`` stands for; others come back as they are.

    They name the run's recipe, its folder and its last checkpoint.

    Raises:
        WrongUsage: the option is not for this verb, it has no value, or another option contradicts
            it or the run.
        GLIPError: the folder is no run (code ``no-run``), the run is finished (``finished-run``) or
            has no checkpoint (``no-checkpoint``).
    """
    words = _with_split_resume(arguments)
    if "--resume" not in words:
        return list(arguments)
    place = words.index("--resume")
    others = [*words[1:place], *words[place + 2 :]]
    if words[0] != "fit":
        raise WrongUsage(
            "--resume: goes on with a training, glip fit --resume RUN", code="option-without-use"
        )
    if len(words) < place + 2:
        raise WrongUsage(
            "--resume: a value is missing, the folder of the interrupted run", code="missing-value"
        )
    of_run = ("--run", "--config", "-c", "--ckpt_path")
    taken = [word for word in others if word.split("=")[0] in of_run]
    if taken:
        raise WrongUsage(
            f"{taken[0]}: not together with --resume, which takes it from the run",
            code="exclusive-options",
        )
    run = Path(words[place + 1])
    last = run / CHECKPOINTS / LAST
    recipe = run / RECIPE_NAME
    if not recipe.is_file():
        raise MissingFile(
            f"--resume {run}: no {RECIPE_NAME} in it, this is not the folder of a run",
            code="no-run",
        )
    keys = [_key(word) for word in others if word.startswith("--")]
    _refuse_changes(run, keys)
    _check_resumable(run, has_new_end=any(_is_one_of(key, ENDS) for key in keys))
    return ["fit", "--config", str(recipe), "--run", str(run), "--ckpt_path", str(last), *others]


def _with_split_resume(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` with ``--resume=RUN`` as two words."""
    words = []
    for word in arguments:
        if word.startswith("--resume="):
            words += word.split("=", 1)
        else:
            words.append(word)
    return words


def _check_resumable(run: Path, has_new_end: bool) -> None:
    """Raise GLIPError for a run that is finished and has no new end, or that has no checkpoint."""
    start_anew = _start_anew(run)
    if (run / RESULT_NAME).exists() and not has_new_end:
        raise GLIPError(
            f"--resume {run}: this run is finished; it goes on with a larger --trainer.max_epochs, "
            f"{start_anew} starts another one like it",
            code="finished-run",
        )
    last = run / CHECKPOINTS / LAST
    if not last.exists():
        raise MissingFile(
            f"--resume {run}: there is no {last}, nothing was saved yet; {start_anew} starts anew",
            code="no-checkpoint",
        )


def _start_anew(run: Path) -> str:
    """Return the command that starts another run by the recipe of this one."""
    return shlex.join(["glip", "fit", "--config", str(run / RECIPE_NAME)])


def _key(option: str) -> str:
    """Return the key of a recipe that an option sets."""
    return option.split("=")[0].removeprefix("--").replace(".init_args", "").rstrip("+")


def _is_one_of(key: str, known: Sequence[str]) -> bool:
    """Return whether ``key`` is one of the known keys or an argument of one."""
    return any(key == name or key.startswith(f"{name}.") for name in known)


def _refuse_changes(run: Path, keys: Sequence[str]) -> None:
    """Raise WrongUsage (code ``fixed-by-run``) for a key that may not change in a resumed run.

    The message names the value that the run keeps.
    """
    fixed = [key for key in keys if not _is_one_of(key, (*MAY_CHANGE, *NO_SETTINGS))]
    if not fixed:
        return
    key = fixed[0]
    recipe = run / RECIPE_NAME
    value = parse_yaml(recipe.read_text(encoding="utf-8"), str(recipe))
    for name in key.split("."):
        if isinstance(value, dict):
            value = value.get("init_args", value)
        value = value.get(name) if isinstance(value, dict) else None
    kept = f"that of {recipe}"
    if isinstance(value, PLAIN) and value is not None:
        kept = str(value)
    raise WrongUsage(
        f"--{key}: a resumed run keeps {kept}; what may change is {', '.join(MAY_CHANGE)}. "
        f"With other settings a new run starts: {_start_anew(run)} --{key} VALUE",
        code="fixed-by-run",
    )


def check_checkpoint(given: str, verb: str, trusted: bool) -> None:
    """Raise GLIPError for a checkpoint that ``verb`` cannot use.

    The message has one line and says what still works. Lightning checks an address of a cloud's
    storage and its own words for checkpoints.

    Args:
        given: the value of ``--ckpt_path``.
        verb: ``fit``, ``validate`` or ``test``.
        trusted: whether Lightning was told to load any object from the file.

    Raises:
        GLIPError: the checkpoint is damaged (code ``damaged-checkpoint``), or a training cannot go
            on from it (``weights-only-checkpoint``).
    """
    path = Path(given)
    if not is_path(given):
        return
    fault = damage(path, trusted)
    if fault:
        raise GLIPError(f"{path} {fault}; {_way_on(path, verb)}", code="damaged-checkpoint")
    if verb == "fit" and not trusted and "optimizer_states" not in checkpoint_content(path):
        raise GLIPError(
            f"{path} holds weights alone: a training goes on from {LAST}, "
            "with glip fit --resume RUN",
            code="weights-only-checkpoint",
        )


def _way_on(path: Path, verb: str) -> str:
    """Return what still works although the checkpoint at ``path`` cannot be used."""
    if not is_in_run(path):
        return "give another one to --ckpt_path"
    run = path.parent.parent
    recipe = run / RECIPE_NAME
    start_anew = _start_anew(run)
    other = path.with_name(BEST if path.name == LAST else LAST)
    if damage(other):
        message = "there is no other checkpoint in this run that could be used; "
        return message + f"start anew with: {start_anew}"
    verb_of_other = "test" if verb == "fit" else verb
    use = ["glip", verb_of_other, "--config", str(recipe), "--ckpt_path", str(other)]
    content = checkpoint_content(other)
    message = f"{other.name} is whole (epoch {content['epoch'] + 1}, "
    message += f"step {content['global_step']}), use it with: {shlex.join(use)}"
    if verb == "fit":
        return f"the training cannot go on, but {message}; or start anew with: {start_anew}"
    return message
