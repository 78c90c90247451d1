"""Moving and renaming changes nothing: three small runs give the stored numbers, and what users
rely on is all there.

All runs, bit by bit: `make test-unchanged`.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from unchanged import (
    FEW,
    FOLDER,
    NUMBERS,
    REFERENCE,
    differences,
    numbers,
    program,
    read_cell,
    sweep_few,
)
from unchanged_surface import surface

SURFACE = FOLDER / "surface.txt"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return sweep_few(program(), tmp_path_factory.mktemp("unchanged"))


@pytest.mark.parametrize("tuning", FEW)
def test_a_run_gives_the_stored_numbers(runs: dict[str, Path], tuning: str) -> None:
    """On any machine, to 1e-4."""
    found, expected = numbers(runs[tuning]), json.loads(NUMBERS.read_text(encoding="utf-8"))[tuning]
    assert found.keys() == expected.keys()
    for part, values in expected.items():
        assert found[part] == pytest.approx(values, rel=1e-4, abs=1e-4), part


@pytest.mark.parametrize("tuning", FEW)
def test_a_run_chooses_the_same_images_and_reads_the_same_captions(
    runs: dict[str, Path], tuning: str
) -> None:
    """Which depend on no processor."""
    found = read_cell(runs[tuning])
    expected = json.loads(REFERENCE.read_text(encoding="utf-8"))["cells"][f"glip-nano-c {tuning}"]
    for key in ("captions", "image_ids"):
        assert found[key] == expected[key], key


def test_what_users_rely_on_is_there(runs: dict[str, Path]) -> None:
    found, expected = surface(runs).splitlines(), SURFACE.read_text(encoding="utf-8").splitlines()
    gone, new = changes(expected, found), changes(found, expected)
    assert not gone and not new, (  # noqa: PT018 - both are needed to see what was renamed
        f"gone: {gone}\nnew: {new}\nIf this is wanted: a line for each in CHANGELOG.md, then "
        "python tests/support/unchanged.py --keep RUNS && "
        "python tests/support/unchanged_surface.py RUNS > " + str(SURFACE)
    )


def changes(one: list[str], other: list[str]) -> list[str]:
    """Lines of ``one`` that ``other`` has not in the section of the same title."""
    known = set(in_sections(other))
    return [f"{title} {line}" for title, line in in_sections(one) if (title, line) not in known]


def in_sections(lines: list[str]) -> list[tuple[str, str]]:
    found, title = [], ""
    for line in lines:
        title = line if line.startswith("[") else title
        found.append((title, line))
    return found


def test_differences_are_named() -> None:
    cell: dict[str, Any] = {"weights": "a", "detections": "b", "captions": "c", "image_ids": [1]}
    assert differences({"x": cell}, {"x": cell}) == []
    assert differences({"x": cell | {"weights": "z"}}, {"x": cell}) == ["x: other weights"]
    assert differences({"y": cell}, {"x": cell}) == ["x: missing", "y: not in the reference"]
