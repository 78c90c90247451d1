"""The card of a run's detector, made of what its result says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from glip_lightning.evaluation.points import in_points
from glip_lightning.training.model_card import for_repository, model_card
from glip_lightning.weights.hub_files import OFFICIAL
from printed import numbers

RESULT = Path(__file__).parent.parent / "golden" / "runs_0_1" / "lora" / "result.json"


@pytest.fixture
def result() -> dict[str, Any]:
    return json.loads(RESULT.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "detector, weights, licence",
    [
        ("glip-tiny", "official", OFFICIAL["glip-tiny"].licence),
        ("glip-nano-c", "shipped", "MIT"),
        ("somebody/else", "folder", None),
        ("mine.pth", "official", None),
    ],
)
def test_the_licence_is_that_of_the_first_weights(
    result: dict[str, Any], detector: str, weights: str, licence: str | None
) -> None:
    card = model_card("mine", result | {"detector": detector, "weights": weights})
    (behind,) = re.findall(rf" {re.escape(detector)} \((.*?)\)", card)
    assert behind  # also where nobody knows it
    assert ("MIT" in behind) == (licence is not None)
    assert (licence or "") in behind


def test_numbers_and_command_are_those_of_the_result(result: dict[str, Any]) -> None:
    card, found = model_card("mine", result), result["metrics"]["test"]
    (row,) = re.findall(r"^\| test \|.*$", card, re.MULTILINE)
    expected = [found["AP"], *found["bootstrap"]["interval95"], found["AP50"]]
    assert numbers(row) == [str(found["images"]), *map(in_points, expected)]
    assert f"    {result['command']}\n" in card
    assert f"glip-lightning {result['versions']['glip-lightning']}," in card


def test_a_result_without_draws_has_no_interval(result: dict[str, Any]) -> None:
    del result["metrics"]["test"]["bootstrap"]
    (row,) = re.findall(r"^\| test \|.*$", model_card("mine", result), re.MULTILINE)
    found = result["metrics"]["test"]
    assert numbers(row) == [str(found["images"]), in_points(found["AP"]), in_points(found["AP50"])]


def test_only_a_card_that_was_changed_is_kept(result: dict[str, Any]) -> None:
    made = model_card("mine", result)
    assert for_repository(made, result, "a/b") is None
    assert for_repository(model_card("b", result, "a/b"), result, "c/d") is None
    kept = for_repository(made + "CC BY 4.0\n", result, "a/b")
    assert kept == made.replace("--detector FOLDER", "--detector a/b") + "CC BY 4.0\n"
    assert (
        for_repository("# A card of somebody's own\n", result, "a/b")
        == "# A card of somebody's own\n"
    )
