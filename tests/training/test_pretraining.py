"""Pre-training on a mixture: what is refused, what a run says and leaves, how a killed one ends."""

import json
import logging
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer, seed_everything

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.checks.findings import DataError
from glip_lightning.data.mixture import GroundingPart, Mixture, MixtureSampler, NounPart
from glip_lightning.shapes.data_modules import ShapesDetection, ShapesPretraining
from glip_lightning.shapes.pretraining_pictures import write_pretraining
from glip_lightning.text.phrases import words_of
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from glip_lightning.training.callbacks.global_batch import GlobalBatch
from glip_lightning.training.callbacks.resume import Resumable
from glip_lightning.training.data_module import TaskPrompt
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.pretraining import Pretraining, Source
from glip_lightning.tuning.weight_tunings import FullTuning
from glip_lightning.weights.run_files import LAST
from printed import numbers, words
from small_runs import result, rows
from test_resume import FORKS, Signals, assert_equal, last
from tiny import tiny_module, tiny_trainer

COUNTS = {
    "detection/train": 5,
    "grounding": 3,
    "detection/valid": 2,
    "names/valid": 2,
    "names/test": 2,
}
RECIPE = (
    Path(__file__).parent.parent.parent / "recipes" / "shapes" / "pretrain" / "glip-nano-c.yaml"
)
DETECTION = f"detection/train/{ANNOTATIONS}"
VALID = f"detection/valid/{ANNOTATIONS}"
SIZES: dict[str, Any] = {"min_sizes": (64,), "max_size": 64, "test_size": 64, "flip": 0.0}


def sources() -> dict[str, Source]:
    return {
        "boxes": Source(DETECTION, share=2),
        "words": Source("grounding/words.json", last_epoch=0),
        "later": Source("grounding/words.json", share=0.5, first_epoch=1),
        "phrases": Source("grounding/phrases.json", share=0.5, first_epoch=1),
    }


def mixture(root: Path, mixed: dict[str, Source] | None = None, **options: Any) -> Pretraining:
    defaults: dict[str, Any] = {"epoch_images": 6, "batch_size": 2, **SIZES}
    return Pretraining(
        str(root), sources() if mixed is None else mixed, valid=VALID, **defaults | options
    )


def ready(data: Pretraining, folder: Path, **options: Any) -> Pretraining:
    """As after the setup of a fit."""
    module = tiny_module()
    data.trainer = tiny_trainer(folder, **options)
    data.setup("fit")
    data.ask_with(TaskPrompt.of(data, module.tuning, module.tokenizer))
    return data


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pretraining(tmp_path_factory.mktemp("data") / "world", counts=COUNTS, size=64)


@pytest.mark.parametrize(
    "mixed, options, code, named",
    [
        ({}, {}, "no-sources", {"sources="}),
        ({"a": Source("x", share=0)}, {}, "bad-value", {"sources.a.share=0"}),
        ({"b": Source("x"), "a": Source("x", share=-1)}, {}, "bad-value", {"sources.a.share=-1"}),
        ({"a": Source("x", share=float("nan"))}, {}, "bad-value", {"sources.a.share=nan"}),
        ({"a": Source("x", share=float("inf"))}, {}, "bad-value", {"sources.a.share=inf"}),
        ({"a": Source("x", first_epoch=-1)}, {}, "bad-value", {"sources.a.first_epoch=-1"}),
        ({"a": Source("x", first_epoch=2)}, {}, "no-sources", {"first_epoch", "0"}),
        (
            {"b": Source("x"), "a": Source("x", first_epoch=5, last_epoch=4)},
            {},
            "unused-source",
            {"sources.a.last_epoch=4", "first_epoch=5"},
        ),
        (None, {"epoch_images": 0}, "bad-value", {"epoch_images=0"}),
        (None, {"shots": 3}, "option-without-use", {"shots=3"}),
        (None, {"copies": 2}, "option-without-use", {"copies=2"}),
        (None, {"group_by_size": True}, "option-without-use", {"group_by_size=True"}),
        (None, {"negatives": False}, "option-without-use", {"negatives=False"}),
        (None, {"augment": "light"}, "bad-value", {"augment=light"}),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path,
    mixed: dict[str, Source] | None,
    options: dict[str, Any],
    code: str,
    named: set[str],
) -> None:
    with pytest.raises(GLIPError) as caught:
        mixture(tmp_path, mixed, **options)
    assert caught.value.code == code
    assert named <= words(str(caught.value))


def test_an_epoch_without_a_source_is_refused_before_the_start(tmp_path: Path, world: Path) -> None:
    data = mixture(world, {"boxes": Source(DETECTION, last_epoch=1)})
    with pytest.raises(GLIPError) as caught:
        ready(data, tmp_path, max_epochs=3)
    assert caught.value.code == "no-sources"
    assert {"2", "last_epoch"} <= words(str(caught.value))


def test_a_run_that_counts_steps_ends_before_such_an_epoch_or_is_refused(
    tmp_path: Path, world: Path
) -> None:
    mixed = {"boxes": Source(DETECTION, last_epoch=1)}
    # two epochs of 6 images in batches of 2
    ready(mixture(world, mixed), tmp_path, max_epochs=-1, max_steps=6)
    for steps in (7, -1):
        with pytest.raises(GLIPError) as caught:
            ready(mixture(world, mixed), tmp_path, max_epochs=-1, max_steps=steps)
        assert caught.value.code == "no-sources"
        assert numbers(str(caught.value)) == ["2"]


def test_a_detector_with_a_table_of_classes_is_refused(tmp_path: Path, world: Path) -> None:
    """It would take every box for the first class."""
    module = GLIPModule("dyhead-nano", "random", FullTuning())
    with pytest.raises(GLIPError, match="ShapesDetection") as caught:
        tiny_trainer(tmp_path).fit(module, datamodule=mixture(world))
    assert caught.value.code == "reads-no-words"


def test_pictures_with_captions_are_not_mirrored(world: Path) -> None:
    """Left of would be right of."""
    usual = Pretraining(str(world), sources(), epoch_images=6, valid=VALID)
    assert usual.train_transform.flip == 0


def test_boxes_that_no_token_names_are_told(tmp_path: Path, world: Path) -> None:
    beyond = tmp_path / "world"
    shutil.copytree(world, beyond)
    file = beyond / "grounding" / "words.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["tokens_positive"] = [[5000, 5004]]  # official files have such
    file.write_text(json.dumps(content))
    findings = ready(mixture(beyond), tmp_path).findings
    assert [(x.level, x.count) for x in findings if x.code == "unnamed-box"] == [("warning", 1)]


def test_every_fault_of_every_file_is_named_once(tmp_path: Path, world: Path) -> None:
    broken = tmp_path / "world"
    shutil.copytree(world, broken)
    file = broken / "grounding" / "words.json"
    content = json.loads(file.read_text())
    content["images"][1]["caption"] = ""
    file.write_text(json.dumps(content))
    empty = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "star"}]}
    (broken / "empty.json").write_text(json.dumps(empty))
    mixed = {
        "gone": Source("nowhere.json"),
        "words": Source("grounding/words.json"),
        "phrases": Source("grounding/phrases.json"),
        "empty": Source("empty.json"),
    }
    with pytest.raises(DataError) as caught:
        ready(mixture(broken, mixed), tmp_path)
    lines = str(caught.value).splitlines()
    files = [line.strip().partition(": ")[0] for line in lines]
    assert files == [
        str(broken / name) for name in ("nowhere.json", "grounding/words.json", "empty.json")
    ]


def test_pictures_of_sources_are_decoded_before_training(
    tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same function as photos of a folder; two sources of one file name its faults once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    broken = tmp_path / "world"
    shutil.copytree(world, broken)
    content = json.loads((broken / "grounding" / "words.json").read_text())
    picture = broken / "grounding" / content["images"][0]["file_name"]
    picture.write_bytes(picture.read_bytes()[:-30])
    twice = {name: Source("grounding/words.json") for name in ("words", "again")}
    with pytest.raises(DataError) as refused:
        ready(mixture(broken, twice), tmp_path)
    assert refused.value.code == "undecodable-image"
    assert str(refused.value).count(str(picture)) == 1


def test_sources_are_mixed_as_said(tmp_path: Path, world: Path) -> None:
    data = ready(mixture(world), tmp_path)
    train = data.datasets["train"]
    assert isinstance(train, Mixture)
    assert train.parts[1] is train.parts[2]  # the same file is read once
    assert [len(part.index) for part in train.parts] == [5, 9, 9, 9]
    sampler = data.sampler("train", True, 0, 1)
    assert isinstance(sampler, MixtureSampler)
    for epoch, counts in ((0, [4, 2, 0, 0]), (1, [4, 0, 1, 1])):
        sampler.set_epoch(epoch)
        indexes = [index for _, index in sampler]
        bounds = ((0, 5), (5, 14), (14, 23), (23, 32))
        assert [sum(start <= i < end for i in indexes) for start, end in bounds] == counts
        assert all(train[(epoch, i)]["caption"] for i in indexes)
    assert data.class_names == data.datasets["valid"].class_names
    assert len(data.class_names) == 14
    assert data.images_per_epoch() == 6
    assert data.chosen()["sources"]["later"] == {
        "file": "grounding/words.json",
        "images": None,
        "nouns": False,
        "share": 0.5,
        "first_epoch": 1,
        "last_epoch": None,
        "size": 9,
    }


def test_pictures_of_a_source_that_are_evaluated_are_told(tmp_path: Path, world: Path) -> None:
    leaky = tmp_path / "world"
    shutil.copytree(world, leaky)
    valid, grounding = (
        leaky / "detection" / "valid" / "00000.jpg",
        leaky / "grounding" / "00000.jpg",
    )
    shutil.copyfile(valid, grounding)
    findings = ready(mixture(leaky), tmp_path).findings
    (leak,) = [finding for finding in findings if finding.code == "leak"]
    assert findings.counts("leak") == 1
    assert "train/00000.jpg = valid/00000.jpg" in leak.message
    assert not any(finding.code == "leak" for finding in ready(mixture(world), tmp_path).findings)


def test_nouns_share_the_files_of_the_phrases(tmp_path: Path, world: Path) -> None:
    both = {
        "whole": Source("grounding/phrases.json"),
        "cut": Source("grounding/phrases.json", nouns=True),
    }
    train = ready(mixture(world, both), tmp_path).datasets["train"]
    assert isinstance(train, Mixture)
    whole, cut = train.parts
    assert (type(whole), type(cut)) == (GroundingPart, NounPart)
    assert whole.index is cut.index


def test_boxes_without_captions_have_no_nouns(tmp_path: Path, world: Path) -> None:
    with pytest.raises(DataError, match=r"sources\.boxes\.nouns") as caught:
        ready(mixture(world, {"boxes": Source(DETECTION, nouns=True)}), tmp_path)
    assert caught.value.code == "no-caption"


def test_pictures_may_lie_elsewhere(tmp_path: Path, world: Path) -> None:
    moved = tmp_path / "world"
    shutil.copytree(world, moved)
    (moved / "grounding" / "words.json").rename(moved / "words.json")
    data = ready(mixture(moved, {"words": Source("words.json", images="grounding")}), tmp_path)
    assert data.datasets["train"][0]["caption"]


def test_the_recipe_through_the_command_line(
    tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That of variant C, on the few pictures that are there."""
    monkeypatch.setattr(ShapesPretraining, "prepare_data", lambda self: None)
    options = [
        f"--data.root={world}",
        "--data.epoch_images=6",
        "--data.batch_size=2",
        "--data.min_sizes=[64]",
    ]
    options += [
        "--data.max_size=64",
        "--data.test_size=64",
        "--trainer.max_epochs=2",
        "--trainer.accelerator=cpu",
    ]
    with caplog.at_level(logging.INFO, logger="glip_lightning"):
        assert main(["fit", "--config", str(RECIPE), "--run", str(tmp_path / "run"), *options]) == 0
    # images / batch = steps per epoch, x epochs = steps
    assert ["6", "2", "3", "2", "6"] in [numbers(line)[-5:] for line in caplog.messages]
    found = result(tmp_path / "run")
    assert (found["steps"], found["data"]["name"]) == (6, "shapes-pretraining")
    assert found["data"]["images"] == {"valid": 2, "test": 2, "train": 5 + 3 * 9}
    assert found["image_ids"] is None
    assert found["epoch_images"] == 6
    shares = {name: (source["share"], source["size"]) for name, source in found["sources"].items()}
    assert shares == {
        "detection": (0.25, 5),
        "words": (0.75, 9),
        "words_later": (0.15, 9),
        "phrases": (0.6, 9),
    }
    assert len((tmp_path / "run" / "result.json").read_text()) < 20_000
    logged = {
        name: float(value) for row in rows(tmp_path / "run") for name, value in row.items() if value
    }
    assert 0 <= logged["val/AP_without_fusion"] <= 1
    assert all(0 <= logged[f"val/accuracy_{kind}"] <= 1 for kind in ("shape", "colour", "texture"))


@pytest.mark.parametrize(
    "name", ["glip-nano-a", "glip-nano-b", "glip-nano", "glip-nano-c-longer", "dyhead-nano"]
)
def test_the_other_recipes_through_the_command_line(
    tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The pictures with captions that the student expects are those with phrases here."""
    root = tmp_path / "pretraining"
    shutil.copytree(world, root)
    shutil.copytree(world / "grounding", tmp_path / "captions")
    shutil.copy(world / "grounding" / "phrases.json", tmp_path / "labelled.json")
    for kind in (ShapesPretraining, ShapesDetection):
        monkeypatch.setattr(kind, "prepare_data", lambda self: None)
    options = [
        f"--data.root={root}",
        "--data.batch_size=2",
        "--trainer.accelerator=cpu",
        "--trainer.fast_dev_run=true",
    ]
    options += ["--data.min_sizes=[64]", "--data.max_size=64", "--data.test_size=64"]
    recipe = str(RECIPE.with_name(f"{name}.yaml"))
    assert main(["fit", "--config", recipe, "--run", str(tmp_path / "run"), *options]) == 0
    begun_from_c = name in ("glip-nano", "glip-nano-c-longer")
    assert result(tmp_path / "run")["detector"] == ("glip-nano-c" if begun_from_c else name)


def train(folder: Path, world: Path, kill: tuple[str, int] | None = None) -> None:
    """Start the run, or go on from its last checkpoint."""
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    module = GLIPModule("glip-nano", "random", FullTuning(lr=1e-3, freeze_at=-1))
    callbacks = [GlobalBatch(), BestCheckpoint(folder), Resumable(folder, 0)]
    callbacks += [Signals(*kill, signal.SIGKILL)] if kill else []
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        max_epochs=2,
        use_distributed_sampler=False,
        log_every_n_steps=1,
        **quiet,
    )
    checkpoint = folder / LAST
    trainer.fit(
        module,
        datamodule=mixture(world),
        ckpt_path=checkpoint if checkpoint.exists() else None,
        weights_only=True,
    )


def live(*arguments: Any) -> int:
    process = FORKS.Process(target=train, args=arguments)
    process.start()
    process.join(240)
    return process.exitcode


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bits(tmp_path: Path, world: Path) -> None:
    """Killed within the first epoch and within the second, in which other sources take part."""
    one, two = tmp_path / "one", tmp_path / "two"
    assert live(one, world) == 0
    assert live(two, world, ("on_train_batch_start", 3)) == -signal.SIGKILL
    assert live(two, world, ("on_train_batch_start", 3)) == -signal.SIGKILL
    assert live(two, world) == 0
    for name in ("state_dict", "optimizer_states", "global_step"):
        assert_equal(last(one)[name], last(two)[name], name)
    assert last(two)["global_step"] == 6


def test_the_words_of_a_mixture(world: Path, tmp_path: Path) -> None:
    """Names of all classes, and every word of captions, also those without a meaning alone."""
    data = ready(mixture(world), tmp_path)
    content = [
        json.loads((world / "grounding" / f"{kind}.json").read_text())
        for kind in ("words", "phrases")
    ]
    texts = [image["caption"] for each in content for image in each["images"]]
    names = [row["name"] for row in json.loads((world / DETECTION).read_text())["categories"]]
    assert words_of(data.captions()) == {
        word for text in [*texts, *names] for word in text.replace(".", " ").split()
    }
