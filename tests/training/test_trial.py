"""What a run's folder knows of the sweep that made it."""

import json
import re
from pathlib import Path

import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.training.trial import EVERY, TRIAL_NAME, Trial, read_trial


def test_a_trial_is_read_as_it_was_written(tmp_path: Path) -> None:
    axes = {"task": "Raccoon", "shots": 0, "tuning": "FullTuning"}
    points = ({**axes, "seed": 3}, {**axes, "seed": 30})
    trial = Trial("few", "0123456789ab", points[0], points)
    trial.write(tmp_path)
    assert read_trial(tmp_path) == trial


def test_a_run_of_its_own_has_none(tmp_path: Path) -> None:
    assert read_trial(tmp_path) is None


@pytest.mark.parametrize(
    "content, code",
    [("{", "unreadable-json"), ("[]", "bad-value"), ('{"sweep": "few"}', "missing-key")],
)
def test_a_foreign_file_is_named(tmp_path: Path, content: str, code: str) -> None:
    (tmp_path / TRIAL_NAME).write_text(content)
    with pytest.raises(GLIPError, match=re.escape(str(tmp_path / TRIAL_NAME))) as caught:
        read_trial(tmp_path)
    assert caught.value.code == code


@pytest.mark.parametrize("axis", EVERY)
def test_an_axis_that_every_trial_has_cannot_be_missing(tmp_path: Path, axis: str) -> None:
    axes: dict[str, object] = {"task": "Raccoon", "shots": 1, "seed": 3, "tuning": "FullTuning"}
    Trial("s", "0", {key: value for key, value in axes.items() if key != axis}, ()).write(tmp_path)
    with pytest.raises(GLIPError) as error:
        read_trial(tmp_path)
    assert error.value.code == "missing-key"


def test_file_names_that_are_no_text_are_read_as_they_were_written(tmp_path: Path) -> None:
    axes: dict[str, object] = {
        "task": "a",
        "shots": 1,
        "seed": 3,
        "tuning": "b",
        "data.root": "odd-\udcff",
    }
    Trial("s", "0", axes, ()).write(tmp_path)
    assert json.loads((tmp_path / TRIAL_NAME).read_text())["axes"] == axes
