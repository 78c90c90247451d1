"""``glip convert``: an official checkpoint or a run to an exchange folder, or back."""

from pathlib import Path
from typing import Annotated

import typer

from glip_lightning.common.files import need_file
from glip_lightning.common.signals import blocked


def convert(
    source: Annotated[
        str, typer.Argument(help="A .pth file of microsoft/GLIP, an exchange folder or a run.")
    ],
    target: Annotated[
        str, typer.Argument(help="The folder (no ending) or the .pth file to write.")
    ],
    vocab: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="vocab.txt of the text encoder (default: bert-base-uncased's)."
        ),
    ] = None,
    without_text: Annotated[
        bool,
        typer.Option(
            "--without-text",
            help="Leave the text encoder out: such a folder runs tuned prompts only.",
        ),
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="A folder in half precision, half the size.")
    ] = False,
) -> int:
    """Turn an official .pth file or a run into an exchange folder, or a folder into a .pth file."""
    if not Path(source).is_dir():
        need_file(source, source)
    need_file(vocab, f"--vocab {vocab}")
    with blocked():
        from glip_lightning.weights.conversion import convert_weights

    print(convert_weights(source, target, vocab, without_text, half))
    return 0
