"""Damaged checkpoints: said in a line before anything is read, and what the line advises works."""

import pickle
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glip_lightning.app.cli import main
from glip_lightning.training.checkpoint_files import damage
from small_runs import go, make_shapes, options, result

LAST, BEST = Path("checkpoints") / "last.ckpt", Path("checkpoints") / "best.ckpt"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs with averaged weights."""
    run = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        go(
            "fit",
            shapes,
            run,
            "--trainer.max_epochs=3",
            "--trainer.callbacks=EMA",
        )
    return run


@pytest.fixture
def over(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run as if it had been killed after its last step."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "result.json").unlink()
    shutil.rmtree(run / "detector")
    return run


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def foreign_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("hello.txt", "hello")


KINDS: dict[str, Callable[[Path], object]] = {
    "cut off": cut,
    "empty": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("hello"),
    "a zip": foreign_zip,
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"state_dict": 1})),
    "objects": lambda path: torch.save({"state_dict": Path(), "epoch": 0, "global_step": 0}, path),
    "something else": lambda path: torch.save({"a": 1}, path),
    "a folder": folder,
    "a flipped bit": flip,
}


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "weights_only" not in said
    return said


def advised(said: str) -> list[str]:
    """The first command in a message."""
    found = re.search(r"glip ((?:fit|test|validate) .*?)(?:;|$)", said, re.MULTILINE)
    assert found is not None, said
    return shlex.split(found[1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_damage_is_known(finished: Path, tmp_path: Path, kind: str) -> None:
    for name in (LAST, BEST):
        path = Path(shutil.copy(finished / name, tmp_path))
        assert damage(path) is None
        KINDS[kind](path)
        assert damage(path)
        assert damage(path) != damage(tmp_path / "nowhere")
    assert damage(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["cut off", "empty", "objects", "a folder"])
def test_a_run_with_a_damaged_last_says_what_its_best_is_good_for(
    over: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    KINDS[kind](over / LAST)
    before = {path: path.stat().st_mtime_ns for path in over.rglob("*") if path.name != ".lock"}
    assert main(["fit", "--resume", str(over)]) == 1
    said = one_line(capsys)
    assert str(over / LAST) in said
    assert {
        path: path.stat().st_mtime_ns for path in over.rglob("*") if path.name != ".lock"
    } == before
    if kind == "cut off":
        assert main([*advised(said), "--run", str(over.parent / "test")]) == 0
        assert result(over.parent / "test")["metrics"]["test"]["images"] == 2


def test_a_run_without_a_whole_checkpoint_starts_anew(
    over: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(over / LAST)
    cut(over / BEST)
    assert main(["fit", "--resume", str(over)]) == 1
    command = advised(one_line(capsys))
    assert command == ["fit", "--config", str(over / "recipe.yaml")]


@pytest.mark.parametrize("verb", ["test", "validate"])
def test_an_evaluation_of_a_damaged_best_says_that_last_is_whole(
    over: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(over / BEST)
    recipe = ["--config", str(over / "recipe.yaml")]
    assert main([verb, *recipe, "--ckpt_path", str(over / BEST)]) == 1
    assert advised(one_line(capsys)) == [verb, *recipe, "--ckpt_path", str(over / LAST)]


def test_a_run_that_is_over_goes_on_without_its_damaged_best(
    finished: Path, over: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the average of the last step, which is not what the weights of that step are."""
    flip(over / BEST)
    damaged = damage(over / BEST)
    assert main(["fit", "--resume", str(over)]) == 0
    found = result(over)
    assert found["lost"].startswith(f"best.ckpt {damaged}")
    assert found["lost"] in capsys.readouterr().out
    assert found["best_epoch"] is None
    last = torch.load(over / LAST, weights_only=True)
    kept = load_file(over / "detector" / "model.safetensors")
    average = {key.removeprefix("model."): x for key, x in last["state_dict"].items()}
    assert all(torch.equal(x, average[key]) for key, x in kept.items())
    assert any(
        not torch.equal(x, last["current_model_state"][f"model.{key}"]) for key, x in kept.items()
    )
    assert result(finished)["lost"] is None


def test_a_run_that_is_over_keeps_its_best(finished: Path, over: Path) -> None:
    """Also a run whose best.ckpt an earlier version wrote, with all that a run needs to go on."""
    best, last = (torch.load(over / name, weights_only=True) for name in (BEST, LAST))
    torch.save({**last, **best}, over / BEST)
    assert main(["fit", "--resume", str(over)]) == 0
    assert result(over)["metrics"] == result(finished)["metrics"]
    assert result(over)["best_epoch"] == result(finished)["best_epoch"]


def test_a_training_goes_on_without_its_damaged_best(
    shapes: Path, finished: Path, over: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut(over / BEST)
    damaged = damage(over / BEST)
    with caplog.at_level("WARNING", logger="glip_lightning"):
        assert main(["fit", "--resume", str(over), "--trainer.max_epochs=4"]) == 0
    assert f"{over / BEST} {damaged}" in caplog.text
    assert result(over)["lost"].startswith(f"best.ckpt {damaged}")
    assert result(over)["best_epoch"] == 3
    assert damage(over / BEST) is None


def test_best_holds_weights_alone(
    finished: Path, over: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 4 bytes a parameter; last has the average, too, and two moments of each trained one."""
    best, last = (torch.load(finished / name, weights_only=True) for name in (BEST, LAST))
    assert (
        not {"optimizer_states", "current_model_state", "averaging_state", "callbacks"}
        & best.keys()
    )
    assert best["epoch"] == result(finished)["best_epoch"]
    assert best["state_dict"].keys() == last["state_dict"].keys()
    assert (finished / BEST).stat().st_size < 0.3 * (finished / LAST).stat().st_size
    assert (
        main(["fit", "--config", str(over / "recipe.yaml"), "--ckpt_path", str(over / BEST)]) == 1
    )
    assert "last.ckpt" in one_line(capsys)


def test_a_checkpoint_that_is_nowhere_is_known_early(shapes: Path, tmp_path: Path, capsys) -> None:
    assert (
        main(
            ["test", *options(shapes, tmp_path / "run"), "--ckpt_path", str(tmp_path / "none.ckpt")]
        )
        == 1
    )
    assert str(tmp_path / "none.ckpt") in one_line(capsys)
    assert not (tmp_path / "run").exists()
