"""The card of a run's detector, made of what its result says."""

import json
from pathlib import Path
from typing import Any

import pytest

from glip_lightning.training.model_card import for_repository, model_card
from glip_lightning.weights.hub_files import OFFICIAL

RESULT = Path(__file__).parent.parent / "golden" / "runs_0_1" / "lora" / "result.json"


@pytest.fixture
def result() -> dict[str, Any]:
    return json.loads(RESULT.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "detector, weights, licence",
    [
        ("glip-tiny", "official", OFFICIAL["glip-tiny"].licence),
        ("glip-nano-c", "shipped", "MIT licence"),
        ("somebody/else", "folder", "licence: see there"),
        ("mine.pth", "official", "licence: see there"),
    ],
)
def test_the_licence_is_that_of_the_first_weights(
    result: dict[str, Any], detector: str, weights: str, licence: str
) -> None:
    card = model_card("mine", result | {"detector": detector, "weights": weights})
    assert f"the weights of {detector} ({licence})" in card


def test_numbers_and_command_are_those_of_the_result(result: dict[str, Any]) -> None:
    card, found = model_card("mine", result), result["metrics"]["test"]
    low, high = found["bootstrap"]["interval95"]
    ap, ap50, low, high = (f"{100 * x:.1f}" for x in (found["AP"], found["AP50"], low, high))  # points
    row = f"| test | {found['images']} | {ap} | {low} to {high} | {ap50} |"
    assert row in card
    assert f"    {result['command']}\n" in card
    assert f"glip-lightning {result['versions']['glip-lightning']}," in card


def test_a_result_without_draws_has_no_interval(result: dict[str, Any]) -> None:
    del result["metrics"]["test"]["bootstrap"]
    assert f"| {100 * result['metrics']['test']['AP']:.1f} | none |" in model_card("mine", result)


def test_only_a_card_that_was_changed_is_kept(result: dict[str, Any]) -> None:
    made = model_card("mine", result)
    assert for_repository(made, result, "a/b") is None
    assert for_repository(model_card("b", result, "a/b"), result, "c/d") is None
    kept = for_repository(made + "CC BY 4.0\n", result, "a/b")
    assert kept == made.replace("--detector FOLDER", "--detector a/b") + "CC BY 4.0\n"
    assert for_repository("# A card of somebody's own\n", result, "a/b") == "# A card of somebody's own\n"
