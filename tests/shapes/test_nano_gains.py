"""What ten images of each class bring the shipped nano C, by ``glip fit`` alone."""

import json
from pathlib import Path

import pytest

from glip_lightning.app.cli import main

RECIPE = Path(__file__).parent.parent.parent / "recipes" / "shapes/nano_few_shot.yaml"
FULL: list[str] = []
PROMPT = ["--model.tuning=PromptTuning", "--model.tuning.form=offset"]
PROMPT += ["--model.tuning.lr=0.3", "--model.tuning.weight_decay=0.0"]


def interval(root: Path, run: str, *options: str) -> tuple[float, float]:
    """95 % of the AP of redrawn test pictures of Kites."""
    place = [
        "--run",
        str(root / run),
        "--data.root",
        str(root / "shapes"),
        "--trainer.accelerator=cpu",
    ]
    assert main(["fit", "--config", str(RECIPE), *place, *options]) == 0
    result = json.loads((root / run / "result.json").read_text())
    assert (result["detector"], result["weights"]) == ("glip-nano-c", "shipped")
    low, high = result["metrics"]["test"]["bootstrap"]["interval95"]
    return low, high


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gains")


@pytest.fixture(scope="module")
def untrained(root: Path) -> tuple[float, float]:
    return interval(root, "untrained", "--data.shots=0")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 30, 300])
@pytest.mark.parametrize("tuning", [FULL, PROMPT], ids=["full", "prompt"])
def test_ten_shots_lift_it(
    root: Path, untrained: tuple[float, float], tuning: list[str], seed: int
) -> None:
    run = f"{'prompt' if tuning else 'full'}-{seed}"
    tuned = interval(root, run, "--data.shots=10", f"--data.seed={seed}", *tuning)
    assert tuned[0] > untrained[1]
