"""``glip predict``: find what phrases name in photos."""

from typing import Annotated

import typer

from glip_lightning.app.options import Device, Phrases, PhrasesFile, at_most_one
from glip_lightning.common.signals import blocked


def predict(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO", help="Image files, folders or glob patterns.")],
    phrases: Phrases = None,
    phrases_file: PhrasesFile = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A tuned prompt (prompt.safetensors of a run); may be given several times."),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Name, folder, run or Hub repository (default: glip-tiny, or what the prompts were tuned for)."
        ),
    ] = None,
    threshold: Annotated[float, typer.Option(help="Least score; class scores below 0.05 are never kept.")] = 0.5,
    out: Annotated[str, typer.Option(metavar="DIR", help="Where pictures and predictions.json are written.")] = (
        "predictions"
    ),
    device: Device = "auto",
) -> int:
    """Find what phrases name in photos."""
    at_most_one(phrases=phrases, phrases_file=phrases_file, prompt=prompt)
    with blocked():
        from glip_lightning.inference.predict_photos import predict_photos

    return predict_photos(
        photos,
        detector=detector,
        prompts=prompt or [],
        phrases=phrases,
        phrases_file=phrases_file,
        threshold=threshold,
        out=out,
        device=device,
    )
