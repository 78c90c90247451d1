"""What a run's folder knows of the sweep that made it."""

from pathlib import Path

import pytest

from glip_lightning.training.trial import TRIAL_NAME, Trial, read_trial


def test_a_trial_is_read_as_it_was_written(tmp_path: Path) -> None:
    points = ({"task": "Raccoon", "shots": 0, "seed": 3}, {"task": "Raccoon", "shots": 0, "seed": 30})
    trial = Trial("few", "0123456789ab", points[0], points)
    trial.write(tmp_path)
    assert read_trial(tmp_path) == trial


def test_a_run_of_its_own_has_none(tmp_path: Path) -> None:
    assert read_trial(tmp_path) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"sweep": "few"}'])
def test_a_foreign_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / TRIAL_NAME).write_text(content)
    with pytest.raises(ValueError, match=r"trial\.json: not the file of a sweep's trial"):
        read_trial(tmp_path)
