"""Options that several verbs have, and checks of options."""

from typing import Annotated

import typer

from glip_lightning.config.wrong_usage import WrongUsage

Phrases = Annotated[str | None, typer.Option(help='What to look for, e.g. "raccoon. dog".')]
PhrasesFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="One phrase per line, or YAML/JSON with prefix, name and suffix per class.",
    ),
]
MaxDetections = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Boxes of a photo that are kept, the best ones; the others are counted.",
    ),
]
OneLabel = Annotated[
    bool,
    typer.Option(
        "--one-label", help="Of boxes of different classes on one object, keep the best alone."
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, mps; auto is the best there is.")]


def at_most_one(**given: object) -> None:
    """Raise WrongUsage if more than one of these options has a value; keywords are their names."""
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise WrongUsage(
            f"{named[1]}: not together with {named[0]}; give one of them", code="exclusive-options"
        )
