"""What a data set holds and what is wrong with it, before any training."""

import json
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from glip_lightning.app.annotated_sheet import save_annotated
from glip_lightning.common.escaping import printable, printable_lines
from glip_lightning.common.long_work import tracked
from glip_lightning.data.checks.class_words import Reader
from glip_lightning.data.checks.diagnosis import Diagnosis, diagnose
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.layouts import read_folder
from glip_lightning.data.types import SPLITS
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.weights.detector_files import load_reader, load_tokenizer
from glip_lightning.weights.hub_files import OFFICIAL_VOCAB, is_cached

DEFAULT = "glip-tiny"
SIGNS = {
    "error": ("error  ", "bold red"),
    "warning": ("warning", "yellow"),
    "info": ("note   ", "dim"),
}


def examine(
    folder: str,
    detector: str | None = None,
    as_json: bool = False,
    show: str | None = None,
    config: str | None = None,
    show_augmented: str | None = None,
) -> int:
    """Examine ``folder``; 0 if it can be trained on, else 1.

    ``detector`` is the one whose vocabulary counts the tokens of the class names. ``show`` is the file of a sheet of
    photos with their annotations, ``show_augmented`` that of what training by the recipe ``config`` shows.
    """
    reader, used = _reader(detector)
    findings = Findings()
    layout = findings.attempt(folder, lambda: read_folder(folder, findings))
    splits = layout.splits if layout else {}
    console = Console(stderr=True)
    diagnosis = diagnose(
        splits, reader, findings, lambda steps, total: tracked(steps, "reading images", total)
    )
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(diagnosis, f"{layout.name} in {folder}" if layout else folder, used)
    if show is not None and splits:
        print(printable(save_annotated(show, splits)), file=sys.stderr if as_json else sys.stdout)
    if findings.errors or "train" not in splits:
        return 1
    if config is not None and show_augmented is not None:
        from glip_lightning.app.augmented_sheet import save_sheet  # imports all that trains

        console.print(
            save_sheet(show_augmented, config, folder, splits["train"]),
            markup=False,
            soft_wrap=True,
        )
    return 0


def _reader(detector: str | None) -> tuple[Reader, str]:
    """Who reads the names, and whose vocabulary that is; nothing is downloaded that was not asked for."""
    if detector:
        return load_reader(detector), detector
    if is_cached(OFFICIAL_VOCAB):
        return Reader(load_tokenizer(DEFAULT), DEFAULT), DEFAULT
    return Reader(
        Tokenizer.nano()
    ), f"glip-nano (--detector {DEFAULT} downloads that of the official models)"


def _print(diagnosis: Diagnosis, title: str, vocabulary: str) -> None:
    console = Console(highlight=False)
    console.print(Text(printable_lines(title), style="bold"), soft_wrap=True)
    if diagnosis.splits:
        console.print(_split_table(diagnosis), _class_table(diagnosis, vocabulary))
    for finding in sorted(diagnosis.findings, key=lambda finding: list(SIGNS).index(finding.level)):
        sign, style = SIGNS[finding.level]
        console.print(Text(sign, style=style), Text(f"{finding.code}: {finding}"), soft_wrap=True)
    errors = len(diagnosis.findings.errors)
    warnings = sum(finding.level == "warning" for finding in diagnosis.findings)
    verdict = (
        "cannot be trained on yet"
        if errors or "train" not in diagnosis.splits
        else "can be trained on"
    )
    console.print(Text(f"{verdict}: {errors} errors, {warnings} warnings", style="bold"))


def _split_table(diagnosis: Diagnosis) -> Table:
    table = Table(
        "split",
        *(
            _right(x)
            for x in ("images", "without boxes", "boxes", "dropped", "clipped", "unreadable")
        ),
    )
    for split, counts in diagnosis.splits.items():
        table.add_row(split, *map(str, counts))
    return table


def _right(name: str) -> Column:
    return Column(name, justify="right")


def _class_table(diagnosis: Diagnosis, vocabulary: str) -> Table:
    splits = [split for split in SPLITS if split in diagnosis.splits]
    table = Table(
        "id", "class", *(_right(split) for split in splits), _right("tokens"), "word pieces"
    )
    table.caption = f"boxes per class; tokens by the vocabulary of {vocabulary}"
    for row in diagnosis.classes:
        counts = [str(row.boxes[split]) for split in splits]
        cells = [
            str(row.category_id),
            printable(row.name[:40]),
            *counts,
            str(len(row.tokens)),
            " ".join(row.tokens[:12]),
        ]
        table.add_row(*map(Text, cells))
    return table
