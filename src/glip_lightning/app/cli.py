"""The command ``glip``.

Heavy imports wait inside the verbs: ``glip --help`` needs neither torch nor Lightning.
"""

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typing_extensions import override

from glip_lightning import __version__
from glip_lightning.app.convert import convert
from glip_lightning.app.dashboard import dashboard
from glip_lightning.app.doctor import doctor
from glip_lightning.app.download_tasks import download
from glip_lightning.app.environment import env
from glip_lightning.app.predict import predict
from glip_lightning.app.pseudo_label import pseudo_label
from glip_lightning.app.push import push_command
from glip_lightning.app.recipes import recipes
from glip_lightning.app.report import report
from glip_lightning.app.sweep import sweep
from glip_lightning.app.train import fit_command, test_command, validate_command
from glip_lightning.common.errors import is_ours
from glip_lightning.common.escaping import printable_lines
from glip_lightning.common.logs import show_log
from glip_lightning.common.resources import resource_advice
from glip_lightning.common.signals import Interrupted, interrupting, received
from glip_lightning.config.wrong_usage import WrongUsage, meant, suggest
from glip_lightning.training.ranks import is_orphan, lost_rank

TRAINING = ("fit", "validate", "test")
OTHER_VERBS = {
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
"""What other programs call our verbs, and our name."""
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
"""What other programs call the options of our verbs, and our names, of which a verb has one."""
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Settings of verbs that take options of recipes."""


class Verbs(TyperGroup):
    """The verbs of ``glip``. For a verb that does not exist, the error names a close one."""

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        verb = args[0]
        if verb not in self.commands:
            ours = OTHER_VERBS.get(verb)
            hint = f"; did you mean {ours}?" if ours else meant(verb, list(self.commands))
            raise WrongUsage(f"{verb}: no such verb{hint}", code="unknown-verb")
        return super().resolve_command(ctx, args)


class Verb(TyperCommand):
    """A verb of ours. An option whose value is missing does not take the next option for it."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known: set[str | None] = set()
        for parameter in self.params:
            known.update([*parameter.opts, parameter.metavar])
        for word in args:
            option = word.partition("=")[0]
            ours = [name for name in OTHER_OPTIONS.get(option, ()) if name in known]
            if option not in known and ours:
                raise WrongUsage(f"{option}: no such option{suggest(ours)}", code="unknown-option")
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            value = ctx.params.get(parameter.name)
            values = value if isinstance(value, list) else [value]
            for each in values:
                if isinstance(each, str) and each.startswith("--"):
                    raise WrongUsage(f"{parameter.opts[0]}={each}: no value", code="missing-value")
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


def _add_verb(name: str, function: Callable[..., int], **settings: Any) -> None:
    """Make a function a verb.

    The first line of its docstring stands in the list of verbs, however long it is.
    """
    first_line = (inspect.getdoc(function) or "").partition("\n")[0]
    app.command(name, short_help=first_line, **settings)(function)


_add_verb("fit", fit_command, context_settings=PASSED_ON, add_help_option=False)
_add_verb("validate", validate_command, context_settings=PASSED_ON, add_help_option=False)
_add_verb("test", test_command, context_settings=PASSED_ON, add_help_option=False)
_add_verb("predict", predict, cls=Verb)
_add_verb("pseudo-label", pseudo_label, cls=Verb)
_add_verb("convert", convert, cls=Verb)
_add_verb("doctor", doctor, cls=Verb)
_add_verb("download", download, cls=Verb)
_add_verb("report", report, cls=Verb)
_add_verb("push", push_command, cls=Verb)
_add_verb("sweep", sweep, cls=Verb, context_settings=PASSED_ON)
_add_verb("dashboard", dashboard, cls=Verb)
_add_verb("recipes", recipes, cls=Verb)
_add_verb("env", env, cls=Verb)
VERBS = typer.main.get_group(app).commands


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; errors are printed.

    Returns:
        0 for success, 1 for a failure that was explained, 2 for a wrong command line, and 128 plus
        its number for a signal that ended the program, as in shells: 130 for Ctrl-C, 143 for
        SIGTERM, 129 for SIGHUP (a closed terminal).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"]:  # as git help fit
        arguments = [*arguments[1:], "--help"]
    with interrupting():
        show_log()
        return _run_and_explain(arguments)


def run_verb(arguments: list[str]) -> int:
    """Run one verb and return its exit code; errors are raised, a ``GLIPError`` with its code."""
    program = typer.main.get_command(app)
    try:
        with program.make_context("glip", arguments) as context:
            return program.invoke(context)
    except typer.Exit as done:  # of --help and --version
        return done.exit_code


def _run_and_explain(arguments: list[str]) -> int:
    verb = arguments[0] if arguments else ""
    try:
        return run_verb(arguments)
    except (WrongUsage, TyperException) as error:
        hint = "glip --help lists the verbs"
        if verb in VERBS:
            hint = f"glip {verb} --help lists the options"
        _print_error(f"{_usage_message(error)}\n  {hint}")
        return 2
    except KeyboardInterrupt as stop:
        ended = stop if isinstance(stop, Interrupted) else Interrupted(str(stop))
        message = f"interrupted by {ended.number.name}"
        if str(ended):
            message = f"interrupted: {ended}"
        _print_error(message, stop)
        return ended.exit_code
    except Exception as error:
        message = resource_advice(error, verb) or lost_rank(error) or _explanation(error)
        number = received()
        if number:  # a signal that ends several processes at once breaks what they share
            shown = message or f"{type(error).__name__}: {error}"
            _print_error(f"interrupted by {number.name} ({shown.splitlines()[0]})", error)
            return Interrupted(number=number).exit_code
        if message is None:
            raise
        _print_error(message, error, always=is_orphan() and lost_rank(error) is not None)
        return 1


def _usage_message(error: WrongUsage | TyperException) -> str:
    """Return what is wrong with a command line, with the value that typer leaves out."""
    if isinstance(error, typer.BadParameter) and error.param and hasattr(error.__cause__, "errors"):
        fault = error.__cause__.errors()[0]  # of pydantic
        return f"{error.param.opts[0]} {fault['input']}: {fault['msg']}"
    if isinstance(error, TyperException):
        return error.format_message()
    return str(error)


def _print_error(message: str, error: BaseException | None = None, always: bool = False) -> None:
    """Write a message and the notes of its error to stderr.

    The first process of a run does it for all of them; with ``always`` every process does.
    """
    if not always and os.environ.get("LOCAL_RANK", "0") != "0":
        return
    notes = getattr(error, "__notes__", ())
    for line in (f"glip: {message}", *(f"  {note}" for note in notes)):
        print(printable_lines(line), file=sys.stderr)


def _explanation(error: BaseException) -> str | None:
    """Return the message of an error that names a file or is one of ours.

    None stands for an error that has to be shown with its traceback.
    """
    if not isinstance(error, OSError | ValueError):
        return None
    if isinstance(error, OSError) and error.filename:
        return str(error)
    return str(error) if is_ours(error) else None


if __name__ == "__main__":
    sys.exit(main())
