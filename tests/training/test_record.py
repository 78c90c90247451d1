"""The record of a run: callbacks write into it, and result.json keeps its keys."""

import json
from pathlib import Path

from glip_lightning.evaluation.points import in_points
from glip_lightning.training.callbacks.best_checkpoint import EarlyStop
from glip_lightning.training.callbacks.divergence import DivergenceGuard
from glip_lightning.training.callbacks.run_measures import RunTime
from glip_lightning.training.record import RunRecord
from glip_lightning.training.result import result_of
from printed import numbers, words
from tiny import Scripted, tiny_data, tiny_module, tiny_trainer

OLD = Path(__file__).parent.parent / "golden" / "runs_0_1"
ADDED = {"category_ids", "threads", "lost", "best_step"}
"""Keys of result.json that version 0.1 did not have."""


class Recorded(Scripted):
    """A module with a record."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.record = RunRecord()


def test_callbacks_say_why_training_ended(tmp_path: Path) -> None:
    stopped, diverged, whole = (
        Recorded([0.3, 0.2, 0.2]),
        Recorded((), {3: float("nan")}),
        Recorded([0.1, 0.2]),
    )
    tiny_trainer(tmp_path, EarlyStop(patience=1), max_epochs=3).fit(stopped)
    tiny_trainer(tmp_path, DivergenceGuard(), EarlyStop()).fit(diverged)
    tiny_trainer(tmp_path, DivergenceGuard(), EarlyStop(), max_epochs=2).fit(whole)
    assert "val/AP" in words(str(stopped.record.ended))
    assert numbers(str(stopped.record.ended)) == [in_points(0.3), "1"]  # the best AP, times
    assert "nan" in words(str(diverged.record.ended))
    assert numbers(str(diverged.record.ended)) == ["3"]  # the step
    assert whole.record.ended is None


def test_callbacks_tell_of_a_fall_back(tmp_path: Path) -> None:
    module = Recorded((), {5: float("nan"), 6: 1.0})
    tiny_trainer(tmp_path, DivergenceGuard("restore", most=1), max_epochs=1).fit(module)
    assert [event["step"] for event in module.record.restored] == [5]


def test_seconds_of_earlier_processes_count_where_training_goes_on(tmp_path: Path) -> None:
    record, trainer = RunRecord(), tiny_trainer(tmp_path)
    clock = RunTime(record)
    for stage, earlier in (("validate", 0.0), ("fit", 100.0)):
        clock.setup(trainer, Scripted(), stage)
        clock.load_state_dict({"seconds": 100.0})
        assert record.earlier == earlier
    assert 100 < clock.state_dict()["seconds"] < 200


def test_a_result_has_the_keys_of_version_0_1(tmp_path: Path) -> None:
    module, trainer = tiny_module(), tiny_trainer(tmp_path)
    trainer.validate(module, datamodule=tiny_data(tmp_path / "data"), verbose=False)
    found = result_of(module.record, trainer, module)
    for file in OLD.glob("*/result.json"):
        old = json.loads(file.read_text(encoding="utf-8"))
        assert found.keys() - ADDED == old.keys(), file
        assert found["metrics"]["val"].keys() == old["metrics"]["val"].keys()
        assert found["data"].keys() == old["data"].keys()
