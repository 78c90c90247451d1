"""All numbers of a report: as they were before, and the same on the page and in Markdown.

To write the golden file anew:
``PYTHONPATH=tests/support python tests/experiments/test_report_numbers.py``.
"""

import json
import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from glip_lightning.experiments.report.write import write_report
from report_claims import put_all
from report_sweep import fail, write_sweep

GOLDEN = Path(__file__).parents[1] / "golden" / "report.json"
NUMBER = re.compile(r"[+\N{MINUS SIGN}]?\d[\d.,]*\d|[+\N{MINUS SIGN}]?\d")


class Numbers(HTMLParser):
    """The tables of a page and what its charts say of their marks, by section."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}  # section -> of each table its rows
        self.marks: dict[str, set[str]] = {}  # section -> texts of its charts' marks
        self._section, self._inside, self._text = "", "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self._section = str(dict(attrs)["id"])
        elif tag == "table":
            self.tables.setdefault(self._section, []).append([])
        elif tag in ("tr", "title"):
            self._inside, self._text = tag, ""
        elif tag in ("td", "th", "small"):
            self._text += " "

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr":
            self.tables[self._section][-1].append(self._text)
        elif tag == "title" and self._section:
            self.marks.setdefault(self._section, set()).add(self._text)
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self._text += data


def write_folders(folder: Path) -> dict[str, Path]:
    """Write runs on ODinW-13, some failed or missing, and runs about claims of the paper."""
    sweep = folder / "sweep"
    trials = write_sweep(
        sweep, shots=[0, 10], seeds=[3, 30], tunings=["FullTuning", "PromptTuning"]
    )
    lost = [
        trial
        for trial in trials
        if (trial["axes"]["task"], trial["axes"]["shots"]) == ("Packages", 10)
    ]
    lost = [trial for trial in lost if trial["axes"]["tuning"] == "PromptTuning"]
    for trial in (*lost, trials[1]):
        (sweep / "trials" / trial["id"] / "result.json").unlink()
    fail(sweep / "trials" / trials[1]["id"])
    put_all(folder / "claims")
    return {"sweep": sweep, "claims": folder / "claims"}


def numbers_of(place: Path) -> dict[str, Any]:
    """Return all numbers that a report says, and its CSV files as they are."""
    found = Numbers((place / "report.html").read_text(encoding="utf-8"))
    tables = {
        name: [[" ".join(NUMBER.findall(row)) for row in table] for table in tables]
        for name, tables in found.tables.items()
    }
    files = {
        path.name: path.read_text(encoding="utf-8").splitlines()
        for path in sorted(place.glob("*.csv"))
    }
    return {
        "tables": tables,
        "marks": {k: sorted(v) for k, v in found.marks.items()},
        "files": files,
    }


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = write_folders(tmp_path_factory.mktemp("runs"))
    for place in found.values():
        write_report(place)
    return found


@pytest.mark.parametrize("name", ["sweep", "claims"])
def test_no_number_is_lost_and_none_is_another_one(places: dict[str, Path], name: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    found = numbers_of(places[name])
    assert found["tables"] == golden["tables"]
    assert found["marks"] == golden["marks"]
    assert found["files"] == golden["files"]


def shown(text: str) -> str:
    """Return what is seen of a line of Markdown."""
    return " ".join(re.sub(r"\\\\(.)|[|*]", r" \1", text).split())


@pytest.mark.parametrize("name", ["sweep", "claims"])
def test_the_page_and_the_markdown_have_the_same_tables(places: dict[str, Path], name: str) -> None:
    page = Numbers((places[name] / "report.html").read_text(encoding="utf-8"))
    tables = [table for tables in page.tables.values() for table in tables]
    # report.csv has it
    trials = [table for table in tables if table[0].split()[0] == "trial" and "memory" in table[0]]
    lines = (places[name] / "report.md").read_text(encoding="utf-8").splitlines()
    rows = [shown(line) for line in lines if line.startswith("|") and not line.startswith("| ---")]
    assert rows == [
        " ".join(row.split()) for table in tables if table not in trials for row in table
    ]


def test_the_time_of_a_trial_is_the_median(places: dict[str, Path]) -> None:
    for name in ("report.html", "report.md"):
        text = (places["sweep"] / name).read_text(encoding="utf-8")
        assert "median time" in text
        assert "mean time" not in text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        written = {}
        for name, place in write_folders(Path(temporary)).items():
            write_report(place)
            written[name] = numbers_of(place)
    GOLDEN.write_text(json.dumps(written, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
