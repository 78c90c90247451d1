"""The command ``glip``. Heavy imports wait inside the verbs: ``glip --help`` needs neither torch nor Lightning."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from glip_lightning import __version__
from glip_lightning.app.argument_parser import Parser
from glip_lightning.common.errors import PACKAGE, is_ours
from glip_lightning.common.escaping import printable, printable_lines
from glip_lightning.common.files import refuse_pipes
from glip_lightning.common.logs import show_log
from glip_lightning.common.resources import translate
from glip_lightning.common.signals import Interrupted, blocked, interrupting, received
from glip_lightning.config.recipe_files import recipe_file, with_recipes
from glip_lightning.config.usage_errors import WrongUsage, check_recipes
from glip_lightning.training.ranks import is_orphan, lost_rank

TRAINING = {
    "fit": "train by a recipe, test the best weights, keep the detector",
    "validate": "evaluate on the validation split by a recipe",
    "test": "evaluate on the test split by a recipe",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return 0 for success, 1 for a failure that was explained, 2 for a wrong command line.

    A signal that ends the program gives 128 plus its number, as in shells: 130 for Ctrl-C, 143 for SIGTERM, 129 for
    SIGHUP (a closed terminal).
    """
    with interrupting():
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(arguments: list[str]) -> int:
    show_log()
    parsed = None
    if not arguments or arguments[0] not in TRAINING:
        parsed = build_parser().parse_args(arguments)
    try:
        return _train(arguments) if parsed is None else parsed.verb(parsed)
    except WrongUsage as error:
        _say(f"{error}\n  glip {arguments[0]} --help lists the options")
        return 2
    except KeyboardInterrupt as stop:
        ended = stop if isinstance(stop, Interrupted) else Interrupted(str(stop))
        _say(f"interrupted: {ended}" if str(ended) else f"interrupted by {ended.number.name}", stop)
        return ended.exit_code
    except Exception as error:
        message = translate(error, arguments[0]) or lost_rank(error) or _explanation(error)
        if number := received():  # what breaks when a signal ends several processes at once
            first = (message or f"{type(error).__name__}: {error}").splitlines()[0]
            _say(f"interrupted by {number.name} ({first})", error)
            return Interrupted(number=number).exit_code
        if message is None:
            raise
        _say(message, error, always=is_orphan() and lost_rank(error) is not None)
        return 1


def _say(message: str, error: BaseException | None = None, always: bool = False) -> None:
    """Write the message and the notes of the error to stderr, once for all processes of a run unless ``always``."""
    if always or os.environ.get("LOCAL_RANK", "0") == "0":
        for line in (f"glip: {message}", *(f"  {note}" for note in getattr(error, "__notes__", ()))):
            print(printable_lines(line), file=sys.stderr)


def _explanation(error: BaseException) -> str | None:
    """The message if it says all: it names a file, or the error is one of ours. Others keep their traceback."""
    worker = re.match(r"Caught \w+ in DataLoader worker process", str(error))
    if not worker and not isinstance(error, OSError | ValueError):  # torch makes others of those that have a code
        return None
    if isinstance(error, OSError) and error.filename:
        return str(error)
    if worker:
        *frames, last = re.split(r'^ +File "', worker.string, flags=re.MULTILINE)  # a traceback as text
        said = re.search(r"^(?:[\w.]+\.)?\w*Error: (.*)", last, re.MULTILINE | re.DOTALL)
        return said[1].strip() if frames and said and Path(last.split('"')[0]).is_relative_to(PACKAGE) else None
    return str(error) if is_ours(error) else None


def build_parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(
        prog="glip", description="Fine-tune GLIP, the detector that understands words, on your own images."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, text in TRAINING.items():
        verbs.add_parser(name, help=f"{text} (glip {name} --help)", add_help=False)
    _add_predict(verbs)
    _add_pseudo_label(verbs)
    _add_convert(verbs)
    _add_doctor(verbs)
    _add_download(verbs)
    _add_report(verbs)
    _add_sweep(verbs)
    _add_dashboard(verbs)
    _add_recipes(verbs)
    env = verbs.add_parser("env", help="versions, devices, reach of the Hub: the first thing of a bug report")
    env.set_defaults(verb=_env)
    return parser


def _add_predict(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    predict = verbs.add_parser("predict", help="find what phrases name in photos")
    predict.add_argument("photos", nargs="+", metavar="PHOTO", help="image files, folders or glob patterns")
    what = predict.add_mutually_exclusive_group()
    what.add_argument("--phrases", help='what to look for, e.g. "raccoon. dog"')
    what.add_argument(
        "--phrases-file",
        metavar="FILE",
        help="one phrase per line, or YAML/JSON with prefix, name and suffix per class",
    )
    what.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="FILE",
        help="a tuned prompt (prompt.safetensors of a run), several by --prompt FILE --prompt FILE",
    )
    predict.add_argument(
        "--detector",
        help="name, folder, finished run or Hub repository (default: glip-tiny, or what the prompts were tuned for)",
    )
    predict.add_argument(
        "--threshold",
        type=_threshold,
        default=0.5,
        help="least score (default: %(default)s), or best: those of the run's thresholds.yaml; class scores below 0.05 "
        "are never kept",
    )
    predict.add_argument("--out", default="predictions", metavar="DIR", help="default: %(default)s")
    predict.add_argument("--device", default="auto", help="cpu, cuda, mps (default: the best there is)")
    predict.set_defaults(verb=_predict)


def _threshold(given: str) -> float | str:
    """A score or the word best; argparse names the value that is neither."""
    return given if given == "best" else float(given)


def _add_pseudo_label(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    label = verbs.add_parser(
        "pseudo-label",
        help="boxes for photos with captions or class lists, found by a detector, as data to train on",
        epilog="The same command goes on after a stop. All scores are kept beside --out: with other thresholds it "
        "writes the file anew and looks at no photo again.",
    )
    label.add_argument("--images", required=True, metavar="DIR", help="the photos, or where the file names start from")
    what = label.add_mutually_exclusive_group()
    what.add_argument(
        "--captions", metavar="FILE", help="COCO captions, MDETR's JSON, JSON lines or CSV of file_name and caption"
    )
    what.add_argument("--phrases", help='what to look for in all photos, e.g. "raccoon. dog"')
    what.add_argument("--phrases-file", metavar="FILE", help="one phrase per line, or YAML/JSON, as for predict")
    label.add_argument("--detector", default="glip-tiny", help="the teacher (default: %(default)s)")
    label.add_argument("--out", default="pseudo_labels.json", metavar="FILE", help="default: %(default)s")
    label.add_argument("--threshold", type=float, default=0.5, help="least score (default: %(default)s)")
    label.add_argument("--thresholds", metavar="FILE", help="YAML or JSON: least scores of some phrases")
    label.add_argument(
        "--best-from",
        type=float,
        metavar="SCORE",
        help="where no box of a caption's phrase reaches its least score, take the best one from this score on that "
        "no other phrase has",
    )
    label.add_argument(
        "--keep-share",
        type=float,
        metavar="SHARE",
        help="of the boxes of each phrase above its least score, keep this share, the surest (default: all)",
    )
    label.add_argument("--keep-empty", action="store_true", help="keep captions without a box: they train as negatives")
    label.add_argument("--batch", type=int, default=8, metavar="N", help="photos at once (default: %(default)s)")
    label.add_argument("--device", default="auto", help="cpu, cuda, mps (default: the best there is)")
    label.set_defaults(verb=_pseudo_label)


def _add_convert(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    convert = verbs.add_parser("convert", help="official .pth file to an exchange folder, or back")
    convert.add_argument("source", help="a .pth file of microsoft/GLIP, or an exchange folder")
    convert.add_argument("target", help="the folder or .pth file to write")
    convert.add_argument("--vocab", metavar="FILE", help="vocab.txt of the text encoder (default: bert-base-uncased's)")
    convert.add_argument(
        "--without-text", action="store_true", help="leave the text encoder out: such a folder runs tuned prompts only"
    )
    convert.add_argument("--half", action="store_true", help="a folder in half precision, half the size")
    convert.set_defaults(verb=_convert)


def _add_doctor(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    doctor = verbs.add_parser("doctor", help="check a folder of labelled images before training on it")
    doctor.add_argument("folder", help="COCO, ODinW, YOLO or Pascal VOC layout, or a saved Hub data set")
    doctor.add_argument("--detector", help="whose vocabulary counts the tokens of the class names")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.add_argument("--config", metavar="RECIPE", help="draw what training by this recipe shows")
    doctor.add_argument("--show-augmented", metavar="FILE.jpg", help="where: photos in their first views, with boxes")
    doctor.set_defaults(verb=_doctor)


def _add_download(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    download = verbs.add_parser("download", help="get tasks of ODinW; goes on where an interrupted download stopped")
    download.add_argument("tasks", nargs="+", metavar="TASK", help="e.g. Raccoon, or odinw13, odinw35 for all of them")
    download.add_argument(
        "--root", default="data", metavar="DIR", help="what --data.root will be (default: %(default)s)"
    )
    download.add_argument(
        "--mirror", metavar="URL", help="folder with the zip files (default: $GLIP_ODINW_MIRROR, else the official one)"
    )
    download.set_defaults(verb=_download)


def _add_sweep(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sweep = verbs.add_parser(
        "sweep",
        help="run a recipe over tasks, shots, seeds, tunings or any of its keys; goes on where it stopped",
        epilog="Options of recipes, like --data.root DATA, hold for all trials.",
        allow_abbrev=False,
    )
    sweep.add_argument("file", metavar="FILE", help="the sweep, or the name of one: sweeps/demo")
    sweep.add_argument("--dir", metavar="DIR", help="where its trials are (default: runs/<name of the sweep>)")
    sweep.add_argument("--dry-run", action="store_true", help="show the trials, their steps and time, and run nothing")
    sweep.add_argument("--only", metavar="POINTS", help="a part of it, e.g. task=Raccoon,shots=1,shots=10")
    sweep.add_argument("--executor", choices=("local", "ray", "submitit"), default="local", help="default: %(default)s")
    sweep.add_argument(
        "--workers", type=int, metavar="N", help="trials at once (default: one per GPU, else per two CPU cores)"
    )
    sweep.add_argument(
        "--trials-per-gpu", type=int, default=1, metavar="M", help="trials that share a GPU (default: 1)"
    )
    sweep.add_argument("--slurm", default="", metavar="K=V,...", help="for submitit: partition=gpu,timeout_min=240")
    sweep.add_argument("--keep-checkpoints", action="store_true", help="also those of finished trials")
    sweep.set_defaults(verb=_sweep, overrides=[])


def _add_dashboard(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    dashboard = verbs.add_parser("dashboard", help="make the page in W&B that compares the runs of a sweep")
    project = os.environ.get("WANDB_PROJECT", "glip-lightning")
    dashboard.add_argument("--project", default=project, help="default: $WANDB_PROJECT or glip-lightning")
    dashboard.add_argument("--entity", help="user or team that owns the project (default: you)")
    dashboard.add_argument("--sweep", metavar="NAME", help="show this sweep only")
    dashboard.add_argument("--print", action="store_true", help="print the page as JSON; needs no network")
    dashboard.set_defaults(verb=_dashboard)


def _add_recipes(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    recipes = verbs.add_parser("recipes", help="list the recipes that glip fit --config and glip sweep know by name")
    recipes.add_argument("name", nargs="?", metavar="NAME", help="print this recipe")
    recipes.add_argument("--copy", metavar="FILE", help="write it to a new file, to change it")
    recipes.set_defaults(verb=_recipes)


def _add_report(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    report = verbs.add_parser("report", help="a sweep or a folder of runs as a page, tables and leaderboard files")
    report.add_argument("folder", metavar="DIR", help="a sweep's folder, or one with runs in it")
    report.add_argument("--out", metavar="FOLDER", help="where to write (default: DIR)")
    report.add_argument(
        "--leaderboard", metavar="FOLDER", help="write the files for EvalAI challenge 1839 (ODinW) into it, too"
    )
    report.set_defaults(verb=_report)


def _train(arguments: Sequence[str]) -> int:
    arguments = with_recipes(arguments, lambda given: str(recipe_file(given)))
    check_recipes(arguments)
    refuse_pipes(arguments[1:])
    with blocked():  # an exception in the middle of loading a library in C++ ends the process with its traceback
        from glip_lightning.config.recipe import run

    run(arguments)
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    with blocked():  # as in _train
        from glip_lightning.app.predict import predict_photos

    return predict_photos(
        arguments.photos,
        detector=arguments.detector,
        prompts=arguments.prompt,
        phrases=arguments.phrases,
        phrases_file=arguments.phrases_file,
        threshold=arguments.threshold,
        out=arguments.out,
        device=arguments.device,
    )


def _pseudo_label(arguments: argparse.Namespace) -> int:
    with blocked():  # as in _train
        from glip_lightning.app.label_images import Options, label_images

    return label_images(Options(**{name: getattr(arguments, name) for name in Options._fields}))


def _convert(arguments: argparse.Namespace) -> int:
    with blocked():  # as in _train
        from glip_lightning.app.convert import convert

    print(convert(arguments.source, arguments.target, arguments.vocab, arguments.without_text, arguments.half))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    with blocked():  # as in _train
        from glip_lightning.app.doctor import doctor

    return doctor(arguments.folder, arguments.detector, arguments.json, arguments.config, arguments.show_augmented)


def _download(arguments: argparse.Namespace) -> int:
    from glip_lightning.data.benchmarks.download import download

    for folder in download(arguments.tasks, arguments.root, arguments.mirror):
        print(printable(str(folder)))
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    with blocked():  # as in _train
        from glip_lightning.experiments.sweep.run_sweep import Options, sweep

    refuse_pipes(arguments.overrides)
    given = {name: getattr(arguments, name) for name in Options._fields}
    return sweep(arguments.file, Options(**given), arguments.overrides)


def _dashboard(arguments: argparse.Namespace) -> int:
    from glip_lightning.app.dashboard import dashboard

    return dashboard(arguments.project, arguments.entity, arguments.sweep, arguments.print)


def _report(arguments: argparse.Namespace) -> int:
    with blocked():  # as in _train
        from glip_lightning.experiments.report.write import report

    for file in report(arguments.folder, arguments.out, arguments.leaderboard):
        print(printable(str(file)))
    return 0


def _recipes(arguments: argparse.Namespace) -> int:
    from glip_lightning.app.recipes import recipes

    return recipes(arguments.name, arguments.copy)


def _env(_: argparse.Namespace) -> int:
    from glip_lightning.app.environment import describe

    print(describe())
    return 0


if __name__ == "__main__":
    sys.exit(main())
