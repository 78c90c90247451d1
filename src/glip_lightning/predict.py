"""``glip predict``: photos to pictures with labelled boxes and one JSON file."""

import glob
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from rich.progress import track

from .data.images import PICTURES, read_image
from .drawing import draw_boxes
from .escaping import json_text, printable, printable_lines
from .files import no_room, picture_names, remove_parts, replacing, write_text
from .predictor import GLIPPredictor, Prediction, as_phrases
from .prompts import Phrase, read_phrases_file

RESULT_NAME = "predictions.json"


def predict_photos(
    photos: Sequence[str],
    *,
    detector: str | None,
    prompts: Sequence[str],
    phrases: str | None,
    phrases_file: str | None,
    threshold: float,
    out: str,
    device: str,
) -> int:
    """Detect in every photo; 1 if some photo failed, the others being done all the same."""
    wanted = _phrases(phrases, phrases_file)
    paths = find_photos(photos)
    pictures = [Path(out) / name for name in picture_names(paths)]
    if clash := {path.resolve() for path in paths} & {picture.resolve() for picture in pictures}:
        raise ValueError(f"--out {out}: would overwrite the photo {min(clash)}; choose another folder")
    predictor = GLIPPredictor(detector, prompts=prompts, device=device, threshold=threshold)
    queries = predictor.queries(wanted)
    captions = [prompt.caption for query in queries for prompt in query.prompts]
    names = [phrase.name for query in queries for phrase in query.phrases]
    if predictor.tuned or predictor.model.config.classes:
        print(f"{'tuned prompt' if predictor.tuned else 'classes'}: {', '.join(map(printable, names))}")
    else:
        print(f"caption: {' | '.join(map(printable, captions))}")
    entries: list[dict[str, Any]] = []
    remove_parts(Path(out))
    try:
        for path, picture in zip(track(paths, description="photos", transient=True), pictures, strict=True):
            entries.append(_predict(predictor, path, picture, wanted, names))
    finally:  # what is done is kept, also after Ctrl-C
        content = {
            "detector": predictor.name,
            "prompts": list(map(str, prompts)),
            "weights": predictor.loaded.weights,
            "threshold": threshold,
            "classes": names,
            "caption": captions,
            "photos": entries,
        }
        write_text(Path(out) / RESULT_NAME, json_text(json.dumps(content, indent=2, ensure_ascii=False)))
    failed = [entry for entry in entries if "error" in entry]
    for entry in failed:
        print(f"glip: {printable_lines(entry['error'])}", file=sys.stderr)
    boxes = sum(len(entry.get("detections", ())) for entry in entries)
    print(f"{boxes} boxes in {len(entries) - len(failed)} photos: {printable(str(Path(out) / RESULT_NAME))}")
    if drawn := [entry["picture"] for entry in entries if "picture" in entry]:
        print(f"picture  {printable(drawn[0])}" if len(drawn) == 1 else f"pictures {printable(out)}")
    return 1 if failed else 0


def _phrases(phrases: str | None, file: str | None) -> list[Phrase] | None:
    if file is not None:
        return read_phrases_file(file)
    return None if phrases is None else as_phrases(phrases)


def _predict(
    predictor: GLIPPredictor, path: Path, picture: Path, wanted: list[Phrase] | None, names: list[str]
) -> dict[str, Any]:
    """The JSON entry of one photo; one that cannot be read gives its error instead."""
    try:
        image = read_image(path, upright=True)
        found = predictor(image, wanted)
        draw(image, found, names, picture)
    except (OSError, ValueError) as error:
        if no_room(error):
            raise  # the next photo's picture would not find any either
        return {"photo": str(path), "error": str(error)}
    height, width = found.size
    return {
        "photo": str(path),
        "width": width,
        "height": height,
        "picture": str(picture),
        "detections": found.rows(),
    }


def draw(image: Image.Image, found: Prediction, names: list[str], picture: Path) -> None:
    """Save ``image`` with its boxes as ``picture``."""
    drawn = draw_boxes(image, found.boxes.tolist(), found.names, found.scores.tolist(), classes=names)
    with replacing(picture) as fresh:
        drawn.save(fresh, quality=92)


def find_photos(given: Iterable[str]) -> list[Path]:
    """Files as they are, the images of folders, and what glob patterns match, each once, in order.

    A file that does not exist stays in the list: it fails by itself and stops no other.
    """
    paths: list[Path] = []
    for name in given:
        if Path(name).is_dir():
            found = sorted(
                p for p in Path(name).iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith(".")
            )
            if not found:
                raise ValueError(f"{name}: the folder holds no images")
            paths += found
        elif glob.has_magic(name) and not Path(name).exists():
            found = sorted(map(Path, glob.glob(name, recursive=True)))  # noqa: PTH207 - Path.glob has no absolute patterns
            if not found:
                raise ValueError(f"{name}: no file matches this pattern")
            paths += found
        else:
            paths.append(Path(name))
    return list(dict.fromkeys(paths))
