"""Every recipe through the real command line, on generated pictures and on real photos."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image
from safetensors.torch import load_file

from glip_lightning.app.cli import main
from glip_lightning.shapes.task_pictures import write_task
from printed import ap_lines
from refusals import refusal

REPOSITORY = Path(__file__).parent.parent.parent
RECIPES = REPOSITORY / "recipes"
SMALL = ["--data.min_sizes=[96]", "--data.test_size=96", "--data.max_size=128"]
ANNOTATIONS = "annotations_without_background.json"
SHORT = [
    "--trainer.max_epochs=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(
        tmp_path_factory.mktemp("data") / "shapes", counts={"train": 6, "valid": 2, "test": 2}
    )


def task_folder(root: Path, source: Path) -> Path:
    """A few pictures of ours in the place of the Raccoon task."""
    shutil.copytree(source, root / "Raccoon")
    for file in root.rglob("*.json"):
        if "annotations" in file.name:
            content = json.loads(file.read_text())
            content["categories"] = [{"id": 1, "name": "raccoon"}]
            for annotation in content["annotations"]:
                annotation["category_id"] = 1
            file.write_text(json.dumps(content))
    return root


def check_run(run: Path) -> dict:
    """What every run leaves: checkpoints, the detector, pictures and a complete result."""
    result = json.loads((run / "result.json").read_text())
    assert {"AP", "AP50"} <= result["metrics"]["test"].keys() & result["metrics"]["val"].keys()
    assert result["recipe"]["model"]["detector"] == result["detector"] == "glip-nano"
    assert result["image_ids"]
    assert result["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {file.name for file in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert result["best_epoch"] is not None
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert result["best_epoch"] == best["epoch"]
    for name, tensor in load_file(run / "detector" / "model.safetensors").items():
        assert torch.equal(tensor, best["state_dict"][f"model.{name}"]), name
    assert (run / "logs" / "metrics.csv").is_file()
    pictures = list((run / "predictions").glob("*.jpg"))
    assert pictures
    for picture in pictures:
        with Image.open(picture) as image:
            image.verify()
    return result


def test_blocks_recipe_and_predict_with_what_it_left(tmp_path: Path) -> None:
    run = tmp_path / "run"
    data = [f"--data.root={tmp_path / 'shapes'}", *SMALL, "--trainer.limit_train_batches=2"]
    config = ["--config", str(RECIPES / "shapes/blocks.yaml"), "--run", str(run)]
    assert (
        main(
            [
                "fit",
                *config,
                *data,
                *SHORT,
                "--trainer.limit_val_batches=2",
                "--trainer.limit_test_batches=2",
            ]
        )
        == 0
    )
    result = check_run(run)
    assert len(result["classes"]) == 4
    photo = tmp_path / "shapes" / "Blocks" / "test" / "00000.jpg"
    assert (
        main(["predict", str(photo), "--detector", str(run), "--out", str(tmp_path / "out")]) == 0
    )
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert predictions["classes"] == result["classes"]
    assert predictions["weights"] == "folder"


@pytest.mark.parametrize("layout", ["Raccoon", "Raccoon/Raccoon.v2-raw.coco"])
def test_nano_recipe_on_both_layouts(tmp_path: Path, shapes: Path, layout: str) -> None:
    root = task_folder(tmp_path / "root", shapes)
    if "/" in layout:
        (root / "Raccoon").rename(root / "moved")
        (root / layout).parent.mkdir()
        (root / "moved").rename(root / layout)
    run = tmp_path / "run"
    config = ["--config", str(RECIPES / "nano.yaml"), f"--data.root={root}", "--data.task=Raccoon"]
    assert main(["fit", *config, "--run", str(run), *SMALL, *SHORT]) == 0
    assert check_run(run)["phrases"] == [{"name": "raccoon", "prefix": "", "suffix": ""}]


def test_nano_recipe_on_a_task_of_odinw(tmp_path: Path, odinw_data: Path) -> None:
    run = tmp_path / "run"
    config = [
        "--config",
        str(RECIPES / "nano.yaml"),
        f"--data.root={odinw_data}",
        "--data.task=Raccoon",
    ]
    limits = [f"--trainer.limit_{name}_batches=2" for name in ("train", "val", "test")]
    assert main(["fit", *config, "--run", str(run), *SMALL, *SHORT, *limits]) == 0
    result = check_run(run)
    listed = json.loads(
        (odinw_data / "Raccoon" / "train" / ANNOTATIONS).read_text(encoding="utf-8")
    )
    assert result["image_ids"] == [image["id"] for image in listed["images"]]


@pytest.mark.parametrize(
    "verb, recipe, shots, trained",
    [
        ("fit", "few_shot", "1", 1),
        ("fit", "all_shot", "all", 6),
        ("fit", "prompt", "1", 1),
        ("fit", "linear_probe", "1", 1),
        ("fit", "lora", "1", 1),
        ("fit", "nano", "0", 0),
        ("test", "zero_shot", "0", 0),
    ],
)
def test_recipes_of_all_shots(
    tmp_path: Path, shapes: Path, verb: str, recipe: str, shots: str, trained: int
) -> None:
    """The official recipes as they stand but for the detector, the sizes and the length."""
    root = task_folder(tmp_path / "root", shapes)
    config = [
        "--config",
        str(RECIPES / f"{recipe}.yaml"),
        f"--data.root={root}",
        "--data.task=Raccoon",
        *SMALL,
    ]
    detector = ["--model.detector=glip-nano", "--model.weights=random", "--data.workers=0"]
    short = ["--trainer.max_epochs=1"] if verb == "fit" else []
    run = tmp_path / "run"
    assert main([verb, *config, *detector, *short, f"--data.shots={shots}", "--run", str(run)]) == 0
    result = json.loads((run / "result.json").read_text())
    assert len(result["image_ids"]) == trained
    assert result["metrics"]["test"]["images"] == 2
    # whole, since its weights began as random ones
    assert (run / "detector").exists() == bool(trained)
    copies = 8 if shots == "1" else 1
    assert result["steps"] == -(-trained * copies // 4)


def test_detections_have_the_ids_of_the_data(tmp_path: Path, shapes: Path) -> None:
    root = task_folder(tmp_path / "root", shapes)
    for file in root.rglob("annotations*.json"):
        content = json.loads(file.read_text())
        content["categories"][0]["id"] = 17
        for annotation in content["annotations"]:
            annotation["category_id"] = 17
        file.write_text(json.dumps(content))
    config = [
        "--config",
        str(RECIPES / "nano.yaml"),
        f"--data.root={root}",
        "--data.task=Raccoon",
        *SMALL,
    ]
    assert main(["fit", *config, *SHORT, "--run", str(tmp_path / "run")]) == 0
    found = json.loads((tmp_path / "run" / "detections.json").read_text())
    truth = COCO(str(root / "Raccoon" / "test" / "annotations_without_background.json"))
    assert found
    assert {row["category_id"] for row in found} == {17}
    evaluation = COCOeval_faster(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    # boxes are rounded
    assert result["metrics"]["test"]["AP"] == pytest.approx(evaluation.stats[0], abs=2e-3)


def test_validate_and_test_verbs(tmp_path: Path, shapes: Path) -> None:
    root = task_folder(tmp_path / "root", shapes)
    config = [
        "--config",
        str(RECIPES / "nano.yaml"),
        f"--data.root={root}",
        "--data.task=Raccoon",
        *SMALL,
    ]
    for verb in ("validate", "test"):
        assert main([verb, *config, "--run", str(tmp_path / verb)]) == 0
    assert (
        json.loads((tmp_path / "test" / "result.json").read_text())["metrics"]["test"]["images"]
        == 2
    )
    assert not (tmp_path / "test" / "detector").exists()  # nothing was trained


def test_classes_without_tokens_are_reported_by_name(
    tmp_path: Path, odinw_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Class 1 of ChessPieces is officially called by two blanks."""
    config = [
        "--config",
        str(RECIPES / "nano.yaml"),
        f"--data.root={odinw_data}",
        "--data.task=ChessPieces",
        *SMALL,
    ]
    with caplog.at_level("WARNING", logger="glip_lightning"):
        assert (
            main(
                [
                    "validate",
                    *config,
                    "--run",
                    str(tmp_path / "run"),
                    "--trainer.limit_val_batches=1",
                ]
            )
            == 0
        )
    assert (
        json.loads((tmp_path / "run" / "result.json").read_text())["data"]["findings"]["no-tokens"]
        == 1
    )
    assert "'bishop'" in caplog.text


def test_a_finished_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    config = [
        "--config",
        str(RECIPES / "shapes/blocks.yaml"),
        "--run",
        str(tmp_path),
        f"--data.root={tmp_path / 'shapes'}",
    ]
    assert refusal("fit", *config).code == "finished-run"


def test_two_processes_share_one_run(tmp_path: Path, shapes: Path) -> None:
    """DDP on the CPU in bf16: both ranks write into one folder, every image is counted once."""
    root = task_folder(tmp_path / "root", shapes)
    config = [
        "--config",
        str(RECIPES / "nano.yaml"),
        f"--data.root={root}",
        "--data.task=Raccoon",
        *SMALL,
        *SHORT,
    ]
    ddp = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    command = [
        sys.executable,
        "-m",
        "glip_lightning.app.cli",
        "fit",
        *config,
        *ddp,
        "--trainer.precision=bf16-mixed",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    runs = list((tmp_path / "runs").iterdir())
    assert [run.name for run in runs] == ["raccoon-001"]
    assert check_run(runs[0])["metrics"]["test"]["images"] == 2
    assert len(ap_lines(done.stdout, "test")) == 1


@pytest.mark.slow
def test_five_real_photos_are_learned_by_heart(tmp_path: Path, shared_data: Path) -> None:
    """Loss falls, AP50 on the training photos reaches 0.9 when a nano detector has only those."""
    source = shared_data / "Raccoon" / "train"
    content = json.loads((source / "annotations_without_background.json").read_text())
    content["images"] = content["images"][:5]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    for split in ("train", "valid", "test"):
        folder = tmp_path / "root" / "Raccoon" / split
        folder.mkdir(parents=True)
        for image in content["images"]:
            shutil.copy(source / image["file_name"], folder)
        (folder / "annotations_without_background.json").write_text(json.dumps(content))
    run = tmp_path / "run"
    config = [
        "--config",
        str(RECIPES / "nano.yaml"),
        f"--data.root={tmp_path / 'root'}",
        "--data.task=Raccoon",
    ]
    length = [
        "--data.batch_size=5",
        "--data.flip=0",
        "--trainer.max_epochs=150",
        "--trainer.check_val_every_n_epoch=25",
    ]
    assert (
        main(["fit", *config, "--run", str(run), *length, "--trainer.enable_progress_bar=false"])
        == 0
    )
    result = check_run(run)
    losses = [float(x) for x in column(run / "logs" / "metrics.csv", "train/loss")]
    assert losses[-1] < 0.5 * losses[0]
    assert result["metrics"]["test"]["AP50"] >= 0.9


def column(path: Path, name: str) -> list[str]:
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    index = header.index(name)
    return [row[index] for row in rows if row[index]]
