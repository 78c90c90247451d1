"""The result of a run: one function reads it, and damage is an error with a code."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import glip_lightning
from glip_lightning.common.errors import GLIPError
from glip_lightning.weights.run_files import RESULT_NAME, check_metrics, read_result

PACKAGE = Path(glip_lightning.__file__).parent
READERS = {"read_text", "read_bytes", "open", "read_json", "load", "loads"}


def test_a_run_without_a_result_has_an_empty_one(tmp_path: Path) -> None:
    assert read_result(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "unreadable-json"),
        ('{"metrics": {"val"', "unreadable-json"),
        ("[" * 100_000, "nested-too-deeply"),
        ("[]", "bad-value"),
        ("3", "bad-value"),
    ],
)
def test_a_damaged_result_is_an_error_that_names_the_file(
    tmp_path: Path, text: str, code: str
) -> None:
    (tmp_path / RESULT_NAME).write_text(text)
    with pytest.raises(GLIPError) as refused:
        read_result(tmp_path)
    assert refused.value.code == code
    assert str(tmp_path / RESULT_NAME) in str(refused.value)


@pytest.mark.parametrize(
    "metrics",
    [None, [], {"val": 3}, {"val": {"AP": 1.5}}, {"val": {"AP": "high"}}, {"test": {"AP": True}}],
)
def test_metrics_that_no_evaluation_has(metrics: Any) -> None:
    with pytest.raises(GLIPError) as refused:
        check_metrics({"metrics": metrics}, "result.json")
    assert refused.value.code == "bad-value"


def test_an_undefined_ap_is_no_damage() -> None:
    text = '{"metrics": {"val": null, "test": {"AP": NaN}, "train": {"AP": null}}}'
    check_metrics(json.loads(text), "result.json")


def test_nothing_else_reads_it() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and "RESULT_NAME" in ast.unparse(node):
                name = ast.unparse(node.func).split(".")[-1]
                if name in READERS:
                    found.add(path.name)
    assert found == set()
