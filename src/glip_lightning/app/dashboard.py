"""``glip dashboard``: make the page in W&B that compares runs."""

from typing import Annotated

import typer


def dashboard(
    project: Annotated[
        str,
        typer.Option(
            envvar="WANDB_PROJECT",
            show_envvar=False,
            show_default=False,
            help="Whose page it is (default: $WANDB_PROJECT or glip-lightning).",
        ),
    ] = "glip-lightning",
    entity: Annotated[
        str | None, typer.Option(help="User or team that owns the project (default: you).")
    ] = None,
    sweep: Annotated[str | None, typer.Option(metavar="NAME", help="Show this sweep only.")] = None,
    as_json: Annotated[
        bool, typer.Option("--print", help="Print the page as JSON; needs no network.")
    ] = False,
) -> int:
    """Make the page in W&B that compares the runs of a sweep."""
    from glip_lightning.app.wandb_page import make_page

    return make_page(project, entity, sweep, as_json)
