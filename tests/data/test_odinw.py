"""The table of ODinW tasks, their names, and where their files are looked for."""

import re
from pathlib import Path

import pytest

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.data.benchmarks.odinw import (
    ANNOTATIONS,
    FEWSHOT_SEEDS,
    FEWSHOT_SHOTS,
    SplitFiles,
    fewshot_file,
    find_task,
    odinw_names,
    odinw_task,
    split_files,
    tasks,
)
from glip_lightning.data.dataset import CocoDetection
from glip_lightning.text.phrases import Phrase


def test_table() -> None:
    assert len(tasks()) == 35
    assert sum(task.in_odinw13 for task in tasks().values()) == 13
    for task in tasks().values():
        assert (
            {"train", "valid", "test"}
            <= task.splits.keys()
            <= {"train", "valid", "minival", "test"}
        )
        assert task.categories
        assert len(task.caption_prompt) in (0, len(task.categories))
        assert (task.odinw13_yaml is not None) == task.in_odinw13
        assert len(task.phrases()) == len(task.categories)
        assert task.official_eval_split == ("minival" if "minival" in task.splits else "valid")
        assert task.zip == task.dir.split("/")[0] + ".zip"


def test_benchmarks() -> None:
    assert odinw_names("odinw35") == list(tasks())
    thirteen = [odinw_task(name) for name in odinw_names("odinw13")]
    assert len(thirteen) == 13
    # each may be called by its short name
    assert all(odinw_task(task.short) == task for task in thirteen)
    assert [task.short for task in thirteen if task.official_eval_split == "minival"] == [
        "EgoHands",
        "VehiclesOpenImages",
    ]
    assert len({odinw_task(name).zip for name in odinw_names("odinw35")}) == 32


@pytest.mark.parametrize(
    "name, official",
    [
        ("Raccoon", "Raccoon_Raccoon.v2-raw.coco"),
        ("Raccoon_Raccoon.v2-raw.coco", "Raccoon_Raccoon.v2-raw.coco"),
        ("pothole", "pothole"),
        ("EgoHands", "EgoHands_generic"),
        ("EgoHands_specific", "EgoHands_specific"),
        ("AerialMaritimeDrone", "AerialMaritimeDrone_large"),
    ],
)
def test_names(name: str, official: str) -> None:
    assert odinw_task(name).name == official


@pytest.mark.parametrize(
    "name, code, named",
    [
        ("OxfordPets", "ambiguous-task", ["'OxfordPets_by-breed'", "'OxfordPets_by-species'"]),
        ("racoon", "unknown-task", ["'racoon'", "'Raccoon"]),
        ("PotHole", "unknown-task", ["'PotHole'", "'pothole'"]),
        ("qqqqqq", "unknown-task", ["'qqqqqq'", *list(tasks())]),
    ],
)
def test_wrong_names(name: str, code: str, named: list[str]) -> None:
    with pytest.raises(GLIPError) as caught:
        odinw_task(name)
    assert caught.value.code == code
    assert all(part in str(caught.value) for part in named)


def test_phrases() -> None:
    assert odinw_task("pothole").phrases() == [Phrase("holes", "there are some ", " on the road")]
    assert odinw_task("pothole").phrases("odinw_13") == [Phrase("pothole")]
    assert odinw_task("CottontailRabbits").phrases() == [Phrase("rabbit")]
    assert odinw_task("CottontailRabbits").phrases("odinw_13") == [Phrase("Cottontail-Rabbit")]
    assert odinw_task("BCCD").phrases()[0] == Phrase("Platelets")
    with pytest.raises(GLIPError) as caught:
        odinw_task("BCCD").phrases("odinw_13")
    assert caught.value.code == "no-phrases"
    assert "'BCCD_BCCD.v3-raw.coco'" in str(caught.value)
    assert "odinw_35" in str(caught.value)


def place(root: Path, file: str) -> Path:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).touch()
    return root / file


@pytest.mark.parametrize(
    "folder",
    [
        "odinw/Raccoon/Raccoon.v2-raw.coco",
        "Raccoon/Raccoon.v2-raw.coco",
        "Raccoon",
        "Raccoon_Raccoon.v2-raw.coco",
    ],
)
def test_layouts(tmp_path: Path, folder: str) -> None:
    for split in ("train", "valid", "test"):
        file = place(tmp_path, f"{folder}/{split}/{ANNOTATIONS}")
        assert split_files(tmp_path, "Raccoon", split) == SplitFiles(file.parent, file)
    assert find_task(tmp_path, "Raccoon_Raccoon.v2-raw.coco") == tmp_path / folder


def test_flat_tasks_and_borrowed_splits(tmp_path: Path) -> None:
    file = place(tmp_path, f"odinw/pistols/export/val_{ANNOTATIONS}")
    assert split_files(tmp_path, "pistols", "valid") == SplitFiles(file.parent, file)
    file = place(tmp_path, f"PascalVOC/valid/{ANNOTATIONS}")
    assert split_files(tmp_path, "PascalVOC", "test") == SplitFiles(file.parent, file)
    file = place(tmp_path, f"EgoHands/generic/mini_val/{ANNOTATIONS}")
    assert split_files(tmp_path, "EgoHands", "minival") == SplitFiles(file.parent, file)


def test_a_short_folder_is_not_taken_for_another_variant(tmp_path: Path) -> None:
    place(tmp_path, f"EgoHands/train/{ANNOTATIONS}")
    assert find_task(tmp_path, "EgoHands_generic") == tmp_path / "EgoHands"
    with pytest.raises(MissingFile) as caught:
        find_task(tmp_path, "EgoHands_specific")
    assert caught.value.code == "missing-file"
    assert "EgoHands_specific" in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile) as caught:
        find_task(tmp_path, "Raccoon")
    assert caught.value.code == "missing-file"
    looked_in = [line.strip() for line in str(caught.value).split("\n")[1:]]
    assert str(tmp_path / "odinw/Raccoon/Raccoon.v2-raw.coco") in looked_in
    place(tmp_path, f"Raccoon/train/{ANNOTATIONS}")
    with pytest.raises(MissingFile) as caught:
        split_files(tmp_path, "Raccoon", "test")
    assert caught.value.code == "missing-file"
    assert str(tmp_path / "Raccoon/test" / ANNOTATIONS) in str(caught.value)
    with pytest.raises(GLIPError) as unknown:
        split_files(tmp_path, "Raccoon", "minival")
    assert unknown.value.code == "unknown-split"
    assert all(
        part in str(unknown.value) for part in ("'Raccoon'", "'minival'", "train, valid, test")
    )


@pytest.mark.parametrize("split, name", [("train", "train"), ("valid", "val")])
def test_prepared_few_shot_lists(tmp_path: Path, split: str, name: str) -> None:
    folder = place(tmp_path, f"odinw/Raccoon/Raccoon.v2-raw.coco/{split}/{ANNOTATIONS}").parent
    with pytest.raises(MissingFile) as caught:
        fewshot_file(tmp_path, "Raccoon", split, shots=1, seed=3)
    assert caught.value.code == "missing-file"
    assert "1, 3, 5, 10" in str(caught.value)  # shots of the official lists, then their seeds
    assert "3, 30, 300" in str(caught.value)
    assert re.findall(r"fewshot_\w+\.json", str(caught.value)) == [
        f"fewshot_{name}_shot1_seed3.json"
    ]
    for shots in FEWSHOT_SHOTS:
        for seed in FEWSHOT_SEEDS:
            file = place(folder, f"fewshot_{name}_shot{shots}_seed{seed}.json")
            assert fewshot_file(tmp_path, "Raccoon", split, shots, seed) == SplitFiles(folder, file)
    with pytest.raises(MissingFile) as caught:
        fewshot_file(tmp_path, "Raccoon", split, shots=2, seed=3)
    assert caught.value.code == "missing-file"
    wanted, *there = re.findall(r"fewshot_\w+\.json", str(caught.value))
    assert wanted == f"fewshot_{name}_shot2_seed3.json"
    assert f"fewshot_{name}_shot10_seed30.json" in there


def test_prepared_lists_of_a_flat_task(tmp_path: Path) -> None:
    folder = place(tmp_path, f"odinw/pistols/export/train_{ANNOTATIONS}").parent
    file = place(folder, "fewshot_train_shot5_seed300.json")
    assert fewshot_file(tmp_path, "pistols", "train", 5, 300) == SplitFiles(folder, file)


@pytest.mark.parametrize("task", ["Raccoon", "Packages", "pothole", "BCCD", "ChessPieces"])
def test_tasks_in_their_layout(odinw_data: Path, task: str) -> None:
    for split in ("train", "valid", "test"):
        files = split_files(odinw_data, task, split)
        data = CocoDetection(files.annotation_file, files.image_dir)
        assert len(data.class_names) == len(odinw_task(task).categories)
