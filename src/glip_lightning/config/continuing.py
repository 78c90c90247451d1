"""Which checkpoint a command uses, and what still works where it is damaged."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.schema import parse_yaml
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.training.checkpoint_files import checkpoint_content, damage
from glip_lightning.weights.run_files import BEST, CHECKPOINTS, LAST, RECIPE_NAME, RESULT_NAME

KEYWORDS = ("best", "last", "hpc")  # Lightning looks for these checkpoints
PLAIN = (bool, int, float, str, list)
ENDS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
MAY_CHANGE = (
    *ENDS,
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
    *("trainer.logger", "trainer.enable_progress_bar"),
    *("data.root", "data.workers", "data.images_per_device"),
)
"""Options that a resumed run uses. All others it has from its checkpoint, or its first steps were made by them."""
NO_SETTINGS = ("help", "print_config", "weights_only")
"""Options of one start that change nothing in the run."""


def resumed(arguments: Sequence[str]) -> list[str]:
    """``fit --resume RUN`` as what it stands for: the run's recipe, its folder and its last checkpoint."""
    joined = [
        part for a in arguments for part in (a.split("=", 1) if a.startswith("--resume=") else [a])
    ]
    if "--resume" not in joined:
        return list(arguments)
    place = joined.index("--resume")
    others = [*joined[1:place], *joined[place + 2 :]]
    if joined[0] != "fit":
        raise WrongUsage(
            "--resume: goes on with a training, glip fit --resume RUN", code="option-without-use"
        )
    if len(joined) < place + 2:
        raise WrongUsage(
            "--resume: a value is missing, the folder of the interrupted run", code="missing-value"
        )
    if taken := [
        a for a in others if a.split("=")[0] in ("--run", "--config", "-c", "--ckpt_path")
    ]:
        raise WrongUsage(
            f"{taken[0]}: not together with --resume, which takes it from the run",
            code="exclusive-options",
        )
    run = Path(joined[place + 1])
    recipe, last = run / RECIPE_NAME, run / CHECKPOINTS / LAST
    if not recipe.is_file():
        raise MissingFile(
            f"--resume {run}: no {RECIPE_NAME} in it, this is not the folder of a run",
            code="no-run",
        )
    again = shlex.join(["glip", "fit", "--config", str(recipe)])
    names = [_key(word) for word in others if word.startswith("--")]
    _refuse_changes(
        run, [name for name in names if not _is_one_of(name, (*MAY_CHANGE, *NO_SETTINGS))]
    )
    if (run / RESULT_NAME).exists() and not any(_is_one_of(name, ENDS) for name in names):
        raise GLIPError(
            f"--resume {run}: this run is finished; it goes on with a larger --trainer.max_epochs, "
            f"{again} starts another one like it",
            code="finished-run",
        )
    if not last.exists():
        raise MissingFile(
            f"--resume {run}: there is no {last}, nothing was saved yet; {again} starts anew",
            code="no-checkpoint",
        )
    return ["fit", "--config", str(recipe), "--run", str(run), "--ckpt_path", str(last), *others]


def _key(option: str) -> str:
    """Return the key of a recipe that an option sets."""
    return option.split("=")[0].removeprefix("--").replace(".init_args", "").rstrip("+")


def _is_one_of(key: str, known: Sequence[str]) -> bool:
    """Whether ``key`` is one of the known ones or an argument of one."""
    return any(key == name or key.startswith(f"{name}.") for name in known)


def _refuse_changes(run: Path, keys: Sequence[str]) -> None:
    """Raise WrongUsage if there is a key that a resumed run cannot use, which names the value that it keeps."""
    if not keys:
        return
    recipe = run / RECIPE_NAME
    value = parse_yaml(recipe.read_text(encoding="utf-8"), str(recipe))
    for name in keys[0].split("."):
        value = value.get("init_args", value) if isinstance(value, dict) else None
        value = value.get(name) if isinstance(value, dict) else None
    kept = f" {value}" if isinstance(value, PLAIN) and value is not None else f" that of {recipe}"
    raise WrongUsage(
        f"--{keys[0]}: a resumed run keeps{kept}; what may change is {', '.join(MAY_CHANGE)}. With other settings a "
        f"new run starts: glip fit --config {shlex.quote(str(recipe))} --{keys[0]} VALUE",
        code="fixed-by-run",
    )


def check_checkpoint(given: str, verb: str, trusted: bool) -> None:
    """Raise a GLIPError in one line for a checkpoint that ``verb`` cannot use; it says what still works.

    An address of a cloud's storage and Lightning's words for checkpoints are left to Lightning. ``trusted``: whether
    it was told to load any object from the file.
    """
    path = Path(given)
    if "://" in given or given in KEYWORDS:
        return
    if wrong := damage(path, trusted):
        raise GLIPError(f"{path} {wrong}; {_way_on(path, verb)}", code="damaged-checkpoint")
    if verb == "fit" and not trusted and "optimizer_states" not in checkpoint_content(path):
        raise GLIPError(
            f"{path} holds weights alone: a training goes on from {LAST}, with glip fit --resume RUN",
            code="weights-only-checkpoint",
        )


def _way_on(path: Path, verb: str) -> str:
    """What still works where the checkpoint at ``path`` cannot be used."""
    run, other = path.parent.parent, path.with_name(BEST if path.name == LAST else LAST)
    recipe = run / RECIPE_NAME
    of_run = path.parent.name == CHECKPOINTS and recipe.is_file()
    if not of_run:
        return "give another one to --ckpt_path"
    anew = shlex.join(["glip", "fit", "--config", str(recipe)])
    if damage(other):
        return (
            f"there is no other checkpoint in this run that could be used; start anew with: {anew}"
        )
    use = shlex.join(
        [
            "glip",
            "test" if verb == "fit" else verb,
            "--config",
            str(recipe),
            "--ckpt_path",
            str(other),
        ]
    )
    whole = checkpoint_content(other)
    others = f"{other.name} is whole (epoch {whole['epoch'] + 1}, step {whole['global_step']}), use it with: {use}"
    return (
        f"the training cannot go on, but {others}; or start anew with: {anew}"
        if verb == "fit"
        else others
    )
