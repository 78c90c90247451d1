"""Sizes and learning rates that nobody gives are the detector's own: in fit, sweeps and Python."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image, ImageDraw

from glip_lightning import CustomData, GLIPError, GLIPModule, Predictor
from glip_lightning.config.recipe_checker import CheckedRecipe, RecipeChecker
from glip_lightning.config.recipe_files import recipes_folder
from glip_lightning.data.transforms import train_sizes
from glip_lightning.experiments.sweep.plan import identity
from glip_lightning.models.config import VARIANTS
from glip_lightning.models.rates import Rates
from glip_lightning.text.phrases import Phrase
from glip_lightning.training.callbacks.threads import cores
from glip_lightning.tuning.base import Tuning
from glip_lightning.tuning.lora import LoRATuning
from glip_lightning.tuning.prompt import PromptTuning
from glip_lightning.tuning.weight_tunings import (
    FullTuning,
    LanguageTuning,
    LinearProbe,
    PartialTuning,
)
from glip_lightning.weights.detector_files import own_settings
from glip_lightning.weights.load import Task, load_detector, save
from small_runs import go, make_shapes

GLIP_SIZES = {"min_sizes": [480, 560, 640, 720, 800], "max_size": 1333, "test_size": 800}
NANO_SIZES = {"min_sizes": [128], "max_size": 128, "test_size": 128}
NULL = [f"--data.{name}=null" for name in NANO_SIZES]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def checker() -> RecipeChecker:
    return RecipeChecker()


@pytest.mark.parametrize("name", VARIANTS)
def test_what_named_detectors_are_used_with(name: str) -> None:
    size, rates = own_settings(name)
    assert size == ((128, 128) if "nano" in name else (800, 1333))
    assert (rates == Rates()) == ("nano" not in name)


def test_a_fine_tuned_detector_has_the_size_that_it_was_trained_at(tmp_path: Path) -> None:
    loaded = load_detector("glip-nano", "random")
    save(loaded.model, loaded.tokenizer, tmp_path / "detector")
    assert own_settings(str(tmp_path)) == own_settings("glip-nano")
    save(loaded.model, loaded.tokenizer, tmp_path / "detector", Task((Phrase("cat"),), (64, 96)))
    for place in (tmp_path, tmp_path / "detector"):
        assert own_settings(str(place)) == ((64, 96), own_settings("glip-nano")[1])
        assert GLIPModule(str(place)).input_size == (64, 96)


def test_a_folder_that_does_not_say_its_size_keeps_the_one_that_it_was_used_with(
    tmp_path: Path,
) -> None:
    old = Path(__file__).parent.parent / "golden" / "runs_0_1" / "detector"
    shutil.copytree(old, tmp_path / "old")
    assert own_settings(str(tmp_path / "old"))[0] == (800, 1333)


def test_sizes_of_training_are_the_official_ones_up_to_that_of_tests() -> None:
    assert train_sizes(800) == (480, 560, 640, 720, 800)
    assert train_sizes(600) == (480, 560, 600)
    assert train_sizes(480) == (480,)
    assert train_sizes(128) == (128,)


def checked(checker: RecipeChecker, recipe: str, detector: str, **changes: Any) -> CheckedRecipe:
    file = recipes_folder() / f"{recipe}.yaml"
    data = {"data.root": "."} | ({} if recipe == "custom" else {"data.task": "Raccoon"})
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    all_changes = {"model.detector": detector, **data, **changes}
    return checker.check(file, content, list(all_changes.items()))


@pytest.mark.parametrize(
    "recipe", ["custom", "few_shot", "all_shot", "linear_probe", "lora", "prompt"]
)
def test_an_open_setting_and_its_number_are_the_same_trial(
    checker: RecipeChecker, recipe: str
) -> None:
    for detector, sizes in (("glip-tiny", GLIP_SIZES), ("glip-nano-c", NANO_SIZES)):
        left = checked(checker, recipe, detector)
        tuning, data = left.recipe["model"]["tuning"]["init_args"], left.recipe["data"]["init_args"]
        assert {name: data[name] for name in sizes} == sizes
        assert left.data.train_transform.min_sizes == tuple(sizes["min_sizes"])  # type: ignore[arg-type]
        assert left.data.test_size == sizes["test_size"]
        assert left.tuning is not None
        assert left.tuning.init_args.lr == tuning["lr"]
        explicit = {f"data.{name}": value for name, value in sizes.items()} | {
            "model.tuning.lr": tuning["lr"]
        }
        assert identity(checked(checker, recipe, detector, **explicit)) == identity(left)


def test_the_rates_of_the_recipes_are_the_official_ones_for_glip(checker: RecipeChecker) -> None:
    found = {
        name: checked(checker, name, "glip-tiny").recipe
        for name in ("few_shot", "linear_probe", "lora", "prompt")
    }
    tunings = {name: recipe["model"]["tuning"]["init_args"] for name, recipe in found.items()}
    assert {name: tuning["lr"] for name, tuning in tunings.items()} == {
        "few_shot": 1e-4,
        "linear_probe": 1e-4,
        "lora": 1e-4,
        "prompt": 0.05,
    }
    assert tunings["few_shot"]["text_lr"] == 1e-5


def test_a_checker_forgets_nothing_and_mixes_nothing_up(checker: RecipeChecker) -> None:
    """Parts are read once for all recipes that have them."""
    for detector, size in (("glip-tiny", 800), ("glip-nano-c", 128), ("glip-tiny", 800)):
        assert checked(checker, "custom", detector).recipe["data"]["init_args"]["test_size"] == size


def test_a_run_says_and_writes_the_numbers(
    shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = [
        "--model.detector=glip-nano-c",
        "--model.weights=pretrained",
        "--model.tuning.lr=null",
        *NULL,
    ]
    with caplog.at_level("INFO", logger="glip_lightning"):
        found = go("fit", shapes, tmp_path / "run", *options, "--trainer.max_steps=1")
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe == found["recipe"]
    assert {name: recipe["data"]["init_args"][name] for name in NANO_SIZES} == NANO_SIZES
    assert recipe["model"]["tuning"]["init_args"]["lr"] == found["groups"][0]["lr"] == 1e-3
    assert "data.test_size 128" in caplog.text
    assert "model.tuning.lr 0.001" in caplog.text


@pytest.mark.parametrize(
    ("tuning", "rates"),
    [
        (FullTuning(lr=None, text_lr=None), {"lr": 1e-3, "text_lr": 1e-4}),
        (FullTuning(lr=None, text_lr=0.5), {"lr": 1e-3}),
        (LinearProbe(lr=None), {"lr": 5e-3}),
        (LanguageTuning(text_lr=None), {"text_lr": 1e-4}),
        (LoRATuning(lr=None), {"lr": 2e-3}),
        (PromptTuning(lr=None), {"lr": 0.3}),
        (FullTuning(), {}),
    ],
)
def test_a_module_gives_its_tuning_the_rates_that_it_lacks(
    tuning: Tuning, rates: dict[str, float]
) -> None:
    module = GLIPModule("glip-nano", "random", tuning)
    assert {name: getattr(module.tuning, name) for name in rates} == rates
    assert tuning.use_rates(Rates(full=7)) == {}


@pytest.mark.parametrize(
    "tuning",
    [
        lambda: FullTuning(lr=-1e-4),
        lambda: FullTuning(lr=float("nan")),
        lambda: FullTuning(lr=0.0, text_lr=0.0),
        lambda: FullTuning(weight_decay=-0.1),
        lambda: LinearProbe(lr=0.0),
        lambda: LoRATuning(lr=float("inf")),
        lambda: PromptTuning(lr=-0.05),
        lambda: PartialTuning({"^dyhead": -1e-4}),
    ],
)
def test_rates_that_lead_away_from_the_data_are_refused(tuning: Callable[[], Tuning]) -> None:
    """The optimizer takes them in silence: torch checks its default rate, not those of groups."""
    with pytest.raises(GLIPError) as refused:
        GLIPModule("glip-nano", "random", tuning())
    assert refused.value.code == "bad-value"


def test_a_part_may_learn_nothing() -> None:
    assert GLIPModule("glip-nano", "random", FullTuning(text_lr=0.0)).tuning.text_lr == 0


@pytest.mark.parametrize("written", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_rates_of_recipes_are_numbers_however_they_are_written(
    tmp_path: Path, written: str
) -> None:
    """YAML 1.1 takes 1e-4, without a period, for a text."""
    content = (recipes_folder() / "custom.yaml").read_text(encoding="utf-8")
    file = tmp_path / "recipe.yaml"
    assert "lr: null" in content
    file.write_text(content.replace(" lr: null", f" lr: {written}"), encoding="utf-8")
    changes = [("model.detector", "glip-nano"), ("data.root", ".")]
    found = RecipeChecker().check(file, yaml.safe_load(file.read_text()), changes)
    rate = found.recipe["model"]["tuning"]["init_args"]["lr"]
    assert rate == 1e-4
    assert isinstance(rate, float)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"min_sizes": (64,), "test_size": 128}, True),
        ({"min_sizes": (160,), "max_size": 200}, True),
        ({"min_sizes": (64, 160), "max_size": 200}, False),
        ({}, False),
    ],
)
def test_sizes_of_evaluation_that_training_never_shows_are_told(
    sizes: dict[str, Any], said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    data = CustomData(".", **sizes)
    data.use_input_size((128, 128))
    data.check_settings()
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert bool(told) == said
    assert all("data.test_size=128" in record.message for record in told)


@pytest.mark.parametrize(("workers", "said"), [(0, False), (cores(), False), (cores() + 6, True)])
def test_more_workers_than_cores_are_told(
    workers: int, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    CustomData(".", workers=workers).check_settings()
    assert (f"data.workers={workers}" in caplog.text) == said


@pytest.mark.parametrize("side", [33, 100, 127])
def test_any_size_is_taken(tmp_path: Path, side: int) -> None:
    """No side has to be a multiple of 32."""
    loaded = load_detector("glip-nano-c")
    task = Task((Phrase("red circle"),), (side, side + 10))
    save(loaded.model, loaded.tokenizer, tmp_path / "detector", task)
    photo = Image.new("RGB", (90, 70), "white")
    ImageDraw.Draw(photo).ellipse((20, 20, 60, 60), fill="red")
    found = Predictor(str(tmp_path), threshold=0.0)(photo)
    assert len(found.boxes)
    assert found.boxes.min() >= 0
    assert (found.boxes <= torch.tensor([90, 70, 90, 70])).all()


def test_data_take_the_size_of_a_detector_unless_they_have_one() -> None:
    data = CustomData(".")
    assert (data.train_transform.min_sizes, data.test_size, data.max_size) == (
        (480, 560, 640, 720, 800),
        800,
        1333,
    )
    data.use_input_size((128, 128))
    assert (data.train_transform.min_sizes, data.test_size, data.max_size) == ((128,), 128, 128)
    assert (data.test_transform.min_sizes, data.test_transform.max_size) == ((128,), 128)
    given = CustomData(".", min_sizes=(64,), max_size=200, test_size=96)
    given.use_input_size((128, 128))
    assert (given.train_transform.min_sizes, given.test_size, given.max_size) == ((64,), 96, 200)
    some = CustomData(".", max_size=320)
    assert some.test_size == 320
    some.use_input_size((128, 128))
    assert (some.test_size, some.max_size) == (128, 320)


def test_a_size_that_does_not_fit_the_detector_is_an_error() -> None:
    with pytest.raises(GLIPError) as refused:
        CustomData(".", test_size=800).use_input_size((128, 128))
    assert refused.value.code == "bad-value"
