"""``glip pseudo-label``: boxes for photos, found by a detector, as data to train on."""

from typing import Annotated

import typer

from glip_lightning.app.options import (
    Device,
    MaxDetections,
    OneLabel,
    Phrases,
    PhrasesFile,
    at_most_one,
)
from glip_lightning.app.starting import heavy_imports
from glip_lightning.common.files import need_file, need_folder
from glip_lightning.inference.limits import MAX_DETECTIONS

Images = Annotated[
    str,
    typer.Option(metavar="DIR", help="The folder of the photos; file names are relative to it."),
]
Captions = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="COCO captions, MDETR's JSON, JSON lines or CSV of file_name and caption.",
    ),
]
Out = Annotated[str, typer.Option(metavar="FILE", help="The file to write.")]
Thresholds = Annotated[
    str | None, typer.Option(metavar="FILE", help="YAML or JSON: least scores of some phrases.")
]
BestFrom = Annotated[
    float | None,
    typer.Option(
        metavar="SCORE",
        help="If no box of a caption's phrase reaches its least score, take the phrase's best box "
        "of at least this score that no other phrase has.",
    ),
]
KeepEmpty = Annotated[
    bool,
    typer.Option(
        "--keep-empty", help="Keep captions, or photos, without a box: they train as negatives."
    ),
]


def pseudo_label(
    images: Images,
    captions: Captions = None,
    phrases: Phrases = None,
    phrases_file: PhrasesFile = None,
    detector: Annotated[str, typer.Option(help="The teacher.")] = "glip-tiny",
    out: Out = "pseudo_labels.json",
    threshold: Annotated[float, typer.Option(help="Least score.")] = 0.5,
    thresholds: Thresholds = None,
    best_from: BestFrom = None,
    keep_empty: KeepEmpty = False,
    max_detections: MaxDetections = MAX_DETECTIONS,
    one_label: OneLabel = False,
    batch: Annotated[int, typer.Option(metavar="N", help="Photos at once.")] = 8,
    device: Device = "auto",
) -> int:
    """Find boxes for photos with captions or class lists, as data to train on.

    Of a class list it writes a COCO file of these classes, of captions one whose boxes name phrases
    (for --data Pretraining).

    The same command goes on after a stop. All scores are kept beside --out: with other thresholds
    it writes the file anew and looks at no photo again.
    """
    at_most_one(captions=captions, phrases=phrases, phrases_file=phrases_file)
    need_folder(images, f"--images {images}", "give the folder of the photos")
    need_file(captions, f"--captions {captions}")
    need_file(phrases_file, f"--phrases-file {phrases_file}")
    need_file(thresholds, f"--thresholds {thresholds}")
    from glip_lightning.weights.detector_files import check_detector

    check_detector(detector)
    with heavy_imports("pseudo-label"):
        from glip_lightning.app.label_images import LabelOptions, label_images

    options = LabelOptions(
        images=images,
        captions=captions,
        phrases=phrases,
        phrases_file=phrases_file,
        detector=detector,
        out=out,
        threshold=threshold,
        thresholds=thresholds,
        best_from=best_from,
        keep_empty=keep_empty,
        max_detections=max_detections,
        one_label=one_label,
        batch=batch,
        device=device,
    )
    return label_images(options)
