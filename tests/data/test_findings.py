"""What messages about data spell out, and what they count."""

import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.findings import Faults, Findings, data_error, listing


@pytest.mark.parametrize(
    "count, more", [(0, ""), (1, ""), (5, ""), (6, " and 1 more"), (164, " and 159 more")]
)
def test_five_are_named_and_the_others_counted(count: int, more: str) -> None:
    names = [f"p{i}.png" for i in range(count)]
    assert listing(names) == ", ".join(names[:5]) + more
    assert listing(names, "; ") == "; ".join(names[:5]) + more


def test_names_are_shown_escaped() -> None:
    assert listing(["a\x1b[31m"]) == "a\\x1b[31m"


@pytest.mark.parametrize("place", ["photos", "photos\x1b[31m"])
def test_an_error_that_becomes_a_finding_names_its_place_once(place: str) -> None:
    def from_the_table() -> None:
        raise data_error("missing-file", place, kind="annotation file")

    def by_hand() -> None:
        raise GLIPError(f"{place}: no such folder", code="missing-folder")

    findings = Findings()
    findings.attempt(place, from_the_table)
    findings.attempt(place, by_hand)
    assert [finding.code for finding in findings] == ["missing-file", "missing-folder"]
    assert [finding.text.count("photos") for finding in findings] == [1, 1]
    assert "\x1b" not in str(data_error("missing-file", place, kind="annotation file"))


def test_what_a_reader_met_is_reported_in_its_order() -> None:
    faults, findings = Faults("turned-box", "box-of-mask", "bad-box"), Findings()
    faults["polygon"] += ["a.txt:1", "a.txt:2"]
    faults["bad-box"].append(7)
    faults["turned-box"].append(8)
    faults.report("a.json", findings, {"bad-box": {"what": "boxes", "expected": "x, y, w, h"}})
    assert [(finding.code, finding.count) for finding in findings] == [
        ("turned-box", 1),
        ("bad-box", 1),
        ("polygon", 2),
    ]
    assert "boxes is not x, y, w, h: 7" in findings[1].message
