"""The notebooks: as they lie in the repository, and executed with a nano detector in few steps."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

from glip_lightning.config.recipe_checker import RecipeChecker

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NANO = "glip-nano-c"
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list[str]:
    return [cell.source for cell in read(path).cells if cell.cell_type == "code"]


def with_detector(source: str, detector: str) -> str:
    """The one string changed."""
    assert source.count(f'DETECTOR = "{NANO}"') == 1
    return source.replace(f'DETECTOR = "{NANO}"', f'DETECTOR = "{detector}"')


def test_the_readme_lists_them() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]
    listed = re.findall(r"^\| `(\d\d_\w+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [path.stem for path in NOTEBOOKS]


@each
def test_they_are_valid_and_hold_nothing_of_a_machine(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)
    assert path.stat().st_size < 10_000
    assert not re.findall(r"/(?:home|root|work|tmp|Users|mnt|content)/|[A-Z]:\\\\", path.read_text(encoding="utf-8"))


@each
def test_their_cells_compile_and_name_the_detector_once(path: Path) -> None:
    cells = code(path)
    for number, source in enumerate(cells):
        compile(TransformerManager().transform_cell(source), f"{path.name}, code cell {number}", "exec")
    assert len(re.findall(r"^DETECTOR = ", "\n".join(cells), re.MULTILINE)) == 1
    assert cells[0].startswith("DETECTOR = ")
    assert not any("glip-" in source for source in cells[1:])


@each
@pytest.mark.parametrize("detector", [NANO, "glip-tiny"])
def test_one_string_decides_the_recipe(path: Path, detector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what belongs to it: the recipe of a detector is one that it takes."""
    chosen: dict[str, str] = {}
    exec(with_detector(code(path)[0], detector), chosen)
    if "RECIPE" not in chosen:
        assert not any("!glip" in source for source in code(path))
        return
    monkeypatch.chdir(ROOT / "notebooks")
    file = Path(chosen["RECIPE"])
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    tuning = chosen.get("PROMPT", "")
    options = tuning.split() if isinstance(tuning, str) else [f"--model.tuning.{k}={v}" for k, v in tuning.items()]
    options = options if isinstance(tuning, str) else ["--model.tuning=PromptTuning", *options]
    options += ["--data=CustomData", "--data.root=photos"] if "photos" in path.stem else ["--data.task=Kites"]
    resolved = RecipeChecker().check(file, content, words=["--model.detector", detector, *options])
    assert content["model"]["detector"] == detector
    side = 128 if detector == NANO else {"photos": 800}.get(path.stem.split("_")[-1], 480)
    assert resolved.data.test_size == side
    if "PROMPT" in chosen:
        rates = {key: resolved.recipe["model"]["tuning"]["init_args"][key] for key in ("lr", "weight_decay")}
        official = {"lr": 0.05, "weight_decay": None}
        assert rates == ({"lr": 0.3, "weight_decay": 0} if detector == NANO else official)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with notebooks and recipes beside each other, whose runs are short."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "notebooks").mkdir()
    (folder / "recipes" / "shapes").mkdir(parents=True)
    recipe = (ROOT / "recipes" / "shapes/nano_few_shot.yaml").read_text(encoding="utf-8")
    short = recipe.replace("max_steps: 120", "max_steps: 4").replace("val_check_interval: 40", "val_check_interval: 2")
    assert {"  max_steps: 4", "  val_check_interval: 2"} <= set(short.splitlines())
    (folder / "recipes" / "shapes/nano_few_shot.yaml").write_text(short, encoding="utf-8")
    return folder


@pytest.mark.slow
@each
def test_they_run(path: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # as of an active environment
    monkeypatch.setenv("IPYTHONDIR", str(workshop / "ipython"))
    notebook = read(path)
    folder = workshop / "notebooks"
    for _ in range(2 if path.stem.startswith("02") else 1):  # again, over what the first time has left
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert shown
    kinds = {kind for output in shown for kind in output["data"]}
    assert kinds & {"image/png", "image/jpeg", "text/html"}
