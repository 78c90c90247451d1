"""How a run is found among others in W&B: its name, group, job type, tags and the axes of its sweep.

A run of its own gets the same axes as a trial of a sweep, so that one dashboard compares both. The names of what is
logged for dashboards stand here, because what logs them is not imported by what shows them.
"""

from pathlib import Path
from typing import Any, NamedTuple

from glip_lightning.common.escaping import printable
from glip_lightning.training.trial import Axes, Trial

CURVE_AP, CURVE_SHOTS, CURVE_IMAGES = "efficiency/AP", "efficiency/shots", "efficiency/images"
"""One row of the history at the end of a fit: a curve over runs needs its x in the row of its y."""

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
    """A key for each picture: W&B wants those of one key to have one size."""
    return f"{stage}/picture_{number}"


class Labels(NamedTuple):
    """What W&B groups and filters by."""

    name: str
    group: str
    job_type: str
    tags: list[str]
    config: dict[str, Any]


def label_run(folder: Path, group: str, job_type: str, axes: Axes, detector: str) -> Labels:
    """Label a run of its own: it is named as its folder; ``group`` is its data set.

    ``axes`` are task, shots, seed and tuning.
    """
    tags = [str(axes["task"]), _shots(axes["shots"]), str(axes["tuning"]), detector]
    return Labels(
        printable(folder.name)[:LONGEST_NAME],
        printable(group)[:LONGEST_NAME],
        job_type,
        _tags(tags),
        {"axes": axes, **axes},
    )


def label_trial(trial: Trial, detector: str) -> Labels:
    """Label a run of a sweep: it is named by its axes.

    One that stands for several tunings is none of them: nothing is trained in it.
    """
    axes = trial.axes
    tunings = list(dict.fromkeys(str(point.get("tuning")) for point in trial.points)) or [
        str(axes["tuning"])
    ]
    tuning = tunings[0] if len(tunings) == 1 else UNTUNED
    seeds = {point.get("seed") for point in trial.points}
    others = [
        f"{axis.split('.')[-1]} {value}" for axis, value in axes.items() if axis not in OWN_AXES
    ]
    seed = [f"seed {axes['seed']}"] if len(seeds) == 1 else []
    shots = _shots(axes["shots"])
    words = [str(axes["task"]), shots, *seed, *([tuning] if len(tunings) == 1 else []), *others]
    flat = {axis: value for axis, value in axes.items() if "." not in axis}
    config = {
        "axes": dict(axes),
        "points": list(trial.points),
        "trial": trial.id,
        **flat,
        "tuning": tuning,
    }
    tags = _tags([str(axes["task"]), shots, tuning, detector])
    return Labels(
        printable(" ".join(words))[:LONGEST_NAME],
        printable(trial.sweep)[:LONGEST_NAME],
        tuning,
        tags,
        config,
    )


def _shots(shots: Any) -> str:
    return f"{shots}-shot"


def _tags(tags: list[str]) -> list[str]:
    """Once each; of a long one, a path, the end tells more."""
    return list(dict.fromkeys(tag[-LONGEST_TAG:] for tag in map(printable, tags) if tag))
