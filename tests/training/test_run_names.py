"""How runs are found in W&B."""

from pathlib import Path

from glip_lightning.training.logging.run_names import (
    LONGEST_NAME,
    LONGEST_TAG,
    label_run,
    label_trial,
)
from glip_lightning.training.trial import Trial

AXES = {"task": "Raccoon", "shots": 10, "seed": 3, "tuning": "PromptTuning"}


def test_a_trial_is_labelled_by_its_axes() -> None:
    labels = label_trial(Trial("tunings", "0123456789ab", AXES, (AXES,)), "glip-tiny")
    assert labels.name == "Raccoon 10-shot seed 3 PromptTuning"
    assert (labels.group, labels.job_type) == ("tunings", "PromptTuning")
    assert labels.tags == ["Raccoon", "10-shot", "PromptTuning", "glip-tiny"]
    assert labels.config == {"axes": AXES, "points": [AXES], "trial": "0123456789ab", **AXES}


def test_other_axes_are_told_by_their_last_word() -> None:
    axes = {**AXES, "model.detector": "glip-nano", "trainer.max_epochs": 2}
    labels = label_trial(Trial("s", "0", axes, (axes,)), "glip-nano")
    assert labels.name == "Raccoon 10-shot seed 3 PromptTuning detector glip-nano max_epochs 2"
    assert labels.config["axes"] == axes
    assert "model.detector" not in labels.config


def test_a_trial_that_stands_for_several_tunings_has_none() -> None:
    points = tuple(
        AXES | {"shots": 0, "seed": s, "tuning": t}
        for s in (3, 30)
        for t in ("FullTuning", "LinearProbe")
    )
    labels = label_trial(Trial("s", "0", points[0], points), "glip-tiny")
    assert (labels.name, labels.job_type, labels.config["tuning"]) == (
        "Raccoon 0-shot",
        "zero-shot",
        "zero-shot",
    )
    assert labels.config["axes"] == points[0]


def test_what_wandb_would_refuse_is_cut() -> None:
    labels = label_run(Path("n" * 200), "g" * 200, "fit", AXES, "/a/long/path/" * 20 + "detector")
    assert [len(labels.name), len(labels.group)] == [LONGEST_NAME, LONGEST_NAME]
    assert len(labels.tags[-1]) == LONGEST_TAG
    assert labels.tags[-1].endswith("/detector")


def test_tags_come_once() -> None:
    assert (
        label_run(Path("n"), "g", "fit", AXES | {"task": "glip-tiny"}, "glip-tiny").tags.count(
            "glip-tiny"
        )
        == 1
    )
