"""The public API: one table, lazy, complete for readers and type checkers; documents and recipes
use nothing else.
"""

import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import glip_lightning
from glip_lightning import PUBLIC

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "glip_lightning" / "__init__.py"
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "notebooks").glob("*.ipynb"),
]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
IMPORT = re.compile(
    r"^\s*(?:from\s+(glip_lightning[\w.]*)\s+import\s+(.*)|import\s+(glip_lightning[\w.]*))",
    re.MULTILINE,
)
NEW_PROCESS = """
import sys, time
begun = time.perf_counter()
import glip_lightning
heavy = ("torch", "lightning", "numpy", "PIL")
print(time.perf_counter() - begun, [name for name in heavy if name in sys.modules])
"""


def for_type_checkers() -> dict[str, str]:
    """Return the names of the TYPE_CHECKING block with their modules."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, (
                f"{alias.name}: write it as a name that is meant for others"
            )
            found[alias.name] = str(node.module)
    return found


def test_type_checkers_see_the_same_table() -> None:
    assert for_type_checkers() == PUBLIC
    assert set(glip_lightning.__all__) == {*PUBLIC, "__version__"}
    assert len(glip_lightning.__all__) == len(set(glip_lightning.__all__))
    assert (SOURCE.parent / "py.typed").is_file()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_what_its_module_defines(name: str) -> None:
    value = getattr(glip_lightning, name)
    assert value is getattr(import_module(PUBLIC[name]), name)
    assert value.__module__ == PUBLIC[name]
    assert value.__doc__, f"{name} has no docstring"


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="Detectr"):
        glip_lightning.Detectr  # noqa: B018 - asking is the test
    assert set(PUBLIC) <= set(dir(glip_lightning))


def test_importing_the_package_takes_no_time_and_loads_nothing() -> None:
    """The quickest of three processes: others may work on the same cores."""
    found = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", NEW_PROCESS], capture_output=True, text=True, check=True
        )
        seconds, loaded = done.stdout.strip().split(" ", 1)
        assert loaded == "[]"
        found.append(float(seconds))
    assert min(found) < 0.3


USED_FROM_PYTHON = """
import logging
import numpy, torch
from PIL import Image
state = numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
handlers, level = list(logging.root.handlers), logging.root.level
threads, seed = torch.get_num_threads(), torch.initial_seed()
import glip_lightning
for name in glip_lightning.__all__:
    getattr(glip_lightning, name)
glip_lightning.Predictor("glip-nano-c")(Image.new("RGB", (64, 64)), "red circle")
assert logging.root.handlers == handlers and logging.root.level == level
assert (torch.get_num_threads(), torch.initial_seed()) == (threads, seed)
assert (numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == state
"""


def test_a_library_leaves_loggers_and_random_numbers_alone() -> None:
    """Those of the program that uses it: no handler of the root logger, no seed, no number drawn.

    Python's own ``random`` is not looked at: rich draws from it when it is imported.
    """
    subprocess.run([sys.executable, "-c", USED_FROM_PYTHON], check=True, capture_output=True)


def code_of(path: Path) -> str:
    """Return the text in which imports are looked for: of a notebook, its cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


@pytest.mark.parametrize(
    "path", [*DOCUMENTS, *RECIPES], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_documents_import_public_names_only(path: Path) -> None:
    for module, names, plain in IMPORT.findall(code_of(path)):
        assert (module or plain) == "glip_lightning", f"{path.name} imports {module or plain}"
        imported = [
            name.strip(" ()").split(" as ")[0] for name in names.split(",") if name.strip(" ()")
        ]
        assert set(imported) <= {*PUBLIC, "__version__"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_recipes_name_classes_by_their_public_names(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"class_path: ([\w.]+)", text)  # also in comments
    assert [
        name
        for name in named
        if name.removeprefix("glip_lightning.") not in PUBLIC or "." not in name
    ] == []
    assert isinstance(yaml.safe_load(text), dict)
