"""The claims of the paper in made-up runs: the comparisons, when they hold, the report."""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glip_lightning.experiments.report.collect import collect
from glip_lightning.experiments.report.view import make_view
from glip_lightning.experiments.report.write import write_report
from glip_lightning.shapes.claim_sections import HEAD, verdict_text
from glip_lightning.shapes.claims import Claim, claims_of
from report_claims import TASKS, Ap, as_in_the_paper, put, put_all
from report_sweep import recipe_of, result_of, write_json


def begin_again(place: Path) -> dict[str, Any]:
    """Make a finished run one that was only begun; what its result was."""
    result = json.loads((place / "result.json").read_text())
    (place / "result.json").unlink()
    write_json(place / "recipe.yaml", result["recipe"])
    return result


def claims(folder: Path) -> dict[str, Claim]:
    return {claim.name: claim for claim in claims_of(make_view(collect(folder)))}


def verdicts(folder: Path) -> dict[str, str]:
    return {name: claim.verdict for name, claim in claims(folder).items()}


def changed(**other: Mapping[str, float]) -> Ap:
    """As in the paper, but for the AP of some parts at some shots and tunings: ``T={"0": 0.1}``."""

    def ap(part: str, shots: Any, tuning: str, prompts: str) -> float:
        known = other.get(part, {})
        usual = as_in_the_paper(part, shots, tuning, prompts)
        return known.get(f"{shots} {tuning} {prompts}", known.get(str(shots), usual))

    return ap


def test_all_claims_appear_in_runs_of_the_papers_shape(tmp_path: Path) -> None:
    put_all(tmp_path)
    names = ("transfer", "efficiency", "prompt", "manual", "student")
    assert verdicts(tmp_path) == dict.fromkeys(names, "appears")


def test_comparisons_are_means_over_tasks_shots_and_seeds(tmp_path: Path) -> None:
    put_all(tmp_path)
    found = claims(tmp_path)
    order = {each.label: each for each in found["efficiency"].comparisons}
    assert list(order) == ["T over C", "C over B", "B over A", "A over baseline"]
    first = order["T over C"]
    assert first.stat is not None
    assert (first.stat.mean, first.stat.n, first.tasks) == (pytest.approx(4), 2, TASKS)
    # of the same draws: far narrower than that of each
    assert first.stat.interval == pytest.approx((4, 4), abs=0.5)
    assert first.paper == pytest.approx((51.1 - 49.6 + 56.4 - 54.8) / 2, abs=0.1)  # 1 and 5 shots
    gaps = {each.label: each for each in found["prompt"].comparisons}
    loss = gaps["T: prompt, full"]
    assert loss.stat is not None
    assert (loss.stat.mean, loss.decides) == (pytest.approx(-0.3 * 6), False)
    against = gaps["T: gap, A's gap"]
    assert against.stat is not None
    assert against.stat.mean == pytest.approx(-0.3 * 6 + 6)


def test_the_shots_that_decide_are_those_of_the_paper(tmp_path: Path) -> None:
    put_all(tmp_path, parts="T", shots=(0, 1))
    for task in TASKS:
        for shots in (1, 5, 10, "all"):
            put(
                tmp_path, 0.4 if shots != "all" else 0.9, "D", task, shots, 3, "FullTuning", "names"
            )
    claim = claims(tmp_path)["transfer"]
    assert {each.label: (each.decides, each.holds) for each in claim.comparisons} == {
        "1 shot": (True, True),
        "5 shots": (True, True),
        "10 shots": (False, True),
        "all shots": (False, False),
        "1 shot, manual": (False, True),  # the paper's zero-shot numbers are those of plain names
        "5 shots, manual": (False, True),
        "10 shots, manual": (False, True),
        "all shots, manual": (False, False),
    }
    assert claim.verdict == "appears"
    manual = next(each for each in claim.comparisons if each.label == "5 shots, manual")
    assert manual.stat is not None
    assert (manual.stat.mean, manual.paper) == (pytest.approx(20), None)


@pytest.mark.parametrize(
    "name, ap",
    [
        ("transfer", changed(D={"5": 0.7})),
        ("efficiency", changed(B={"1": 0.2, "5": 0.2})),
        ("prompt", changed(A={f"{k} PromptTuning names": 0.5 for k in (1, 5)})),
        ("prompt", changed(C={f"{k} LinearProbe names": 0.9 for k in (1, 5)})),
        ("manual", changed(C={"0 FullTuning described": 0.2})),
        ("student", changed(T={"0": 0.3})),
    ],
)
def test_a_comparison_that_does_not_hold_is_enough_against_a_claim(
    tmp_path: Path, name: str, ap: Ap
) -> None:
    put_all(tmp_path, ap)
    assert verdicts(tmp_path)[name] == "does not appear"


def test_descriptions_are_for_detectors_that_have_read_captions(tmp_path: Path) -> None:
    put_all(tmp_path, changed(A={"0 FullTuning described": 0.2}, B={"0 FullTuning described": 0.2}))
    claim = claims(tmp_path)["manual"]
    assert [(each.label, each.decides, each.holds) for each in claim.comparisons] == [
        *(("T", True, True), ("C", True, True), ("B", False, False), ("A", False, False)),
    ]
    assert claim.verdict == "appears"


def test_a_difference_within_its_interval_or_of_some_seeds_does_not_hold(tmp_path: Path) -> None:
    put_all(tmp_path, parts="TC", shots=(0,))
    noisy = tmp_path / "C-Reef-0-3-FullTuning-names" / "result.json"
    content = json.loads(noisy.read_text())
    content["metrics"]["test"]["bootstrap"]["AP"] = np.linspace(0.2, 0.8, 200).tolist()
    write_json(noisy, content)
    (comparison,) = claims(tmp_path)["student"].comparisons
    assert comparison.stat is not None
    assert comparison.stat.mean > 0
    assert comparison.holds is False

    put_all(tmp_path, parts="TC", shots=(0, 1))
    for task in TASKS:
        put(tmp_path, 0.52, "C", task, 1, 3, "FullTuning", "names")  # T: 0.54 with both seeds
        put(tmp_path, 0.55, "C", task, 1, 30, "FullTuning", "names")
    few = claims(tmp_path)["student"].comparisons[1]
    assert few.stat is not None
    assert (few.stat.mean, few.stat.interval and few.stat.interval[0] > 0) == (
        pytest.approx(0.5),
        True,
    )
    assert few.holds is False


def test_missing_runs_and_intervals_leave_a_claim_open(tmp_path: Path) -> None:
    put_all(tmp_path, parts="TC", shots=(0,))
    place = tmp_path / "T-Reef-0-3-FullTuning-names"
    whole = begin_again(place)
    (comparison,) = claims(tmp_path)["student"].comparisons
    assert comparison.stat is not None
    assert (comparison.tasks, comparison.planned, comparison.holds) == (("Kites",), TASKS, None)
    assert verdicts(tmp_path)["student"] == "not enough runs"
    whole["metrics"]["test"]["bootstrap"] = None
    write_json(place / "result.json", whole)
    assert verdicts(tmp_path)["student"] == "not enough runs"
    begin_again(tmp_path / "C-Reef-0-3-FullTuning-names")
    begin_again(tmp_path / "C-Kites-0-3-FullTuning-names")
    (comparison,) = claims(tmp_path)["student"].comparisons
    assert (comparison.stat, comparison.tasks, comparison.planned) == (None, (), TASKS)
    assert verdicts(tmp_path)["student"] == "not enough runs"
    write_report(tmp_path)  # with nothing to draw


def test_a_missing_seed_leaves_a_claim_open(tmp_path: Path) -> None:
    put_all(tmp_path, parts="TC", shots=(0, 1))
    for task in TASKS:
        begin_again(tmp_path / f"T-{task}-1-30-FullTuning-names")
    few = claims(tmp_path)["student"].comparisons[1]
    assert few.stat is not None
    assert (few.stat.n, few.tasks, few.missing, few.holds) == (1, TASKS, 2, None)
    assert verdicts(tmp_path)["student"] == "not enough runs"
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    (row,) = (line for line in text.splitlines() if line.startswith("|") and few.text in line)
    seeds_and_tasks = row.split("|")[1 + HEAD.index("seeds, tasks")]
    # run, tasks of all tasks, runs missing
    assert re.findall(r"\d+", seeds_and_tasks) == ["1", "2", "2", "2"]


def test_only_what_the_runs_are_about_is_claimed(tmp_path: Path) -> None:
    put_all(tmp_path / "one", parts="T")
    assert set(verdicts(tmp_path / "one")) == {"manual"}
    put_all(tmp_path / "two", parts="TA", shots=(0, 1))
    assert set(verdicts(tmp_path / "two")) == {"prompt", "manual"}
    put_all(tmp_path / "random", parts="TC", shots=(0,))
    for place in (tmp_path / "random").iterdir():
        content = json.loads((place / "result.json").read_text())
        content["recipe"]["model"]["weights"] = "random"
        write_json(place / "result.json", content)
    assert verdicts(tmp_path / "random") == {}
    write_report(tmp_path / "random")
    assert not (tmp_path / "random" / "claims.csv").exists()
    assert 'id="claims"' not in (tmp_path / "random" / "report.html").read_text(encoding="utf-8")


def test_runs_of_different_tasks_are_not_compared(tmp_path: Path) -> None:
    """Their report is made all the same."""
    for part, task, shots in (("T", "Kites", 0), ("D", "Reef", 1), ("C", "Reef", 0)):
        put(tmp_path / "apart", 0.5, part, task, shots, 3, "FullTuning", "names")
    assert claims(tmp_path / "apart") == {}
    for part in "TC":
        put(tmp_path / "partly", 0.5, part, "Kites", 0, 3, "FullTuning", "names")
        put(tmp_path / "partly", 0.5, part, "Reef", 5, 3, "FullTuning", "names")
    (student,) = claims(tmp_path / "partly").values()
    assert (student.name, [each.tasks for each in student.comparisons]) == (
        "student",
        [("Kites",), ("Reef",)],
    )
    assert student.group.tasks == ()
    for name, count in (("apart", 0), ("partly", 1)):
        write_report(tmp_path / name)
        page = (tmp_path / name / "report.html").read_text(encoding="utf-8")
        assert page.count('<section id="claim-') == count
    (verdict,) = re.findall(rf"<p[^>]*>[^<]*{re.escape(verdict_text(student))}[^<]*", page)
    assert not [task for task in ("Kites", "Reef") if task in verdict]


def test_official_detectors_are_compared_on_their_prompts(tmp_path: Path) -> None:
    for prompts, ap in (("odinw_13", 0.3), ("odinw_35", 0.4)):
        recipe = recipe_of("Aquarium", 0, 3, "FullTuning")
        recipe["data"]["init_args"]["prompts"] = prompts
        write_json(tmp_path / prompts / "result.json", result_of(recipe, ap))
    (claim,) = claims(tmp_path).values()
    (comparison,) = claim.comparisons
    assert comparison.stat is not None
    assert (claim.name, comparison.stat.mean) == ("manual", pytest.approx(10))
    assert {"glip-tiny", "0"} <= {*comparison.text.split()}  # the detector and its shots


def test_page_markdown_and_table_say_the_same(tmp_path: Path) -> None:
    put_all(tmp_path, changed(T={"0": 0.3}))
    said = write_report(tmp_path)
    assert str(tmp_path / "claims.csv") in said
    with (tmp_path / "claims.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_claim = {row["claim"]: row["verdict"] for row in rows}
    assert by_claim == verdicts(tmp_path)
    assert {row["holds"] for row in rows if row["decides"] == "False"} == {""}
    student = [row for row in rows if row["claim"] == "student"]
    assert [(row["difference"], row["holds"], row["tasks"]) for row in student] == [
        ("-16.0", "False", "2/2"),
        ("4.0", "True", "2/2"),
    ]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    made = claims(tmp_path)
    sections = dict(re.findall(r'<section id="claim-(\w+)">(.*?)</section>', page, re.DOTALL))
    assert list(sections) == list(made)
    for name, claim in made.items():
        assert sections[name].startswith(f"<h2>{claim.title}")
        assert f"## {claim.title}" in text
        # all comparisons, and curves of some claims
        assert sections[name].count("<figure") == 1 + bool(claim.lines)
        for said_twice in (
            claim.paper,
            verdict_text(claim),
            *(each.text for each in claim.comparisons),
        ):
            assert said_twice in sections[name], said_twice
            assert said_twice in text, said_twice
    verdict = verdict_text(made["student"])
    assert by_claim["student"] in verdict
    # comparisons that hold, of how many, and open ones
    assert re.findall(r"\d+", verdict) == ["1", "2", "0"]
    assert {"46.5", "44.4"} <= {*made["student"].paper.split()}
    assert "glip-nano-c" in made["student"].comparisons[0].text
    assert "33.8, 43.6, 46.4" in page
    assert "33.8, 43.6, 46.4" in text
