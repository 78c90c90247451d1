"""``glip report``: a sweep or a folder of runs as a page."""

from typing import Annotated

import typer

from glip_lightning.common.escaping import printable
from glip_lightning.common.files import need_folder
from glip_lightning.common.signals import blocked


def report(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="A sweep's folder or name, or a folder with runs in it."
        ),
    ],
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where to write (default: DIR).")
    ] = None,
    leaderboard: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Write the files for EvalAI challenge 1839 (ODinW) into it, too."
        ),
    ] = None,
) -> int:
    """Show a sweep or a folder of runs as a page, tables and leaderboard files."""
    from glip_lightning.experiments.sweep.grid import sweep_folder

    place = sweep_folder(folder)
    need_folder(str(place), str(place), "give the folder of a sweep or of runs")
    with blocked():
        from glip_lightning.experiments.report.write import write_report

    for file in write_report(place, out, leaderboard):
        print(printable(str(file)))
    return 0
