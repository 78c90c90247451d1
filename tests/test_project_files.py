"""What a project has beside its code: files that other programs read, which no other test would
miss.
"""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ISSUES = ROOT / ".github" / "ISSUE_TEMPLATE"


def test_a_bug_report_asks_for_the_environment() -> None:
    """Issue forms are those of GitHub, which refuses a field without an id or a label."""
    for file in ISSUES.glob("*.yml"):
        form = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert form["name"]
        assert form["description"]
        assert all(
            field["type"] == "textarea" and field["id"] and field["attributes"]["label"]
            for field in form["body"]
        )
    bug = yaml.safe_load((ISSUES / "bug.yml").read_text(encoding="utf-8"))
    (environment,) = (field for field in bug["body"] if field["id"] == "environment")
    assert environment["validations"] == {"required": True}
    assert "`glip env`" in environment["attributes"]["description"]


def test_the_workflow_tests_every_python_from_the_oldest_on() -> None:
    workflow = yaml.safe_load(
        (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    )
    job = workflow["jobs"]["test"]
    pythons = job["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    assert job["strategy"]["matrix"]["system"] == [
        "ubuntu-latest",
        "macos-latest",
        "windows-latest",
    ]
    assert "make test" in job["steps"][-1]["run"]


def test_the_container_names_no_index() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG PIP_INDEX_URL=$", text, re.MULTILINE)
    assert "http" not in text
