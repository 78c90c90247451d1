"""What a probe set says before and after a run, and the weights between.

The boxes of the pictures here are detections of an untrained detector: it can forget them.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import seed_everything
from PIL import Image
from safetensors.torch import load_file

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.inference.predictor import Predictor
from glip_lightning.text.phrases import Phrase
from glip_lightning.training.callbacks.retention import Retention, interpolate
from glip_lightning.weights.load import Task, load_detector, save
from printed import words
from refusals import refusal
from small_runs import go, make_shapes, out_of_trouble, result, rows, trouble
from small_runs import options as small

CLASSES = ("red circle", "blue square", "yellow triangle", "green star")
EPOCH = "--trainer.max_epochs=1"


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with scores above those that are dropped."""
    seed_everything(0, verbose=False)
    loaded = load_detector("glip-nano", "random")
    torch.nn.init.zeros_(loaded.model.grounding.token_bias)
    task = Task(tuple(map(Phrase, CLASSES)), (96, 128))
    return save(loaded.model, loaded.tokenizer, tmp_path_factory.mktemp("detector") / "base", task)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory, detector: Path) -> Path:
    shapes = make_shapes(tmp_path_factory.mktemp("data"))
    for split in ("valid", "test"):
        relabel(shapes / split, detector)
    return shapes


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Path:
    """Another set: its test split are the valid pictures of ``shapes``, one of them."""
    folder = tmp_path_factory.mktemp("probe") / "known"
    shutil.copytree(shapes / "train", folder / "train")
    shutil.copytree(shapes / "valid", folder / "test")
    file = folder / "test" / ANNOTATIONS
    content = json.loads(file.read_text())
    first = content["images"][0]
    boxes = [box for box in content["annotations"] if box["image_id"] == first["id"]]
    file.write_text(json.dumps({**content, "images": [first], "annotations": boxes}))
    return folder


def relabel(folder: Path, detector: Path) -> None:
    """The eight best detections of each picture become its boxes."""
    predictor = Predictor(str(detector), device="cpu", threshold=0)
    content = json.loads((folder / ANNOTATIONS).read_text())
    names = {category["name"]: category["id"] for category in content["categories"]}
    content["annotations"] = []
    for image in content["images"]:
        found = predictor(Image.open(folder / image["file_name"]).convert("RGB"))
        for (x1, y1, x2, y2), name in zip(found.boxes[:8].tolist(), found.names[:8], strict=True):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            number = len(content["annotations"]) + 1
            content["annotations"].append(
                {"id": number, "image_id": image["id"], "category_id": names[name], **box}
            )
    (folder / ANNOTATIONS).write_text(json.dumps(content))


def begin(detector: Path) -> list[str]:
    return [f"--model.detector={detector}", "--model.weights=pretrained"]


def retention(probe: Path, alphas: str = "[]") -> list[str]:
    data = [
        "--retention.data=CustomData",
        f"--retention.data.root={probe}",
        "--retention.data.test_size=96",
    ]
    return [*data, f"--retention.wise_ft={alphas}"]


def evaluate(verb: str, data: Path, run: Path, detector: Path) -> float:
    """AP by an evaluation of its own."""
    metrics = go(verb, data, run, *begin(detector))["metrics"]
    return metrics["val" if verb == "validate" else "test"]["AP"]


def test_a_run_says_what_was_kept_and_the_ends_of_the_curve_are_its_measurements(
    detector: Path, shapes: Path, probe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    found = go("fit", shapes, run, EPOCH, *begin(detector), *retention(probe, "[0, 0.5, 1]"))
    kept = found["retention"]
    assert (kept["probe"], kept["images"]) == ("known", 1)
    assert kept["before"] == evaluate("test", probe, tmp_path / "before", detector) > 0.3
    assert kept["after"] == evaluate("test", probe, tmp_path / "after", run)
    assert kept["after"] != kept["before"]
    first, middle, last = kept["wise_ft"]
    assert [point["alpha"] for point in kept["wise_ft"]] == [0, 0.5, 1]
    assert first["probe_AP"] == kept["before"]
    assert first["AP"] == evaluate("validate", shapes, tmp_path / "valid", detector) > 0.3
    assert (last["AP"], last["probe_AP"]) == (found["metrics"]["val"]["AP"], kept["after"])
    assert middle["probe_AP"] not in (kept["before"], kept["after"])
    logged = (
        [row["retention/before"] for row in rows(run)],
        [row["retention/after"] for row in rows(run)],
    )
    assert [[float(x) for x in column if x] for column in logged] == [
        [kept["before"]],
        [kept["after"]],
    ]


def test_a_run_learns_and_reaches_the_same_without_it(
    detector: Path, shapes: Path, probe: Path, tmp_path: Path
) -> None:
    measured = go(
        "fit", shapes, tmp_path / "one", EPOCH, *begin(detector), *retention(probe, "[0.3]")
    )
    plain = go("fit", shapes, tmp_path / "two", EPOCH, *begin(detector))
    assert plain["retention"] is None
    assert measured["metrics"] == plain["metrics"]
    one, two = (
        load_file(tmp_path / run / "detector" / "model.safetensors") for run in ("one", "two")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("tuning", ["LoRATuning", "PromptTuning"])
def test_what_a_tuning_adds_is_interpolated_too(
    tuning: str, detector: Path, shapes: Path, probe: Path, tmp_path: Path
) -> None:
    lr = ["--model.tuning.lr=0.01"] if tuning == "LoRATuning" else ["--model.tuning.lr=1"]
    options = [
        f"--model.tuning={tuning}",
        *lr,
        "--model.schedule=Constant",
        *begin(detector),
        *retention(probe, "[0, 1]"),
    ]
    found = go("fit", shapes, tmp_path / "run", EPOCH, *options)
    kept = found["retention"]
    base = evaluate("validate", shapes, tmp_path / "valid", detector)
    first, last = kept["wise_ft"]
    assert (first["AP"], first["probe_AP"]) == (base, kept["before"])
    assert (last["AP"], last["probe_AP"]) == (found["metrics"]["val"]["AP"], kept["after"])
    assert last["AP"] != first["AP"]
    # a prompt is for its task alone
    assert (kept["before"] == kept["after"]) == (tuning == "PromptTuning")


def test_without_training_nothing_is_forgotten(
    detector: Path, shapes: Path, probe: Path, tmp_path: Path
) -> None:
    options = [*begin(detector), *retention(probe, "[0, 1]")]
    kept = go("fit", shapes, tmp_path / "run", "--data.shots=0", *options)["retention"]
    assert kept["before"] == kept["after"] > 0.3
    assert kept["wise_ft"] == []


def test_an_interrupted_run_remembers_where_it_began(
    detector: Path, shapes: Path, probe: Path, tmp_path: Path
) -> None:
    options = [*begin(detector), *retention(probe, "[0, 0.5]")]
    whole = go("fit", shapes, tmp_path / "whole", *options)
    assert (
        main(["fit", *small(shapes, tmp_path / "broken"), *options, *trouble(2, "ctrl-c")]) == 130
    )
    out_of_trouble(tmp_path / "broken")
    assert main(["fit", "--resume", str(tmp_path / "broken")]) == 0
    assert result(tmp_path / "broken")["retention"] == whole["retention"]


def test_a_probe_without_pictures_to_evaluate_is_an_error_before_the_run(
    shapes: Path, tmp_path: Path
) -> None:
    shutil.copytree(shapes / "train", tmp_path / "probe" / "train")
    shutil.copytree(shapes / "train", tmp_path / "probe" / "valid")
    content = json.loads((tmp_path / "probe" / "valid" / ANNOTATIONS).read_text())
    (tmp_path / "probe" / "valid" / ANNOTATIONS).write_text(
        json.dumps({**content, "images": [], "annotations": []})
    )
    run = tmp_path / "run"
    recipe = ["--config", "recipes/shapes/blocks.yaml"]
    refused = refusal("fit", *recipe, "--run", run, *retention(tmp_path / "probe"))
    assert refused.code == "no-split"
    assert {"retention.data", "probe"} <= words(str(refused))
    assert not run.exists()


@pytest.mark.parametrize("alphas", ["[2]", "[0, -0.1]"])
def test_shares_lie_between_the_ends(alphas: str, probe: Path, tmp_path: Path) -> None:
    run = ["--config", "recipes/shapes/blocks.yaml", "--run", str(tmp_path / "run")]
    refused = refusal("fit", *run, *retention(probe, alphas))
    assert refused.code == "bad-value"
    assert re.search(r"retention\.wise_ft=\[(2|-0\.1)(\.0)?\]", str(refused))


@given(st.integers(0, 2**31), st.floats(0, 1))
def test_the_ends_are_exact_and_equal_tensors_stay(seed: int, alpha: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    base = {
        "a": torch.randn(3, generator=draw) * 1e3,
        "b": torch.randn(2, generator=draw),
        "n": torch.tensor([1]),
    }
    tuned = {"a": torch.randn(3, generator=draw), "b": base["b"].clone(), "n": torch.tensor([2])}
    assert torch.equal(interpolate(base, tuned, 0)["a"], base["a"])
    assert torch.equal(interpolate(base, tuned, 1)["a"], tuned["a"])
    between = interpolate(base, tuned, alpha)
    assert torch.equal(between["b"], base["b"])
    assert torch.equal(between["n"], tuned["n"])
    expected = (1 - alpha) * base["a"].double() + alpha * tuned["a"].double()
    torch.testing.assert_close(between["a"].double(), expected, rtol=1e-5, atol=1e-3)


def test_states_of_different_detectors_are_refused() -> None:
    with pytest.raises(GLIPError, match=r"b, c \(2 ") as caught:
        interpolate(
            {"a": torch.ones(1), "b": torch.ones(1)}, {"a": torch.ones(1), "c": torch.ones(1)}, 0.5
        )
    assert caught.value.code == "other-tensors"


def test_a_callback_checks_its_shares() -> None:
    data: Any = None
    with pytest.raises(GLIPError, match=r"wise_ft=\[1\.5\]") as caught:
        Retention(data, [0, 1.5])
    assert caught.value.code == "bad-value"
