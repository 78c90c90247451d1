"""Nothing of ours stays in the folder for temporary files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from small_runs import make_shapes, options

ALL_VERBS = """
import sys
from glip_lightning.app.cli import main
shapes, run, out, *fit = sys.argv[1:]
assert main(["fit", *fit]) == 0
assert main(["predict", f"{shapes}/test", "--detector", run, "--out", f"{out}/predictions"]) == 0
assert main(["pseudo-label", "--images", f"{shapes}/test", "--detector", run, "--out", f"{out}/labels.json"]) == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("wandb", ["disabled", "offline"])
def test_the_folder_for_temporary_files_stays_empty(tmp_path: Path, wandb: str) -> None:
    shapes, temporary = make_shapes(tmp_path), tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-c", ALL_VERBS, str(shapes), str(tmp_path / "run"), str(tmp_path / "out")]
    environment = os.environ | {"TMPDIR": str(temporary), "WANDB_MODE": wandb, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *options(shapes, tmp_path / "run")], env=environment, check=True, cwd=tmp_path)
    left = [path for path in temporary.rglob("*") if not path.name.startswith("torchinductor_")]
    assert left == []  # an empty folder of that name is made by the import of lightning
