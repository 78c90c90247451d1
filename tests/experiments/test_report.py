"""``glip report``: what it reads, averages and says; odd names and broken runs, too."""

import csv
import html
import itertools
import json
import math
import os
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glip_lightning.app.cli import main
from glip_lightning.experiments.report.ap_sections import summary
from glip_lightning.experiments.report.collect import collect
from glip_lightning.experiments.report.line_names import name_lines
from glip_lightning.experiments.report.number_formats import signed, spread
from glip_lightning.experiments.report.paper_numbers import LARGE, ORDER, official_task, paper_cells
from glip_lightning.experiments.report.parts import ReportTable, ReportText, Tiles
from glip_lightning.experiments.report.run_sections import best_pictures, undone
from glip_lightning.experiments.report.runs import Collection
from glip_lightning.experiments.report.statistics import Cells, Stat, groups_of
from glip_lightning.experiments.report.view import make_view
from glip_lightning.experiments.report.write import write_report
from printed import numbers, words
from refusals import refusal
from report_sweep import fail, photo, recipe_of, result_of, write_json, write_sweep

VOID = {"meta", "link", "img", "line", "path", "circle", "polygon"}


class Outline(HTMLParser):
    """Checks that every tag is closed, and keeps tags, headings and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID or tag in ("circle", "polygon"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def put(folder: Path, name: str, recipe: dict[str, Any], ap: Any, **more: Any) -> Path:
    """A run of its own with a result."""
    write_json(folder / name / "result.json", result_of(recipe, ap, **more))
    return folder / name


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def small_sweep(folder: Path, **more: Any) -> list[dict[str, Any]]:
    options: dict[str, Any] = {
        "tasks": ["Raccoon", "Aquarium"],
        "shots": [0, 1, "all"],
        "seeds": [3, 30],
    }
    return write_sweep(folder, **(options | more))


def cells_of(folder: Path) -> Cells:
    return Cells(collect(folder))


def names_of(collection: Collection) -> list[str]:
    return list(name_lines(collection.lines).names.values())


# --- means and spreads ----------------------------------------------------------------------------


def test_mean_and_sample_deviation_over_seeds(tmp_path: Path) -> None:
    for seed, ap in ((3, 0.50), (30, 0.53), (300, 0.59)):
        put(tmp_path, f"r{seed}", recipe_of("Raccoon", 10, seed, "FullTuning"), ap)
    cells = cells_of(tmp_path)
    stat = cells.cell(cells.lines[0], 10, "Raccoon").stat()
    assert stat is not None
    assert (stat.mean, stat.n, sorted(stat.values)) == (
        pytest.approx(54.0),
        3,
        pytest.approx([50, 53, 59]),
    )
    assert stat.std == pytest.approx(math.sqrt((16 + 1 + 25) / 2))  # not divided by 3
    assert spread(stat) == "54.0 ± 4.6"


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    put(tmp_path, "r", recipe_of("Raccoon", 10, 3, "FullTuning"), 0.5)
    cells = cells_of(tmp_path)
    stat = cells.cell(cells.lines[0], 10, "Raccoon").stat()
    assert stat is not None
    assert stat.std is None
    assert spread(stat) == "50.0"


def test_interval_is_of_the_mean_of_shared_draws(tmp_path: Path) -> None:
    for seed, draws in ((3, [0.4, 0.5, 0.6, None]), (30, [0.6, 0.5, 0.4, 0.2])):
        result = result_of(recipe_of("Raccoon", 10, seed, "FullTuning"), 0.5)
        result["metrics"]["test"]["bootstrap"] = {"resamples": 4, "AP": draws, "interval95": [0, 1]}
        write_json(tmp_path / f"r{seed}" / "result.json", result)
    cells = cells_of(tmp_path)
    stat = cells.cell(cells.lines[0], 10, "Raccoon").stat()
    assert stat is not None
    assert stat.interval == pytest.approx((50, 50))  # the undefined draw counts in none


def test_means_over_tasks_need_all_tasks_of_a_seed(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", shots=[1], seeds=[3, 30], tunings=["FullTuning"])
    cells = cells_of(tmp_path / "s")
    line, (group, large) = cells.lines[0], groups_of(cells.tasks)
    assert (group.name, group.tasks, large.tasks) == ("ODinW-13 mean", ORDER, LARGE)
    whole = cells.mean(line, 1, group)
    assert whole is not None
    assert (whole.whole, whole.stat.n) == (True, 2)
    of_tasks = [stat.mean for task in ORDER if (stat := cells.cell(line, 1, task).stat())]
    assert whole.stat.mean == pytest.approx(sum(of_tasks) / 13)

    packages = [run for point, run in cells.collection.points if point.task == "Packages"]
    (packages[0].folder / "result.json").unlink()
    cells = cells_of(tmp_path / "s")
    one = cells.mean(line, 1, group)
    assert one is not None
    assert (one.whole, one.stat.n, one.stat.std) == (True, 1, None)  # of the seed that is complete

    (packages[1].folder / "result.json").unlink()
    cells = cells_of(tmp_path / "s")
    part = cells.mean(line, 1, group)
    assert part is not None
    assert not part.whole
    assert set(part.tasks) == set(ORDER) - {"Packages"}
    rest = cells.mean(line, 1, large)
    assert rest is not None
    assert rest.whole  # Packages is none of the seven
    write_report(tmp_path / "s")
    assert "12 of 13 tasks" in (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "12/13" in {row["tasks"] for row in rows_of(tmp_path / "s" / "cells.csv")}


def test_differences_are_taken_seed_by_seed(tmp_path: Path) -> None:
    for seed, full, prompt in ((3, 0.40, 0.45), (30, 0.60, 0.67), (300, 0.10, None)):
        put(tmp_path, f"f{seed}", recipe_of("Raccoon", 10, seed, "FullTuning"), full)
        if prompt:
            put(tmp_path, f"p{seed}", recipe_of("Raccoon", 10, seed, "PromptTuning"), prompt)
    cells = cells_of(tmp_path)
    full, prompt = sorted(cells.lines, key=lambda line: line.tuning)
    stat = cells.difference(prompt, full, 10, ["Raccoon"])
    assert stat is not None
    assert (stat.mean, stat.n) == (pytest.approx(6.0), 2)
    assert stat.std == pytest.approx(math.sqrt(2))
    assert stat.interval is not None
    assert stat.interval[0] < 6 < stat.interval[1]
    assert cells.difference(prompt, full, 3, ["Raccoon"]) is None


def test_zero_shot_is_one_run_for_all_tunings_and_seeds(tmp_path: Path) -> None:
    small_sweep(tmp_path / "s")
    cells = cells_of(tmp_path / "s")
    stats = [cells.cell(line, 0, "Raccoon").stat() for line in cells.lines]
    assert len(stats) == 3
    assert all(stat is not None and (stat.n, stat.std) == (1, None) for stat in stats)
    assert len({stat.mean for stat in stats if stat}) == 1


# --- what is compared with what -------------------------------------------------------------------


def test_plain_runs_are_told_apart_by_what_differs_in_their_recipes(tmp_path: Path) -> None:
    for rate in (1e-3, 1e-4):
        recipe = recipe_of("Raccoon", 10, 3, "FullTuning")
        recipe["model"]["tuning"] = {**recipe["model"]["tuning"], "init_args": {"lr": rate}}
        put(tmp_path, f"lr{rate}", recipe, 0.5)
    put(tmp_path, "zero", recipe_of("Raccoon", 0, 3, "FullTuning"), 0.2)
    collection = collect(tmp_path)
    assert set(names_of(collection)) == {"full, lr 0.001", "full, lr 0.0001"}
    cells = Cells(collection)
    assert all(
        (cells.cell(line, k, "Raccoon").stat() or Stat(0, None, 0, ())).n == 1
        for line in cells.lines
        for k in (0, 10)
    )


def test_runs_that_differ_in_settings_without_effect_are_repeats(tmp_path: Path) -> None:
    for name, features, workers in (
        ("a", None, 0),
        ("b", "FEATURES", 2),
        ("c", {"folder": "F", "gigabytes": 9}, 4),
    ):
        recipe = recipe_of("Raccoon", 10, 3, "FullTuning")
        recipe["model"]["features"] = features
        recipe["data"]["init_args"]["workers"] = workers
        recipe["trainer"] |= {
            "logger": {"class_path": "Logger", "init_args": {"name": name}},
            "profiler": name,
        }
        put(tmp_path, name, recipe, 0.5)
    collection = collect(tmp_path)
    assert (names_of(collection)) == ["full"]
    assert sorted(run.state for run in collection.runs) == ["finished", "repeated", "repeated"]


def test_rows_do_not_repeat_what_all_runs_of_a_tuning_share(tmp_path: Path) -> None:
    for tuning, rate in (("FullTuning", 1e-3), ("FullTuning", 1e-4), ("PromptTuning", 0.3)):
        recipe = recipe_of("Raccoon", 10, 3, tuning)
        settings = {"lr": rate, "weight_decay": 0.05}
        recipe["model"]["tuning"] = {**recipe["model"]["tuning"], "init_args": settings}
        put(tmp_path, f"{tuning}{rate}", recipe, 0.5)
    view = make_view(collect(tmp_path))
    assert set(view.names.values()) == {"full, lr 0.001", "full, lr 0.0001", "prompt"}
    assert view.line_names.shared == {
        "": ["detector glip-tiny", "weights pretrained", "prompts odinw_13", "split test"],
        "full": [],
        "prompt": ["lr 0.3"],
    }
    _, *notes, _, best = summary(view).parts
    assert isinstance(best, ReportTable)
    texts = [note.content for note in notes if isinstance(note, ReportText)]
    assert [{"lr", "0.3"} <= words(text) for text in texts] == [False, True]  # said once, above it
    for row in best.rows:
        assert "0.3" not in str(row[1])


@pytest.mark.parametrize(
    "key, value", [("detector", "glip-large"), ("prompts", "odinw_35"), ("split", None)]
)
def test_detectors_prompts_and_splits_are_never_mixed(
    tmp_path: Path, key: str, value: str | None
) -> None:
    put(tmp_path, "a", recipe_of("Raccoon", 10, 3, "FullTuning"), 0.5)
    recipe = recipe_of("Raccoon", 10, 30, "FullTuning")
    recipe["model" if key == "detector" else "data"].update(
        {"detector": value} if key == "detector" else {}
    )
    if key == "prompts":
        recipe["data"]["init_args"]["prompts"] = value
    place = put(tmp_path, "b", recipe, 0.7)
    if key == "split":
        result = json.loads((place / "result.json").read_text())
        result["metrics"] = {"val": result["metrics"]["test"], "test": None}
        write_json(place / "result.json", result)
    cells = cells_of(tmp_path)
    assert len(cells.lines) == 2
    assert sorted(
        s.mean for line in cells.lines if (s := cells.cell(line, 10, "Raccoon").stat())
    ) == [50, 70]
    assert len(set(names_of(cells.collection))) == 2


def test_of_repeated_runs_the_newest_counts_and_the_others_are_shown(tmp_path: Path) -> None:
    for name, ap, time in (("old", 0.5, 1000), ("new", 0.6, 2000)):
        put(tmp_path, name, recipe_of("Raccoon", 10, 3, "FullTuning"), ap)
        os.utime(tmp_path / name / "result.json", (time, time))
    write_report(tmp_path)
    assert {row["trial"]: row["state"] for row in rows_of(tmp_path / "report.csv")} == {
        "old": "repeated",
        "new": "finished",
    }
    assert [row["AP"] for row in rows_of(tmp_path / "cells.csv")] == ["60.0"]


@pytest.mark.parametrize("finished", [True, False])
def test_a_point_is_of_the_sweep_that_planned_it_last(tmp_path: Path, finished: bool) -> None:
    """As after a change of the weights, where an older sweep still has the trial of before."""
    folder = tmp_path / "s"
    (old, both) = small_sweep(
        folder, tasks=["Raccoon", "pothole"], shots=[1], seeds=[3], tunings=["FullTuning"]
    )
    newer = {**old, "id": "new"}
    content = json.loads((folder / "sweeps" / "s.json").read_text())
    write_json(folder / "sweeps" / "a.json", {**content, "name": "a", "trials": [newer, both]})
    os.utime(folder / "sweeps" / "s.json", (1000, 1000))
    if finished:
        write_json(folder / "trials" / "new" / "result.json", result_of(newer["recipe"], 0.6))
    runs = {run.id: run.state for run in collect(folder).runs}
    assert runs == {
        old["id"]: "repeated",
        "new": "finished" if finished else "missing",
        both["id"]: "finished",
    }
    cell = cells_of(folder).cell(cells_of(folder).lines[0], 1, "Raccoon")
    assert [run.id for run in cell.done.values()] == (["new"] if finished else [])
    assert [run.id for run in cell.open] == ([] if finished else ["new"])
    (folder / "trials" / old["id"] / "result.json").unlink()
    assert old["id"] not in {run.id for run in collect(folder).runs}  # nobody waits for it


def test_other_axes_of_a_sweep_are_lines_of_their_own(tmp_path: Path) -> None:
    trials = small_sweep(tmp_path / "s", shots=[1], seeds=[3], tunings=["FullTuning"])
    content = json.loads((tmp_path / "s" / "sweeps" / "s.json").read_text())
    for trial, epochs in zip(content["trials"], (5, 9), strict=True):
        trial["points"] = [{**trial["points"][0], "trainer.max_epochs": epochs, "task": "Raccoon"}]
    write_json(tmp_path / "s" / "sweeps" / "s.json", content)
    assert len(trials) == 2
    assert set(names_of(collect(tmp_path / "s"))) == {
        "full, max_epochs 5",
        "full, max_epochs 9",
    }


# --- the paper ------------------------------------------------------------------------------------


def test_the_papers_cells_and_means() -> None:
    assert paper_cells("glip-tiny", "PromptTuning", 10)["Aquarium"] == 44.8
    assert paper_cells("glip-large", "FullTuning", "all")["thermalDogsAndPeople"] == 83.1
    # zero-shot whatever the tuning
    assert paper_cells("glip-tiny-a", "LinearProbe", 0)["pothole"] == 0.8
    assert paper_cells("glip-tiny-c", "PromptTuning", "all").keys() == set(ORDER)
    cells = paper_cells("glip-tiny-c", "PromptTuning", "all").values()
    assert sum(cells) / 13 == pytest.approx(62.4, abs=0.05)  # where an earlier table printed 62.8
    for detector, tuning, shots in (
        ("glip-nano", "FullTuning", 10),
        ("glip-tiny", "LoRATuning", 10),
        ("glip-tiny", "FullTuning", 7),
    ):
        assert paper_cells(detector, tuning, shots) == {}


def test_difference_to_the_paper(tmp_path: Path) -> None:
    put(tmp_path, "a", recipe_of("raccoon", 10, 3, "PromptTuning"), 0.60)
    write_report(tmp_path)
    (row,) = rows_of(tmp_path / "cells.csv")
    assert (row["task"], row["paper"], row["minus_paper"]) == ("Raccoon", "57.5", "2.5")
    assert "+2.5" in (tmp_path / "report.html").read_text(encoding="utf-8")
    random = recipe_of("Raccoon", 10, 3, "PromptTuning")
    random["model"]["weights"] = "random"
    put(tmp_path, "a", random, 0.60)
    assert not make_view(collect(tmp_path)).has_paper


def test_names_of_tasks() -> None:
    for name in ("Raccoon", "raccoon", "Raccoon_Raccoon.v2-raw.coco"):
        assert official_task(name) == "Raccoon"
    assert official_task("AerialDrone") == "AerialMaritimeDrone"
    assert official_task("BCCD") is official_task("my photos") is None


def test_own_photos_are_not_a_task_of_the_same_name(tmp_path: Path) -> None:
    recipe = recipe_of("raccoon", 10, 3, "PromptTuning")
    recipe["data"]["class_path"] = "glip_lightning.CustomData"
    put(tmp_path, "a", recipe, 0.60)
    view = make_view(collect(tmp_path))
    assert view.cells.tasks == ["raccoon"]
    assert not view.has_paper


# --- the files ------------------------------------------------------------------------------------


def test_a_page_and_tables_of_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_sweep(tmp_path / "s", pictures=2)
    assert main(["report", str(tmp_path / "s")]) == 0
    said = capsys.readouterr().out.split()
    assert said == [
        str(tmp_path / "s" / name)
        for name in ("report.html", "report.md", "report.csv", "cells.csv")
    ]
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    outline = Outline(page)
    found = {attrs.get("id") for tag, attrs in outline.tags if tag == "section"}
    assert found == {
        "summary",
        "curves",
        "table",
        "paper",
        "tunings",
        "classes",
        "pictures",
        "cost",
        "undone",
        "repeat",
    }
    assert "mean of 2 tasks" in outline.text
    levels = [int(tag[1]) for tag, _ in outline.tags if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    images = [attrs for tag, attrs in outline.tags if tag == "img"]
    assert len(images) == 4
    assert all(image["alt"] and str(image["src"]).startswith("data:image/jpeg") for image in images)
    assert all(
        attrs.get("aria-label") or attrs.get("aria-hidden")
        for tag, attrs in outline.tags
        if tag == "svg"
    )
    assert len(page.encode()) < 5_000_000
    trials = rows_of(tmp_path / "s" / "report.csv")
    assert len(trials) == 2 + 2 * 2 * 2 * 3
    assert {row["tuning"] for row in trials if row["shots"] == "0"} == {
        "FullTuning/LinearProbe/PromptTuning"
    }
    text = (tmp_path / "s" / "report.md").read_text(encoding="utf-8")
    # trials, finished, failed
    assert ["26", "26", "0"] in [numbers(line)[:3] for line in text.splitlines()]
    assert "| prompt minus full | 2 tasks |" in text


def test_out_goes_elsewhere(tmp_path: Path) -> None:
    small_sweep(tmp_path / "s", shots=[0])
    assert main(["report", str(tmp_path / "s"), "--out", str(tmp_path / "out" / "here")]) == 0
    assert (tmp_path / "out" / "here" / "report.html").is_file()
    assert not (tmp_path / "s" / "report.html").exists()


def test_failed_and_missing_trials_are_shown_with_their_reason(tmp_path: Path) -> None:
    trials = small_sweep(tmp_path / "s")
    places = [tmp_path / "s" / "trials" / trial["id"] for trial in trials]
    for place in places[:3]:
        (place / "result.json").unlink()
    fail(places[0], "boom <b>at</b> step 3")
    shutil.rmtree(places[1])
    (places[4] / "result.json").write_text('{"metrics":')
    write_json(places[5] / "result.json", {"metrics": {"val": None, "test": {"AP": 1e300}}})
    write_json(places[6] / "result.json", [])
    write_json(places[7] / "result.json", {"metrics": {"val": None, "test": None}})
    write_report(tmp_path / "s")
    rows = rows_of(tmp_path / "s" / "report.csv")[:8]
    assert [row["state"] for row in rows] == [
        "failed",
        "missing",
        "missing",
        "finished",
        *["failed"] * 4,
    ]
    failed, missing, _, finished, torn, impossible, none, empty = [row["error"] for row in rows]
    assert failed == "boom <b>at</b> step 3"
    assert "1e+300" in impossible
    assert finished == ""
    assert len({failed, missing, finished, torn, impossible, none, empty}) == 7
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    for error in (failed, missing, torn, impossible, none, empty):
        assert " ".join(error.split()) in html.unescape(page)
    assert "trial.log" in page
    assert "<b>at" not in page


def test_trials_that_were_left_out_are_a_count(tmp_path: Path) -> None:
    """They are no rows, columns or lines of their own; a trial that began is shown all the same."""
    folder = tmp_path / "s"
    trials = small_sweep(folder)
    chosen = [each for each in trials if each["axes"]["tuning"] == "FullTuning"]
    chosen = [each for each in chosen if each["axes"]["task"] == "Raccoon"]
    left_out = [each for each in trials if each not in chosen]
    began, *others = left_out
    for each in others:
        shutil.rmtree(folder / "trials" / each["id"])
    file = folder / "sweeps" / "s.json"
    content = json.loads(file.read_text())
    write_json(file, content | {"left_out": [each["id"] for each in left_out]})
    collection = collect(folder)
    assert [run.id for run in collection.runs] == [
        each["id"] for each in trials if each in (*chosen, began)
    ]
    assert collection.left_out == len(others)
    assert {point.line.tuning for point, _ in collection.points} == {
        "FullTuning",
        began["axes"]["tuning"],
    }
    view = make_view(collection)
    tiles = summary(view).parts[0]
    assert isinstance(tiles, Tiles)
    # trials, finished, failed, left out
    assert list(tiles.numbers.values())[:4] == [*[str(len(chosen) + 1)] * 2, "0", str(len(others))]
    texts = [part.content for part in undone(view).parts if isinstance(part, ReportText)]
    assert numbers(texts[-1]) == [str(len(others))]
    assert not any(isinstance(part, ReportTable) for part in undone(view).parts)
    write_report(folder)
    assert {row["state"] for row in rows_of(folder / "report.csv")} == {"finished"}
    write_json(file, content)  # a call without --only wants them all
    assert collect(folder).left_out == 0
    assert [run.state for run in collect(folder).runs].count("missing") == len(others)


def test_nothing_finished_yet(tmp_path: Path) -> None:
    small_sweep(tmp_path / "s")
    shutil.rmtree(tmp_path / "s" / "trials")
    write_report(tmp_path / "s")
    Outline((tmp_path / "s" / "report.html").read_text(encoding="utf-8"))
    assert {row["state"] for row in rows_of(tmp_path / "s" / "report.csv")} == {"missing"}


def test_an_undefined_ap_is_not_averaged(tmp_path: Path) -> None:
    put(tmp_path, "a", recipe_of("Raccoon", 10, 3, "FullTuning"), None)
    put(tmp_path, "b", recipe_of("Raccoon", 10, 30, "FullTuning"), 0.5)
    write_report(tmp_path)
    assert [(row["AP"], row["n"]) for row in rows_of(tmp_path / "cells.csv")] == [("50.0", "1")]
    assert "1 undefined" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_retention_is_shown_where_it_was_measured(tmp_path: Path) -> None:
    steps = [
        {"alpha": a, "AP": 0.2 + 0.3 * a, "probe_AP": 0.45 - 0.25 * a * a} for a in (0, 0.5, 1)
    ]
    kept = {"probe": "COCO <mini>", "before": 0.45, "after": 0.2, "wise_ft": steps}
    put(tmp_path, "a", recipe_of("Raccoon", 10, 3, "FullTuning"), 0.5, retention=kept)
    write_report(tmp_path)
    outline = Outline((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "retention" in {attrs.get("id") for tag, attrs in outline.tags if tag == "section"}
    assert "COCO <mini>" in outline.text
    assert signed(20 - 45) in outline.text


def test_broken_pictures_are_left_out(tmp_path: Path) -> None:
    place = put(tmp_path, "a", recipe_of("Raccoon", 10, 3, "FullTuning"), 0.5)
    photo(place / "predictions" / "good.jpg", 0, "raccoon")
    (place / "predictions" / "bad.jpg").write_bytes(b"no picture")
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 1
    section = best_pictures(make_view(collect(tmp_path)))
    assert section is not None
    text = section.parts[0]
    assert isinstance(text, ReportText)
    assert numbers(text.content)[-1] == "1"  # picture is left out


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    recipe = recipe_of("Raccoon", 10, 3, "FullTuning")
    del recipe["data"]["init_args"]["task"]
    result = result_of(recipe_of("Raccoon", 10, 3, "FullTuning"), 0.5) | {
        "recipe": recipe,
        "data": None,
    }
    write_json(tmp_path / os.fsdecode(b"caf\xe9") / "result.json", result)
    write_report(tmp_path)
    for name in ("report.html", "report.md", "cells.csv"):
        assert "udce9" in (tmp_path / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["nothing", "empty", "json", "keys"])
def test_what_is_no_sweep_is_said(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "s"
    if content != "nothing":
        (folder / "sweeps").mkdir(parents=True)
    if content in ("json", "keys"):
        (folder / "sweeps" / "s.json").write_text("{" if content == "json" else '{"name": "a"}')
    assert main(["report", str(folder)]) == 1
    said = capsys.readouterr().err
    assert str(folder) in said
    assert "Traceback" not in said


NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
NUMBERS = st.one_of(st.none(), st.floats(), st.integers(), st.just(1e400), NAMES)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=NAMES, other=NAMES, value=NUMBERS)
def test_odd_names_and_numbers(tmp_path: Path, name: str, other: str, value: Any) -> None:
    """No content of a result breaks the page or the tables, or gets into them as markup."""
    folder = tmp_path / "odd"
    shutil.rmtree(folder, ignore_errors=True)
    markup = f"<script>alert(1)</script>{name}"
    for seed in (3, 30):
        recipe = recipe_of(markup, 10, seed, "FullTuning", detector=f'"{other}"')
        result = result_of(recipe, 0.4, (markup, other, "&"))
        result["metrics"]["test"] |= {
            "AP50": value,
            "AP_class": {markup: value, other: 0.5},
            "bootstrap": {"AP": [value]},
        }
        result |= {
            "seconds": value,
            "git": name,
            "memory": value,
            "parameters": value,
            "groups": [value],
            "versions": value,
        }
        result["retention"] = {
            "probe": name,
            "before": value,
            "after": 0.3,
            "wise_ft": [value, {"alpha": value}],
        }
        write_json(folder / f"r{seed}" / "result.json", result)
    put(folder, "other", recipe_of("other", 0, 3, "FullTuning"), 0.3)
    write_report(folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    outline = Outline(page)
    assert "script" not in {tag for tag, _ in outline.tags}
    assert len(rows_of(folder / "report.csv")) == 3
    assert "<script" not in (folder / "report.md").read_text(encoding="utf-8").replace("\\<", "")


@pytest.mark.parametrize(
    "key, value",
    [
        ("metrics.test.bootstrap.interval95", -1),
        ("metrics.test.bootstrap.interval95", "\0"),
        ("metrics.test.bootstrap.interval95", [0.1, {}]),
        ("metrics.test.AP", "0.5"),
        ("metrics.test", "x"),
        ("recipe.data.init_args", "96"),
        ("recipe.data.init_args.shots", "\ud800"),
        ("steps", "\ud800"),
    ],
)
def test_an_edited_result_is_listed_and_the_others_stay(
    tmp_path: Path, key: str, value: Any
) -> None:
    put(tmp_path, "good", recipe_of("Raccoon", 10, 3, "FullTuning"), 0.5)
    result = result_of(recipe_of("Raccoon", 10, 30, "FullTuning"), 0.5)
    *way, last = key.split(".")
    place: Any = result
    for step in way:
        place = place[step]
    place[last] = value
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "result.json").write_text(json.dumps(result))
    write_report(tmp_path)
    rows = {row["trial"]: row for row in rows_of(tmp_path / "report.csv")}
    assert rows["good"]["state"] == "finished"
    assert rows["bad"]["state"] == "failed"
    assert rows["bad"]["error"].startswith("result.json: ") or "recipe.yaml" in rows["bad"]["error"]


def test_a_deep_result_is_listed_and_the_others_stay(tmp_path: Path) -> None:
    put(tmp_path, "good", recipe_of("Raccoon", 10, 3, "FullTuning"), 0.5)
    (tmp_path / "bad").mkdir()
    for name in ("result.json", "recipe.yaml"):
        (tmp_path / "bad" / name).write_text("[" * 3000)
    write_report(tmp_path)
    assert sorted(row["state"] for row in rows_of(tmp_path / "report.csv")) == [
        "failed",
        "finished",
    ]


def test_a_sweep_is_reported_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small_sweep(tmp_path / "runs" / "own_photos", shots=[0])
    assert main(["report", "own_photos"]) == 0
    assert str(Path("runs", "own_photos", "report.html")) in capsys.readouterr().out.split()
    refused = refusal("report", "demo")  # whose trials are not there
    assert refused.code == "missing-folder"
    assert str(Path("runs", "demo")) in words(str(refused))
