"""``glip push``: a run's detector and its card to the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from glip_lightning.common.files import need_folder
from glip_lightning.common.signals import blocked


def push_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="A model repository; made where it is new.")
    ],
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Write the card, say what would be uploaded; needs no network."
        ),
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Only its owner sees the repository.")
    ] = False,
) -> int:
    """Upload the detector of a run and its card to the Hugging Face Hub."""
    need_folder(run, run, "give the folder of a finished run")
    with blocked():
        from glip_lightning.app.hub_upload import push_run

    push_run(Path(run), repository, private, dry_run)
    return 0
