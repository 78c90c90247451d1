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
from glip_lightning.common.plurals import count_with_noun
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
    """Examine a data set, print what is in it, and return 0 if it can be trained on, else 1.

    Args:
        folder: the data set.
        detector: its vocabulary counts the tokens of the class names.
        as_json: print the findings as JSON instead of tables.
        show: the file of a sheet of photos with their annotations.
        config: a recipe, for ``show_augmented``.
        show_augmented: the file of a sheet of photos as training by the recipe sees them.
    """
    reader, vocabulary = _reader(detector)
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
        title = f"{layout.name} in {folder}" if layout else folder
        print_diagnosis(diagnosis, title, vocabulary)
    if show is not None and splits:
        stream = sys.stderr if as_json else sys.stdout
        print(printable(save_annotated(show, splits)), file=stream)
    if findings.errors or "train" not in splits:
        return 1
    if config is not None and show_augmented is not None:
        from glip_lightning.app.augmented_sheet import save_augmented  # imports all that trains

        line = save_augmented(show_augmented, config, folder, splits["train"])
        console.print(line, markup=False, soft_wrap=True)
    return 0


def _reader(detector: str | None) -> tuple[Reader, str]:
    """Return who reads the names of classes, and whose vocabulary that is.

    Only the vocabulary of a detector that the user names is downloaded.
    """
    if detector:
        return load_reader(detector), detector
    if is_cached(OFFICIAL_VOCAB):
        return Reader(load_tokenizer(DEFAULT), DEFAULT), DEFAULT
    vocabulary = f"glip-nano (for that of the official models: --detector {DEFAULT})"
    return Reader(Tokenizer.nano()), vocabulary


def print_diagnosis(diagnosis: Diagnosis, title: str, vocabulary: str) -> None:
    """Print tables of splits and classes, the findings, and whether the data can be trained on."""
    console = Console(highlight=False)
    console.print(Text(printable_lines(title), style="bold"), soft_wrap=True)
    if diagnosis.splits:
        console.print(_split_table(diagnosis), _class_table(diagnosis, vocabulary))
    levels = list(SIGNS)
    for finding in sorted(diagnosis.findings, key=lambda finding: levels.index(finding.level)):
        sign, style = SIGNS[finding.level]
        console.print(Text(sign, style=style), Text(f"{finding.code}: {finding}"), soft_wrap=True)
    errors = len(diagnosis.findings.errors)
    warnings = sum(finding.level == "warning" for finding in diagnosis.findings)
    verdict = "can be trained on"
    if errors or "train" not in diagnosis.splits:
        verdict = "cannot be trained on yet"
    counts = f"{count_with_noun(errors, 'error')}, {count_with_noun(warnings, 'warning')}"
    console.print(Text(f"{verdict}: {counts}", style="bold"))


def _split_table(diagnosis: Diagnosis) -> Table:
    names = ("images", "without boxes", "boxes", "dropped", "clipped", "unreadable")
    table = Table("split", *(_number_column(name) for name in names))
    for split, counts in diagnosis.splits.items():
        table.add_row(split, *map(str, counts))
    return table


def _number_column(name: str) -> Column:
    return Column(name, justify="right")


def _class_table(diagnosis: Diagnosis, vocabulary: str) -> Table:
    splits = [split for split in SPLITS if split in diagnosis.splits]
    columns = [_number_column(split) for split in splits]
    table = Table("id", "class", *columns, _number_column("tokens"), "word pieces")
    table.caption = f"boxes per class; tokens by the vocabulary of {vocabulary}"
    for row in diagnosis.classes:
        cells = [
            str(row.category_id),
            printable(row.name[:40]),
            *(str(row.boxes[split]) for split in splits),
            str(len(row.tokens)),
            " ".join(row.tokens[:12]),
        ]
        table.add_row(*map(Text, cells))
    return table
