"""Every error about users' input has a code, and one table has all codes about data."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.data.checks.findings import DataError, Findings, data_error
from glip_lightning.data.checks.problems import PROBLEMS
from glip_lightning.weights.hub_files import DownloadError, NotInRepository
from glip_lightning.weights.official_checkpoint import CheckpointError
from printed import numbers

SOURCE = Path(__file__).parents[2] / "src" / "glip_lightning"
WITH_CODE = {kind.__name__ for kind in (GLIPError, MissingFile, DataError)}
OWN_CODE = {kind.__name__ for kind in (DownloadError, NotInRepository, CheckpointError, WrongUsage)}
MADE_BY = {
    *(
        "data_error",
        "unknown_detector",
        "_unsupported",
        "_unreadable",
        "_wrong_scores",
        "_error_of",
        "self._damaged",
    ),
    *("explain", "_first_cause", "_nesting_error", "_no_data_set"),
    *("missing_values", "no_option", "no_value"),
}
"""Functions that return an error."""
NO_ERRORS = {"Interrupted"}
"""Ends that a signal has asked for."""
HONEST = {
    # programming errors, which keep their traceback
    ("__init__.py", "AttributeError"),  # a name that the package does not have
    ("data/formats/hub_dataset.py", "TypeError"),  # a kind of source that nobody exports
    ("models/detector.py", "KeyError"),  # a name that is no parameter of the detector
    ("models/detector.py", "RuntimeError"),  # a tuning that says wrongly what it leaves frozen
    ("tuning/base.py", "RuntimeError"),  # the same of the text encoder
    ("tuning/prompt.py", "RuntimeError"),  # a method called before setup
    ("training/callbacks/run_folder.py", "AssertionError"),  # after a loop without end
    # caught in the same file, which adds what file it is about
    ("data/formats/coco_json.py", "_DuplicateKey"),
    ("data/images.py", "OSError"),
    ("data/formats/captioned_images.py", "_NotCaptions"),
    ("data/benchmarks/unpack.py", "zipfile.BadZipFile"),
    ("models/feature_store.py", "ValueError"),
    # others
    (
        "config/recipe_checker.py",
        "found.with_traceback",
    ),  # an error that was raised before, once more
    (
        "shapes/phrase_picture.py",
        "SystemExit",
    ),  # of a program of its own, whose user needs no traceback
}
KEBAB = re.compile(r"[a-z]+(-[a-z0-9]+)*")
CALLS = [
    (path.relative_to(SOURCE).as_posix(), node)
    for path in sorted(SOURCE.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Call)
]
RAISES = [
    (path.relative_to(SOURCE).as_posix(), node.exc)
    for path in sorted(SOURCE.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
]


def test_every_error_has_a_code() -> None:
    assert len(RAISES) > 240
    for file, call in RAISES:
        name = ast.unparse(call.func)
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        place = f"{file}, line {call.lineno}: {name}"
        if name in WITH_CODE:
            assert "code" in keywords, place
        elif name not in OWN_CODE | MADE_BY | NO_ERRORS and not name.startswith(
            ("type(error)", "NotInRepository if")
        ):
            assert (file, name) in HONEST, f"{place}: raise GLIPError(message, code=...)"
    raised = {(file, ast.unparse(call.func)) for file, call in RAISES}
    assert raised >= HONEST, "what is no longer raised needs no exception"


def test_codes_are_in_kebab_case() -> None:
    codes = [
        keyword.value.value
        for _, call in CALLS
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    ]
    assert len(codes) > 180
    assert all(KEBAB.fullmatch(code) for code in codes if isinstance(code, str))
    assert all(KEBAB.fullmatch(part) for key in PROBLEMS for part in key.split("/"))


def test_the_rows_of_a_code_are_told_apart() -> None:
    assert max(Counter(key.count("/") for key in PROBLEMS)) == 1
    for key in PROBLEMS:
        assert PROBLEMS[key].text, key


def test_every_row_of_the_table_is_reported_somewhere() -> None:
    texts = "\n".join(
        path.read_text(encoding="utf-8")
        for path in SOURCE.rglob("*.py")
        if path.name != "problems.py"
    )
    for key in PROBLEMS:
        stem, _, variant = key.partition("/")
        built = key.startswith(("no-", "duplicate-")) and key.endswith("-id")  # f"no-{what}-id"
        assert f'"{key}"' in texts or f'"{stem}/{{' in texts or built, key
        assert variant or f"{stem}/" not in texts or f'"{stem}"' in texts, key


def test_errors_about_data_are_made_of_findings_and_findings_of_the_table() -> None:
    makers = {
        kind: [file for file, call in CALLS if ast.unparse(call.func) == kind]
        for kind in ("DataError", "Finding")
    }
    assert makers["DataError"] == ["data/checks/findings.py"]
    # the other is of an error that a reader has raised
    assert makers["Finding"] == ["data/checks/findings.py"] * 2


@pytest.mark.parametrize(
    "kind",
    [
        GLIPError,
        MissingFile,
        DataError,
        DownloadError,
        NotInRepository,
        CheckpointError,
        WrongUsage,
    ],
)
def test_errors_of_ours_are_one_kind(kind: type[GLIPError]) -> None:
    error = kind("what, where, what to do", code="some-code")
    assert isinstance(error, GLIPError)
    assert (error.code, str(error)) == ("some-code", "what, where, what to do")


def test_those_that_callers_catch_as_such_stay_errors_of_the_system() -> None:
    assert issubclass(MissingFile, FileNotFoundError)
    assert issubclass(DownloadError, OSError)


def test_a_problem_is_a_finding_or_an_error_with_the_same_words_and_code() -> None:
    findings = Findings()
    findings.add("dropped-box/thin", "photos", 3, items="a {b}.png")
    (found,) = findings
    assert (found.level, found.code, found.count, found.where) == (
        "warning",
        "dropped-box",
        3,
        "photos",
    )
    assert numbers(found.message)[0] == "3"
    assert "a {b}.png" in found.message
    error = data_error("missing-file", "photos/x.json", kind="annotation file")
    assert error.code == "missing-file"
    assert str(error).startswith("photos/x.json: ")
