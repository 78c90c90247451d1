"""Wrong command lines and recipes through the real parser: one line that names place, value and fix."""

import errno
import os
from pathlib import Path

import pytest
import yaml

from glip_lightning.app.cli import main
from glip_lightning.common.resources import translate
from glip_lightning.config.recipe_files import given_recipes
from glip_lightning.config.usage_errors import explain
from glip_lightning.weights.load import load_detector, save

RECIPES = Path(__file__).parent.parent.parent / "recipes"
DATA = ("CustomData", "HubData", "ODinW", "Pretraining", "Shapes", "ShapesDetection", "ShapesPretraining")
BLOCKS, NANO = ["--config", str(RECIPES / "shapes/blocks.yaml")], ["--config", str(RECIPES / "nano.yaml")]
TASK = ["--data.root=.", "--data.task=Raccoon"]

ON_THE_COMMAND_LINE = [
    ([*BLOCKS, "--trainer.max_epoch=3"], "--trainer.max_epoch: no such option; did you mean --trainer.max_epochs?"),
    ([*BLOCKS, "--lr=3"], "--lr: no such option; did you mean --model.tuning.lr?"),
    ([*BLOCKS, "--batch_size", "3"], "--batch_size: no such option; did you mean --data.batch_size?"),
    ([*BLOCKS, "--epochs", "3"], "--epochs: no such option; did you mean --trainer.max_epochs?"),
    ([*BLOCKS, "--trainer.epochs=3"], "--trainer.epochs: no such option; did you mean --trainer.max_epochs?"),
    ([*BLOCKS, "--imgsz", "640"], "--imgsz: no such option; did you mean --data.max_size?"),
    ([*BLOCKS, "--name=x"], "--name: no such option; did you mean --run?"),
    ([*BLOCKS, "--device", "cpu"], "--device: no such option; did you mean --trainer.accelerator?"),
    ([*BLOCKS, "--weights", "glip-tiny"], "--weights: no such option; did you mean --model.detector?"),
    ([*BLOCKS, "--data.batchsize=4"], "--data.batchsize: no such option; did you mean --data.batch_size?"),
    (
        [*BLOCKS, "--model.schedule.warmup_step=3"],
        "--model.schedule.warmup_step: no such option; did you mean --model.schedule.warmup_steps?",
    ),
    ([*BLOCKS, "--model.tuning.lr", "fast"], "--model.tuning.lr fast: expected a number or null"),
    ([*BLOCKS, "--trainer.max_epochs=x"], "--trainer.max_epochs x: expected a whole number or null"),
    ([*BLOCKS, "--data.min_sizes=[a]"], "--data.min_sizes a: expected a list of whole numbers"),
    ([*NANO, *TASK, "--data.shots=many"], "--data.shots many: expected a whole number or all"),
    (
        [*BLOCKS, "--model.weights", "randm"],
        "--model.weights randm: expected pretrained or random",
    ),
    (
        [*NANO, *TASK, "--data.prompts=odinw_3"],
        "--data.prompts odinw_3: expected odinw_13 or odinw_35",
    ),
    (
        [*BLOCKS, "--data", "ODinWW"],
        f"--data ODinWW: no such class; there are {', '.join(DATA)}; did you mean ODinW?",
    ),
    (
        [*BLOCKS, "--trainer.callbacks=EarlyStoping"],
        "--trainer.callbacks EarlyStoping: no such class; did you mean EarlyStopping or EarlyStop?",
    ),
    (
        [*BLOCKS, "--trainer.callbacks+=EarlyStop", "--trainer.callbacks.patience=x"],
        "--trainer.callbacks.patience x: expected a whole number",
    ),
    (
        ["--data", "ODinW", "--data.root=."],
        "data.task has no value, and ODinW needs it: give --data.task VALUE",
    ),
    (
        [],
        f"data is missing: give a recipe, --config FILE, or --data {' | '.join(DATA)}",
    ),
    ([*BLOCKS, "--trainer.max_epochs"], "--trainer.max_epochs: a value is missing (expected one argument)"),
    ([*BLOCKS, "extra"], "extra: not understood; every option begins with --, as in --trainer.max_epochs 5"),
    ([*BLOCKS, "--trainer.enable_progress_bar=x"], "--trainer.enable_progress_bar x: expected true or false or null"),
    ([*BLOCKS, "--data.copies=x"], "--data.copies x: expected a whole number or a mapping"),
    (
        [*BLOCKS, "--model.tuning=LoRATuning", "--model.tuning.rank=0.5"],
        "--model.tuning.rank 0.5: expected a whole number",
    ),
    (
        [*BLOCKS, "--model.schedule=EMA"],
        "--model.schedule EMA: no such class; there are Constant, Cosine, MultiStep, Plateau",
    ),
    ([*BLOCKS, "--trainer.callbacks=[FullTuning]"], "--trainer.callbacks FullTuning: no such class"),
    ([*BLOCKS, "--data.sources={a: 1}"], "--data.sources: data.sources.a: no such option"),
    (["--config"], "--config: a value is missing (expected one argument)"),
]

IN_A_RECIPE = [
    ("trainer:\n  max_epoch: 3\n", "line 2: trainer.max_epoch: no such option; did you mean trainer.max_epochs?"),
    (
        "data:\n  class_path: glip_lightning.Shapes\n  init_args:\n    batchsize: 3\n",
        "line 4: data.batchsize: no such option; did you mean data.batch_size?",
    ),
    (
        "model:\n  tuning:\n    class_path: glip_lightning.FullTuning\n    init_args:\n      lr: fast\n",
        "line 5: model.tuning.lr: fast: expected a number or null",
    ),
    (
        "data: Shapes\ntrainer:\n  callbacks:\n  - class_path: EarlyStop\n  - class_path: EarlyStoping\n",
        "line 3: trainer.callbacks: EarlyStoping: no such class; did you mean EarlyStopping or EarlyStop?",
    ),
    (
        "data:\n  class_path: glip_lightning.Shape\n",
        f"line 1: data: Shape: no such class; there are {', '.join(DATA)}; did you mean Shapes?",
    ),
    ("model:\n  detector: [a\ndata: 3\n", "line 3: not YAML: expected ',' or ']', but got ':'"),
    ("model:\n\tdetector: a\n", "line 2: not YAML: found character '\\t' that cannot start any token"),
    ("just text\n", "expected keys like model, data and trainer, found just text"),
    ("", "expected keys like model, data and trainer, found nothing"),
]


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What ``glip fit`` says, without its name and the hint that ends it."""
    assert main(["fit", *arguments]) == 2
    *lines, hint = capsys.readouterr().err.splitlines()
    assert hint == "  glip fit --help lists the options"
    assert len(lines) <= 5
    return "\n".join(lines).removeprefix("glip: ")


@pytest.mark.parametrize("arguments, wanted", ON_THE_COMMAND_LINE, ids=[case[1][:40] for case in ON_THE_COMMAND_LINE])
def test_wrong_command_lines(arguments: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(arguments, capsys) == wanted


@pytest.mark.parametrize("content, wanted", IN_A_RECIPE, ids=[case[1][:40] for case in IN_A_RECIPE])
def test_wrong_recipes_name_file_and_line(
    content: str, wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    said = complaint(["--config", str(file)], capsys)
    assert said == f"{file}{', ' if wanted.startswith('line') else ': '}{wanted}"


def test_missing_values_name_the_recipe_that_lacks_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(NANO, capsys) == (
        "data.root and data.task have no value, and ODinW needs it: "
        f"give --data.root VALUE --data.task VALUE, or write it into {NANO[1]}"
    )


def test_recipes_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = str(RECIPES / "nanoo.yaml")
    assert complaint(["--config", wrong], capsys).startswith(
        f"--config {wrong}: no such file; did you mean {RECIPES / 'nano.yaml'}"
    )
    assert complaint([f"--config={tmp_path}"], capsys) == f"--config {tmp_path}: a folder, not a recipe file"
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    assert "not a YAML text" in complaint(["-c", str(tmp_path / "binary.yaml")], capsys)
    for text in ("[" * 100_000, "a: " + "1" * 5000, "a: !!int ''"):
        (tmp_path / "odd.yaml").write_text(text)
        assert complaint(["-c", str(tmp_path / "odd.yaml")], capsys).startswith(f"{tmp_path / 'odd.yaml'}: ")


@pytest.mark.parametrize("part", ["model", "trainer"])
@pytest.mark.parametrize("value", ["false", "[]", "3"])
def test_a_part_that_is_no_mapping_is_named(
    part: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = yaml.safe_load((RECIPES / "custom.yaml").read_text()) | {part: yaml.safe_load(value)}
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(recipe))
    said = complaint(["--config", str(tmp_path / "odd.yaml"), f"--data.root={tmp_path}"], capsys)
    assert said.startswith(f"{part}: ")


def test_an_error_of_ours_is_not_taken_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = load_detector("glip-nano", "random")
    save(loaded.model, loaded.tokenizer, tmp_path / "detector")
    (tmp_path / "detector" / "task.json").write_bytes(b"\xff")
    recipe = ["--config", str(RECIPES / "custom.yaml"), f"--data.root={tmp_path}"]
    assert main(["fit", *recipe, f"--model.detector={tmp_path / 'detector'}"]) == 1
    assert str(tmp_path / "detector" / "task.json") in capsys.readouterr().err


def test_what_a_class_refuses_is_told_without_the_ways_around_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *NANO, "--data.root=.", "--data.task=Racoon"]) == 1
    assert (
        capsys.readouterr().err == "glip: no task of ODinW or Shapes-13 is called 'Racoon'; did you mean 'Raccoon'?\n"
    )
    assert main(["fit", *BLOCKS, "--trainer.accelerator=tpuu"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith("glip: loading") for line in said] == [True, False]
    assert said[1].startswith("glip: trainer: You selected an invalid accelerator name")


def test_an_unknown_error_of_the_parser_is_shortened_not_lost() -> None:
    inner = ValueError("Something new\n\n  in three\n  lines")
    error = TypeError(f'Parser key "fit.model":\n  Parser key "lr":\n    {inner}')
    error.__cause__ = TypeError(f'Parser key "lr":\n  {inner}')
    error.__cause__.__cause__ = inner
    assert explain(error, ["fit"], [], "fit") == "model.lr: Something new; in three; lines"


def test_recipes_are_found_in_both_spellings() -> None:
    assert given_recipes(["fit", "--config", "a", "--config=b", "-c", "c", "--run", "d"]) == ["a", "b", "c"]


def test_lack_of_memory_and_disk_end_with_what_to_change() -> None:
    for error in (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA error"),
    ):
        message = translate(error)
        assert message is not None
        for key in ("data.images_per_device", "data.min_sizes", "data.max_size", "trainer.precision bf16-mixed"):
            assert key in message
        assert len(message.splitlines()) <= 6
    full = translate(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/last.ckpt"))
    assert full is not None
    assert "disk is full (runs/a/last.ckpt)" in full
    assert translate(ValueError("something else")) is None
