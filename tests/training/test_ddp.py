"""Two processes (gloo, CPU, torchrun) do what one does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ddp_job import VARIANTS, Record, average_precision, fit
from glip_lightning.shapes.task_pictures import write_task

JOB = Path(__file__).parent.parent / "support" / "ddp_job.py"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"train": 6, "valid": 3, "test": 1}
    return write_task(tmp_path_factory.mktemp("data") / "Blocks", counts=counts, size=96).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """What the two processes have written."""
    folder = tmp_path_factory.mktemp("job")
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
    ]
    done = subprocess.run(
        [*torchrun, str(JOB), str(pictures), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"result{rank}.json").read_text()) for rank in range(2)]


def test_losses_and_gradients_are_those_of_one_process(
    folder: Path, pictures: Path, results: list[dict[str, Any]]
) -> None:
    """Two processes x 1 image x 2 accumulated, and 1 x 2 x 2: the same images in each part."""
    record = Record()
    fit(pictures, 2, record, freeze=True, limit_val_batches=0)
    assert len(record.losses) == 6
    for result in results:
        torch.testing.assert_close(torch.tensor(result["losses"]), torch.tensor(record.losses))
    for rank in range(2):
        gradients = torch.load(folder / f"gradients{rank}.pt", weights_only=True)
        assert len(gradients) == len(record.gradients) == 4
        for mine, single in zip(gradients, record.gradients, strict=True):
            assert mine.keys() == single.keys()
            assert not any("patch_embed" in name for name in mine)  # frozen
            scale = max(gradient.abs().max().item() for gradient in single.values())
            for name, gradient in single.items():
                torch.testing.assert_close(
                    mine[name], gradient, rtol=1e-4, atol=1e-6 * scale, msg=name
                )


def test_ap_does_not_depend_on_who_saw_what(results: list[dict[str, Any]]) -> None:
    for name, images in (("five", 5), ("padded", 1), ("none on one rank", 1)):
        alone = average_precision(list(range(images)), images)
        assert alone["images"] == images
        for result in results:
            assert json.dumps(result[name]) == json.dumps(alone)  # text, in which nan equals nan
    assert 0 < results[0]["five"]["AP"] < 1


def test_every_trainable_parameter_has_a_gradient(results: list[dict[str, Any]]) -> None:
    """Also where no image, or no image of one rank, has a box: DDP would wait for ever or raise."""
    nothing: dict[str, list[str]] = {variant: [] for variant in VARIANTS}
    for result in results:
        assert result["without gradient"] == nothing
        assert result["boxes on one rank"] == nothing


def test_one_ranks_signal_stops_all_and_the_run_goes_on(results: list[dict[str, Any]]) -> None:
    assert [result["resumed"] for result in results] == [True, True]


def test_all_ranks_take_part_in_the_estimate(results: list[dict[str, Any]]) -> None:
    assert [result["estimated"] for result in results] == [True, True]
