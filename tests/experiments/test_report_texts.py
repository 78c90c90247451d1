"""What a report explains: only what is there; numbers of images; how to repeat it."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from glip_lightning.experiments.report.ap_sections import (
    against_paper,
    all_numbers,
    efficiency,
    summary,
    tunings,
)
from glip_lightning.experiments.report.collect import collect
from glip_lightning.experiments.report.image_counts import measured_images
from glip_lightning.experiments.report.parts import (
    Code,
    Heading,
    PageNote,
    ReportTable,
    ReportText,
    Section,
)
from glip_lightning.experiments.report.run_sections import cost, repeat
from glip_lightning.experiments.report.view import ReportView, make_view
from glip_lightning.experiments.report.write import write_report
from printed import numbers, words
from report_sweep import write_json, write_sweep

PHOTOS: dict[str, Any] = {
    "tasks": ["my_photos"],
    "shots": [0, 3, 10],
    "seeds": [0],
    "tunings": ["FullTuning", "LinearProbe"],
    "detector": "glip-nano-c",
}
"""A sweep over shots on a folder of photos, as a first user has it."""


def change(folder: Path, trial: dict[str, Any], **images: int | None) -> None:
    """Write numbers of images by split into the result of a trial."""
    file = folder / "trials" / trial["id"] / "result.json"
    result = json.loads(file.read_text())
    result["data"]["images"] |= images
    result["metrics"]["test"]["images"] = images.get("test", 20)
    write_json(file, result)


def photos(folder: Path, train: bool = True, test: int = 4, **more: Any) -> ReportView:
    """The view of :data:`PHOTOS`, in which three shots are four images."""
    for trial in write_sweep(folder, **(PHOTOS | more)):
        shots = trial["axes"]["shots"]
        known = {"train": {0: 21, 3: 4, 10: 11}[shots]} if train else {}
        change(folder, trial, test=test, **known)
    return make_view(collect(folder))


def texts_of(section: Section | None) -> str:
    """All paragraphs of a section that the Markdown has, too."""
    assert section is not None
    return " ".join(part.content for part in section.parts if isinstance(part, ReportText))


def notes_of(section: Section | None) -> str:
    assert section is not None
    return " ".join(part.content for part in section.parts if isinstance(part, PageNote))


def table_of(section: Section | None) -> ReportTable:
    assert section is not None
    return next(part for part in section.parts if isinstance(part, ReportTable))


# --- images ---------------------------------------------------------------------------------------


def test_the_summary_has_the_number_of_test_images_beside_the_ap(tmp_path: Path) -> None:
    parts = summary(photos(tmp_path / "s")).parts
    place = next(i for i, part in enumerate(parts) if isinstance(part, Heading))
    text = parts[place + 1]
    assert isinstance(text, ReportText)
    assert numbers(text.content) == ["4", "30"]  # images, and how many would be enough
    assert isinstance(parts[place + 2], ReportTable)
    write_report(tmp_path / "s")
    for name in ("report.md", "report.html"):
        assert text.content in (tmp_path / "s" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("test", "said"), [(30, ["30"]), (1, ["1", "30"]), (1200, ["1", "200"])])
def test_only_few_images_are_warned_of(tmp_path: Path, test: int, said: list[str]) -> None:
    assert numbers(measured_images(photos(tmp_path / "s", test=test))) == said


def test_several_tasks_have_a_range_and_the_small_ones_are_named(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", tasks=["Aquarium", "Raccoon", "pothole"], shots=[1], seeds=[3])
    text = measured_images(make_view(collect(tmp_path / "s")))
    assert numbers(text) == ["17", "67", "30", "17"]
    assert "Raccoon" in words(text)
    assert "Aquarium" not in words(text)


def test_brackets_are_named_only_where_they_are(tmp_path: Path) -> None:
    with_brackets = measured_images(photos(tmp_path / "s"))
    for file in tmp_path.glob("s/trials/*/result.json"):
        result = json.loads(file.read_text())
        del result["metrics"]["test"]["bootstrap"]
        write_json(file, result)
    without = measured_images(make_view(collect(tmp_path / "s")))
    assert ["brackets" in words(text) for text in (with_brackets, without)] == [True, False]


def test_unknown_and_odd_numbers_of_images_are_not_said(tmp_path: Path) -> None:
    photos(tmp_path / "s", train=False)
    for file in tmp_path.glob("s/trials/*/result.json"):
        result = json.loads(file.read_text())
        result["metrics"]["test"]["images"] = "many"
        result["data"]["images"] = {"train": None}
        write_json(file, result)
    view = make_view(collect(tmp_path / "s"))
    assert measured_images(view) == ""
    assert len(table_of(all_numbers(view)).head) == len(["tuning", "shots", "my_photos"])


def test_each_row_has_its_training_images(tmp_path: Path) -> None:
    view = photos(tmp_path / "s", seeds=[0, 1])
    (other, *_) = [run for run in view.collection.runs if run.points[0].shots == 10]
    change(tmp_path / "s", {"id": other.id}, train=9, test=4)
    view = make_view(collect(tmp_path / "s"))
    full = [row for row in table_of(all_numbers(view)).rows if row[0].text == "full"]
    assert [(row[1].text, row[2].text) for row in full] == [
        ("0", "0"),
        ("3", "4"),
        ("10", "9 to 11"),
    ]
    assert [row[-1].text for row in table_of(summary(view)).rows][:2] == ["0", "4"]


# --- sentences ------------------------------------------------------------------------------------


def test_signs_are_explained_only_where_they_are(tmp_path: Path) -> None:
    one = photos(tmp_path / "one", tunings=["FullTuning"])
    several = photos(tmp_path / "several", seeds=[0, 1])
    said = [texts_of(all_numbers(view)) for view in (one, several)]
    for sign in ("±", "Bold", "n"):
        assert [sign in words(text) for text in said] == [False, True]
    assert not any("parentheses" in words(text) for text in said)
    assert "±" not in words(texts_of(tunings(photos(tmp_path / "two"))))
    assert "±" in words(texts_of(tunings(several)))
    assert "seeds" not in words(notes_of(efficiency(one)))
    assert "seeds" in words(notes_of(efficiency(several)))


def test_incomplete_means_are_explained(tmp_path: Path) -> None:
    trials = write_sweep(tmp_path / "s", tasks=["a", "b"], shots=[1], seeds=[3])
    lost = next(trial for trial in trials if trial["axes"]["task"] == "a")
    (tmp_path / "s" / "trials" / lost["id"] / "result.json").unlink()
    view = make_view(collect(tmp_path / "s"))
    assert "parentheses" in words(texts_of(all_numbers(view)))
    assert "Hollow" in words(notes_of(efficiency(view)))


def test_the_markdown_explains_no_chart(tmp_path: Path) -> None:
    view = photos(tmp_path / "s")
    write_report(tmp_path / "s")
    text = (tmp_path / "s" / "report.md").read_text(encoding="utf-8")
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    for section in (efficiency(view), tunings(view), cost(view)):
        assert notes_of(section)
        assert notes_of(section) in page
        assert notes_of(section) not in text


def test_zero_shot_trials_are_spoken_of_only_where_they_are(tmp_path: Path) -> None:
    found = [photos(tmp_path / name, shots=shots) for name, shots in (("a", [3]), ("b", [0, 3]))]
    assert ["Zero-shot" in words(notes_of(cost(view))) for view in found] == [False, True]


def test_without_numbers_of_the_paper_there_is_no_section(tmp_path: Path) -> None:
    assert against_paper(photos(tmp_path / "s")) is None
    write_report(tmp_path / "s")
    assert 'href="#paper"' not in (tmp_path / "s" / "report.html").read_text(encoding="utf-8")


def test_differences_of_one_task_stand_under_task(tmp_path: Path) -> None:
    section = tunings(photos(tmp_path / "s"))
    assert [name for name, _ in table_of(section).head][1] == "task"
    assert "differences" in words(texts_of(section))  # of which the brackets are


def test_tiles_and_cells_are_words_of_their_own(tmp_path: Path) -> None:
    """As a screen reader or a copy takes them, without the style sheet."""
    photos(tmp_path / "s")
    write_report(tmp_path / "s")
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert re.findall(r"</b><span|</t[dh]><t[dh]|[^ ]<small", page) == []


# --- to repeat it ---------------------------------------------------------------------------------


def commands_of(view: ReportView) -> list[list[str]]:
    lines: list[str] = []
    for part in repeat(view).parts:
        lines += part.lines if isinstance(part, Code) else []
    return [shlex.split(line) for line in lines]


def test_the_sweep_and_its_best_trial_are_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "my sweep"
    view = photos(folder)
    file = folder / "sweeps" / "my sweep.json"
    command = ["glip", "sweep", "photos.yaml", "--data.root", "MY PHOTOS"]
    write_json(file, json.loads(file.read_text()) | {"command": shlex.join(command)})
    zero, *trained = sorted(view.collection.runs, key=lambda run: run.points[0].shots != 0)
    for place, run in enumerate((zero, *trained)):
        result = json.loads((run.folder / "result.json").read_text())
        result["metrics"]["test"]["AP"] = 0.9 if run is zero else place / 10
        write_json(run.folder / "result.json", result)
    best = trained[-1].folder
    found = commands_of(make_view(collect(folder)))
    assert found == [
        command,
        ["glip", "report", str(folder)],
        ["glip", "fit", "--config", str(best / "recipe.yaml")],
    ]
    assert "40.0" in numbers(texts_of(repeat(make_view(collect(folder)))))


def test_where_nothing_trained_the_best_trial_is_one_of_zero_shot(tmp_path: Path) -> None:
    view = photos(tmp_path / "s", shots=[0])
    assert [words[1] for words in commands_of(view)] == ["report", "fit"]  # no command is known
