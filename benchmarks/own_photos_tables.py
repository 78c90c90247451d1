"""The tables of docs/results/own_photos.md, of all rows that are measured; AP and F1 in points.

    python benchmarks/own_photos_tables.py           # prints them
    python benchmarks/own_photos_tables.py --write   # puts them into the page

In the page, a table stands below a comment with its name.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glip_lightning.common.files import write_text
from own_photos import BESIDE, OUT, PAIRED, PHOTOS, RECIPE, SETS, TIMED, WAYS, Row, read_rows

Rows = dict[Row, dict[str, Any]]

PAGE = Path(__file__).parent.parent / "docs" / "results" / "own_photos.md"
NUMBERS = ("10", "30", "100", "all")  # of photos
HEAD_LINES = 2  # of a table
METRICS = ("AP", "AP50")
T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # of Student's t by the number of values, 95 %


def tables(rows: Rows) -> dict[str, list[str]]:
    """Return the lines of all tables that have rows, in Markdown, by name."""
    found = {table.__name__: list(table(rows)) for table in TABLES}
    return {name: lines for name, lines in found.items() if len(lines) > HEAD_LINES}


def with_tables(page: str, rows: Rows) -> str:
    """Return a page with each table below the comment with its name, in place of an older one."""
    for name, lines in tables(rows).items():
        table = "".join(f"{line}\n" for line in lines)
        comment = f"<!-- table: {name} -->\n\n"
        below = f"{comment}{table}\n"
        page = re.sub(rf"{comment}(\|.*\n)*\n?", lambda _, below=below: below, page)
    return page


def reached(rows: Rows) -> Iterator[str]:
    """Yield AP / AP50 of test: means over seeds with their 95 % interval of Student's t."""
    ways = _measured(rows)
    yield from _head("photos of", "photos", *(WAYS[way].what for way in ways))
    for name in SETS:
        for photos in NUMBERS:
            by_way = [_of(rows, way, name, photos) for way in ways]
            if any(by_way):
                yield _line(name, photos, *map(_scores_of_seeds, by_way))


def _measured(rows: Rows) -> list[str]:
    """Return the compared ways that have rows."""
    return [way for way in PAIRED if any(row.way == way for row in rows)]


def _scores_of_seeds(found: Sequence[dict[str, Any]]) -> str:
    shown = _scores(found)
    return f"{shown} (1 seed)" if len(found) == 1 else shown


def _scores(found: Sequence[dict[str, Any]]) -> str:
    """Return AP / AP50 of test of some rows, nothing without rows."""
    if not found:
        return ""
    values = ([each["test"][metric] for each in found] for metric in METRICS)
    return " / ".join(_interval(each, ".1f") for each in values)


def differences(rows: Rows) -> Iterator[str]:
    """Yield how much better glip-nano-photo is than glip-nano-c with the same photos and seed.

    The interval is that of Student's t over the mean differences of the sets.
    """
    head = [f"{split} {metric}" for split in ("valid", "test") for metric in METRICS]
    yield from _head("photos", "sets", "pairs", *head)
    for photos in PHOTOS:
        by_set = [_differences(rows, name, photos) for name in SETS]
        there = [found for found in by_set if len(found)]
        if there:
            means = np.stack([found.mean(0) for found in there])
            cells = [_interval(column.tolist(), "+.1f") for column in means.T]
            yield _line(photos, str(len(there)), str(sum(map(len, there))), *cells)


def _differences(rows: Rows, name: str, photos: str) -> np.ndarray:
    """Return the differences [seeds, 4] of the AP and AP50 of valid and of test."""
    before, after = (
        {each["row"]["seed"]: each for each in _of(rows, way, name, photos)}
        for way in ("nano_c", "photo")
    )
    columns = [(split, metric) for split in ("val", "test") for metric in METRICS]
    found = [
        [after[seed][split][metric] - before[seed][split][metric] for split, metric in columns]
        for seed in sorted(before.keys() & after.keys())
    ]
    return np.array(found).reshape(-1, len(columns))


def minutes(rows: Rows) -> Iterator[str]:
    """Yield the minutes of one core, training and test: means of the sets that all ways have."""
    ways = _measured(rows)
    yield from _head("photos", "sets", *(WAYS[way].what for way in ways))
    for photos in PHOTOS:
        found = {name: [_of(rows, way, name, photos) for way in ways] for name in SETS}
        sets = [name for name in SETS if ways and all(found[name])]
        if sets:
            by_way = zip(*(map(_mean_minutes, found[name]) for name in sets), strict=True)
            yield _line(photos, str(len(sets)), *(f"{np.mean(each):.1f}" for each in by_way))


def _mean_minutes(found: Sequence[dict[str, Any]]) -> float:
    return float(np.mean([each["core_seconds"] for each in found])) / 60


def threads(rows: Rows) -> Iterator[str]:
    """Yield the minutes from start to end with one and two threads, on an idle machine."""
    yield from _head("photos of", "photos", "one thread", "two threads")
    for photos in PHOTOS:
        found = [rows.get(Row(RECIPE, TIMED, photos, 0, threads=number)) for number in (1, 2)]
        if all(found):
            yield _line(TIMED, photos, *(f"{x['seconds'] / 60:.1f}" for x in found if x))


def beside(rows: Rows) -> Iterator[str]:
    """Yield AP / AP50 of test of what one would take otherwise, of one seed."""
    photos, ways, names = BESIDE
    columns = [(name, number) for name in names for number in photos]
    yield from _head("way", *(f"{name}, {number}" for name, number in columns))
    for way in ("photo", "nano_c", *ways):
        cells = []
        for name, number in columns:
            found = rows.get(Row(way, name, number, 0))
            cells.append(_scores([found] if found else []))
        if any(cells):
            yield _line(WAYS[way].what, *cells)


def thresholds(rows: Rows) -> Iterator[str]:
    """Yield F1 on test of all classes at 0.5 and at the best thresholds of some valid photos."""
    named: list[str] = []
    lines = []
    for name in SETS:
        for photos in PHOTOS:
            found = _of(rows, RECIPE, name, photos)
            if found:
                named = list(found[0]["f1"])
                means = [100 * float(np.mean([x["f1"][key] for x in found])) for key in named]
                lines.append(_line(name, photos, *(f"{mean:.1f}" for mean in means)))
    yield from _head("photos of", "photos", *named)
    yield from lines


def _of(rows: Rows, way: str, name: str, photos: str) -> list[dict[str, Any]]:
    """Return the rows of all seeds, of one thread."""
    chosen = [x for x in rows if (x.way, x.set, x.photos, x.threads) == (way, name, photos, 1)]
    return [rows[row] for row in sorted(chosen, key=lambda row: row.seed)]


def _interval(values: Sequence[float], form: str) -> str:
    """Return the mean in points and the half width of its 95 % interval."""
    mean = format(100 * float(np.mean(values)), form)
    if len(values) == 1:
        return mean
    half = 100 * T95[len(values)] * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"{mean} ± {half:.1f}"


def _head(*cells: str) -> Iterator[str]:
    yield _line(*cells)
    yield "|---" * len(cells) + "|"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


TABLES = (reached, differences, minutes, threads, beside, thresholds)


def main() -> None:
    """Print or write the tables of the rows that are kept and of those in ``--out``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--write", action="store_true", help=f"change {PAGE.name}")
    given = parser.parse_args()
    rows = read_rows(given.out)
    if given.write:
        write_text(PAGE, with_tables(PAGE.read_text(encoding="utf-8"), rows))
    for name, lines in tables(rows).items():
        print(name, "", *lines, "", sep="\n")


if __name__ == "__main__":
    main()
