"""Data that come without splits: a seeded rule divides them, and what it decided is written down."""

import hashlib
import json
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
    'file names ordered by sha256 of "{seed}/{file name}"; the first 70 % train, then 15 % valid, 15 % test; '
    "one image each for valid and test from three images on"
)


def split_names(names: Sequence[str], seed: int) -> dict[Split, list[str]]:
    """Divide distinct file names as :data:`RULE` says; a name's place does not depend on the order given."""

    def place(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()

    ordered = sorted(names, key=place)
    held_out = min(max(2, (3 * len(ordered) + 5) // 10), len(ordered) - 1) if ordered else 0
    train, valid = len(ordered) - held_out, (held_out + 1) // 2
    return {
        "train": ordered[:train],
        "valid": ordered[train : train + valid],
        "test": ordered[train + valid :],
    }


def split_index(
    index: Index, folder: Path | None, findings: Findings, seed: int = 0, write: bool = False
) -> dict[Split, Index]:
    """The splits of an index: those of ``folder/splits.json``, else by the rule; empty ones are left out.

    With ``write`` the rule's result is written to that file (not while there are errors: an image that is
    missing today would be missing in the list). No ``folder``: nothing is looked for or written.
    """
    names = list(dict.fromkeys(index.name(image) for image in range(len(index))))
    file = folder / SPLIT_FILE if folder else None
    if file is not None and file.exists():
        lists = _read(file)
        _compare(file, lists, names, findings)
    else:
        lists = split_names(names, seed)
        counts = ", ".join(f"{len(lists[split])} {split}" for split in SPLITS)
        findings.add("split-by-rule", index.where, len(names), counts=counts, seed=seed, rule=RULE)
        if file is not None and write and names and not findings.errors:
            _write(file, lists, seed, findings)
    of = {name: split for split in SPLITS for name in lists[split]}
    members: dict[Split, list[int]] = {split: [] for split in SPLITS}
    for image in range(len(index)):
        if index.name(image) in of:
            members[of[index.name(image)]].append(image)
    splits = {split: index.select(images) for split, images in members.items() if images}
    return splits or {"train": index.select([])}


def _write(file: Path, lists: Mapping[Split, Sequence[str]], seed: int, findings: Findings) -> None:
    try:
        write_text(file, json.dumps({"rule": RULE, "seed": seed, **lists}, indent=1) + "\n")
    except OSError as error:
        findings.add("split-not-written", file, reason=error.strerror)


def _read(file: Path) -> dict[Split, list[str]]:
    """The lists of a split file; anything else is an error."""
    try:
        content = json.loads(regular_file(file).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        raise data_error(
            "bad-splits", file, reason=f"not readable JSON ({error})", rule=RULE
        ) from None
    lists: dict[Split, list[str]] = {}
    for split in SPLITS:
        lists[split] = content.get(split, []) if isinstance(content, dict) else None  # pyrefly: ignore
        if not isinstance(lists[split], list) or not all(
            isinstance(name, str) for name in lists[split]
        ):
            raise data_error(
                "bad-splits", file, reason=f"no list of file names {split!r}", rule=RULE
            )
    if not any(lists.values()):
        raise data_error("bad-splits", file, reason="all its lists are empty", rule=RULE)
    return lists


def _compare(
    file: Path, lists: Mapping[Split, Sequence[str]], names: Sequence[str], findings: Findings
) -> None:
    """Say what the split file decides, and where it and the images disagree."""
    listed = [name for split in SPLITS for name in dict.fromkeys(lists[split])]
    counts = ", ".join(f"{len(lists[split])} {split}" for split in SPLITS)
    findings.add("split-file", file, counts=counts)
    if twice := sorted(
        {name for name in listed if listed.count(name) > 1}
        if len(set(listed)) < len(listed)
        else ()
    ):
        findings.add("split-twice", file, len(twice), items=listing(twice))
    if unused := sorted(set(names) - set(listed)):
        findings.add("split-unlisted", file, len(unused), what="images", items=listing(unused))
    if gone := sorted(set(listed) - set(names)):
        findings.add("split-gone", file, len(gone), items=listing(gone))


def complete_splits(
    splits: dict[Split, Index],
    folder: Path | None,
    findings: Findings,
    seed: int = 0,
    write: bool = False,
) -> dict[Split, Index]:
    """:func:`split_index` of data that have a train split only; the splits of others in their usual order."""
    if set(splits) == {"train"}:
        return split_index(splits["train"], folder, findings, seed, write)
    return {split: splits[split] for split in SPLITS if split in splits}
