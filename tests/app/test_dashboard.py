"""The page in W&B: its panels, whether runs log all of them, and errors where it is not sent."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from glip_lightning.app.cli import main
from glip_lightning.app.wandb_page import build
from glip_lightning.training.logging.run_names import CLASSES, TRADE_OFF
from refusals import refusal
from small_runs import Offline, go, make_shapes

NOT_HERE = {"cost/device_gb"}  # no CUDA in the default tests


def panels(page: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    sections = page["spec"]["section"]["panel_bank_config"]["sections"]
    return {section["name"]: section["panels"] for section in sections}


def strings(value: Any) -> list[str]:
    """Every string in nested lists and dictionaries."""
    if isinstance(value, dict):
        return [x for child in value.values() for x in strings(child)]
    if isinstance(value, list):
        return [x for child in value for x in strings(child)]
    return [value] if isinstance(value, str) else []


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    return build("project", "me", "few shots")._to_model().model_dump()


def test_a_section_answers_each_question(page: dict[str, Any]) -> None:
    assert list(panels(page)) == [
        "Data efficiency",
        "Training",
        "Per class",
        "Pictures",
        "Cost",
        "Retention",
    ]
    assert all(panels(page).values())
    assert (page["entity"], page["project"], page["display_name"]) == (
        "me",
        "project",
        "GLIP: few shots",
    )


def test_runs_are_grouped_by_sweep_and_tuning(page: dict[str, Any]) -> None:
    (runs,) = page["spec"]["section"]["run_sets"]
    assert [(key["section"], key["name"]) for key in runs["grouping"]] == [
        ("run", "group"),
        ("run", "jobType"),
    ]
    curves = [
        panel["config"]
        for panel in panels(page)["Data efficiency"]
        if panel["view_type"] == "Run History Line Plot"
    ]
    assert [curve["x_axis"] for curve in curves] == ["efficiency/shots", "efficiency/images"]
    assert {(curve["group_by"], curve["group_agg"], curve["group_area"]) for curve in curves} == {
        ("tuning.value", "mean", "stddev")
    }


@pytest.mark.parametrize("sweep", ["few shots", 'it\'s "one"', "a\\b"])
def test_a_sweep_leaves_out_the_others(sweep: str) -> None:
    (runs,) = build("p", "e", sweep)._to_model().model_dump()["spec"]["section"]["run_sets"]
    (chosen,) = runs["filters"]["filters"]
    assert (chosen["key"], chosen["op"], chosen["value"]) == (
        {"section": "run", "name": "group"},
        "=",
        sweep,
    )


def test_without_a_sweep_all_runs_are_shown() -> None:
    (runs,) = build("p", "e")._to_model().model_dump()["spec"]["section"]["run_sets"]
    assert runs["filters"]["filters"] == []


def test_runs_log_all_that_the_page_shows(
    page: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    shapes = make_shapes(tmp_path)
    probe = [
        "--retention.data=CustomData",
        f"--retention.data.root={shapes}",
        "--retention.data.test_size=96",
    ]
    short = ["--data.shots=1", "--trainer.max_epochs=1", "--retention.wise_ft=[1]"]
    go("fit", shapes, tmp_path / "run", *probe, *short)
    offline = Offline(tmp_path / "run")
    known = {name for row in offline.history for name in row} | offline.summary.keys()
    known |= {name.rsplit("._type", 1)[0] for name in known}
    wanted, patterns = set(), set()
    for panel in (panel for group in panels(page).values() for panel in group):
        config = panel["config"]
        patterns |= {config["metric_regex"]} if config.get("metric_regex") else set()
        wanted |= {*(config.get("metrics") or ()), *(config.get("media_keys") or ())}
        wanted |= {
            axis.removeprefix("summary:")
            for key, axis in config.items()
            if key in ("x_axis", "y_axis") and axis
        }
    groups = {
        key["group_by"]
        for p in panels(page).values()
        for panel in p
        if (key := panel["config"]).get("group_by")
    }
    inputs = {axis for axis in wanted if axis.startswith("config:")}
    assert {
        name.split(".")[0].removeprefix("config:") for name in groups | inputs
    } <= offline.config.keys()
    # of two images there are two
    pictures = {f"{stage}/picture_{i}" for stage in ("val", "test") for i in (2, 3)}
    assert wanted - inputs - known == NOT_HERE | pictures
    assert len(patterns) == 3
    assert all(any(re.fullmatch(pattern, name) for name in known) for pattern in patterns)
    for section, table in (("Per class", CLASSES), ("Retention", TRADE_OFF)):
        assert table in strings(panels(page)[section])
        assert table in known
    (runs,) = page["spec"]["section"]["run_sets"]
    columns = dict(column.split(":", 1)[::-1] for column in runs["run_feed"]["column_pinned"])
    places = {
        "config": offline.config.keys(),
        "summary": offline.summary.keys(),
        "run": {"displayName"},
    }
    assert all(name in places[place] for name, place in columns.items())


def test_the_page_is_printed_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--project", "p", "--entity", "e", "--print"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["project"], shown["entity"], shown["displayName"]) == ("p", "e", "GLIP")


def test_who_is_not_logged_in_is_told_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    refused = refusal("dashboard")
    assert refused.code == "not-logged-in"
    assert "wandb login" in str(refused)  # the command that mends it


@pytest.mark.parametrize("package", ["wandb_workspaces", "wandb"])
def test_a_missing_package_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert refusal("dashboard").code == "not-installed"
    assert main(["dashboard"]) == 1
    assert "'glip-lightning[dashboard]'" in capsys.readouterr().err
