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
from glip_lightning.common.signals import Interrupted
from glip_lightning.data.checks.findings import frames_note, listing, unread_note
from glip_lightning.data.images import pictures, read_image
from glip_lightning.inference.prediction_files import (
    FILES,
    check_free,
    remove_formats,
    write_formats,
)
from glip_lightning.inference.predictor import DEFAULT_THRESHOLD, Predictor, as_phrases
from glip_lightning.inference.thresholds import MAX_DETECTIONS, Thresholds, read_thresholds, same
from glip_lightning.text.phrases import Phrase, read_phrases_file
from glip_lightning.weights.base_model import weights_hash
from glip_lightning.weights.run_files import category_ids

RESULT_NAME = "predictions.json"
EVERY = 60  # seconds between two writings of it: what a kill may lose


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
    """Detect in every photo; return 1 if some photo failed, the others being done all the same.

    The same command goes on with what is in ``out``; another one takes its place. ``formats`` are written besides, by
    :mod:`glip_lightning.inference.prediction_files`.
    """
    named = read_thresholds(thresholds, DEFAULT_THRESHOLD).phrases if thresholds else {}
    wanted = _phrases(phrases, phrases_file)
    paths = find_photos(photos, Path(out))
    pictures = [Path(out) / name for name in picture_names(paths)]
    if clash := {path.resolve() for path in paths} & {picture.resolve() for picture in pictures}:
        message = f"--out {out}: would overwrite the photo {min(clash)}; choose another folder"
        raise GLIPError(message, code="file-exists")
    earlier = _read_results(Path(out) / RESULT_NAME)
    check_free(Path(out), formats, earlier["formats"] if earlier else ())
    if note := frames_note(paths):
        print(f"glip: {note}", file=sys.stderr)
    predictor = Predictor(
        detector,
        prompts=prompts,
        device=device,
        threshold=threshold,
        thresholds=named,
        max_detections=max_detections,
        one_label=one_label,
    )
    queries = predictor.queries(wanted)
    captions = [prompt.caption for query in queries for prompt in query.prompts]
    names = [name for query in queries for name in query.class_names]
    if predictor.tuned or not predictor.model.reads_text:
        print(
            f"{'tuned prompt' if predictor.tuned else 'classes'}: {', '.join(map(printable, names))}"
        )
    else:
        print(f"caption: {' | '.join(map(printable, captions))}")
    if threshold == "best":
        _tell_least_scores(predictor, names)
    if unused := sorted(named.keys() - set(map(same, names))):
        print(
            f"glip: --thresholds {thresholds}: no class is called {listing(unused)}",
            file=sys.stderr,
        )
    settings = {
        "detector": predictor.name,
        "prompts": list(map(str, prompts)),
        "weights": predictor.loaded.weights,
        "threshold": predictor.threshold,
        "thresholds": dict(sorted(predictor.thresholds.items())),
        "max_detections": max_detections,
        "one_label": one_label,
        "classes": names,
        "caption": captions,
        "sha256": _fingerprint(predictor),
    }
    remove_parts(Path(out))
    results = Results(Path(out), settings, paths, pictures, formats)
    left = [
        (path, picture)
        for path, picture in zip(paths, pictures, strict=True)
        if path not in results
    ]
    try:
        for path, picture in tracked(left, "photos", len(left)):
            results.add(path, _predict(predictor, path, picture, wanted))
    except KeyboardInterrupt as stop:
        message = f"{len(results.entries)} of {len(paths)} photos are in {results.file}; the same command goes on"
        raise Interrupted(message, getattr(stop, "number", SIGINT)) from None
    finally:  # what is done is kept
        results.write()
    entries = results.listed()
    written = write_formats(Path(out), formats, entries, _categories(names, detector, prompts))
    failed = [entry for entry in entries if "error" in entry]
    for entry in failed:
        print(f"glip: {printable_lines(entry['error'])}", file=sys.stderr)
    boxes = sum(len(entry["detections"]) for entry in entries)
    print(f"{boxes} boxes in {len(entries) - len(failed)} photos: {printable(str(results.file))}")
    _tell_of_nothing(predictor, entries)
    if cut := [entry["cut"] for entry in entries if entry.get("cut")]:
        told = f"{sum(cut)} more boxes in {len(cut)} photos are left out"
        print(
            f"glip: {told}: a photo keeps the {max_detections} best ones (--max-detections)",
            file=sys.stderr,
        )
    for file in written:
        print(f"{file.stem:<8} {printable(str(file))}")
    if drawn := [entry["picture"] for entry in entries if "picture" in entry]:
        print(
            f"picture  {printable(drawn[0])}" if len(drawn) == 1 else f"pictures {printable(out)}"
        )
    return 1 if failed else 0


def _tell_least_scores(predictor: Predictor, names: Sequence[str]) -> None:
    """Print from which score on each class is shown, where a run has chosen that."""
    least = Thresholds(predictor.threshold, predictor.thresholds)
    print(f"least scores: {', '.join(f'{printable(name)} {least.of(name):g}' for name in names)}")
    if unknown := sum(same(name) not in predictor.thresholds for name in names):
        print(
            f"of {unknown} of {len(names)} classes the run knows no best one: {predictor.threshold:g}"
        )


def _categories(
    names: Sequence[str], detector: str | None, prompts: Sequence[str]
) -> dict[int, str]:
    """Return the classes by the ids that the data of the run have, where a run is the detector, else by 1, 2, ..."""
    folders = [Path(detector)] if detector else [Path(prompt).parent for prompt in prompts]
    ids = category_ids(folders[0], names) if len(folders) == 1 else range(1, len(names) + 1)
    return dict(zip(ids, names, strict=True))


class Results:
    """The entries of ``predictions.json``: those that an earlier call has left and this one need not find again, and
    new ones. The file is written whole or not at all, about once a minute."""

    def __init__(
        self,
        out: Path,
        settings: Mapping[str, Any],
        photos: Sequence[Path],
        pictures: Sequence[Path],
        formats: Sequence[str] = (),
    ) -> None:
        """Take over what was found with the same ``settings`` in photos that have not changed since; if the file in
        ``out`` is of other settings or of other photos, a new one takes its place and its pictures are deleted.

        The files of other ``formats`` that it lists are deleted: they are written anew when all photos are done."""
        self.file, self.settings = out / RESULT_NAME, json.loads(json.dumps(settings))
        self.photos, self.formats = photos, list(formats)
        self.entries: dict[str, dict[str, Any]] = {}
        self._written, self._seconds = time.monotonic(), 0.0
        if not self.file.exists():
            return
        old = _read_results(self.file)
        if old is None:
            print(
                f"glip: {self.file} cannot be read and is replaced; pictures beside it stay",
                file=sys.stderr,
            )
            return
        remove_formats(out, old["formats"])
        same = all(old.get(key) == value for key, value in self.settings.items())
        listed = {entry["photo"]: entry for entry in old["photos"]} if same else {}
        for photo, picture in zip(photos, pictures, strict=True):
            entry = listed.get(str(photo))
            if (
                entry
                and entry.get("picture") == str(picture)
                and picture.is_file()
                and _is_done(photo, entry)
            ):
                self.entries[str(photo)] = entry
        self._replace(old["photos"], {*map(str, pictures)} if same else set(), same)

    def _replace(self, old: Sequence[Mapping[str, Any]], stay: set[str], same: bool) -> None:
        """Say what goes on; delete the pictures that the old file lists and the new one will not draw anew."""
        given = {path.resolve() for path in self.photos}
        gone = [
            Path(entry["picture"])
            for entry in old
            if "picture" in entry and entry["picture"] not in stay
        ]
        folder = self.file.parent.resolve()
        ours = [
            path for path in gone if path.parent.resolve() == folder and path.resolve() not in given
        ]
        self.write()  # before the pictures go: no file lists what is not there
        deleted = 0
        for path in ours:
            if path.is_file() and path.suffix == ".jpg":
                path.unlink()
                deleted += 1
        if same:
            print(
                f"{len(self.entries)} of {len(self.photos)} photos are done already, with the same settings"
            )
        else:
            print(f"{self.file} was made with other settings and is replaced")
        if deleted:
            print(f"{deleted} pictures that it listed are deleted")

    def __contains__(self, photo: Path) -> bool:
        """Return whether the photo needs no second look."""
        return str(photo) in self.entries

    def add(self, photo: Path, entry: dict[str, Any]) -> None:
        """Take the entry of a photo, and write the file if it is old; a large one less often."""
        self.entries[str(photo)] = entry
        if time.monotonic() - self._written > max(EVERY, 20 * self._seconds):
            self.write()

    def listed(self) -> list[dict[str, Any]]:
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
    """Return what an earlier call has written, None if it is something else."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        entries = [(entry["photo"], entry.get("picture", "")) for entry in content["photos"]]
        formats = [name for name in content.get("formats", ()) if name in FILES]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    usable = all(isinstance(name, str) for entry in entries for name in entry)
    return {**content, "formats": formats} if usable else None


def _fingerprint(predictor: Predictor) -> str:
    """Return a hash of all numbers that decide what is found: of the detector, and of the texts that it looks for."""
    digest = hashlib.sha256(weights_hash(predictor.model, text=not predictor.tuned).encode())
    digest.update(json.dumps(predictor._input_sizes()).encode())
    for prompt in predictor.tuned:
        for text in prompt.query.texts:
            digest.update(text.hidden.numpy().tobytes())
    return digest.hexdigest()


def _is_done(photo: Path, entry: Mapping[str, Any]) -> bool:
    """Return whether the photo was read and has not changed since."""
    try:
        return "error" not in entry and "detections" in entry and _state(photo) == entry.get("file")
    except OSError:
        return False


def _state(photo: Path) -> dict[str, Any]:
    """Return what changes when a file is written anew."""
    status = photo.stat()
    return {"bytes": status.st_size, "modified": status.st_mtime}


def _phrases(phrases: str | None, file: str | None) -> list[Phrase] | None:
    if file is not None:
        return read_phrases_file(file)
    return None if phrases is None else as_phrases(phrases)


def _predict(
    predictor: Predictor, path: Path, picture: Path, wanted: list[Phrase] | None
) -> dict[str, Any]:
    """Return the JSON entry of one photo; one that cannot be read gives its error instead."""
    try:
        state = _state(path)
        image = read_image(path, upright=True)
        found = predictor(image, wanted)
        found.save(picture)
    except (OSError, ValueError) as error:
        if is_disk_full(error) or getattr(error, "code", None) == "not-finite":
            raise  # the next photo would end in the same way
        return {"photo": str(path), "error": str(error), "detections": []}
    height, width = found.size
    return {
        "photo": str(path),
        "width": width,
        "height": height,
        "picture": str(picture),
        "file": state,
        "cut": found.cut,
        "detections": found.rows(),
        **({} if found.names else {"best_score": round(found.best_score, 4)}),
    }


def _tell_of_nothing(predictor: Predictor, entries: Sequence[Mapping[str, Any]]) -> None:
    """Say of photos without a box how near one was, and what a shipped detector cannot know."""
    best = [entry["best_score"] for entry in entries if "best_score" in entry]
    if not best:
        return
    message = f"nothing in {len(best)} of {len(entries)} photos; the best score there is {max(best):.2f}, "
    message += f"the threshold {predictor.threshold:g}"
    untrained = predictor.loaded.weights == "shipped" and not predictor.tuned
    limits = registry.detector_limits.get(predictor.name) if untrained else None
    print(f"{message}; {predictor.name} {limits}" if limits else message)


def _not_drawn(photos: Sequence[Path], folder: Path, out: Path) -> list[Path]:
    """Return the photos that no earlier call has drawn: it lists them, or they lie in ``out`` inside the folder."""
    earlier = _read_results(out / RESULT_NAME) or {"photos": ()}
    drawn = {Path(entry["picture"]).resolve() for entry in earlier["photos"] if "picture" in entry}
    target = out.resolve()
    inside = target != folder.resolve() and target.is_relative_to(folder.resolve())
    return [
        path
        for path in photos
        if path.resolve() not in drawn and not (inside and path.resolve().is_relative_to(target))
    ]


def find_photos(given: Iterable[str], out: Path) -> list[Path]:
    """Files as they are, the images below folders, and what glob patterns match, each once, in order.

    A file that does not exist stays in the list: it fails by itself and stops no other. What a folder holds and is not
    used is said: pictures in formats that are not read, and those in ``out``, which an earlier call has drawn.
    """
    paths: list[Path] = []
    for name in given:
        if Path(name).is_dir():
            below = pictures(Path(name))
            found = _not_drawn(below, Path(name), out)
            if drawn := len(below) - len(found):
                print(
                    f"glip: {drawn} pictures in {out} are left out, as --out is there",
                    file=sys.stderr,
                )
            if unread := unread_note(Path(name)):
                print(f"glip: {unread}", file=sys.stderr)
            if not found:
                raise GLIPError(f"{name}: the folder holds no images", code="no-pictures")
            paths += found
        elif glob.has_magic(name) and not Path(name).exists():
            found = sorted(map(Path, glob.glob(name, recursive=True)))  # noqa: PTH207 - Path.glob has no absolute patterns
            if not found:
                raise GLIPError(f"{name}: no file matches this pattern", code="no-pictures")
            paths += found
        else:
            paths.append(Path(name))
    return list(dict.fromkeys(paths))
