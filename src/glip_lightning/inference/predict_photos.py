"""Photos to pictures with labelled boxes and one JSON file: what ``glip predict`` does."""

import glob
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from signal import SIGINT
from typing import Any, Literal

from glip_lightning.common import registry
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import json_text, printable, printable_lines
from glip_lightning.common.files import is_disk_full, picture_names, remove_parts, write_text
from glip_lightning.common.long_work import tracked
from glip_lightning.common.plurals import count_with_noun
from glip_lightning.common.signals import Interrupted
from glip_lightning.data.checks.class_words import SEVERAL
from glip_lightning.data.checks.findings import frames_note, listing, unread_note
from glip_lightning.data.images import pictures, read_with_frames
from glip_lightning.evaluation.best_threshold import BestThreshold
from glip_lightning.inference.limits import MAX_DETECTIONS
from glip_lightning.inference.prediction_files import (
    FILES,
    refuse_other_files,
    remove_formats,
    write_formats,
)
from glip_lightning.inference.predictor import DEFAULT_THRESHOLD, Predictor, as_phrases
from glip_lightning.inference.thresholds import Thresholds, phrase_key, read_thresholds
from glip_lightning.text.phrases import Phrase, read_phrases_file
from glip_lightning.weights.base_model import weights_hash
from glip_lightning.weights.run_files import category_ids
from glip_lightning.weights.threshold_file import read_thresholds_of

PREDICTIONS_NAME = "predictions.json"
FEW_BOXES = 20  # of a class in the valid split: its best threshold is a rough guess
EVERY = 60  # seconds between two writings of predictions.json: what a kill may lose

Entry = dict[str, Any]
"""What ``predictions.json`` says of one photo."""


def predict_photos(
    photos: Sequence[str],
    *,
    detector: str | None,
    prompts: Sequence[str],
    phrases: str | None,
    phrases_file: str | None,
    threshold: float | Literal["best"],
    out: str,
    device: str,
    thresholds: str | None = None,
    max_detections: int = MAX_DETECTIONS,
    one_label: bool = False,
    formats: Sequence[str] = (),
) -> int:
    """Detect in every photo and return 1 if some photo failed; the others are done all the same.

    The same command goes on with what is in the folder ``out``; another command replaces it.
    Other ``formats`` are written by :mod:`glip_lightning.inference.prediction_files`.
    """
    folder = Path(out)
    named = read_thresholds(thresholds, DEFAULT_THRESHOLD).phrases if thresholds else {}
    wanted = _read_phrases(phrases, phrases_file)
    paths = find_photos(photos, folder)
    drawn = [folder / name for name in picture_names(paths)]
    _refuse_overwriting(paths, drawn, folder)
    earlier = _read_results(folder / PREDICTIONS_NAME)
    refuse_other_files(folder, formats, earlier["formats"] if earlier else ())
    predictor = Predictor(
        detector,
        prompts=prompts,
        device=device,
        threshold=threshold,
        thresholds=named,
        max_detections=max_detections,
        one_label=one_label,
    )
    settings = _settings(predictor, prompts, wanted)
    names = settings["classes"]
    _print_classes(predictor, names, settings["caption"])
    if threshold == "best" and detector is not None:
        _print_thresholds(predictor, names, read_thresholds_of(detector))
    unused = sorted(named.keys() - {phrase_key(name) for name in names})
    if unused:
        note = f"--thresholds {thresholds}: no class is called {listing(unused)}"
        print(f"glip: {note}", file=sys.stderr)
    remove_parts(folder)
    results = Results(folder, settings, paths, drawn, formats)
    _predict_all(predictor, results, paths, drawn, wanted)
    entries = results.listed()
    written = write_formats(folder, formats, entries, _categories(names, detector, prompts))
    _print_results(predictor, results, names, wanted or [])
    for file in written:
        print(f"{file.stem:<8} {printable(str(file))}")
    saved = [entry["picture"] for entry in entries if "picture" in entry]
    if len(saved) == 1:
        print(f"picture  {printable(saved[0])}")
    elif saved:
        print(f"pictures {printable(out)}")
    return 1 if any("error" in entry for entry in entries) else 0


def _refuse_overwriting(photos: Sequence[Path], drawn: Sequence[Path], folder: Path) -> None:
    """Raise GLIPError if a picture to be drawn would replace a photo."""
    both = {path.resolve() for path in photos} & {picture.resolve() for picture in drawn}
    if both:
        message = f"--out {folder}: would overwrite the photo {min(both)}; choose another folder"
        raise GLIPError(message, code="file-exists")


def _settings(
    predictor: Predictor, prompts: Sequence[str], wanted: list[Phrase] | None
) -> dict[str, Any]:
    """Return what decides which boxes are found, as it stands in ``predictions.json``."""
    queries = predictor.queries(wanted)
    names: list[str] = []
    captions: list[str] = []
    for query in queries:
        names += query.class_names
        captions += [prompt.caption for prompt in query.prompts]
    return {
        "detector": predictor.name,
        "prompts": list(map(str, prompts)),
        "weights": predictor.loaded.weights,
        "threshold": predictor.threshold,
        "thresholds": dict(sorted(predictor.thresholds.items())),
        "max_detections": predictor.max_detections,
        "one_label": predictor.one_label,
        "classes": names,
        "caption": captions,
        "sha256": _fingerprint(predictor),
    }


def _print_classes(predictor: Predictor, names: Sequence[str], captions: Sequence[str]) -> None:
    """Print what is looked for: the caption, or the classes of a detector that needs none."""
    if predictor.tuned:
        print(f"tuned prompt: {', '.join(map(printable, names))}")
    elif not predictor.model.reads_text:
        print(f"classes: {', '.join(map(printable, names))}")
    else:
        print(f"caption: {' | '.join(map(printable, captions))}")


def _print_thresholds(
    predictor: Predictor, names: Sequence[str], of_run: Mapping[str, BestThreshold]
) -> None:
    """Print the threshold of each class, and whether those of the run rest on few boxes."""
    least = Thresholds(predictor.threshold, predictor.thresholds)
    scores = ", ".join(f"{printable(name)} {least.of(name):g}" for name in names)
    print(f"thresholds: {scores}")
    few = [name for name, best in of_run.items() if best.boxes < FEW_BOXES]
    if few:
        print(
            f"rough: fewer than {FEW_BOXES} boxes of the valid split are behind the threshold of "
            f"{listing(few)}; compare with --threshold 0.3 or 0.5"
        )
    unknown = sum(phrase_key(name) not in predictor.thresholds for name in names)
    if unknown:
        print(
            f"{unknown} of {len(names)} classes have no best score in the run: "
            f"{predictor.threshold:g}"
        )


def _predict_all(
    predictor: Predictor,
    results: "Results",
    photos: Sequence[Path],
    drawn: Sequence[Path],
    wanted: list[Phrase] | None,
) -> None:
    """Detect in the photos that have no result yet; print which of them have several frames."""
    pairs = zip(photos, drawn, strict=True)
    left = [(photo, picture) for photo, picture in pairs if photo not in results]
    framed: list[Path] = []
    try:
        for photo, picture in tracked(left, "photos", len(left)):
            results.add(photo, _predict(predictor, photo, picture, wanted, framed))
    except KeyboardInterrupt as stop:
        message = f"{len(results.entries)} of {len(photos)} photos are in {results.file}; "
        message += "the same command goes on"
        raise Interrupted(message, getattr(stop, "number", SIGINT)) from None
    finally:  # what is done is kept
        results.write()
    note = frames_note(framed)
    if note:
        print(f"glip: {note}", file=sys.stderr)


def _predict(
    predictor: Predictor,
    photo: Path,
    picture: Path,
    wanted: list[Phrase] | None,
    framed: list[Path],
) -> Entry:
    """Return the entry of one photo; a photo that cannot be read has its error in it.

    A photo with several frames is added to ``framed``.
    """
    try:
        state = _file_state(photo)
        image, frames = read_with_frames(photo, upright=True)
        if frames > 1:
            framed.append(photo)
        found = predictor(image, wanted)
        found.save(picture)
    except (OSError, ValueError) as error:
        if is_disk_full(error) or getattr(error, "code", None) == "not-finite":
            raise  # the next photo would end in the same way
        return {"photo": str(photo), "error": str(error), "detections": []}
    height, width = found.size
    entry: Entry = {
        "photo": str(photo),
        "width": width,
        "height": height,
        "picture": str(picture),
        "file": state,
        "cut": found.cut,
        "detections": found.rows(),
    }
    if not found.names:
        entry["best_score"] = round(found.best_score, 4)
    return entry


def _categories(
    names: Sequence[str], detector: str | None, prompts: Sequence[str]
) -> dict[int, str]:
    """Return the classes by their ids: those of the run that is the detector, else 1, 2, ..."""
    folders = [Path(detector)] if detector else [Path(prompt).parent for prompt in prompts]
    ids: Sequence[int] = range(1, len(names) + 1)
    if len(folders) == 1:
        ids = category_ids(folders[0], names)
    return dict(zip(ids, names, strict=True))


def _print_results(
    predictor: Predictor, results: "Results", names: Sequence[str], wanted: Sequence[Phrase]
) -> None:
    """Print failed photos, the number of boxes, photos without boxes, boxes that are left out."""
    entries = results.listed()
    failed = [entry for entry in entries if "error" in entry]
    for entry in failed:
        print(f"glip: {printable_lines(entry['error'])}", file=sys.stderr)
    boxes = sum(len(entry["detections"]) for entry in entries)
    photos = len(entries) - len(failed)
    counts = f"{count_with_noun(boxes, 'box')} in {count_with_noun(photos, 'photo')}"
    print(f"{counts}: {printable(str(results.file))}")
    _print_photos_without_boxes(predictor, entries, names, wanted)
    cut = [entry["cut"] for entry in entries if entry.get("cut")]
    if cut:
        most = predictor.max_detections
        print(
            f"glip: left out: {count_with_noun(sum(cut), 'more box')} "
            f"in {count_with_noun(len(cut), 'photo')}; "
            f"a photo keeps the {most} best ones (--max-detections)",
            file=sys.stderr,
        )


def _print_photos_without_boxes(
    predictor: Predictor, entries: Sequence[Entry], names: Sequence[str], wanted: Sequence[Phrase]
) -> None:
    """Print how near the best score of photos without a box was, and what may be the reason.

    The reason is a phrase that may be meant as several, or else what a shipped detector cannot
    know.
    """
    best = [entry["best_score"] for entry in entries if "best_score" in entry]
    if not best:
        return
    message = f"nothing in {len(best)} of {len(entries)} photos; "
    thresholds = Thresholds(predictor.threshold, predictor.thresholds).describe(names)
    message += f"the best score there is {max(best):.4f}, {thresholds} (--threshold)"
    untrained = predictor.loaded.weights == "shipped" and not predictor.tuned
    limits = registry.detector_limits.get(predictor.name) if untrained else None
    joined = [phrase.name for phrase in wanted if SEVERAL.search(phrase.name)]
    if joined:
        several = SEVERAL.sub(". ", joined[0])
        message += f"; {joined[0]!r} is one phrase, several phrases are {several!r}"
    elif limits:
        message += f"; {predictor.name} {limits}"
    print(printable(message))


class Results:
    """The entries of ``predictions.json``: those of an earlier call that still hold, and new ones.

    The file is written whole or not at all, about once a minute.
    """

    def __init__(
        self,
        out: Path,
        settings: Mapping[str, Any],
        photos: Sequence[Path],
        drawn: Sequence[Path],
        formats: Sequence[str] = (),
    ) -> None:
        """Take over what an earlier call found in photos that have not changed since.

        If the file in ``out`` was made with other settings or of other photos, it is replaced, and
        its pictures are deleted. Files of other formats that it lists are deleted: they are written
        anew when all photos are done.

        Args:
            out: the folder of the file.
            settings: what decides which boxes are found; of an earlier call they must be the same.
            photos: the photos that were asked for.
            drawn: the picture with boxes of each photo.
            formats: the other formats that are to be written.
        """
        self.file = out / PREDICTIONS_NAME
        self.settings = json.loads(json.dumps(settings))
        self.photos = photos
        self.formats = list(formats)
        self.entries: dict[str, Entry] = {}
        self._written = time.monotonic()
        self._seconds = 0.0  # that the last writing took
        if not self.file.exists():
            return
        old = _read_results(self.file)
        if old is None:
            note = f"{self.file} cannot be read and is replaced; pictures beside it stay"
            print(f"glip: {note}", file=sys.stderr)
            return
        remove_formats(out, old["formats"])
        same_settings = all(old.get(key) == value for key, value in self.settings.items())
        if same_settings:
            listed = {entry["photo"]: entry for entry in old["photos"]}
            for photo, picture in zip(photos, drawn, strict=True):
                entry = listed.get(str(photo))
                if entry and _still_holds(photo, picture, entry):
                    self.entries[str(photo)] = entry
        stay = {str(picture) for picture in drawn} if same_settings else set()
        gone = [entry.get("picture") for entry in old["photos"]]
        self.write()  # before the pictures go: no file lists what is not there
        deleted = self._delete_pictures([Path(name) for name in gone if name and name not in stay])
        if same_settings:
            done, total = len(self.entries), len(self.photos)
            print(f"{done} of {total} photos are done already, with the same settings")
        else:
            print(f"{self.file} was made with other settings and is replaced")
        if deleted:
            print(f"deleted: {count_with_noun(deleted, 'picture')} of the earlier result")

    def _delete_pictures(self, pictures: Sequence[Path]) -> int:
        """Delete pictures that an earlier call has drawn beside the file; return how many."""
        given = {path.resolve() for path in self.photos}
        folder = self.file.parent.resolve()
        deleted = 0
        for path in pictures:
            is_beside = path.parent.resolve() == folder and path.resolve() not in given
            if is_beside and path.is_file() and path.suffix == ".jpg":
                path.unlink()
                deleted += 1
        return deleted

    def __contains__(self, photo: Path) -> bool:
        """Return whether the photo has a result already."""
        return str(photo) in self.entries

    def add(self, photo: Path, entry: Entry) -> None:
        """Take the entry of a photo, and write the file if it is old; a large file less often."""
        self.entries[str(photo)] = entry
        if time.monotonic() - self._written > max(EVERY, 20 * self._seconds):
            self.write()

    def listed(self) -> list[Entry]:
        """Return the entries in the order of the photos."""
        return [self.entries[str(photo)] for photo in self.photos if photo in self]

    def write(self) -> None:
        """Write all entries that there are."""
        began = time.monotonic()
        content = {**self.settings, "formats": self.formats, "photos": self.listed()}
        write_text(self.file, json_text(json.dumps(content, indent=2, ensure_ascii=False)))
        self._written = time.monotonic()
        self._seconds = self._written - began


def _read_results(file: Path) -> dict[str, Any] | None:
    """Return what an earlier call has written, or None if the file is something else."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        entries = [(entry["photo"], entry.get("picture", "")) for entry in content["photos"]]
        formats = [name for name in content.get("formats", ()) if name in FILES]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    for photo, picture in entries:
        if not isinstance(photo, str) or not isinstance(picture, str):
            return None
    return {**content, "formats": formats}


def _fingerprint(predictor: Predictor) -> str:
    """Return a hash of all numbers of the detector, and of the texts that it looks for."""
    digest = hashlib.sha256(weights_hash(predictor.model, text=not predictor.tuned).encode())
    digest.update(json.dumps(predictor.input_sizes()).encode())
    for prompt in predictor.tuned:
        for text in prompt.query.texts:
            digest.update(text.hidden.numpy().tobytes())
    return digest.hexdigest()


def _still_holds(photo: Path, picture: Path, entry: Mapping[str, Any]) -> bool:
    """Return whether the photo was read, has its picture and has not changed since."""
    if entry.get("picture") != str(picture) or not picture.is_file():
        return False
    if "error" in entry or "detections" not in entry:
        return False
    try:
        return _file_state(photo) == entry.get("file")
    except OSError:
        return False


def _file_state(photo: Path) -> dict[str, Any]:
    """Return what changes when a file is written anew."""
    status = photo.stat()
    return {"bytes": status.st_size, "modified": status.st_mtime}


def _read_phrases(phrases: str | None, file: str | None) -> list[Phrase] | None:
    if file is not None:
        return read_phrases_file(file)
    if phrases is not None:
        return as_phrases(phrases)
    return None


def _without_drawn(photos: Sequence[Path], folder: Path, out: Path) -> list[Path]:
    """Return the photos of a folder without the pictures that an earlier call has drawn.

    A picture was drawn if ``predictions.json`` in ``out`` lists it, or if it lies in ``out`` and
    ``out`` lies in the folder.
    """
    earlier = _read_results(out / PREDICTIONS_NAME) or {"photos": ()}
    listed = {Path(entry["picture"]).resolve() for entry in earlier["photos"] if "picture" in entry}
    target = out.resolve()
    out_is_below = target != folder.resolve() and target.is_relative_to(folder.resolve())
    kept = []
    for photo in photos:
        path = photo.resolve()
        is_in_out = out_is_below and path.is_relative_to(target)
        if path not in listed and not is_in_out:
            kept.append(photo)
    return kept


def find_photos(given: Iterable[str], out: Path) -> list[Path]:
    """Return files as they are, the photos below folders, and what glob patterns match.

    Each photo comes once, in order. A file that does not exist stays in the list: its error stops
    no other photo. Two kinds of files in folders are left out with a note: pictures in formats that
    are not read, and pictures that an earlier call has drawn in ``out``.

    Raises:
        GLIPError: a folder without photos, or a pattern that no file matches (code
            ``no-pictures``).
    """
    paths: list[Path] = []
    for name in given:
        if Path(name).is_dir():
            paths += _photos_below(Path(name), out)
        elif glob.has_magic(name) and not Path(name).exists():
            found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob has no absolute patterns
            if not found:
                raise GLIPError(f"{name}: no file matches this pattern", code="no-pictures")
            paths += [Path(path) for path in found]
        else:
            paths.append(Path(name))
    return list(dict.fromkeys(paths))


def _photos_below(folder: Path, out: Path) -> list[Path]:
    """Return the photos below a folder, and print what is left out."""
    below = pictures(folder)
    found = _without_drawn(below, folder, out)
    drawn = len(below) - len(found)
    if drawn:
        note = f"{drawn} pictures in {out} are left out, as --out is there"
        print(f"glip: {note}", file=sys.stderr)
    unread = unread_note(folder)
    if unread:
        print(f"glip: {unread}", file=sys.stderr)
    if not found:
        raise GLIPError(f"{folder}: the folder holds no images", code="no-pictures")
    return found
