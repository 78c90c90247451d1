"""What a resumed run may change, and finished runs that are trained for longer."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.config.continuing import MAY_CHANGE, resumed
from glip_lightning.config.usage_errors import WrongUsage
from glip_lightning.training.longer import check_longer, command_from
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.schedules import Constant, Cosine, Schedule
from small_runs import go, make_shapes, result, rows


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What an unfinished run has left, as far as the command line looks at it."""
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").touch()
    tuning = {"class_path": "glip_lightning.FullTuning", "init_args": {"lr": 0.001}}
    (run / "recipe.yaml").write_text(
        yaml.safe_dump({"model": {"tuning": tuning}, "data": {"class_path": "x"}})
    )
    return run


@pytest.mark.parametrize(
    "option",
    [
        *(f"--{key}=1" for key in MAY_CHANGE),
        *(
            "--data.init_args.root=x",
            "--trainer.logger.init_args.save_dir=x",
            "--trainer.logger+=x",
            "--help",
        ),
    ],
)
def test_what_a_resumed_run_may_change(run: Path, option: str) -> None:
    assert resumed(["fit", "--resume", str(run), option])[-1] == option


@pytest.mark.parametrize(
    ("options", "key", "kept"),
    [
        (["--model.tuning.lr", "1e-6"], "--model.tuning.lr", "0.001"),
        (["--model.tuning.init_args.lr=1e-6"], "--model.tuning.lr", "0.001"),
        (
            ["--trainer.max_epochs", "9", "--model.tuning=LoRATuning"],
            "--model.tuning",
            "recipe.yaml",
        ),
        (["--data.batch_size=8"], "--data.batch_size", "recipe.yaml"),
        (["--seed_everything=1"], "--seed_everything", "recipe.yaml"),
        (["--trainer.max_epoch=9"], "--trainer.max_epoch", "recipe.yaml"),
        (["--data.roots=9"], "--data.roots", "recipe.yaml"),
    ],
)
def test_all_else_is_refused_by_name(run: Path, options: list[str], key: str, kept: str) -> None:
    with pytest.raises(WrongUsage, match=rf"^{key}: .*{kept}") as refused:
        resumed(["fit", "--resume", str(run), *options])
    assert refused.value.code == "fixed-by-run"


def test_a_refused_resume_leaves_the_run_as_it_was(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "recipe.yaml").read_text()
    assert main(["fit", "--resume", str(run), "--model.tuning.lr", "1e-6"]) == 2
    assert "--model.tuning.lr" in capsys.readouterr().err
    assert (run / "recipe.yaml").read_text() == before


@pytest.mark.parametrize(
    "tuning",
    [
        "FullTuning",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("LoRATuning", "PromptTuning")),
    ],
)
def test_a_finished_run_goes_on_as_if_it_had_been_longer(
    shapes: Path, tmp_path: Path, tuning: str
) -> None:
    settings = [
        "--model.detector=glip-nano-c",
        "--model.weights=pretrained",
        f"--model.tuning={tuning}",
    ]
    settings += ["--model.tuning.lr=0.01", "--model.schedule=Constant"]
    straight = go("fit", shapes, tmp_path / "straight", *settings)
    run = tmp_path / "run"
    first = go("fit", shapes, run, *settings, "--trainer.max_epochs=1")
    old = rows(run)
    assert main(["fit", "--resume", str(run), "--trainer.max_epochs=2"]) == 0
    longer = result(run)
    assert (first["epochs"], longer["epochs"]) == (1, 2)
    assert longer["steps"] == 2 * first["steps"]
    assert longer["recipe"] == straight["recipe"]
    assert longer["metrics"] == straight["metrics"]
    assert longer["best_epoch"] == straight["best_epoch"]
    ours, theirs = (
        torch.load(x / "checkpoints" / "last.ckpt", weights_only=True)
        for x in (run, tmp_path / "straight")
    )
    assert all(torch.equal(x, theirs["state_dict"][key]) for key, x in ours["state_dict"].items())
    assert {row["step"] for row in old} <= {row["step"] for row in rows(run)}


class End:
    """The end that a trainer has."""

    def __init__(self, max_epochs: int | None, max_steps: int = -1) -> None:
        self.max_epochs, self.max_steps = max_epochs, max_steps


def finished(run: Path, **changes: object) -> Path:
    content = {"epochs": 2, "steps": 40, "ended": None, "weights": "shipped", **changes}
    (run / "result.json").write_text(json.dumps(content))
    return run


def refusal(run: Path, schedule: Schedule, end: End) -> GLIPError:
    module = GLIPModule("glip-nano", "random", schedule=schedule)
    with pytest.raises(GLIPError) as refused:
        check_longer(run, module, end)  # type: ignore[arg-type]
    return refused.value


@pytest.mark.parametrize(
    "end, early",
    [
        (End(2), ["--trainer.max_epochs 2"]),
        (End(1), ["--trainer.max_epochs 1"]),
        (End(3, 40), ["--trainer.max_steps 40"]),
        (End(-1, 30), ["--trainer.max_steps 30"]),
        (End(2, 40), ["--trainer.max_epochs 2", "--trainer.max_steps 40"]),
    ],
)
def test_the_end_has_to_be_a_later_one(run: Path, end: End, early: list[str]) -> None:
    error = refusal(finished(run), Constant(), end)
    assert error.code == "no-later-end"
    assert re.findall(r"--trainer\.\w+ \d+", str(error)) == early  # the other one is late enough


def test_what_cannot_go_on_is_refused_with_a_command(run: Path) -> None:
    refused = [
        refusal(finished(run), Cosine(), End(9)),
        refusal(finished(run, ended="AP fell"), Constant(), End(9)),
    ]
    (run / "trial.json").touch()
    refused.append(refusal(finished(run), Constant(), End(9)))
    assert {error.code for error in refused} == {"finished-run"}
    assert all(
        f"glip fit --config {run}/recipe.yaml --run {run}-2" in str(error) for error in refused
    )


@pytest.mark.parametrize(
    "change", [{"epochs": "2"}, {"steps": None}, {"ended": 0}, {"weights": ["random"]}]
)
def test_a_damaged_result_is_named(run: Path, change: dict[str, object]) -> None:
    error = refusal(finished(run, **change), Constant(), End(9))
    assert error.code == "bad-value"
    assert str(error).startswith(str(run / "result.json"))


def test_a_result_that_is_cut_off_is_named(run: Path) -> None:
    (run / "result.json").write_text('{"epochs": 2, "st')
    error = refusal(run, Constant(), End(9))
    assert error.code == "unreadable-json"
    assert str(error).startswith(str(run / "result.json"))


def test_the_command_starts_from_what_the_run_has_left(run: Path) -> None:
    def words(weights: str = "shipped") -> list[str]:
        return shlex.split(command_from(run, {"weights": weights}).split(": ")[1])

    assert "--model.detector" not in words()  # a prompt is all that is left
    (run / "detector").mkdir()
    assert words()[-2:] == ["--model.detector", str(run)]
    assert words("random")[-2:] == ["--model.weights", "pretrained"]
    shutil.copytree(run, f"{run}-2")
    assert f"{run}-3" in words()


@pytest.mark.slow
def test_under_cosine_the_named_command_works(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    found = go("fit", shapes, run, "--trainer.max_epochs=1")
    assert main(["fit", "--resume", str(run), "--trainer.max_epochs=2"]) == 1
    assert result(run) == found
    command = capsys.readouterr().err.strip().splitlines()[-1].partition("glip fit ")[2]
    assert main(["fit", *shlex.split(command)]) == 0
    assert result(Path(f"{run}-2"))["detector"] == str(run)
