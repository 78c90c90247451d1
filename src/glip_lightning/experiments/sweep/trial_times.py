"""How long trials take, learned from those that are finished and from other runs."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.experiments.sweep.plan import Planned
from glip_lightning.experiments.sweep.trial_state import TrialState, state_of

NUMBER = ("shots", "seed", "copies", "workers")
"""Arguments of data that change the number of steps or which images come, not a step's time."""


class TrialTimes:
    """Seconds that trials take, learned from those that are finished.

    A trial that ended before its last step counts by the steps that were planned: other trials of
    its kind will end early, too. Where no trial of a kind is finished, runs of the same kind on
    the same data count, which lie beside the sweep.
    """

    def __init__(
        self,
        planned: Sequence[Planned],
        states: Mapping[str, TrialState],
        runs: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Take all trials with their states, and the results of other runs."""
        self._step: dict[str, list[float]] = {}
        self._untrained: dict[str, list[float]] = {}
        self._other_runs: dict[str, list[float]] = {}
        for trial in planned:
            self.add(trial, states[trial.trial.id])
        wanted = [_settings(trial.recipe) for trial in planned if trial.steps != 0]
        for result in runs:
            if result["steps"] and _settings(result["recipe"]) in wanted:
                known = self._other_runs.setdefault(kind(result["recipe"]), [])
                known.append(result["seconds"] / result["steps"])

    def add(self, planned: Planned, state: TrialState) -> None:
        """Learn from a trial, if it is finished."""
        if not state.result:
            return
        steps = planned.steps or state.result["steps"]
        known = self._step if steps else self._untrained
        known.setdefault(kind(planned.recipe), []).append(state.result["seconds"] / max(1, steps))

    def seconds(self, planned: Planned) -> float | None:
        """Return the expected length of a trial.

        None until a trial of the same detector and tuning is finished, and for a trial without end.
        """
        known = self._known(planned).get(kind(planned.recipe))
        if planned.steps is None or known is None:
            return None
        return statistics.mean(known) * max(1, planned.steps)

    def guess(self, planned: Planned) -> float | None:
        """Return :meth:`seconds`; where it is unknown, the mean of other detectors and tunings."""
        seconds = self.seconds(planned)
        if seconds is not None:
            return seconds
        others = [statistics.mean(known) for known in list(self._known(planned).values())]
        if planned.steps is None or not others:
            return None
        return statistics.mean(others) * max(1, planned.steps)

    def _known(self, planned: Planned) -> dict[str, list[float]]:
        """Return seconds per step, or per trial without steps, of each kind."""
        return self._untrained if planned.steps == 0 else self._other_runs | self._step


def kind(recipe: Mapping[str, Any]) -> str:
    """Return detector and tuning of a recipe, which decide how long a step takes."""
    model = recipe["model"]
    tuning = model["tuning"] or {"class_path": "no tuning"}
    return f"{model['detector']} with {tuning['class_path'].split('.')[-1]}"


def _settings(recipe: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what makes the steps of two recipes take the same time."""
    data = recipe["data"]
    arguments = {key: value for key, value in data["init_args"].items() if key not in NUMBER}
    trainer = [recipe["trainer"].get(key) for key in ("accelerator", "devices", "precision")]
    return kind(recipe), data["class_path"], arguments, trainer


def finished_runs(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the results of the finished runs in ``folder``; what cannot be read is left out."""
    for place in sorted(folder.glob("*")):
        with suppress(GLIPError, OSError, KeyError, TypeError, AttributeError):
            result = state_of(place).result or {}
            _settings(result["recipe"])
            yield {key: result[key] for key in ("recipe", "steps", "seconds")}
