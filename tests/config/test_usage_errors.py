"""Wrong command lines and recipes in the real parser: one line with place, value and fix."""

import errno
import os
import re
from pathlib import Path
from types import NoneType

import pytest
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from glip_lightning.app.cli import main
from glip_lightning.common.resources import resource_advice
from glip_lightning.config.recipe_files import given_recipes
from glip_lightning.config.usage_errors import WORDS, Fault, explain, find_fault
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.weights.load import load_detector, save
from printed import numbers, words
from refusals import refusal

RECIPES = Path(__file__).parent.parent.parent / "recipes"
DATA = (
    "CustomData",
    "HubData",
    "NaturalPretraining",
    "ODinW",
    "Pretraining",
    "Shapes",
    "ShapesDetection",
    "ShapesPretraining",
)
BLOCKS, NANO = (
    ["--config", str(RECIPES / "shapes/blocks.yaml")],
    ["--config", str(RECIPES / "nano.yaml")],
)
TASK = ["--data.root=.", "--data.task=Raccoon"]

Named = list[str | type]

ON_THE_COMMAND_LINE: list[tuple[list[str], str, str, Named]] = [
    # arguments, code, what the message begins with, what else it names: words, and kinds of values
    (
        [*BLOCKS, "--trainer.max_epoch=3"],
        "unknown-option",
        "--trainer.max_epoch",
        ["--trainer.max_epochs"],
    ),
    ([*BLOCKS, "--lr=3"], "unknown-option", "--lr", ["--model.tuning.lr"]),
    ([*BLOCKS, "--batch_size", "3"], "unknown-option", "--batch_size", ["--data.batch_size"]),
    ([*BLOCKS, "--epochs", "3"], "unknown-option", "--epochs", ["--trainer.max_epochs"]),
    (
        [*BLOCKS, "--trainer.epochs=3"],
        "unknown-option",
        "--trainer.epochs",
        ["--trainer.max_epochs"],
    ),
    ([*BLOCKS, "--imgsz", "640"], "unknown-option", "--imgsz", ["--data.max_size"]),
    ([*BLOCKS, "--name=x"], "unknown-option", "--name", ["--run"]),
    ([*BLOCKS, "--device", "cpu"], "unknown-option", "--device", ["--trainer.accelerator"]),
    ([*BLOCKS, "--weights", "glip-tiny"], "unknown-option", "--weights", ["--model.detector"]),
    ([*BLOCKS, "--data.batchsize=4"], "unknown-option", "--data.batchsize", ["--data.batch_size"]),
    (
        [*BLOCKS, "--model.schedule.warmup_step=3"],
        "unknown-option",
        "--model.schedule.warmup_step",
        ["--model.schedule.warmup_steps"],
    ),
    (
        [*BLOCKS, "--model.tuning.lr", "fast"],
        "bad-value",
        "--model.tuning.lr fast",
        [float, NoneType],
    ),
    ([*BLOCKS, "--trainer.max_epochs=x"], "bad-value", "--trainer.max_epochs x", [int, NoneType]),
    ([*BLOCKS, "--data.min_sizes=[a]"], "bad-value", "--data.min_sizes a", [int]),
    ([*NANO, *TASK, "--data.shots=many"], "bad-value", "--data.shots many", [int, "all"]),
    (
        [*BLOCKS, "--model.weights", "randm"],
        "bad-value",
        "--model.weights randm",
        ["pretrained", "random"],
    ),
    (
        [*NANO, *TASK, "--data.prompts=odinw_3"],
        "bad-value",
        "--data.prompts odinw_3",
        ["odinw_13", "odinw_35"],
    ),
    ([*BLOCKS, "--data", "tests"], "unknown-class", "--data tests", ["--data.root", "tests"]),
    ([*BLOCKS, "--data=x/data.yaml"], "unknown-class", "--data x/data.yaml", ["--data.root", "x"]),
    (["--data.root=.", "--config"], "missing-value", "--config", []),
    ([*BLOCKS, "--data", "ODinWW"], "unknown-class", "--data ODinWW", [*DATA]),
    (
        [*BLOCKS, "--trainer.callbacks=EarlyStoping"],
        "unknown-class",
        "--trainer.callbacks EarlyStoping",
        ["EarlyStopping", "EarlyStop"],
    ),
    (
        [*BLOCKS, "--trainer.callbacks+=EarlyStop", "--trainer.callbacks.patience=x"],
        "bad-value",
        "--trainer.callbacks.patience x",
        [int],
    ),
    (["--data", "ODinW", "--data.root=."], "missing-value", "data.task", ["ODinW", "--data.task"]),
    ([], "no-recipe", "fit", ["--config", "custom_nano"]),
    ([*BLOCKS, "--trainer.max_epochs"], "missing-value", "--trainer.max_epochs", []),
    (
        [*BLOCKS, "extra"],
        "unknown-option",
        "extra",
        ["--", "--trainer.max_epochs"],
    ),  # what an option looks like
    (
        [*BLOCKS, "--trainer.enable_progress_bar=x"],
        "bad-value",
        "--trainer.enable_progress_bar x",
        [bool, NoneType],
    ),
    ([*BLOCKS, "--data.copies=x"], "bad-value", "--data.copies x", [int, dict]),
    (
        [*BLOCKS, "--model.tuning=LoRATuning", "--model.tuning.rank=0.5"],
        "bad-value",
        "--model.tuning.rank 0.5",
        [int],
    ),
    (
        [*BLOCKS, "--model.schedule=EMA"],
        "unknown-class",
        "--model.schedule EMA",
        ["Constant", "Cosine", "MultiStep", "Plateau"],
    ),
    (
        [*BLOCKS, "--trainer.callbacks=[FullTuning]"],
        "unknown-class",
        "--trainer.callbacks FullTuning",
        [],
    ),
    ([*BLOCKS, "--data.sources={a: 1}"], "unknown-option", "--data.sources", ["data.sources.a"]),
    (["--config"], "missing-value", "--config", []),
]

IN_A_RECIPE: list[tuple[str, str, int | None, Named]] = [
    # content, code, line, what the message names
    (
        "trainer:\n  max_epoch: 3\n",
        "unknown-option",
        2,
        ["trainer.max_epoch", "trainer.max_epochs"],
    ),
    (
        "data:\n  class_path: glip_lightning.Shapes\n  init_args:\n    batchsize: 3\n",
        "unknown-option",
        4,
        ["data.batchsize", "data.batch_size"],
    ),
    (
        "model:\n  tuning:\n    class_path: glip_lightning.FullTuning\n"
        "    init_args:\n      lr: fast\n",
        "bad-value",
        5,
        ["model.tuning.lr", "fast", float, NoneType],
    ),
    (
        "data: Shapes\ntrainer:\n  callbacks:\n"
        "  - class_path: EarlyStop\n  - class_path: EarlyStoping\n",
        "unknown-class",
        3,
        ["trainer.callbacks", "EarlyStoping", "EarlyStopping", "EarlyStop"],
    ),
    ("data:\n  class_path: glip_lightning.Shape\n", "unknown-class", 1, ["data", "Shape", *DATA]),
    ("model:\n  detector: [a\ndata: 3\n", "unreadable-yaml", 3, []),
    ("model:\n\tdetector: a\n", "unreadable-yaml", 2, []),
    ("just text\n", "not-a-recipe", None, ["just", "text"]),
    ("", "not-a-recipe", None, []),
]


def complaint(*arguments: str) -> WrongUsage:
    """Return the error with which ``glip fit`` is refused: a wrong command line or recipe."""
    refused = refusal("fit", *arguments)
    assert isinstance(refused, WrongUsage)
    assert len(str(refused).splitlines()) <= 4
    return refused


def assert_named(said: str, named: Named) -> None:
    """Words and values stand in the message, kinds of values in the words that they have there."""
    found = words(said)
    for each in named:
        assert each in found if isinstance(each, str) else WORDS[each].removeprefix("a ") in said, (
            each
        )


@pytest.mark.parametrize(
    "arguments, code, begins, named",
    ON_THE_COMMAND_LINE,
    ids=[case[2] for case in ON_THE_COMMAND_LINE],
)
def test_wrong_command_lines(arguments: list[str], code: str, begins: str, named: Named) -> None:
    refused = complaint(*arguments)
    assert refused.code == code
    said = str(refused)
    assert re.match(rf"{re.escape(begins)}[: ]", said)
    assert_named(said, named)
    options = {
        word
        for word in (begins.split()[0], *named)
        if isinstance(word, str) and word.startswith("--")
    }
    # no others are suggested
    assert {word for word in words(said) if word.startswith("--")} == options


def test_a_wrong_command_line_ends_with_2_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*BLOCKS, "--trainer.max_epoch=3"]
    assert main(["fit", *arguments]) == 2
    said, hint = capsys.readouterr().err.splitlines()
    assert said == f"glip: {complaint(*arguments)}"
    assert hint.startswith("  glip fit --help ")


@pytest.mark.parametrize(
    "content, code, line, named", IN_A_RECIPE, ids=[case[0][:40] for case in IN_A_RECIPE]
)
def test_wrong_recipes_name_file_and_line(
    content: str, code: str, line: int | None, named: Named, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    refused = complaint("--config", str(file))
    assert refused.code == code
    assert str(refused).startswith(str(file))
    said = str(refused).removeprefix(str(file))
    assert numbers(said)[:1] == ([str(line)] if line else [])
    assert_named(said, named)


def test_missing_values_name_the_recipe_that_lacks_them() -> None:
    refused = complaint(*NANO)
    assert refused.code == "missing-value"
    assert_named(
        str(refused), ["data.root", "data.task", "ODinW", "--data.root", "--data.task", NANO[1]]
    )


def test_recipes_that_cannot_be_read(tmp_path: Path) -> None:
    wrong = str(RECIPES / "nanoo.yaml")
    unknown = complaint("--config", wrong)
    assert unknown.code == "unknown-recipe"
    assert str(unknown).startswith(f"--config {wrong}: ")
    assert str(RECIPES / "nano.yaml") in words(str(unknown))
    folder = complaint(f"--config={tmp_path}")
    assert folder.code == "not-a-file"
    assert str(folder).startswith(f"--config {tmp_path}: ")
    file = tmp_path / "odd.yaml"
    for content, code in (
        (b"\xff\xfe", "not-yaml"),
        (b"[" * 100_000, "nested-too-deeply"),
        (b"a: " + b"1" * 5000, "unreadable-yaml"),
        (b"a: !!int ''", "unreadable-yaml"),
    ):
        file.write_bytes(content)
        odd = complaint("-c", str(file))
        assert odd.code == code
        assert str(odd).startswith(f"{file}: ")


@pytest.mark.parametrize("part", ["model", "trainer"])
@pytest.mark.parametrize("value", ["false", "[]", "3"])
def test_a_part_that_is_no_mapping_is_named(part: str, value: str, tmp_path: Path) -> None:
    recipe = yaml.safe_load((RECIPES / "custom.yaml").read_text()) | {part: yaml.safe_load(value)}
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "photos.json").touch()  # looks like data
    refused = complaint("--config", str(tmp_path / "odd.yaml"), f"--data.root={tmp_path}")
    assert refused.code == "bad-value"
    assert str(refused).startswith(f"{part}: ")


def test_an_error_of_ours_is_not_taken_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_detector("glip-nano", "random")
    save(loaded.model, loaded.tokenizer, tmp_path / "detector")
    (tmp_path / "detector" / "task.json").write_bytes(b"\xff")
    (tmp_path / "photos.json").touch()  # looks like data
    recipe = ["--config", str(RECIPES / "custom.yaml"), f"--data.root={tmp_path}"]
    assert main(["fit", *recipe, f"--model.detector={tmp_path / 'detector'}"]) == 1
    assert str(tmp_path / "detector" / "task.json") in capsys.readouterr().err


def test_what_a_class_refuses_is_told_without_the_ways_around_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = ["fit", *NANO, "--data.root=.", "--data.task=Racoon"]
    unknown = refusal(*task)
    assert unknown.code == "unknown-task"
    assert {"Racoon", "Raccoon"} <= words(str(unknown))
    assert main(task) == 1
    assert capsys.readouterr().err == f"glip: {unknown}\n"
    accelerator = ["fit", *BLOCKS, "--trainer.accelerator=tpuu"]
    assert refusal(*accelerator).code == "bad-trainer"
    capsys.readouterr()
    assert main(accelerator) == 1
    loading, said = capsys.readouterr().err.splitlines()
    assert "glip-nano" in loading
    # what Lightning says
    assert said.startswith("glip: trainer: You selected an invalid accelerator name")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--size=1", "--sise=2"], {"unknown": "--sise=2"}),
        (["--size=1", "extra"], {"unknown": "extra"}),
        ([], {"missing": ("size",)}),
        (["-s"], {"bare": "--size", "expected": "one argument"}),
        (["--size=x"], {"key": "size", "value": "x"}),
    ],
)
def test_what_a_parser_says_is_taken_apart_in_one_place(
    arguments: list[str], wanted: dict[str, object]
) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("-s", "--size", type=int, required=True)
    with pytest.raises(ArgumentError) as caught:
        parser.parse_args(arguments)
    fault = find_fault(caught.value, "fit")
    assert fault == Fault(**{"key": "", "reason": fault.reason, **wanted})


def test_an_unknown_error_of_the_parser_is_shortened_not_lost() -> None:
    inner = ValueError("Something new\n\n  in three\n  lines")
    error = TypeError(f'Parser key "fit.model":\n  Parser key "lr":\n    {inner}')
    error.__cause__ = TypeError(f'Parser key "lr":\n  {inner}')
    error.__cause__.__cause__ = inner
    explained = explain(error, ["fit"], [], "fit")
    assert str(explained) == "model.lr: Something new; in three; lines"
    assert explained.code == "wrong-usage"


def test_recipes_are_found_in_both_spellings() -> None:
    assert given_recipes(["fit", "--config", "a", "--config=b", "-c", "c", "--run", "d"]) == [
        "a",
        "b",
        "c",
    ]


def test_lack_of_memory_and_disk_end_with_what_to_change() -> None:
    for error in (
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: "
            "you tried to allocate 9 bytes"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA error"),
    ):
        message = resource_advice(error)
        assert message is not None
        for key in (
            "data.images_per_device",
            "data.min_sizes",
            "data.max_size",
            "trainer.precision bf16-mixed",
        ):
            assert key in message
        assert len(message.splitlines()) <= 6
    full = resource_advice(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/last.ckpt"))
    assert full is not None
    assert "runs/a/last.ckpt" in words(full)
    assert "--run FOLDER" in full
    assert resource_advice(ValueError("something else")) is None
