"""The layout: folders show the architecture, and each imports only from folders below it."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "glip_lightning"
LAYERS = (  # from the top; a folder imports only from those after it
    *(
        "app",
        "shapes",
        "experiments",
        "config",
        "training",
        "inference",
        "tuning",
        "weights",
        "evaluation",
        "data",
    ),
    *("models", "text", "ops", "common"),
)
ONLY_IN = {  # packages of others that few layers may know
    "lightning": {"shapes", "config", "training"},
    "wandb": {"app", "training"},
    "wandb_workspaces": {"app"},
}
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES}


def layer_of(path: Path) -> str:
    """Return the folder at the top in which a file lies, an empty text for a file beside the
    folders.
    """
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imported(path: Path) -> Iterator[str]:
    """Yield the full name of all that a file imports, wherever in it, and of all that it names in a
    text.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: write the full name of the module"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^glip_lightning\.[\w.:]+", node.value)


def module_of(name: str) -> str | None:
    """Return the module of ours that an imported name is or lies in."""
    parts = name.replace(":", ".").split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        if module in MODULES:
            return module
    return None


def test_the_folders_are_the_layers() -> None:
    folders = {
        path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert folders == set(LAYERS)
    assert len([path for path in PACKAGE.iterdir() if path.is_file()]) <= 3
    packages = [path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__"]
    assert len(packages) <= 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    layer = layer_of(path)
    for name in imported(path):
        first, *others = name.replace(":", ".").split(".")
        if layer and first == "glip_lightning" and others[0] in LAYERS:
            assert LAYERS.index(others[0]) >= LAYERS.index(layer), f"{layer} knows {name}"
        assert first not in ONLY_IN or layer in ONLY_IN[first], f"{layer} imports {first}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = {
        module: {module_of(name) for name in imported(path)} - {module}
        for module, path in MODULES.items()
    }
    while known:
        free = {
            module for module, needs in known.items() if not any(need in known for need in needs)
        }
        assert free, f"in a circle, or above one: {', '.join(sorted(known))}"
        known = {module: needs for module, needs in known.items() if module not in free}


def test_no_name_is_used_twice() -> None:
    """Tests are imported by their names alone, as helpers are."""
    tests = [path for path in (ROOT / "tests").rglob("*.py") if "golden" not in path.parts]
    for paths in (FILES, tests):
        stems = Counter(path.stem for path in paths if path.stem != "__init__")
        assert [stem for stem, count in stems.items() if count > 1] == []


def test_no_folder_is_half_of_the_package() -> None:
    """The largest has at most 22 % of the code."""
    sizes: Counter[str] = Counter()
    for path in FILES:
        sizes[layer_of(path)] += sum(
            len(line.strip()) for line in path.read_text(encoding="utf-8").splitlines()
        )
    assert {layer: size for layer, size in sizes.items() if size > 0.22 * sizes.total()} == {}


def test_files_stay_short() -> None:
    assert {path.name: n for path in FILES if (n := len(path.read_text().splitlines())) > 500} == {}


@pytest.mark.parametrize("module", ["glip_lightning", "glip_lightning.app.cli"])
def test_help_needs_neither_torch_nor_lightning(module: str) -> None:
    heavy = "('torch', 'lightning', 'transformers')"
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module",
    [
        "inference.predictor",
        "evaluation.coco_ap",
        "data.collate",
        "data.formats.layouts",
        "experiments.report.write",
    ],
)
def test_no_lightning_below_training(module: str) -> None:
    code = f"import sys, glip_lightning.{module}; print('lightning' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_no_registry_and_no_lock_file_in_the_repository() -> None:
    """Whoever installs chooses where from; constraints are plain ``name==version`` lines."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    hosts = [
        "py" + "pi.org",
        "python" + "hosted.org",
        "registry." + "npmjs",
        "download.py" + "torch.org",
    ]
    for name in listed.stdout.split("\0")[:-1]:
        content = (ROOT / name).read_bytes()
        assert not any(host.encode() in content for host in hosts), name
        assert not name.endswith((".lock", "pylock.toml")), name
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+( ; .+)?", line) for line in lines)
