"""The version stands in several places, the changelog among them: they agree."""

import re
import tomllib
from pathlib import Path

import yaml

import glip_lightning

ROOT = Path(__file__).parent.parent
HEADING = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (unreleased|\d{4}-\d\d-\d\d)$", re.MULTILINE)


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    written = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = HEADING.findall(written)
    assert len(headings) == len(re.findall(r"^## ", written, re.MULTILINE)), (
        "a heading of another form"
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert headings[0][0] == project["version"] == glip_lightning.__version__
    numbers = [tuple(map(int, version.split("."))) for version, _ in headings]
    assert numbers == sorted(set(numbers), reverse=True)
    assert all(day != "unreleased" for _, day in headings[1:])


def test_the_citation_names_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == glip_lightning.__version__
    assert citation["cff-version"] == "1.2.0"
