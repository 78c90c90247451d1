"""The notebooks: as they lie in the repository, and executed with a nano detector in few steps."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

from glip_lightning import FullTuning, PromptTuning
from glip_lightning.config.recipe_checker import RecipeChecker
from printed import numbers, words
from small_runs import make_shapes

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
    listed = re.findall(
        r"^\| `(\d\d_\w+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
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
    assert not re.findall(
        r"/(?:home|root|work|tmp|Users|mnt|content)/|[A-Z]:\\\\", path.read_text(encoding="utf-8")
    )


@each
def test_their_cells_compile_and_name_the_detector_once(path: Path) -> None:
    cells = code(path)
    for number, source in enumerate(cells):
        compile(
            TransformerManager().transform_cell(source), f"{path.name}, code cell {number}", "exec"
        )
    assert len(re.findall(r"^DETECTOR = ", "\n".join(cells), re.MULTILINE)) == 1
    assert cells[0].startswith("DETECTOR = ")
    assert not any("glip-" in source for source in cells[1:])


@each
@pytest.mark.parametrize("detector", [NANO, "glip-tiny"])
def test_one_string_decides_the_settings(path: Path, detector: str) -> None:
    """Those of the nano detector are the recipe's for photos, the others are the defaults, which
    are official.
    """
    chosen: dict[str, Any] = {}
    exec(with_detector(code(path)[0], detector), chosen)
    nano = yaml.safe_load((ROOT / "recipes" / "custom_nano.yaml").read_text(encoding="utf-8"))
    if "SIZES" in chosen:
        own = nano["data"]["init_args"]
        wanted = {name: own[name] for name in ("min_sizes", "max_size", "test_size")}
        assert chosen["SIZES"] == (wanted if detector == NANO else {})
        own = nano["model"]["tuning"]["init_args"]
        wanted = {name: own[name] for name in ("lr", "text_lr", "freeze_at")}
        assert chosen["RATES"] == (wanted if detector == NANO else {})
        FullTuning(**chosen["RATES"])
    if "PROMPT" in chosen:
        prompt = PromptTuning(**chosen["PROMPT"])
        assert (prompt.lr, prompt.weight_decay) == ((0.3, 0) if detector == NANO else (None, None))
    if "RECIPE" in chosen:
        file = ROOT / "recipes" / f"{chosen['RECIPE']}.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        changes = {
            "model.detector": detector,
            "model.tuning": "PromptTuning",
            "data.root": "photos",
        }
        recipe = RecipeChecker().check(file, content, list(changes.items())).recipe
        assert recipe["model"]["detector"] == detector
        assert content["model"]["detector"] == detector


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the notebooks' module."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "coins.py").symlink_to(ROOT / "notebooks" / "coins.py")
    return folder


def execute(notebook: nbformat.NotebookNode, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a notebook in a folder with trainings of two steps, and return what it prints."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    # as of an active environment
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    for cell in notebook.cells:
        cell.source = re.sub(r"(COPIES, STEPS) = .*", r"\1 = 4, 2", cell.source)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert kinds & {"image/png", "image/jpeg", "text/html"}
    return "".join(output.get("text", "") for output in outputs)


def ap_of(said: str) -> list[str]:
    """Return AP in points and number of test photos: fit and the notebook print the same AP."""
    lines = [line for line in said.splitlines() if line.startswith("AP ") and "test" in words(line)]
    of_fit, of_notebook = map(numbers, lines)
    assert of_fit[0] == of_notebook[0]
    return of_notebook


@pytest.mark.slow
@each
def test_they_run_with_the_coins(
    path: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = execute(read(path), workshop, monkeypatch)
    counts = [numbers(line)[:2] for line in said.splitlines()]
    assert (["12", "13"] in counts) == (path.stem[:2] != "01")  # coins to learn from and to test on
    if path.stem.startswith("02"):
        ap, photos = ap_of(said)
        assert float(ap) > 50
        assert photos == "1"
        execute(read(path), workshop, monkeypatch)  # again, over what the first time has left


@pytest.mark.slow
def test_photos_of_ones_own_need_no_coins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = make_shapes(tmp_path)
    notebook = read(ROOT / "notebooks" / "02_my_thirty_photos.ipynb")
    (cell,) = [cell for cell in notebook.cells if cell.source.startswith("DETECTOR = ")]
    assert cell.source.count('PHOTOS = ""') == 1
    cell.source = cell.source.replace('PHOTOS = ""', f"PHOTOS = {str(photos)!r}")
    assert ap_of(execute(notebook, tmp_path, monkeypatch))[1] == "2"  # photos
