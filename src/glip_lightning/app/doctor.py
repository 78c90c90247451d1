"""``glip doctor``: check a folder of labelled images."""

from typing import Annotated

import typer

from glip_lightning.common.signals import blocked
from glip_lightning.config.wrong_usage import WrongUsage


def doctor(
    folder: Annotated[
        str, typer.Argument(help="COCO, ODinW, YOLO or Pascal VOC layout, or a saved Hub data set.")
    ],
    detector: Annotated[
        str | None, typer.Option(help="Whose vocabulary counts the tokens of the class names.")
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(metavar="FILE.jpg", help="Write a sheet of photos with their annotations."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    config: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="Draw what training by this recipe shows.")
    ] = None,
    show_augmented: Annotated[
        str | None,
        typer.Option(metavar="FILE.jpg", help="Where: photos in their first views, with boxes."),
    ] = None,
) -> int:
    """Check a folder of labelled images; exit code 1: it cannot be trained on."""
    if (config is None) != (show_augmented is None):
        raise WrongUsage(
            "--config and --show-augmented belong together: the recipe says how photos are drawn"
        )
    if detector is not None:
        from glip_lightning.weights.detector_files import check_detector

        check_detector(detector)
    if show is not None:
        from glip_lightning.inference.sheet import check_sheet

        check_sheet(show, "--show")
    with blocked():
        from glip_lightning.app.examine_data import examine

    return examine(folder, detector, as_json, show, config, show_augmented)
