"""Labels by which W&B finds a run: name, group, job type, tags and the axes of a sweep.

A run outside of sweeps gets the same axes as a trial of a sweep, so that one dashboard compares
both. The names of what is logged for dashboards are here, because the module that logs it is not
imported by the one that shows it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glip_lightning.common.escaping import printable
from glip_lightning.training.trial import Axes, Trial

CURVE_AP, CURVE_SHOTS, CURVE_IMAGES = "efficiency/AP", "efficiency/shots", "efficiency/images"
"""One row of the history at the end of a fit: a curve over runs needs x and y in one row."""

CLASSES = "per_class"  # table of the last evaluation: class, AP, images, boxes
COST_SECONDS, COST_PROCESS, COST_DEVICE = "cost/seconds", "cost/process_gb", "cost/device_gb"
BEFORE, AFTER = "retention/before", "retention/after"  # AP on the probe of a run that has one
TRADE_OFF = "retention/wise_ft"  # table of alpha, AP, AP on the probe
TRAINABLE, TOTAL = "parameters/trainable", "parameters/total"

PICTURES = 4  # of each split

UNTUNED = "zero-shot"
LONGEST_TAG = 64  # W&B refuses longer ones
LONGEST_NAME = 128
OWN_AXES = ("task", "shots", "seed", "tuning")


def picture_key(stage: str, number: int) -> str:
    """Return the key of a picture; pictures of one key must have one size in W&B."""
    return f"{stage}/picture_{number}"


@dataclass(frozen=True, slots=True)
class RunLabels:
    """The labels of a run, by which W&B groups and filters."""

    name: str
    group: str
    job_type: str
    tags: list[str]
    config: dict[str, Any]


def label_run(folder: Path, group: str, job_type: str, axes: Axes, detector: str) -> RunLabels:
    """Label a run outside of sweeps.

    Args:
        folder: of the run, which gives the name.
        group: its data set.
        job_type: its tuning, or its verb.
        axes: task, shots, seed and tuning.
        detector: its name.
    """
    tags = [str(axes["task"]), _shots(axes["shots"]), str(axes["tuning"]), detector]
    return RunLabels(
        name=printable(folder.name)[:LONGEST_NAME],
        group=printable(group)[:LONGEST_NAME],
        job_type=job_type,
        tags=_tags(tags),
        config={"axes": axes, **axes},
    )


def label_trial(trial: Trial, detector: str) -> RunLabels:
    """Label a run of a sweep: its axes are its name.

    A run without training stands for several tunings; its tuning is then ``zero-shot``.
    """
    axes = trial.axes
    tuning = str(axes["tuning"])
    tunings = {str(point.get("tuning")) for point in trial.points}
    if len(tunings) == 1:
        (tuning,) = tunings
    elif len(tunings) > 1:
        tuning = UNTUNED
    shots = _shots(axes["shots"])
    words = [str(axes["task"]), shots]
    if len({point.get("seed") for point in trial.points}) == 1:
        words.append(f"seed {axes['seed']}")
    if len(tunings) <= 1:
        words.append(tuning)
    for axis, value in axes.items():
        if axis not in OWN_AXES:
            words.append(f"{axis.split('.')[-1]} {value}")
    config: dict[str, Any] = {
        "axes": dict(axes),
        "points": list(trial.points),
        "trial": trial.id,
    }
    config |= {axis: value for axis, value in axes.items() if "." not in axis}
    config["tuning"] = tuning
    return RunLabels(
        name=printable(" ".join(words))[:LONGEST_NAME],
        group=printable(trial.sweep)[:LONGEST_NAME],
        job_type=tuning,
        tags=_tags([str(axes["task"]), shots, tuning, detector]),
        config=config,
    )


def _shots(shots: Any) -> str:
    return f"{shots}-shot"


def _tags(tags: list[str]) -> list[str]:
    """Return each tag once, of a long one (a path) the end."""
    shortened = [printable(tag)[-LONGEST_TAG:] for tag in tags if tag]
    return list(dict.fromkeys(shortened))
