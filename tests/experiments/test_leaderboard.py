"""The files for the leaderboard: one per track and tuning, a list of detections for each seed."""

import json
from pathlib import Path

import pytest

from glip_lightning.app.cli import main
from glip_lightning.data.benchmarks.odinw import odinw_names
from printed import line_with, numbers
from report_sweep import write_json, write_sweep


def test_a_file_for_every_track(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(
        tmp_path / "s",
        ["Raccoon", "Aquarium"],
        [0, 3, "all"],
        [3, 30],
        ["FullTuning", "PromptTuning"],
    )
    assert main(["report", str(tmp_path / "s"), "--leaderboard", str(tmp_path / "board")]) == 0
    files = {path.name: json.loads(path.read_text()) for path in (tmp_path / "board").iterdir()}
    assert sorted(files) == [
        "few-shot-3-full-1.json",
        "few-shot-3-prompt-2.json",
        "full-shot-full-1.json",
        "full-shot-prompt-2.json",
        "zero-shot-glip-tiny-1.json",
    ]
    ends = [numbers(line)[-2:] for line in capsys.readouterr().out.splitlines()]
    assert ends.count(["33", "35"]) == 5  # of 35 tasks 33 are missing
    entries = {name: content["data"] for name, content in files.items()}
    assert all(len(rows) == 2 for rows in entries.values())
    assert all(
        entry["dataset_name"] in odinw_names("odinw35")
        for rows in entries.values()
        for entry in rows
    )
    few = entries["few-shot-3-full-1.json"][0]
    assert (few["n_shot"], few["rnd_seeds"], len(few["predictions"])) == (3, [3, 30], 2)
    assert few["predictions"][0][0].keys() == {"image_id", "category_id", "bbox", "score"}
    assert few["num_trainable_params"] == 231_500_000
    zero, full = entries["zero-shot-glip-tiny-1.json"][0], entries["full-shot-full-1.json"][0]
    assert (zero["n_shot"], zero["rnd_seeds"], zero["num_trainable_params"]) == (0, [0], 0)
    assert (full["n_shot"], full["rnd_seeds"], len(full["predictions"])) == (-1, [0], 1)


def test_detections_of_validation_images_are_not_submitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trial,) = write_sweep(tmp_path / "s", ["Raccoon"], [3], [3], ["FullTuning"])
    place = tmp_path / "s" / "trials" / trial["id"] / "result.json"
    result = json.loads(place.read_text())
    result["metrics"] = {"val": result["metrics"]["test"], "test": None}
    write_json(place, result)
    assert main(["report", str(tmp_path / "s"), "--leaderboard", str(tmp_path / "board")]) == 0
    line_with(capsys.readouterr().out, "leaderboard:")
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "{}"])
def test_detections_that_cannot_be_read_are_none(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trial,) = write_sweep(tmp_path / "s", ["Raccoon"], [3], [3], ["FullTuning"])
    (tmp_path / "s" / "trials" / trial["id"] / "detections.json").write_text(text)
    assert main(["report", str(tmp_path / "s"), "--leaderboard", str(tmp_path / "board")]) == 0
    line_with(capsys.readouterr().out, "leaderboard:")
    assert not (tmp_path / "board").exists()
