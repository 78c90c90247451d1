"""The command ``glip``. Heavy imports wait inside the verbs: ``glip --help`` needs neither torch nor Lightning."""

import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from glip_lightning import __version__
from glip_lightning.app import train
from glip_lightning.app.convert import convert
from glip_lightning.app.dashboard import dashboard
from glip_lightning.app.doctor import doctor
from glip_lightning.app.download_tasks import download
from glip_lightning.app.environment import env
from glip_lightning.app.predict import predict
from glip_lightning.app.pseudo_label import pseudo_label
from glip_lightning.app.push import push
from glip_lightning.app.recipes import recipes
from glip_lightning.app.report import report
from glip_lightning.app.sweep import sweep
from glip_lightning.common.errors import PACKAGE, is_ours
from glip_lightning.common.escaping import printable_lines
from glip_lightning.common.logs import show_log
from glip_lightning.common.resources import resource_advice
from glip_lightning.common.signals import Interrupted, interrupting, received
from glip_lightning.config.wrong_usage import WrongUsage, meant, suggest
from glip_lightning.training.ranks import is_orphan, lost_rank

TRAINING = ("fit", "validate", "test")
OTHER_WORDS = {
    "train": "fit",
    "finetune": "fit",
    "fine-tune": "fit",
    "eval": "test",
    "evaluate": "test",
    "detect": "predict",
    "infer": "predict",
    "label": "pseudo-label",
    "check": "doctor",
    "export": "convert",
    "upload": "push",
}
"""What other programs call our verbs."""
OTHER_OPTIONS = {
    "--conf": ("--threshold",),
    "--conf-thres": ("--threshold",),
    "--box-threshold": ("--threshold",),
    "--score-thr": ("--threshold",),
    "--source": ("PHOTO", "--images"),
    "--weights": ("--detector",),
    "--model": ("--detector",),
    "--checkpoint": ("--detector",),
    "--text-prompt": ("--phrases",),
    "--classes": ("--phrases",),
    "--max-det": ("--max-detections",),
    "--agnostic-nms": ("--one-label",),
    "--output": ("--out",),
    "--save-dir": ("--out",),
}
"""What other programs call the options of our verbs."""
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""For verbs that hand options of recipes on."""


class Verbs(TyperGroup):
    """The verbs of ``glip``; one that does not exist is met with a close one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the verb that the first word names, and the words after it."""
        verb = args[0]
        if verb not in self.commands:
            ours = OTHER_WORDS.get(verb)
            hint = f"; did you mean {ours}?" if ours else meant(verb, list(self.commands))
            raise WrongUsage(f"{verb}: no such verb{hint}", code="unknown-verb")
        return super().resolve_command(ctx, args)


class Verb(TyperCommand):
    """A verb of ours. No option takes the next option for its value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words after the verb."""
        own = {name for parameter in self.params for name in (*parameter.opts, parameter.metavar)}
        for word in args:
            theirs = word.partition("=")[0]
            ours = [name for name in OTHER_OPTIONS.get(theirs, ()) if name in own]
            if theirs not in own and ours:
                raise WrongUsage(f"{theirs}: no such option{suggest(ours)}", code="unknown-option")
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            values = ctx.params.get(parameter.name)
            for value in values if isinstance(values, list) else [values]:
                if isinstance(value, str) and value.startswith("--"):
                    raise WrongUsage(f"{parameter.opts[0]}={value}: no value", code="missing-value")
        return rest


app = typer.Typer(
    cls=Verbs,
    rich_markup_mode=None,  # boxes leave no room for the text in narrow terminals
    add_completion=False,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def glip(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Fine-tune GLIP, the detector that understands words, on your own images."""


def _add(verb: Callable[..., int], **settings: Any) -> None:
    """Make a function a verb; the first line of its docstring stands in the list of verbs, however long it is."""
    first = (inspect.getdoc(verb) or "").partition("\n")[0]
    app.command(short_help=first, **settings)(verb)


for each in (train.fit, train.validate, train.test):
    _add(each, context_settings=PASSED_ON, add_help_option=False)
for each in (predict, pseudo_label, convert, doctor, download, report, push):
    _add(each, cls=Verb)
_add(sweep, cls=Verb, context_settings=PASSED_ON)
for each in (dashboard, recipes, env):
    _add(each, cls=Verb)
VERBS = typer.main.get_group(app).commands


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return 0 for success, 1 for a failure that was explained, 2 for a wrong command line.

    A signal that ends the program gives 128 plus its number, as in shells: 130 for Ctrl-C, 143 for SIGTERM, 129 for
    SIGHUP (a closed terminal).
    """
    with interrupting():
        return _run(list(sys.argv[1:] if argv is None else argv))


def run_verb(arguments: list[str]) -> int:
    """Run one verb and return its exit code; errors are raised as they are, a ``GLIPError`` with its code."""
    program = typer.main.get_command(app)
    try:
        with program.make_context("glip", arguments) as context:
            return program.invoke(context)
    except typer.Exit as done:  # of --help and --version
        return done.exit_code


def _run(arguments: list[str]) -> int:
    show_log()
    verb = arguments[0] if arguments else ""
    try:
        return run_verb(arguments)
    except (WrongUsage, TyperException) as error:
        hint = (
            f"glip {verb} --help lists the options"
            if verb in VERBS
            else "glip --help lists the verbs"
        )
        _say(f"{_wrong(error)}\n  {hint}")
        return 2
    except KeyboardInterrupt as stop:
        ended = stop if isinstance(stop, Interrupted) else Interrupted(str(stop))
        _say(f"interrupted: {ended}" if str(ended) else f"interrupted by {ended.number.name}", stop)
        return ended.exit_code
    except Exception as error:
        message = resource_advice(error, verb) or lost_rank(error) or _explanation(error)
        if number := received():  # what breaks when a signal ends several processes at once
            first = (message or f"{type(error).__name__}: {error}").splitlines()[0]
            _say(f"interrupted by {number.name} ({first})", error)
            return Interrupted(number=number).exit_code
        if message is None:
            raise
        _say(message, error, always=is_orphan() and lost_rank(error) is not None)
        return 1


def _wrong(error: WrongUsage | TyperException) -> str:
    """Return what is wrong with a command line, with the value that typer leaves out of what pydantic says."""
    if isinstance(error, typer.BadParameter) and error.param and hasattr(error.__cause__, "errors"):
        fault = error.__cause__.errors()[0]
        return f"{error.param.opts[0]} {fault['input']}: {fault['msg']}"
    return error.format_message() if isinstance(error, TyperException) else str(error)


def _say(message: str, error: BaseException | None = None, always: bool = False) -> None:
    """Write the message and the notes of the error to stderr, once for all processes of a run unless ``always``."""
    if always or os.environ.get("LOCAL_RANK", "0") == "0":
        for line in (
            f"glip: {message}",
            *(f"  {note}" for note in getattr(error, "__notes__", ())),
        ):
            print(printable_lines(line), file=sys.stderr)


def _explanation(error: BaseException) -> str | None:
    """The message if it says all: it names a file, or the error is one of ours. Others keep their traceback."""
    worker = re.match(r"Caught \w+ in DataLoader worker process", str(error))
    if not worker and not isinstance(
        error, OSError | ValueError
    ):  # torch makes others of those that have a code
        return None
    if isinstance(error, OSError) and error.filename:
        return str(error)
    if worker:
        *frames, last = re.split(
            r'^ +File "', worker.string, flags=re.MULTILINE
        )  # a traceback as text
        said = re.search(
            r"^(?:[\w.]+\.)?\w*(?:Error|MissingFile): (.*)", last, re.MULTILINE | re.DOTALL
        )
        return (
            said[1].strip()
            if frames and said and Path(last.split('"')[0]).is_relative_to(PACKAGE)
            else None
        )
    return str(error) if is_ours(error) else None


if __name__ == "__main__":
    sys.exit(main())
