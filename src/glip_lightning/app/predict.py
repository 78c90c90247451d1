"""``glip predict``: find what phrases name in photos."""

import glob
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

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
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import need_file
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.inference.limits import MAX_DETECTIONS

Photos = Annotated[
    list[str], typer.Argument(metavar="PHOTO", help="Image files, folders or glob patterns.")
]
Prompt = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="A tuned prompt (prompt.safetensors of a run); may be given several times.",
    ),
]
Detector = Annotated[
    str | None,
    typer.Option(
        help="Name, folder, run or Hub repository (default: glip-tiny, or what the prompts were "
        "tuned for)."
    ),
]
Threshold = Annotated[
    str,
    typer.Option(
        metavar="SCORE|best",
        help="Least score, or best: those of the run's thresholds.yaml; class scores below 0.05 "
        "are never kept.",
    ),
]
Out = Annotated[
    str, typer.Option(metavar="DIR", help="Where pictures and predictions.json are written.")
]
Thresholds = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="YAML or JSON: least scores of some classes, by name."),
]
Format = Annotated[
    str,
    typer.Option(
        metavar="LIST", help="What is written beside pictures: json (always), coco, yolo, csv."
    ),
]


def predict(
    photos: Photos,
    phrases: Phrases = None,
    phrases_file: PhrasesFile = None,
    prompt: Prompt = None,
    detector: Detector = None,
    threshold: Threshold = "0.5",
    out: Out = "predictions",
    thresholds: Thresholds = None,
    max_detections: MaxDetections = MAX_DETECTIONS,
    one_label: OneLabel = False,
    format: Format = "json",
    device: Device = "auto",
) -> int:
    """Find what phrases name in photos."""
    at_most_one(phrases=phrases, phrases_file=phrases_file, prompt=prompt)
    least = _threshold(threshold)
    formats = _formats(format)
    _check_paths(photos, phrases_file, prompt or [], detector)
    if phrases is None and phrases_file is None and not prompt:
        _refuse_phrases(photos)
    need_file(thresholds, f"--thresholds {thresholds}")
    with heavy_imports("predict"):
        from glip_lightning.inference.predict_photos import predict_photos

    return predict_photos(
        photos,
        detector=detector,
        prompts=prompt or [],
        phrases=phrases,
        phrases_file=phrases_file,
        threshold=least,
        out=out,
        device=device,
        thresholds=thresholds,
        max_detections=max_detections,
        one_label=one_label,
        formats=formats,
    )


def _threshold(given: str) -> float | Literal["best"]:
    """Return a score, or the word best."""
    if given == "best":
        return "best"
    try:
        return float(given)
    except ValueError:
        raise WrongUsage(f"--threshold {given}: expected a number from 0 to 1, or best") from None


def _formats(text: str) -> list[str]:
    """Return the formats of a list with commas, each once.

    The list has no json, which is always written.
    """
    from glip_lightning.inference.prediction_files import FILES

    wanted = [name.strip().lower() for name in text.split(",")]
    known = ("json", *FILES)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise WrongUsage(
            f"--format {text}: {unknown[0]!r} is no format; choose of {', '.join(known)}"
        )
    return [name for name in FILES if name in wanted]


def _check_paths(
    photos: Sequence[str], phrases_file: str | None, prompts: Sequence[str], detector: str | None
) -> None:
    """Raise GLIPError for paths that do not exist, before torch is imported.

    Of several photos, some may be missing.
    """
    from glip_lightning.weights.detector_files import check_detector

    if not any(map(_exists, photos)):
        others = f" (nor any of the {len(photos) - 1} others)" if len(photos) > 1 else ""
        raise GLIPError(
            f"{photos[0]}: no such file, folder or pattern of files{others}", code="missing-image"
        )
    need_file(phrases_file, f"--phrases-file {phrases_file}")
    for prompt in prompts:
        need_file(prompt, f"--prompt {prompt}")
    if detector is not None:
        check_detector(detector)


def _refuse_phrases(photos: Sequence[str]) -> None:
    """Raise WrongUsage for a PHOTO that can only be phrases, such as "raccoon. dog".

    There is no such file, and the word has neither a folder nor the ending of an image.
    """
    from glip_lightning.data.images import PICTURES, UNREAD  # brings numpy and Pillow

    for photo in photos:
        has_ending = Path(photo).suffix.lower() in PICTURES | UNREAD
        if _exists(photo) or has_ending or Path(photo).name != photo:
            continue
        message = f"{photo}: no such file or folder; what to find is given by "
        message += f"--phrases {shlex.quote(photo)}"
        raise WrongUsage(message, code="missing-image")


def _exists(photo: str) -> bool:
    """Return whether there is such a file or folder, or a file that matches such a pattern."""
    if Path(photo).exists():
        return True
    if not glob.has_magic(photo):
        return False
    return bool(glob.glob(photo, recursive=True))  # noqa: PTH207 - Path.glob has no absolute patterns
