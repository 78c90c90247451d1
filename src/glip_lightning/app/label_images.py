"""A teacher's boxes for photos, as one file to train on: what ``glip pseudo-label`` does."""

import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from signal import SIGINT
from typing import Any

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
from glip_lightning.common.commands import option_words
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable, printable_lines
from glip_lightning.common.files import remove_parts, write_text
from glip_lightning.common.signals import Interrupted
from glip_lightning.data.checks.findings import frames_note, unread_note
from glip_lightning.data.formats.captioned_images import Captioned, Sentence, read_captions
from glip_lightning.data.images import pictures
from glip_lightning.inference.limits import MAX_DETECTIONS
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
    Thresholds,
    check_threshold,
    phrase_key,
    read_thresholds,
)
from glip_lightning.text.phrases import Phrase, check_phrases, read_phrases_file
from glip_lightning.weights.run_files import category_ids

EVERY = 100  # images from one line of progress to the next, without a terminal


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """The options of ``glip pseudo-label``, with their default values."""

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
        """Return the command as a user would type it, without options that have their default."""
        return shlex.join(["glip", "pseudo-label", *option_words(self)])


def label_images(options: LabelOptions) -> int:
    """Find boxes in all photos, write the file, and return 1 if some photo could not be read.

    The other photos are labelled all the same.
    """
    thresholds = _thresholds(options)
    folder, out = Path(options.images), Path(options.out)
    captioned = read_captions(options.captions) if options.captions else None
    phrases = _phrases(options)
    _check_paths(folder, out, options.captions)
    teacher = Teacher(options.detector, options.device)
    counts: Counter[str] = Counter()
    if captioned is None:
        photos = _with_class_lists(folder, teacher.class_lists(phrases))
        counts["images"] = len(photos)
    else:
        counts["images"] = len(captioned)
        counts["captions"] = sum(len(photo.sentences) for photo in captioned)
        photos = with_phrases(captioned, teacher, counts)
    if not photos:
        message = f"{options.captions}: the detector can look for no phrase of these captions; "
        message += "check the captions, or add phrases to them"
        raise GLIPError(message, code="no-phrases")
    remove_parts(out.parent)  # unfinished files of earlier calls that were killed
    with Journal(out.with_suffix(".scores.jsonl"), header(teacher, folder, photos)) as journal:
        _find_boxes(teacher, folder, photos, journal, options.batch)
        content = _content(photos, journal, thresholds, options, counts)
        failed = journal.failed
    content["info"] = _info(teacher, options, counts, thresholds)
    write_text(out, json.dumps(content))
    note = frames_note(sorted(teacher.with_frames))
    if note:
        print(f"glip: {note}", file=sys.stderr)
    _print_result(failed, counts, out, journal.path)
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
            f"--images {folder}: no such folder; give the folder of the photos",
            code="missing-folder",
        )


def _thresholds(options: LabelOptions) -> Thresholds:
    """Return the thresholds.

    This checks all numbers of the options before a detector is loaded.
    """
    if options.batch < 1:
        raise GLIPError(f"--batch {options.batch}: expected 1 or more images", code="bad-value")
    if options.max_detections > STORED_MOST:
        message = f"--max-detections {options.max_detections}: expected {STORED_MOST} or less; "
        message += "no more boxes of a caption are stored"
        raise GLIPError(message, code="bad-value")
    if options.one_label and options.captions is not None:
        message = "--one-label: cannot be used with --captions, where phrases for the same object "
        message += "always share one box; leave it out"
        raise GLIPError(message, code="option-without-use")
    default = check_threshold(options.threshold, "--threshold", STORED_FROM)
    thresholds = Thresholds(default)
    if options.thresholds:
        thresholds = read_thresholds(options.thresholds, default, STORED_FROM)
    if options.best_from is None:
        return thresholds
    if options.captions is None:
        message = "--best-from: can only be used with --captions, because a photo need not show "
        message += "every class of a list; leave it out"
        raise GLIPError(message, code="option-without-use")
    best_from = check_threshold(options.best_from, "--best-from", STORED_FROM)
    highest = max([default, *thresholds.phrases.values()])
    if best_from >= highest:
        message = f"--best-from {best_from}: has no effect at or above the thresholds "
        message += f"(up to {highest}); give a lower score"
        raise GLIPError(message, code="bad-value")
    return replace(thresholds, best_from=best_from)


def _phrases(options: LabelOptions) -> list[Phrase] | None:
    if options.phrases_file is not None:
        return read_phrases_file(options.phrases_file)
    if options.phrases is None:
        return None
    phrases = as_phrases(options.phrases)
    check_phrases(phrases)
    return phrases


def _with_class_lists(folder: Path, sentences: tuple[Sentence, ...]) -> list[Captioned]:
    """Return all pictures below the folder, each with all ``sentences`` as its captions."""
    names = [path.relative_to(folder).as_posix() for path in pictures(folder)]
    note = unread_note(folder)
    if note:
        print(f"glip: {note}", file=sys.stderr)
    if not names:
        raise GLIPError(f"--images {folder}: there is no picture in it", code="no-pictures")
    return [Captioned(name, sentences) for name in names]


def _find_boxes(
    teacher: Teacher, folder: Path, photos: Sequence[Captioned], journal: Journal, batch: int
) -> None:
    """Find the boxes in all photos that the journal does not have yet, and show the progress."""
    done = 0
    try:
        with _Meter(len(photos)) as meter:
            for count in find_all(teacher, folder, photos, journal, batch):
                done += count
                meter.show(done)
    except KeyboardInterrupt as stop:
        message = f"{done} of {len(photos)} images are done; "
        message += f"the same command goes on with {journal.path}"
        number = getattr(stop, "number", SIGINT)  # a plain KeyboardInterrupt has none
        raise Interrupted(message, number) from None


def _content(
    photos: Sequence[Captioned],
    journal: Journal,
    thresholds: Thresholds,
    options: LabelOptions,
    counts: Counter[str],
) -> dict[str, Any]:
    """Return the lists ``images``, ``annotations`` and ``categories`` of the file.

    What was kept and what was left out is added to ``counts``.
    """
    labelled = [photo for photo in photos if photo.file_name in journal]

    def records() -> Iterable[tuple[Captioned, Any]]:
        # read from the disk at each call: the scores of all photos may not fit into memory
        return ((photo, journal.get(photo.file_name)) for photo in labelled)

    if thresholds.phrases:
        found = {phrase_key(phrase) for phrase, _ in phrase_scores(records())}
        unused = sorted(thresholds.phrases.keys() - found)
        if unused:
            names = ", ".join(printable(phrase) for phrase in unused)
            print(
                f"glip: --thresholds {options.thresholds}: there is no box of {names}",
                file=sys.stderr,
            )
    most, keep_empty = options.max_detections, options.keep_empty
    if options.captions is not None:
        content, chosen = grounding_content(records(), thresholds, keep_empty, most)
    else:
        content, chosen = class_content(
            records(),
            _categories(photos[0], options.detector),
            thresholds,
            keep_empty=keep_empty,
            most=most,
            one_label=options.one_label,
        )
    counts["unreadable images"] = len(photos) - len(labelled)
    counts.update(chosen)
    return content


def _categories(photo: Captioned, detector: str) -> list[tuple[int, str]]:
    """Return id and name of each class in the captions of ``photo``, which all photos share.

    If the detector is a run, the ids are those of its data.
    """
    names = []
    for sentence in photo.sentences:
        names += names_in(sentence)
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


def _print_result(failed: Sequence[str], counts: Counter[str], out: Path, scores: Path) -> None:
    for error in failed:
        print(f"glip: {printable_lines(error)}", file=sys.stderr)
    for what, number in counts.items():
        if number:
            print(f"{number:>9} {what}")
    kept = f"{counts['boxes kept']} boxes in {out}"
    print(printable(f"{kept}; {scores.name} keeps all scores for other thresholds"))


class _Meter:
    """Progress with rate and remaining time: a bar in a terminal, else a line every 100 images."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("images"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self.total = total
        self.prints_lines = not console.is_terminal
        self.bar = Progress(*columns, console=console, transient=True, disable=self.prints_lines)
        self.task = self.bar.add_task("", total=total, rate="")
        self.begun = time.monotonic()
        self.done_before: int | None = None  # images that an earlier call had done
        self.printed = 0  # images that the last line counted

    def __enter__(self) -> "_Meter":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, done: int) -> None:
        """Show how many images are done; the first number is what an earlier call had done."""
        if self.done_before is None:
            self.done_before = done
        seconds = time.monotonic() - self.begun
        rate = (done - self.done_before) / seconds if seconds else 0.0
        self.bar.update(self.task, completed=done, rate=f"{rate:.1f}/s")
        line_is_due = done // EVERY > self.printed // EVERY
        if self.prints_lines and (line_is_due or done == self.total):
            left = ""
            if rate and done < self.total:
                minutes = (self.total - done) / rate / 60
                left = f", {minutes:.1f} min left"
            print(f"glip: {done} of {self.total} images, {rate:.1f}/s{left}", file=sys.stderr)
            self.printed = done
