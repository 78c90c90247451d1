"""``glip download``: get tasks of ODinW."""

from typing import Annotated

import typer

from glip_lightning.common.escaping import printable


def download(
    tasks: Annotated[list[str], typer.Argument(metavar="TASK", help="E.g. Raccoon, or odinw13, odinw35 for all.")],
    root: Annotated[str, typer.Option(metavar="DIR", help="What --data.root will be.")] = "data",
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Folder with the zip files (default: $GLIP_ODINW_MIRROR, else the official one)."
        ),
    ] = None,
) -> int:
    """Get tasks of ODinW; goes on where an interrupted download stopped."""
    from glip_lightning.data.benchmarks.download import download as download_all

    for folder in download_all(tasks, root, mirror):
        print(printable(str(folder)))
    return 0
