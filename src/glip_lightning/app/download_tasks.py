"""``glip download``: get tasks of ODinW."""

from typing import Annotated

import typer

from glip_lightning.common.escaping import printable


def download(
    tasks: Annotated[
        list[str], typer.Argument(metavar="TASK", help="E.g. Raccoon, or odinw13, odinw35 for all.")
    ],
    root: Annotated[str, typer.Option(metavar="DIR", help="What --data.root will be.")] = "data",
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FOLDER", help="Folder that has the zip files (default: the Hub)."
        ),
    ] = None,
) -> int:
    """Get tasks of ODinW; goes on where an interrupted download stopped."""
    from glip_lightning.data.benchmarks.download import download_tasks

    for folder in download_tasks(tasks, root, source):
        print(printable(str(folder)))
    return 0
