"""What users' input is refused with has a code: every `raise` of these folders, and one table for all about data."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.data.checks.findings import DataError, Findings, data_error
from glip_lightning.data.checks.problems import PROBLEMS
from glip_lightning.weights.hub_files import DownloadError, NotInRepository
from glip_lightning.weights.official_checkpoint import CheckpointError

SOURCE = Path(__file__).parents[2] / "src" / "glip_lightning"
FOLDERS = ("data", "text", "evaluation", "weights", "ops", "inference")
OTHERS_FOLDERS = ("data/benchmarks",)
WITH_CODE = {kind.__name__ for kind in (GLIPError, MissingFile)}
OWN_CODE = {kind.__name__ for kind in (DataError, DownloadError, NotInRepository, CheckpointError)}
MADE_BY = {"data_error", "unknown_detector", "_unsupported", "_unreadable", "_misfit", "self._damaged"}
"""Functions that return an error."""
HONEST = {
    ("data/formats/hub_dataset.py", "TypeError"),  # a programming error: a kind of source that nobody exports
    ("data/formats/coco_json.py", "_Twice"),  # caught in the same file, which knows what file it is about
    ("inference/predict_photos.py", "Interrupted"),  # Ctrl-C, which has an exit code of its own
    ("data/formats/captioned_images.py", "_NotCaptions"),  # the same
}
KEBAB = re.compile(r"[a-z]+(-[a-z0-9]+)*")
CALLS = [
    (path.relative_to(SOURCE).as_posix(), node)
    for folder in FOLDERS
    for path in sorted((SOURCE / folder).rglob("*.py"))
    if not path.relative_to(SOURCE).as_posix().startswith(OTHERS_FOLDERS)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Call)
]
RAISES = [
    (path.relative_to(SOURCE).as_posix(), node.exc)
    for folder in FOLDERS
    for path in sorted((SOURCE / folder).rglob("*.py"))
    if not path.relative_to(SOURCE).as_posix().startswith(OTHERS_FOLDERS)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
]


def test_every_error_has_a_code() -> None:
    assert len(RAISES) > 90
    for file, call in RAISES:
        name = ast.unparse(call.func)
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        place = f"{file}, line {call.lineno}: {name}"
        if name in WITH_CODE:
            assert "code" in keywords, place
        elif name not in OWN_CODE | MADE_BY and not name.startswith(("type(error)", "NotInRepository if")):
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
    assert len(codes) > 60
    assert all(KEBAB.fullmatch(code) for code in codes if isinstance(code, str))
    assert all(KEBAB.fullmatch(part) for key in PROBLEMS for part in key.split("/"))


def test_the_rows_of_a_code_are_told_apart() -> None:
    assert max(Counter(key.count("/") for key in PROBLEMS)) == 1
    for key in PROBLEMS:
        assert PROBLEMS[key].text, key


def test_every_row_of_the_table_is_reported_somewhere() -> None:
    texts = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py") if path.name != "problems.py")
    for key in PROBLEMS:
        stem, _, variant = key.partition("/")
        built = key.startswith(("no-", "duplicate-")) and key.endswith("-id")  # f"no-{what}-id"
        assert f'"{key}"' in texts or f'"{stem}/{{' in texts or built, key
        assert variant or f"{stem}/" not in texts or f'"{stem}"' in texts, key


@pytest.mark.parametrize("kind", [GLIPError, MissingFile, DataError, DownloadError, NotInRepository, CheckpointError])
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
    assert (found.level, found.code, found.count, found.where) == ("warning", "dropped-box", 3, "photos")
    assert "3 boxes" in found.message
    assert "a {b}.png" in found.message
    error = data_error("missing-file", "photos/x.json", kind="annotation file")
    assert error.code == "missing-file"
    assert str(error).startswith("photos/x.json: ")
