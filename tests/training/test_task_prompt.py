"""The captions of a task: made once, from data, tuning and tokenizer, for all who use them."""

import ast
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from glip_lightning import CustomData, GLIPError, GLIPModule, fit, load_detector
from glip_lightning.app.cli import main
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.shapes.data_modules import Shapes
from glip_lightning.text import captions
from glip_lightning.text.tokenizer import PLACEHOLDERS
from glip_lightning.training.data_module import TaskPrompt
from glip_lightning.tuning.base import Tuning
from glip_lightning.tuning.prompt import PromptTuning
from glip_lightning.tuning.weight_tunings import FullTuning
from glip_lightning.weights.detector_files import load_words
from small_runs import BLOCKS, make_shapes
from tiny import tiny_module, tiny_trainer

PACKAGE = Path(__file__).parent.parent.parent / "src" / "glip_lightning"
SIZES: dict[str, Any] = {"batch_size": 2, "min_sizes": (64,), "max_size": 64, "test_size": 64}
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
CLASSES = ["red circle", "blue square", "yellow triangle", "green star"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


def names_of_the_run(path: Path) -> list[str]:
    """Where a file asks a trainer for the module or the data."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("datamodule", "lightning_module")
        and ast.unparse(node.value).split(".")[-1] == "trainer"
    ]


def test_one_line_asks_the_trainer_for_the_data() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "callbacks"]
    found = {path.name: names for path in files if (names := names_of_the_run(path))}
    assert found == {"module.py": ["self.trainer.datamodule"]}


def test_callbacks_are_looked_up_where_the_list_is_made_alone() -> None:
    """And in two more places: the averages of the weights, and the order in which they come."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node).endswith("trainer.callbacks"):
                found.add(path.name)
    assert found == {"run.py", "ema.py", "alignment.py"}


def made(tuning: Tuning) -> GLIPModule:
    return GLIPModule("glip-nano", "random", tuning)


@pytest.mark.parametrize("tuning", [FullTuning(), PromptTuning("context", context=2)])
def test_a_trainer_of_lightning_fits_validates_and_tests(
    tuning: Tuning, shapes: Path, tmp_path: Path
) -> None:
    module, data = made(tuning), CustomData(str(shapes), **SIZES)
    trainer = Trainer(max_steps=1, default_root_dir=tmp_path, **QUIET)
    trainer.fit(module, data)
    assert trainer.global_step == 1
    prompt = module.task_prompt
    assert prompt is not None
    assert data.task_prompt is prompt
    words = [] if isinstance(tuning, FullTuning) else PLACEHOLDERS[:2]
    assert [phrase.text for phrase in prompt.phrases] == [
        " ".join([*words, name]) for name in CLASSES
    ]
    assert prompt.single is not None
    assert prompt.single.caption == ". ".join(phrase.text for phrase in prompt.phrases)
    (validated,) = trainer.validate(module, data, verbose=False)
    (tested,) = trainer.test(module, data, verbose=False)
    assert "val/AP50" in validated
    assert "test/AP50" in tested
    assert data.task_prompt == prompt
    for batch in data.test_dataloader():
        assert (batch["input_ids"] == prompt.tokenizer.encode([prompt.single.caption])[0]).all()


@pytest.mark.parametrize("tuning", [FullTuning(), PromptTuning()])
def test_a_fit_makes_its_caption_once(
    tuning: Tuning, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module is set up for training, for validation and for test."""
    made_captions = []

    def build(*given: Any, **named: Any) -> captions.Prompt:
        made_captions.append(original(*given, **named))
        return made_captions[-1]

    original = captions.build_prompt
    monkeypatch.setattr(captions, "build_prompt", build)
    trainer = Trainer(max_steps=1, default_root_dir=tmp_path, logger=False, **QUIET)
    fit(made(tuning), CustomData(str(shapes), **SIZES), trainer)
    assert len(made_captions) == 1


def test_spawned_workers_can_be_given_what_they_read(shapes: Path, tmp_path: Path) -> None:
    """macOS and Windows spawn them: what a loader holds is pickled, and no photo is in it."""
    module, data = tiny_module(), Shapes(str(shapes), **SIZES)
    data.prepare_data()
    data.trainer = tiny_trainer(tmp_path)
    data.setup("fit")
    data.ask_with(TaskPrompt.of(data, module.tuning, module.tokenizer))
    loader = data.train_dataloader()
    content = pickle.dumps((loader.dataset, loader.collate_fn, loader.worker_init_fn))
    assert len(content) < 200_000
    batches, collate, _ = pickle.loads(content)
    assert collate(batches.__getitems__([(0, 0)]))["names"] == [data.datasets["train"][0]["name"]]
    assert torch.equal(batches.samples[0]["image"], data.datasets["train"][0]["image"])


def test_other_data_are_asked_for_their_own_classes(shapes: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes, tmp_path / "other")
    for file in (tmp_path / "other").rglob(ANNOTATIONS):
        file.write_text(file.read_text().replace("red circle", "ruby"))
    module = made(FullTuning())
    trainer = Trainer(default_root_dir=tmp_path, logger=False, **QUIET)
    for root, name in ((shapes, "red circle"), (tmp_path / "other", "ruby")):
        trainer.validate(module, CustomData(str(root), **SIZES), verbose=False)
        assert module.phrases()[0].name == name


def test_data_may_be_set_up_before_there_is_a_trainer(shapes: Path, tmp_path: Path) -> None:
    data = CustomData(str(shapes), **SIZES)
    data.setup("fit")
    assert data.class_names == CLASSES
    assert len(data.datasets["train"]) == 4
    with pytest.raises(GLIPError) as refused:
        data.train_dataloader()
    assert refused.value.code == "no-detector"
    trainer = Trainer(max_steps=1, default_root_dir=tmp_path, logger=False, **QUIET)
    trainer.fit(made(FullTuning()), data)
    assert trainer.global_step == 1
    assert len(data.train_dataloader()) == 2


def test_a_name_that_no_caption_holds_leaves_no_folder(shapes: Path, tmp_path: Path) -> None:
    root, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(shapes, root)
    for file in root.rglob(ANNOTATIONS):
        content = json.loads(file.read_text())
        content["categories"][0]["name"] = "very " * 300 + "red circle"
        file.write_text(json.dumps(content))
    arguments = ["--config", str(BLOCKS), "--data=CustomData", f"--data.root={root}"]
    assert main(["fit", *arguments, "--run", str(run)]) == 1
    assert not run.exists()


@pytest.mark.parametrize(
    "lines", [CLASSES[1:2] + CLASSES[:1] + CLASSES[2:], ["Blue Square", "sky", "sun", "leaf"]]
)
def test_a_phrase_that_names_another_class_is_refused(
    lines: list[str], shapes: Path, tmp_path: Path
) -> None:
    file = tmp_path / "phrases.txt"
    file.write_text("\n".join(lines))
    data = CustomData(str(shapes), phrases_file=str(file), **SIZES)
    data.setup("fit")
    with pytest.raises(GLIPError) as error:
        data.phrases()
    assert error.value.code == "phrase-of-other-class"
    assert ", ".join(CLASSES) in str(error.value)
    file.write_text("\n".join(["sky", *CLASSES[1:]]))
    assert data.phrases()[0].name == "sky"


def test_words_of_classes_are_checked_before_the_first_step(shapes: Path, tmp_path: Path) -> None:
    file = tmp_path / "phrases.txt"
    file.write_text("raccoon\nRacoon\nblue.square\ngreen star")
    data = CustomData(str(shapes), phrases_file=str(file), **SIZES)
    Trainer(logger=False, **QUIET).validate(GLIPModule("glip-nano-c"), data, verbose=False)
    codes = [finding.code for finding in data.findings]
    assert codes.count("unread-words") == codes.count("joined-phrases") == 1
    file.write_text("крыша\n🚗\n汽车\n狗")
    data = CustomData(str(shapes), phrases_file=str(file), **SIZES)
    with pytest.raises(GLIPError) as error:
        Trainer(logger=False, **QUIET).validate(GLIPModule("glip-nano-c"), data, verbose=False)
    assert error.value.code == "unknown-words"


def test_a_run_keeps_the_names_and_the_words(shapes: Path, tmp_path: Path) -> None:
    file = tmp_path / "phrases.txt"
    file.write_text("raccoon\nsky\nsun\ngreen star")
    data = CustomData(str(shapes), phrases_file=str(file), **SIZES)
    module = GLIPModule("glip-nano-c")
    trainer = Trainer(max_steps=1, default_root_dir=tmp_path, **QUIET)
    fit(module, data, trainer, tmp_path / "run")
    kept = load_detector(str(tmp_path / "run"))
    assert kept.task is not None
    assert kept.task.names == tuple(CLASSES)
    assert kept.words == load_words("glip-nano-c") | {"raccoon", "sky", "sun"}
    assert load_words(str(tmp_path / "run")) == kept.words
