"""``glip pseudo-label``: a teacher's boxes for photos with captions or of a class list, as one file to train on."""

import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from signal import SIGINT
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from glip_lightning import __version__
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable, printable_lines
from glip_lightning.common.files import remove_parts, write_text
from glip_lightning.common.signals import Interrupted
from glip_lightning.data.checks.findings import frames_note, unread_note
from glip_lightning.data.formats.captioned_images import Captioned, Sentence, read_captions
from glip_lightning.data.images import pictures
from glip_lightning.inference.predictor import as_phrases
from glip_lightning.inference.pseudo_label.class_file import class_content
from glip_lightning.inference.pseudo_label.grounding_file import (
    grounding_content,
    names_in,
    phrase_scores,
)
from glip_lightning.inference.pseudo_label.journal import Journal
from glip_lightning.inference.pseudo_label.labelling import find_all, header, with_phrases
from glip_lightning.inference.pseudo_label.teacher import STORED_FROM, STORED_MOST, Teacher
from glip_lightning.inference.thresholds import (
    MAX_DETECTIONS,
    Thresholds,
    check_threshold,
    read_thresholds,
    same,
)
from glip_lightning.text.phrases import Phrase, check_phrases, read_phrases_file
from glip_lightning.weights.run_files import category_ids

EVERY = 100  # images between two lines where there is no terminal


class LabelOptions(NamedTuple):
    """What the command line says."""

    images: str
    captions: str | None = None
    phrases: str | None = None
    phrases_file: str | None = None
    detector: str = "glip-tiny"
    out: str = "pseudo_labels.json"
    threshold: float = 0.5
    thresholds: str | None = None
    best_from: float | None = None
    keep_empty: bool = False
    max_detections: int = MAX_DETECTIONS
    one_label: bool = False
    batch: int = 8
    device: str = "auto"

    def command(self) -> str:
        """As it would be typed, defaults left out."""
        words = ["glip", "pseudo-label"]
        for name, value in self._asdict().items():
            if value != self._field_defaults.get(name):
                words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return shlex.join(words)


def label_images(options: LabelOptions) -> int:
    """1 if some photo could not be read, the others being labelled all the same."""
    floors = _floors(options)
    folder, out = Path(options.images), Path(options.out)
    captioned = read_captions(options.captions) if options.captions else None
    phrases = _phrases(options)
    _check_paths(folder, out, options.captions)
    teacher = Teacher(options.detector, options.device)
    counts: Counter[str] = Counter()
    given = _class_lists(folder, teacher.class_lists(phrases)) if captioned is None else captioned
    counts["images"] = len(given)
    if captioned is not None:
        counts["captions"] = sum(len(photo.sentences) for photo in given)
    photos = given if captioned is None else with_phrases(given, teacher, counts)
    if not photos:
        raise GLIPError(
            f"{options.captions}: no caption names a thing that can be found; give phrases with them",
            code="no-phrases",
        )
    if note := frames_note(folder / photo.file_name for photo in photos):
        print(f"glip: {note}", file=sys.stderr)
    remove_parts(out.parent)
    with Journal(out.with_suffix(".scores.jsonl"), header(teacher, folder, photos)) as journal:
        _find(teacher, folder, photos, journal, options.batch)
        content = _content(photos, journal, floors, options, counts)
        failed = journal.failed
    content["info"] = _info(teacher, options, counts, floors)
    write_text(out, json.dumps(content))
    _tell(failed, counts, out, journal.path)
    return 1 if failed else 0


def _check_paths(folder: Path, out: Path, captions: str | None) -> None:
    if out.is_dir():
        raise GLIPError(
            f"--out {out}: is a folder; give the name of a file in it", code="not-a-file"
        )
    if captions and out.resolve() == Path(captions).resolve():
        raise GLIPError(
            f"--out {out}: would overwrite the captions; choose another name", code="file-exists"
        )
    if not folder.is_dir():
        raise GLIPError(
            f"--images {folder}: no such folder; give the one that the file names start from",
            code="missing-folder",
        )


def _floors(options: LabelOptions) -> Thresholds:
    """Thresholds as they are given; all numbers are checked before anything is loaded."""
    if options.batch < 1:
        raise GLIPError(f"--batch {options.batch}: expected 1 or more images", code="bad-value")
    if options.max_detections > STORED_MOST:
        message = f"--max-detections {options.max_detections}: at most {STORED_MOST} boxes of a caption are stored"
        raise GLIPError(message, code="bad-value")
    if options.one_label and options.captions is not None:
        message = "--one-label: only with a class list; phrases of a caption that show one object are one box already"
        raise GLIPError(message, code="option-without-use")
    default = check_threshold(options.threshold, "--threshold", STORED_FROM)
    floors = (
        read_thresholds(options.thresholds, default, STORED_FROM)
        if options.thresholds
        else Thresholds(default)
    )
    if options.best_from is None:
        return floors
    if options.captions is None:
        raise GLIPError(
            "--best-from: only with --captions; what a list of classes names need not be in every photo",
            code="option-without-use",
        )
    best_from = check_threshold(options.best_from, "--best-from", STORED_FROM)
    highest = max([default, *floors.phrases.values()])
    if best_from >= highest:
        raise GLIPError(
            f"--best-from {best_from}: is for boxes below their threshold, {highest}; give a lower score",
            code="bad-value",
        )
    return floors._replace(best_from=best_from)


def _phrases(options: LabelOptions) -> list[Phrase] | None:
    if options.phrases_file is not None:
        return read_phrases_file(options.phrases_file)
    if options.phrases is None:
        return None
    phrases = as_phrases(options.phrases)
    check_phrases(phrases)
    return phrases


def _class_lists(folder: Path, sentences: tuple[Sentence, ...]) -> list[Captioned]:
    """Every picture below the folder with the same captions."""
    names = [path.relative_to(folder).as_posix() for path in pictures(folder)]
    if unread := unread_note(folder):
        print(f"glip: {unread}", file=sys.stderr)
    if not names:
        raise GLIPError(f"--images {folder}: there is no picture in it", code="no-pictures")
    return [Captioned(name, sentences) for name in names]


def _find(
    teacher: Teacher, folder: Path, photos: Sequence[Captioned], journal: Journal, batch: int
) -> None:
    done = 0
    try:
        with _Meter(len(photos)) as meter:
            for step in find_all(teacher, folder, photos, journal, batch):
                done += step
                meter.tell(done)
    except KeyboardInterrupt as stop:
        message = (
            f"{done} of {len(photos)} images are done; the same command goes on with {journal.path}"
        )
        raise Interrupted(message, getattr(stop, "number", SIGINT)) from None


def _content(
    photos: Sequence[Captioned],
    journal: Journal,
    floors: Thresholds,
    options: LabelOptions,
    counts: Counter[str],
) -> dict[str, Any]:
    """The three lists of the file."""
    labelled = [photo for photo in photos if photo.file_name in journal]

    def records() -> Iterable[
        tuple[Captioned, Any]
    ]:  # read anew each time: all scores may be more than the memory
        return ((photo, journal.get(photo.file_name)) for photo in labelled)

    found = {same(phrase) for phrase, _ in phrase_scores(records())} if floors.phrases else set()
    if unused := sorted(floors.phrases.keys() - found):
        print(
            f"glip: --thresholds {options.thresholds}: there is no box of {', '.join(map(printable, unused))}",
            file=sys.stderr,
        )
    most, keep_empty = options.max_detections, options.keep_empty
    if options.captions is not None:
        content, chosen = grounding_content(records(), floors, keep_empty, most)
    else:
        categories = _categories(photos[0], options.detector)
        content, chosen = class_content(
            records(),
            categories,
            floors,
            keep_empty=keep_empty,
            most=most,
            one_label=options.one_label,
        )
    counts["unreadable images"] = len(photos) - len(labelled)
    counts.update(chosen)
    return content


def _categories(photo: Captioned, detector: str) -> list[tuple[int, str]]:
    """Return id and name of each class that the captions of every photo name; ids of a run's classes are its data's."""
    names = [name for sentence in photo.sentences for name in names_in(sentence)]
    return list(zip(category_ids(Path(detector), names), names, strict=True))


def _info(
    teacher: Teacher, options: LabelOptions, counts: Counter[str], thresholds: Thresholds
) -> dict[str, Any]:
    return {
        "description": "boxes found by a detector; not checked by a person",
        "teacher": {**asdict(teacher.base), "weights": teacher.loaded.weights},
        "thresholds": {
            "default": thresholds.default,
            "best_from": thresholds.best_from,
            "phrases": dict(sorted(thresholds.phrases.items())),
        },
        "counts": dict(counts),
        "version": __version__,
        "command": options.command(),
    }


def _tell(failed: Sequence[str], counts: Counter[str], out: Path, scores: Path) -> None:
    for error in failed:
        print(f"glip: {printable_lines(error)}", file=sys.stderr)
    print("\n".join(f"{number:>9} {what}" for what, number in counts.items() if number))
    kept = f"{counts['boxes kept']} boxes in {out}; {scores.name} keeps all scores for other thresholds"
    print(printable(kept))


class _Meter:
    """Progress with rate and remaining time: a bar, or a line every ``EVERY`` images where there is no terminal."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        rate = TextColumn("{task.fields[rate]}")
        columns = (
            TextColumn("images"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            rate,
            TimeRemainingColumn(),
        )
        self.total, self.lines = total, not console.is_terminal
        self.bar = Progress(*columns, console=console, transient=True, disable=self.lines)
        self.task = self.bar.add_task("", total=total, rate="")
        self.begun, self.first, self.told = time.monotonic(), -1, 0

    def __enter__(self) -> "_Meter":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def tell(self, done: int) -> None:
        """The first number is what an earlier call had done."""
        self.first = done if self.first < 0 else self.first
        seconds = time.monotonic() - self.begun
        rate = (done - self.first) / seconds if seconds else 0.0
        self.bar.update(self.task, completed=done, rate=f"{rate:.1f}/s")
        if self.lines and (done // EVERY > self.told // EVERY or done == self.total):
            left = (
                f", {(self.total - done) / rate / 60:.1f} min left"
                if rate and done < self.total
                else ""
            )
            print(f"glip: {done} of {self.total} images, {rate:.1f}/s{left}", file=sys.stderr)
            self.told = done
