"""``result.json`` has one reader: it checks what its callers rely on, and nobody else reads it."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.weights.load import load_detector
from glip_lightning.weights.run_files import RESULT_NAME, category_ids, read_result, started_from

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "src" / "glip_lightning"
OLD = ROOT / "tests" / "golden" / "runs_0_1"
RELIED_ON = {
    "sweep": ("metrics", "seconds", "steps"),
    "report": ("metrics",),
    "longer": ("steps", "epochs", "ended", "weights"),
    "load": ("detector", "weights", "phrases", "classes", "recipe"),
}
"""Keys of a result by those who read them."""
WHOLE: dict[str, Any] = {
    "metrics": {"val": None, "test": {"AP": 0.5, "bootstrap": {"interval95": [0.4, 0.6]}}},
    "seconds": 12.5,
    "steps": 40,
    "epochs": 2,
    "ended": None,
    "detector": "glip-nano",
    "weights": "pretrained",
    "classes": ["ring"],
    "phrases": [{"name": "ring", "prefix": "", "suffix": ""}],
    "recipe": {"data": {"class_path": "x", "init_args": {"test_size": 96}}},
}


def write(folder: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / RESULT_NAME).write_text(text, encoding="utf-8")
    return folder


def refused(folder: Path, *keys: str) -> GLIPError:
    with pytest.raises(GLIPError) as error:
        read_result(folder, keys)
    assert str(folder / RESULT_NAME) in str(error.value)
    assert f"glip fit --resume {folder}" in str(error.value)
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.parametrize("keys", RELIED_ON.values(), ids=RELIED_ON)
def test_a_whole_result_is_read(keys: tuple[str, ...], tmp_path: Path) -> None:
    assert read_result(write(tmp_path, WHOLE), keys) == WHOLE
    old = [file.parent for file in OLD.glob(f"*/{RESULT_NAME}")]
    assert len(old) >= 3
    for folder in old:
        assert read_result(folder, keys)["steps"] >= 0


def test_without_a_result_there_is_nothing(tmp_path: Path) -> None:
    assert read_result(tmp_path, RELIED_ON["load"]) == {}


@pytest.mark.parametrize(
    "content, code",
    [
        ("", "unreadable-json"),
        (json.dumps(WHOLE)[:60], "unreadable-json"),
        ("[" * 100_000, "nested-too-deeply"),
        ("[]", "bad-value"),
        ("null", "bad-value"),
        ('"done"', "bad-value"),
    ],
)
def test_a_broken_file_is_refused_whatever_is_relied_on(
    content: str, code: str, tmp_path: Path
) -> None:
    assert refused(write(tmp_path, content)).code == code
    for read in (started_from, lambda folder: category_ids(folder, ["ring"])):
        with pytest.raises(GLIPError) as error:
            read(tmp_path)
        assert error.value.code == code


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / RESULT_NAME).write_bytes(b'{"command": "\xff"}')
    assert refused(tmp_path).code == "unreadable-json"


@pytest.mark.parametrize("key", WHOLE)
def test_a_key_is_needed_by_who_relies_on_it(key: str, tmp_path: Path) -> None:
    write(tmp_path, {name: value for name, value in WHOLE.items() if name != key})
    assert refused(tmp_path, key).code == "missing-key"
    assert set(read_result(tmp_path, [name for name in WHOLE if name != key])) == set(WHOLE) - {key}


@pytest.mark.parametrize(
    "key, value",
    [
        ("metrics", []),
        ("metrics", {"test": "x"}),
        ("metrics", {"test": {"AP": "0.5"}}),
        ("metrics", {"test": {"AP": 1.5}}),
        ("metrics", {"test": {"AP": float("nan")}}),
        ("metrics", {"test": {"AP": 0.5, "bootstrap": 5}}),
        ("metrics", {"test": {"AP": 0.5, "bootstrap": {"interval95": [0.4]}}}),
        ("seconds", "12"),
        ("seconds", -1),
        ("steps", 4.5),
        ("epochs", None),
        ("ended", 3),
        ("detector", None),
        ("weights", ["random"]),
        ("classes", "ring"),
        ("phrases", []),
        ("recipe", []),
        ("recipe", {"data": "photos"}),
        ("recipe", {"data": {"init_args": 5}}),
    ],
)
def test_a_wrong_value_is_refused_by_who_relies_on_it(key: str, value: Any, tmp_path: Path) -> None:
    write(tmp_path, WHOLE | {key: value})
    error = refused(tmp_path, key)
    assert error.code == "bad-value"
    assert f": {key}" in str(error)
    assert read_result(tmp_path, [name for name in WHOLE if name != key])


def test_a_run_that_trained_nothing_says_what_is_wrong_in_its_result(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("model: {detector: glip-nano}")
    for key, value in (("recipe", []), ("classes", 5), ("phrases", None)):
        write(tmp_path, WHOLE | {key: value})
        with pytest.raises(GLIPError) as error:
            load_detector(str(tmp_path))
        assert error.value.code == "bad-value"


# -- nobody else reads it

HARMLESS = {  # calls that get the path of a result, or its name, and do not read the file
    *("is_file", "exists", "stat", "unlink", "any", "write_text", "str"),
    *("read_result", "GLIPError"),
}


def named(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression is, or holds, one of the names; texts of messages do not count."""
    if isinstance(node, ast.Call | ast.JoinedStr):
        return False
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and bool(re.fullmatch(r"\S*result\.json", node.value))
    if isinstance(node, ast.Name) and node.id in names:
        return True
    return any(named(child, names) for child in ast.iter_child_nodes(node))


def paths_in(function: ast.AST) -> set[str]:
    """The names in a function that may hold the path of a result."""
    found = {"RESULT_NAME"}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and named(node.value, found):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.For | ast.comprehension) and named(node.iter, found):
            targets = ast.walk(node.target)
            found |= {each.id for each in targets if isinstance(each, ast.Name)}
    return found


def uses_of_a_result(tree: ast.AST) -> Iterator[str]:
    """Yield the name of each call that gets the path of a result, and is none of the harmless."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        names = paths_in(function)
        for call in ast.walk(function):
            if not isinstance(call, ast.Call):
                continue
            given = [*call.args, *(keyword.value for keyword in call.keywords)]
            called = call.func.id if isinstance(call.func, ast.Name) else ""
            if isinstance(call.func, ast.Attribute):
                called = call.func.attr
                given.append(call.func.value)
            if called not in HARMLESS and any(named(each, names) for each in given):
                yield called


@pytest.mark.parametrize(
    "body",
    [
        "return json.loads((folder / RESULT_NAME).read_text())",
        "return (folder / 'result.json').open()",
        "path = folder / RESULT_NAME; return read_json(path, '')",
        "return _read(place=folder / RESULT_NAME)",
        "return [load(folder / name) for name in (FAILED_NAME, RESULT_NAME)]",
        "return {p: p.read_bytes() for p in [folder / RESULT_NAME]}",
    ],
)
def test_a_second_reader_would_be_found(body: str) -> None:
    assert list(uses_of_a_result(ast.parse(f"def f(folder): {body}")))


def test_one_function_reads_results() -> None:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        uses = list(uses_of_a_result(ast.parse(path.read_text(encoding="utf-8"))))
        if uses:
            found[path.relative_to(PACKAGE).as_posix()] = uses
    assert found == {"weights/run_files.py": ["read_json"]}


@pytest.mark.parametrize("name", ["result.json", "unfinished.json", "recipe.yaml"])
def test_the_name_of_a_file_is_written_once(name: str) -> None:
    places = []
    for path in PACKAGE.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if any(isinstance(node, ast.Constant) and node.value == name for node in nodes):
            places.append(path.relative_to(PACKAGE).as_posix())
    assert places == ["weights/run_files.py"]
