"""Data without splits: a seeded rule divides them, and a file keeps the result."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from glip_lightning.common.files import regular_file, write_text
from glip_lightning.data.checks.findings import Findings, data_error, listing
from glip_lightning.data.index import Index
from glip_lightning.data.types import SPLITS, Split

SPLIT_FILE = "splits.json"
SPLIT_WORDS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
"""What data sets call their splits, in lower case."""

RULE = (
    'file names ordered by sha256 of "{seed}/{file name}"; the first 70 % train, then 15 % valid, '
    "15 % test; one image each for valid and test from three images on"
)


def split_names(names: Sequence[str], seed: int) -> dict[Split, list[str]]:
    """Divide distinct file names as :data:`RULE` says; their order does not matter."""

    def place(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()

    ordered = sorted(names, key=place)
    held_out = 0
    if ordered:
        rounded = (3 * len(ordered) + 5) // 10  # 30 %
        held_out = min(max(2, rounded), len(ordered) - 1)
    train, valid = len(ordered) - held_out, (held_out + 1) // 2
    return {
        "train": ordered[:train],
        "valid": ordered[train : train + valid],
        "test": ordered[train + valid :],
    }


def split_index(
    index: Index, folder: Path | None, findings: Findings, seed: int = 0, write: bool = False
) -> dict[Split, Index]:
    """Divide an index as ``folder/splits.json`` says, else by :data:`RULE`.

    Args:
        index: all images.
        folder: where the file is looked for and written; None for neither.
        findings: get what was decided, and where file and images disagree.
        seed: of the rule.
        write: write the rule's result to the file. This is not done while there are errors: an
            image that is missing today would be missing in the list.

    Returns:
        The splits that have images; an empty train split if none has.

    Raises:
        DataError: the file is not a list of splits (``bad-splits``).
    """
    names = list(dict.fromkeys(index.name(image) for image in range(len(index))))
    file = folder / SPLIT_FILE if folder else None
    if file is not None and file.exists():
        lists = _read(file)
        _compare(file, lists, names, findings)
    else:
        lists = split_names(names, seed)
        kept = ""
        if file is not None and write and names and not findings.errors:
            kept = _write(file, lists, seed, findings)
        counts = _describe_counts(lists)
        findings.add("split-by-rule", index.where, len(names), counts=counts, seed=seed, kept=kept)
    split_of: dict[str, Split] = {}
    for split in SPLITS:
        split_of |= dict.fromkeys(lists[split], split)
    members: dict[Split, list[int]] = {split: [] for split in SPLITS}
    for image in range(len(index)):
        name = index.name(image)
        if name in split_of:
            members[split_of[name]].append(image)
    splits = {split: index.select(images) for split, images in members.items() if images}
    return splits or {"train": index.select([])}


def _write(file: Path, lists: Mapping[Split, Sequence[str]], seed: int, findings: Findings) -> str:
    """Write the split file, and return what is said of it; nothing if it could not be written."""
    try:
        write_text(file, json.dumps({"rule": RULE, "seed": seed, **lists}, indent=1) + "\n")
    except OSError as error:
        findings.add("split-not-written", file, reason=error.strerror)
        return ""
    return f"; written to {file}: change it as you like, or delete it to divide them anew"


def _read(file: Path) -> dict[Split, list[str]]:
    """Return the lists of a split file; a list that is not there is empty."""
    try:
        content = json.loads(regular_file(file).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        reason = f"not readable JSON ({error})"
        raise data_error("bad-splits", file, reason=reason, rule=RULE) from None
    lists: dict[Split, list[str]] = {}
    for split in SPLITS:
        names = content.get(split, []) if isinstance(content, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            reason = f"no list of file names {split!r}"
            raise data_error("bad-splits", file, reason=reason, rule=RULE)
        lists[split] = names
    if not any(lists.values()):
        raise data_error("bad-splits", file, reason="all its lists are empty", rule=RULE)
    return lists


def _compare(
    file: Path, lists: Mapping[Split, Sequence[str]], names: Sequence[str], findings: Findings
) -> None:
    """Report what the split file decides, and where it and the images disagree."""
    findings.add("split-file", file, counts=_describe_counts(lists))
    counts: Counter[str] = Counter()
    for split in SPLITS:
        counts.update(set(lists[split]))
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        findings.add("split-twice", file, len(twice), items=listing(twice))
    unused = sorted(set(names) - set(counts))
    if unused:
        findings.add("split-unlisted", file, len(unused), what="images", items=listing(unused))
    gone = sorted(set(counts) - set(names))
    if gone:
        findings.add("split-gone", file, len(gone), items=listing(gone))


def _describe_counts(lists: Mapping[Split, Sequence[str]]) -> str:
    return ", ".join(f"{len(lists[split])} {split}" for split in SPLITS)


def complete_splits(
    splits: dict[Split, Index],
    folder: Path | None,
    findings: Findings,
    seed: int = 0,
    write: bool = False,
) -> dict[Split, Index]:
    """Divide data that have only a train split by :func:`split_index`.

    Returns:
        All splits, in their usual order; data that have several splits keep them.
    """
    if set(splits) == {"train"}:
        return split_index(splits["train"], folder, findings, seed, write)
    return {split: splits[split] for split in SPLITS if split in splits}
