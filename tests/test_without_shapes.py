"""Without the generated world all else works: processes in which nothing of it can be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from formats import write_parts
from printed import words

BLOCK = """
import sys

class NoShapes:
    def find_spec(self, name, path=None, target=None):
        if name.partition("glip_lightning.shapes")[0] == "" and name[22:23] in ("", "."):
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, NoShapes())
"""
IMPORT_ALL = """
import importlib, pkgutil, sys
import glip_lightning
from glip_lightning.common import registry

for module in pkgutil.walk_packages(glip_lightning.__path__, "glip_lightning."):
    if not module.name.startswith("glip_lightning.shapes"):
        importlib.import_module(module.name)
from glip_lightning.common.registry import (
    callbacks, data_modules, detector_weights, report_sections, tasks
)
tables = (tasks, detector_weights, data_modules, callbacks, report_sections)
loaded = [name for name in sys.modules if "glip_lightning.shapes" in name]
print([table.names() for table in tables], loaded)
"""
RUN_ALL = """
import sys
from dataclasses import replace
from pathlib import Path

from glip_lightning.app.cli import main
from glip_lightning.models.config import TextConfig, variant
from glip_lightning.models.glip.model import GLIP
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.weights.load import save

if __name__ == "__main__":  # workers of the sweep import this file
    photos, sweep, recipe, folder = sys.argv[1:]
    tokenizer = Tokenizer.nano()
    layers = dict(num_hidden_layers=1, num_attention_heads=2)
    text = TextConfig(len(tokenizer), hidden_size=32, intermediate_size=64, **layers)
    swin = dict(swin_dim=16, swin_depths=(1, 1, 1, 1), swin_heads=(1, 2, 4, 8))
    small = dict(**swin, channels=32, rounds=1, fusion_dim=32)
    config = replace(variant("glip-tiny"), text=text, fusion_heads=2, **small)
    detector = str(save(GLIP(config), tokenizer, folder + "/detector"))
    options = [f"--data.root={photos}", f"--model.detector={detector}"]
    assert main(["fit", "--config", recipe, "--run", folder + "/run", *options]) == 0
    photo = photos + "/test/d.png"
    assert main(["predict", photo, "--detector", folder + "/run", "--out", folder + "/found"]) == 0
    assert main(["sweep", sweep, "--dir", folder + "/sweep", "--workers", "1", *options]) == 0
    assert main(["report", folder + "/sweep"]) == 0
    nano = ["--detector", "glip-nano", "--phrases", "cat"]
    assert main(["predict", photo, *nano, "--out", folder + "/none"]) == 1
    assert not [name for name in sys.modules if name.startswith("glip_lightning.shapes")]
"""
RECIPE = """
seed_everything: 0
model: {tuning: {class_path: FullTuning, init_args: {lr: 0.001, freeze_at: -1}}}
data:
  class_path: CustomData
  init_args: {batch_size: 2, min_sizes: [64], max_size: 64, test_size: 64}
trainer: {max_epochs: 1, accelerator: cpu}
"""


def start(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a Python that cannot import ``glip_lightning.shapes``, nor can its own
    processes.
    """
    (folder / "block").mkdir()
    (folder / "block" / "sitecustomize.py").write_text(BLOCK)
    (folder / "program.py").write_text(code)
    paths = [str(folder / "block"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, str(folder / "program.py"), *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_all_other_modules_can_be_imported(tmp_path: Path) -> None:
    done = start(tmp_path, IMPORT_ALL)
    assert done.stdout.splitlines()[-1:] == ["[[], [], [], [], []] []"], done.stderr
    assert "shapes" in words(done.stderr)  # the plugin that is left out


@pytest.mark.slow
def test_a_detector_trains_predicts_sweeps_and_is_reported(tmp_path: Path) -> None:
    photos = write_parts(tmp_path / "photos")
    recipe, sweep = tmp_path / "recipe.yaml", tmp_path / "sweep.yaml"
    recipe.write_text(RECIPE)
    sweep.write_text("name: two\nrecipe: recipe.yaml\naxes: {shots: [0, 1], seed: [3]}\n")
    done = start(tmp_path, RUN_ALL, str(photos), str(sweep), str(recipe), str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    # whose weights no installed package has
    assert "detector='glip-nano'" in done.stderr.splitlines()[-1]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["fitted"] is True
    assert [path.name for path in (tmp_path / "found").rglob("*.json")] == ["predictions.json"]
    states = [
        line.split(",")[1] for line in (tmp_path / "sweep" / "report.csv").read_text().splitlines()
    ]
    assert states == ["state", "finished", "finished"]
    assert not (tmp_path / "sweep" / "claims.csv").exists()
