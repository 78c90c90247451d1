"""Shapes-13: what the tasks promise, in their pictures and on disk."""

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks import odinw
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.benchmarks.tasks import get_task
from glip_lightning.data.benchmarks.tasks import task_names as names_of
from glip_lightning.data.checks.consistency import check_splits
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.few_shot import few_shot
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.shapes.data_modules import Shapes
from glip_lightning.shapes.generated_folder import MANIFEST
from glip_lightning.shapes.scene import CENTRED, SIZES, Thing
from glip_lightning.shapes.shapes13 import TASKS, shapes13_names
from glip_lightning.shapes.styles import STYLES
from glip_lightning.shapes.task_pictures import AWAY, NEAR, Example, example, labels_of, write_task
from glip_lightning.shapes.words import (
    CAPTION_NAMES,
    CAPTION_SHAPES,
    COLOURS,
    HELD_OUT,
    NEW_COLOURS,
    NEW_SHAPES,
    NEW_TEXTURES,
    PARTS,
    SHAPES,
    TEXTURES,
)
from glip_lightning.training.data_sources import ODinW

COUNTS = {"train": 3, "valid": 2, "test": 1}
# by pre-training, with boxes
READ = {*SHAPES, *COLOURS, *TEXTURES, *SIZES, *PARTS, "thing", "with", "a"}
EVERY = pytest.mark.parametrize("name", TASKS)


@pytest.fixture(scope="module")
def shown() -> dict[str, list[Example]]:
    """Some test pictures of each task."""
    return {
        name: [example(task, "test", index) for index in range(30 + 2 * len(task.classes))]
        for name, task in TASKS.items()
    }


def words_of(text: str) -> set[str]:
    return set(text.split())


def test_thirteen_tasks_mirror_those_of_odinw() -> None:
    assert len(shapes13_names()) == 13
    mirrored = [TASKS[name].mirrors for name in shapes13_names()]
    assert sorted(map(str, mirrored)) == sorted(
        odinw.odinw_task(name).short for name in odinw.odinw_names("odinw13")
    )
    for name in shapes13_names():
        official = odinw.odinw_task(str(TASKS[name].mirrors))
        assert len(TASKS[name].classes) == len(official.categories)
    assert set(TASKS) - set(shapes13_names()) == {"Blocks"}


def test_names_are_of_one_benchmark() -> None:
    taken = {name.lower() for name in odinw.known_names()}
    assert not taken & {name.lower() for name in TASKS}
    assert names_of("shapes13") == shapes13_names()
    assert get_task("Kites") is TASKS["Kites"]
    assert get_task("Raccoon") == odinw.odinw_task("Raccoon")
    benchmarks = ("ODinW", "Shapes-13")
    for wrong, code, named in (
        (lambda: get_task("Kits"), "unknown-task", (*benchmarks, "'Kits'", "'Kites'")),
        (lambda: get_task("racoon"), "unknown-task", (*benchmarks, "'racoon'", "'Raccoon'")),
        (lambda: get_task("reefs"), "unknown-task", (*benchmarks, "'reefs'", "'Reef'")),
        (lambda: get_task("qqqqqq"), "unknown-task", (*odinw.tasks(), *shapes13_names())),
        (lambda: Shapes(task="Raccoon"), "other-benchmark", ("'Raccoon'", "--data ODinW")),
        (
            lambda: ODinW("nowhere", "Kites"),
            "other-benchmark",
            ("'Kites'", "Shapes-13", "--data Shapes"),
        ),
    ):
        with pytest.raises(GLIPError) as caught:
            wrong()
        assert caught.value.code == code
        assert all(part in str(caught.value) for part in named), caught.value


def test_variety() -> None:
    tasks = [TASKS[name] for name in shapes13_names()]
    assert {min(len(task.classes), 20) for task in tasks} >= {1, 2, 3, 5, 7, 20}
    assert min(task.counts["train"] for task in tasks) == 19
    assert max(task.counts["train"] for task in tasks) >= 1500
    assert all(task.counts["test"] == 100 for task in tasks)
    assert {task.style for task in tasks} == STYLES.keys()
    words = [
        (*task.vocabulary.shapes, *task.vocabulary.colours, *task.vocabulary.textures)
        for task in tasks
    ]
    seen = set(itertools.chain(*words))
    assert {*CAPTION_SHAPES, *NEW_SHAPES, *NEW_COLOURS, *NEW_TEXTURES} <= seen


def test_names_that_were_never_read_but_can_be_described() -> None:
    """The README has the numbers of tasks with new words, and with words of captions alone."""
    every = [(name, named) for name in shapes13_names() for named in TASKS[name].classes]
    described = [(name, named.name) for name, named in every if words_of(named.prompt.name) <= READ]
    unread = {name for name, said in described if not words_of(said) & {*READ, *CAPTION_NAMES}}
    assert unread == {"Beetles", "Fungi", "Parcels", "Targets", "Traffic"}
    assert {name for name, said in described if said in CAPTION_NAMES} == {
        "Kites",
        "Traffic",
        "Craters",
        "Fungi",
    }
    spoken = {*READ, *CAPTION_NAMES, *CAPTION_SHAPES, "near"}
    assert len({name for name, named in every if not words_of(named.name) <= spoken}) == 8


def test_names_that_captions_say_mean_the_same_in_tasks() -> None:
    meant = {named.name: named.looks for task in TASKS.values() for named in task.classes}
    for name, looks in CAPTION_NAMES.items():
        assert name not in READ
        assert meant[name] == {kind: (word,) for kind, word in looks.items()}
        assert not {(word, looks["shape"]) for word in looks.values()} & HELD_OUT


def test_known_names_with_another_meaning() -> None:
    """Pre-training knows these words, and not as textures."""
    for named in TASKS["Badges"].classes:
        assert named.name in SHAPES
        assert named.looks.keys() == {"texture"}
        assert words_of(named.prompt.name) <= READ


@EVERY
def test_no_thing_is_of_two_classes(name: str) -> None:
    task = TASKS[name]
    kinds = task.vocabulary
    parts, textures = (None, *kinds.parts), (None, *kinds.textures)
    for shape, colour, texture, part in itertools.product(
        kinds.shapes, kinds.colours, textures, parts
    ):
        for diameter in (0.1, 0.4):
            thing = Thing(shape, colour, texture, part, diameter=diameter)
            fitting = [
                named for named in task.classes if thing.fits(named.looks) and named.near is None
            ]
            assert len(fitting) <= 1


@EVERY
def test_pictures_are_functions_of_task_split_number_and_seed(name: str) -> None:
    task = TASKS[name]
    first, again = example(task, "test", 3), example(task, "test", 3)
    assert np.array_equal(np.asarray(first.image), np.asarray(again.image))
    assert (first.things, first.boxes) == (again.things, again.boxes)
    assert first.labels == again.labels
    for other in (
        example(task, "test", 4),
        example(task, "valid", 3),
        example(task, "test", 3, seed=1),
    ):
        assert not np.array_equal(np.asarray(first.image), np.asarray(other.image))


@EVERY
def test_boxes_are_inside_and_of_many_sizes(name: str, shown: dict[str, list[Example]]) -> None:
    widths = []
    for picture in shown[name]:
        assert len(picture.things) == len(picture.boxes) == len(picture.labels)
        for x, y, width, height in picture.boxes:
            assert min(x, y) >= 0
            assert max(x + width, y + height) <= 128
            assert min(width, height) >= 2
            widths.append(width)
    assert np.quantile(widths, 0.9) > 1.6 * np.quantile(widths, 0.1)


@pytest.mark.parametrize("name", shapes13_names())
def test_near_misses_share_every_word_but_one(name: str, shown: dict[str, list[Example]]) -> None:
    """Over half of the distractors miss a class by one word; some have colours of a class."""
    task = TASKS[name]
    distractors = [
        thing
        for picture in shown[name]
        for thing, k in zip(picture.things, picture.labels, strict=True)
        if k is None
    ]
    assert len(distractors) >= len(shown[name]) // 2

    def missed(thing: Thing) -> int:
        looks = [named.looks for named in task.classes]
        return min(
            sum(thing.words.get(kind) not in words for kind, words in each.items())
            for each in looks
        )

    share = np.mean([missed(thing) == 1 for thing in distractors])
    assert share > 0.5


@pytest.mark.parametrize("name", shapes13_names())
def test_classes_and_held_out_pairs_occur(name: str, shown: dict[str, list[Example]]) -> None:
    found = Counter(label for picture in shown[name] for label in picture.labels)
    assert set(range(len(TASKS[name].classes))) <= found.keys()
    assert sum(any(k is not None for k in picture.labels) for picture in shown[name]) >= 0.9 * len(
        shown[name]
    )
    if name in ("Catalogue", "Reef", "Targets", "Badges", "Bolts"):
        assert any(thing.is_held_out() for picture in shown[name] for thing in picture.things)


def test_held_out_classes_of_the_catalogue() -> None:
    names = [tuple(named.name.split()) for named in TASKS["Catalogue"].classes]
    assert 3 <= sum(pair in HELD_OUT for pair in names) <= 10


def test_what_is_moored_is_clearly_so(shown: dict[str, list[Example]]) -> None:
    task = TASKS["Harbour"]
    dock, boat = Thing("cross", "brown", diameter=0.1), Thing("drop", "white", diameter=0.1)
    assert labels_of(task, [dock, replace(boat, x=0.5 + 0.2 * (NEAR - 0.01))]) == [2, 0]
    assert labels_of(task, [dock, replace(boat, x=0.5 + 0.2 * AWAY)]) == [2, 1]
    assert labels_of(task, [boat]) == [1]
    assert {0, 1} <= {label for picture in shown["Harbour"] for label in picture.labels}


def test_sizes_of_the_reef_have_words(shown: dict[str, list[Example]]) -> None:
    """One class is a large triangle: nothing there is of a size between."""
    assert all(thing.size in SIZES for picture in shown["Reef"] for thing in picture.things)


def test_cores_are_where_there_is_room(shown: dict[str, list[Example]]) -> None:
    things = [
        thing for pictures in shown.values() for picture in pictures for thing in picture.things
    ]
    assert all(thing.shape in CENTRED for thing in things if thing.part == "core")


def count(name: str, split: str) -> int:
    """Of the pictures of a split as many as show every class."""
    task = TASKS[name]
    return min(
        task.counts[split], {"train": 30 + 3 * len(task.classes), "valid": 4, "test": 6}[split]
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first pictures of every task."""
    root = tmp_path_factory.mktemp("shapes")
    for name, task in TASKS.items():
        write_task(root / name, name, counts={split: count(name, split) for split in task.counts})
    return root


def data_of(written: Path, task: str, **given: object) -> Shapes:
    data = Shapes(str(written), task, **given)  # type: ignore[arg-type]
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    return data


@EVERY
def test_folders_are_read_without_findings(written: Path, name: str) -> None:
    findings = Findings()
    splits = check_splits(data_of(written, name).read(findings), findings)
    # a class of few images may miss a split
    assert {finding.code for finding in findings} <= {"missing-class"}
    task = TASKS[name]
    for split, index in splits.items():
        assert list(index.class_names) == [named.name for named in task.classes]
        assert not any(mask.any() for mask in index.dropped().values())
        assert len(index) == count(name, split)
    shown = example(task, "test", 0)
    expected = [
        box for box, label in zip(shown.boxes, shown.labels, strict=True) if label is not None
    ]
    assert splits["test"].boxes_of(0).xywh.tolist() == [list(map(float, box)) for box in expected]


@EVERY
@pytest.mark.parametrize("shots", [1, 3, 5, 10])
def test_few_shots_of_every_class(written: Path, name: str, shots: int) -> None:
    folder = written / name / "train"
    index = read_coco(folder / ANNOTATIONS, folder, Findings())
    chosen = few_shot(index, shots, 3)
    there = [
        sum(k in index.boxes_of(i).labels.tolist() for i in range(len(index)))
        for k in range(len(chosen.counts))
    ]
    assert all(count >= min(shots, most) for count, most in zip(chosen.counts, there, strict=True))
    assert min(chosen.counts) >= 1


def test_described_classes_are_prompts(written: Path) -> None:
    data = data_of(written, "Traffic", prompts="described")
    data.read_splits()
    assert [phrase.text for phrase in data.phrases()][:2] == ["yellow square", "circle"]
    plain = data_of(written, "Traffic")
    plain.read_splits()
    assert [phrase.text for phrase in plain.phrases()][:2] == ["bus", "car"]
    assert (data.task_name, data.label) == ("Traffic", "traffic")


@EVERY
def test_prompts_say_the_looks_in_words_of_pretraining_or_are_the_names(name: str) -> None:
    for named in TASKS[name].classes:
        looks = {word for words in named.looks.values() for word in words}
        assert named.prompt.name == named.prompt.name.strip() != ""
        assert named.prompt.name == named.name or looks & words_of(named.prompt.text)


def test_a_complete_folder_is_reused_and_one_of_older_pictures_written_anew(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "shapes", counts=COUNTS, size=64)
    before = (folder / MANIFEST).stat().st_mtime_ns
    write_task(folder, counts=COUNTS, size=64)
    assert (folder / MANIFEST).stat().st_mtime_ns == before
    known = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(known | {"version": known["version"] - 1}))
    write_task(folder, counts={"test": 2}, size=64)
    assert json.loads((folder / MANIFEST).read_text()) == known | {"counts": {"test": 2}}
    assert {path.name for path in folder.iterdir()} == {"test", MANIFEST}
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]  # nothing unfinished is left


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(GLIPError) as refused:
        write_task(tmp_path, counts=COUNTS)
    assert refused.value.code == "folder-taken"
    assert str(tmp_path) in str(refused.value)
    assert (tmp_path / "photo.jpg").exists()


def test_nothing_is_drawn_when_nobody_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path / "shapes", counts=COUNTS, size=64)
    assert capsys.readouterr() == ("", "")
