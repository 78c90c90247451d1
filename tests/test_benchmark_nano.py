"""Cards of the shipped detectors: what is measured, and what a card says of it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import pytest

from glip_lightning.shapes.pretraining_pictures import write_pretraining
from glip_lightning.weights.load import load_detector
from nano import Measured, _measure, card
from printed import line_with, numbers, words
from report_sweep import recipe_of, result_of, write_json


@pytest.mark.parametrize("name, ap50", [("glip-nano-c", 0.7), ("glip-nano-a", 0.2)])
def test_words_of_a_kind_are_asked_for_alone(tmp_path: Path, name: str, ap50: float) -> None:
    """Of colours in a few pictures C knows most, A next to nothing; only their boxes count as
    truth.
    """
    write_pretraining(tmp_path / "world", 2, {"names/test": 12})
    found = _measure(
        load_detector(name), tmp_path / "world" / "names" / "test", "colours", ["green", "red"]
    )
    assert (found.what, found.classes) == ("colours", 2)
    assert (found.ap50 > ap50) == (name == "glip-nano-c")
    assert found.interval[0] <= found.ap50 <= found.interval[1]
    assert found.row().startswith(f"| colours | 2 | {found.ap:.3f} | {found.ap50:.3f} | ")


def test_a_card_says_what_its_run_says(tmp_path: Path) -> None:
    recipe = recipe_of("names", "all", 7, "FullTuning", "glip-nano-c")
    recipe["trainer"]["check_val_every_n_epoch"] = 2
    recipe["data"]["init_args"]["sources"] = {
        "b": {"file": "words.json"},
        "a": {"file": "boxes.json"},
    }
    write_json(
        tmp_path / "result.json", result_of(recipe, 0.5, steps=1600, seconds=61.0, best_epoch=15)
    )
    row = Measured("single names", 23, 0.5, 0.75, [0.7, 0.8]).row()
    text = card("glip-nano", tmp_path, row, "one core of an abacus")
    training, choice = line_with(text, "one core of an abacus"), line_with(text, "epoch 15")
    assert {"1,600", "glip-nano-c", "61"} <= words(training)  # steps, start, seconds
    assert numbers(line_with(text, "of the training"))[0] == "7"  # the seed
    assert numbers(choice) == ["2", "15", "0"]  # every 2 epochs; the best one, counted from 0
    assert "boxes.json, words.json" in text
    assert row in text
    assert "{" not in text
    assert "61" in words(line_with(card("glip-nano", tmp_path, row, None), "cuda:0"))
