"""Paths and names that cannot be right are refused without torch, Lightning or a download."""

import subprocess
import sys
from pathlib import Path

import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.locks import FolderLock
from glip_lightning.config.early_checks import check_sweep, check_training
from printed import words
from refusals import refusal

ROOT = Path(__file__).parent.parent.parent
CUSTOM, NANO = str(ROOT / "recipes/custom.yaml"), str(ROOT / "recipes/nano.yaml")
PROGRAM = """
import sys
from glip_lightning.app.cli import main
code = main(sys.argv[1:])
print([name for name in ("torch", "lightning", "transformers", "wandb") if name in sys.modules])
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("command", "named", "code"),
    [
        ("fit --config few_shot --data.root nowhere --data.task Raccoon", "--data.root nowhere", 1),
        (
            "fit --config few_shot --data.root . --data.task Raccoon --model.detector glip-tinny",
            "glip-tiny",
            1,
        ),
        (
            "test --config custom --data.root=. --data.phrases_file=nowhere.txt",
            "--data.phrases_file nowhere.txt",
            1,
        ),
        ("fit --config few_shot --data.root . --data.task Raccoon", "'Raccoon' below .", 1),
        (
            "fit --config few_shot --data.root=. --data.task=Racoon --data.shots 1 --data.seed=3",
            "'Raccoon'",
            1,
        ),
        ("fit --config few_shot --data.root .", "--data.task", 2),
        ("fit --config custom_nano --trainer.max_epochs 5", "--data.root", 2),
        ("fit --config custom --data.root .", ".: ", 1),
        (
            "fit --config custom_nano --retention.data CustomData --retention.data.root nowhere",
            "--retention.data.root nowhere",
            1,
        ),
        (
            "test --config custom --model.tuning SavedPrompt --model.tuning.file nowhere",
            "--model.tuning.file nowhere",
            1,
        ),
        (
            "test --config custom --data.root . --ckpt_path nowhere.ckpt",
            "--ckpt_path nowhere.ckpt",
            1,
        ),
        ("fit --resume nowhere", "--resume nowhere", 1),
        ("validate --config few_shoot", "few_shot", 2),
        ("predict nowhere.jpg elsewhere.jpg --phrases dog", "nowhere.jpg", 1),
        ("predict nowhere*.jpg --phrases dog", "nowhere*.jpg", 1),
        ("predict . --phrases dog --detector glip-tinny", "glip-tiny", 1),
        ("predict . --phrases-file nowhere.txt", "--phrases-file nowhere.txt", 1),
        ("predict . --prompt nowhere.safetensors", "--prompt nowhere.safetensors", 1),
        ("pseudo-label --images nowhere --phrases dog", "--images nowhere", 1),
        ("pseudo-label --images . --captions nowhere.json", "--captions nowhere.json", 1),
        ("pseudo-label --images . --phrases dog --detector glip-tinny", "glip-tiny", 1),
        ("convert nowhere.pth folder", "nowhere.pth", 1),
        ("doctor . --detector glip-tinny", "glip-tiny", 1),
        ("report nowhere", "nowhere", 1),
        ("sweep sweeps/dem", "sweeps/demo", 2),
        ("sweep sweeps/odinw13_fewshot --data.root nowhere", "--data.root nowhere", 1),
        ("sweep sweeps/own_photos --data.root=nowhere --dry-run", "--data.root nowhere", 1),
        ("sweep sweeps/demo --model.detector glip-tinny", "glip-tiny", 1),
    ],
)
def test_what_is_not_there_is_said_at_once(
    command: str, named: str, code: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == code, done.stderr
    assert named in done.stderr.splitlines()[0]
    assert done.stdout == "[]\n"


def refused(*arguments: str) -> str:
    """Return the code of the error that a command line gets."""
    with pytest.raises(GLIPError) as caught:
        check_training(arguments)
    return caught.value.code


def test_a_wrong_option_is_said_before_data_that_are_missing(tmp_path: Path) -> None:
    """The parser knows the options: where one may be wrong, missing data wait for it."""
    task = ["fit", "--config", NANO, "--data.root", str(tmp_path), "--data.task", "Raccoon"]
    photos = ["fit", "--config", CUSTOM, "--data.root", str(tmp_path)]
    assert refused(*task) == "missing-file"
    assert refused(*photos) == "no-data-set"
    for wrong in ("--data.shots=many", "--trainer.max_epoch=3", "extra", "--data.seed"):
        check_training([*task, wrong])
        check_training([*photos, wrong])
    assert refusal(*task, "--data.shots=many").code == "bad-value"
    official = ["--model.detector=glip-tiny", "--data.workers=0"]
    assert refusal(*task, *official).code == "missing-file"  # no download is tried before
    assert refusal(*photos, *official).code == "no-data-set"


def test_files_that_the_command_line_does_not_use_may_be_missing(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "data: {class_path: CustomData, init_args: {phrases_file: nowhere}}\n"
        "model: {tuning: {class_path: SavedPrompt, init_args: {file: nowhere}}}\n"
    )
    given = ["test", "--config", str(recipe), f"--data.root={tmp_path}", "--data.workers=0"]
    phrases = "--data.phrases_file=null"
    assert refused(*given) == refused(*given, phrases) == "missing-file"
    given += [phrases, "--model.tuning=FullTuning"]
    check_training(given)
    for checkpoint in ("best", "s3://bucket/last.ckpt"):
        check_training([*given, "--ckpt_path", checkpoint])
    assert refused(*given, "--ckpt_path=nowhere") == "missing-file"


def test_a_sweep_checks_what_its_axes_leave(tmp_path: Path) -> None:
    file, nowhere = tmp_path / "recipe.yaml", [("data.root", str(tmp_path / "nowhere"))]
    photos = {
        "data": {"class_path": "glip_lightning.CustomData"},
        "model": {"tuning": {"class_path": "SavedPrompt", "init_args": {"file": "nowhere"}}},
    }
    for options, axes in ((nowhere, ["model.tuning"]), ([], ["data.root"])):
        with pytest.raises(GLIPError) as caught:
            check_sweep(file, photos, options, axes)
        assert caught.value.code == ("missing-folder" if options else "missing-file")
    check_sweep(file, photos, nowhere, ["data.root", "model.tuning"])
    check_sweep(file, photos | {"data": "Shapes"}, nowhere, ["model.tuning"])


def test_the_root_that_counts_is_the_last_one_and_its_place_is_named(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "data:\n  class_path: glip_lightning.CustomData\n  init_args: {root: nowhere}\n"
    )
    (tmp_path / "photos.json").touch()  # looks like data
    with pytest.raises(GLIPError, match=f"^{recipe}: data.root: nowhere: "):
        check_training(["fit", "--config", str(recipe)])
    check_training(["fit", "--config", str(recipe), "--data.root", str(tmp_path)])
    check_training(["fit", "--config", str(recipe), f"--data.init_args.root={tmp_path}"])
    assert refused(
        "fit", "--config", str(recipe), f"--data.root={tmp_path}", f"--data.root={recipe}"
    ) == ("missing-folder")


def test_data_that_make_their_root_and_options_that_are_only_printed_pass() -> None:
    check_training(["fit", "--data", "Shapes", "--data.root", "nowhere"])
    check_training(["fit", "--config", CUSTOM, "--data.root", "nowhere", "--print_config"])
    assert refused("fit", "--config", CUSTOM, "--data.root", "nowhere") == "missing-folder"


def test_a_base_that_is_gone_does_not_matter_to_a_finished_run(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {detector: gone}\n")
    check_training(["test", "--config", str(recipe)])
    assert refused("fit", "--config", str(recipe)) == "unknown-detector"
    assert refused("test", "--config", str(recipe), "--model.detector=gone") == "unknown-detector"


def test_a_folder_of_a_finished_run_and_one_in_use_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, run = FolderLock(), ["fit", "--data", "Shapes", "--run", str(tmp_path)]
    check_training(run)
    lock.hold(tmp_path)
    assert refused(*run) == "folder-in-use"
    monkeypatch.setenv("LOCAL_RANK", "1")  # the first process of the same run has it
    check_training(run)
    monkeypatch.delenv("LOCAL_RANK")
    lock.release()
    check_training(run)
    (tmp_path / "result.json").touch()
    assert refused(*run) == "finished-run"


@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
def test_a_verb_without_a_recipe_says_which_there_are(verb: str) -> None:
    error = refusal(verb, "--data.root", ".")
    assert error.code == "no-recipe"
    assert {"--config", "custom_nano"} <= words(str(error))
