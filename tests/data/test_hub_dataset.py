"""Data sets as the Hub has them: read, written, and read back the same."""

import io
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from formats import BOXES, CLASSES, HEIGHT, SPLITS, WIDTH, write_parts, write_yolo
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.findings import DataError, Findings
from glip_lightning.data.checks.photo_check import check_photos
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.formats.hub_dataset import read_hub, to_hub
from glip_lightning.data.formats.layouts import read_folder
from glip_lightning.data.index import Index
from glip_lightning.data.transforms import Transform

datasets = pytest.importorskip("datasets")
RAW = Transform((HEIGHT,), WIDTH)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def png(size: tuple[int, int] = (WIDTH, HEIGHT), **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(stream, "png", **options)
    return stream.getvalue()


def columns(**changes: Any) -> dict[str, list]:
    """Two rows as cppe-5 has them; ``None`` leaves a column out."""
    table: dict[str, Any] = {
        "image_id": [15, 7],
        "image": [{"bytes": png(), "path": None}] * 2,
        "width": [WIDTH] * 2,
        "height": [HEIGHT] * 2,
        "objects": [
            {
                "id": [114, 115],
                "area": [200, 384],
                "bbox": [[4, 6, 20, 10], [30, 12, 16, 24]],
                "category": [0, 1],
            },
            {"id": [], "area": [], "bbox": [], "category": []},
        ],
    }
    return {key: value for key, value in (table | changes).items() if value is not None}


def features(table: dict[str, list], objects: Any = None) -> Any:
    number = datasets.Value("int64")
    fields = {
        "id": datasets.List(number),
        "area": datasets.List(number),
        "bbox": datasets.List(datasets.List(datasets.Value("float32"), length=4)),
        "category": datasets.List(datasets.ClassLabel(names=list(CLASSES))),
    }
    kinds = {"image": datasets.Image(), "objects": objects or fields}
    return datasets.Features({key: kinds.get(key, number) for key in table})


def saved(folder: Path, table: dict[str, list], objects: Any = None) -> Path:
    datasets.Dataset.from_dict(table, features(table, objects)).save_to_disk(folder)
    return folder


def truths(index: Index) -> list[tuple]:
    return [
        (a["image_id"], a["category_id"], a["bbox"], a["area"])
        for a in index.ground_truth()["annotations"]
    ]


TWO_BOXES = [(15, 1, [4, 6, 20, 10], 200), (15, 2, [30, 12, 16, 24], 384)]


def test_the_convention_of_the_hub(tmp_path: Path) -> None:
    findings = Findings()
    index = read_hub(saved(tmp_path / "set", columns()), findings)["train"]
    assert index.class_names == CLASSES
    assert truths(index) == TWO_BOXES
    assert index.ids.tolist() == [7, 15]
    assert [index.name(0), index.name(1)] == ["train[1]", "train[0]"]
    assert DetectionDataset(index, RAW)[1]["image"][:, 0, 0].tolist() == [10, 200, 30]
    assert not findings


def records(*, names: bool = True) -> tuple[dict[str, list], Any]:
    """Objects as a list of records, under other names."""
    entries = [
        {"label": 0 if names else "cat", "bboxes": [4.0, 6.0, 20.0, 10.0], "area": 200.0},
        {"label": 1 if names else "dog", "bboxes": [30.0, 12.0, 16.0, 24.0], "area": 384.0},
    ]
    kind = datasets.ClassLabel(names=list(CLASSES)) if names else datasets.Value("string")
    fields = {
        "label": kind,
        "bboxes": datasets.List(datasets.Value("float64")),
        "area": datasets.Value("float64"),
    }
    return columns(objects=[entries, []]), datasets.List(fields)


@pytest.mark.parametrize("names", [True, False])
def test_lists_of_records_and_classes_as_texts(tmp_path: Path, names: bool) -> None:
    index = read_hub(saved(tmp_path / "set", *records(names=names)), Findings())["train"]
    assert truths(index) == TWO_BOXES
    assert index.class_names == CLASSES


def test_boxes_as_columns_of_their_own(tmp_path: Path) -> None:
    table = columns(objects=None, image_id=None, width=None, height=None)
    kinds = features(table)
    objects = columns()["objects"]
    for key, kind in (
        ("bbox", datasets.List(datasets.List(datasets.Value("float32")))),
        ("labels", datasets.List(datasets.ClassLabel(names=list(CLASSES)))),
    ):
        table[key] = [row["category" if key == "labels" else key] for row in objects]
        kinds[key] = kind
    datasets.Dataset.from_dict(table, kinds).save_to_disk(tmp_path / "set")
    index = read_hub(tmp_path / "set", Findings())["train"]
    assert [truth[1:3] for truth in truths(index)] == [truth[1:3] for truth in TWO_BOXES]
    assert index.ids.tolist() == [0, 1]
    assert index.sizes.tolist() == [[HEIGHT, WIDTH]] * 2


def test_columns_of_other_data_sets_are_listed(tmp_path: Path) -> None:
    plain = datasets.Dataset.from_dict({"text": ["x"], "label": [1]})
    plain.save_to_disk(tmp_path / "text")
    with pytest.raises(DataError) as caught:
        read_hub(tmp_path / "text", Findings())
    assert caught.value.code == "unknown-columns"
    # two of the set, one wanted
    for part in ("text: Value('string')", "label: Value('int64')", "image: Image()"):
        assert part in str(caught.value)
    assert str(caught.value).count("ClassLabel") == 1  # among those that are wanted
    numbers = {
        "bbox": datasets.List(datasets.List(datasets.Value("float32"))),
        "category": datasets.List(datasets.Value("int64")),
    }
    table = columns(
        objects=[{"bbox": row["bbox"], "category": row["category"]} for row in columns()["objects"]]
    )
    with pytest.raises(DataError) as caught:
        read_hub(saved(tmp_path / "numbers", table, numbers), Findings())
    assert caught.value.code == "unknown-columns"
    assert "'category': List(Value('int64'))" in str(caught.value)
    assert str(caught.value).count("ClassLabel") == 2  # what the numbers should be, too


@pytest.mark.parametrize(
    "changes, code, named",
    [
        (
            {"image": [{"bytes": b"<html>", "path": None}] * 2},
            "unreadable-image",
            ["train[0]", "train[1]"],
        ),
        ({"image": [{"bytes": png(), "path": None}, None]}, "unreadable-image", ["train[1]"]),
        ({"image_id": [3, 3]}, "duplicate-image-id", ["3"]),
        ({"width": [WIDTH, 5]}, "wrong-size", ["train[1]"]),
        (
            {"objects": [{"bbox": [[1, 2, 3, float("nan")]], "category": [0]}] * 2},
            "bad-box",
            ["train[0]", "nan"],
        ),
        (
            {"objects": [{"bbox": [[1, 2, 3, 4]], "category": [-1]}] * 2},
            "bad-box",
            ["train[1]", "-1"],
        ),
        (
            {"objects": [{"bbox": [[1, 2, 3, 4]], "category": []}] * 2},
            "bad-box",
            ["train[0]", "None"],
        ),
    ],
)
def test_faulty_rows_are_named(tmp_path: Path, changes: dict, code: str, named: list[str]) -> None:
    table = columns(**changes)
    for row in table["objects"]:
        for key in ("id", "area"):
            row.setdefault(key, [])
    findings = Findings()
    read_hub(saved(tmp_path / "set", table), findings)
    assert [finding.code for finding in findings] == [code]
    assert all(part in findings[0].message for part in named), findings[0].message


def test_no_objects(tmp_path: Path) -> None:
    index = read_hub(saved(tmp_path / "none", columns(objects=[None, None])), Findings())["train"]
    assert (len(index), len(index.boxes.labels)) == (2, 0)


def test_names_of_splits(tmp_path: Path) -> None:
    one = datasets.Dataset.from_dict(columns(), features(columns()))
    datasets.DatasetDict({"validation": one, "train": one, "unlabelled": one}).save_to_disk(
        tmp_path / "set"
    )
    findings = Findings()
    assert list(read_folder(tmp_path / "set", findings).splits) == ["train", "valid"]
    assert [(f.code, "'unlabelled'" in f.message) for f in findings] == [("unused-split", True)]
    datasets.DatasetDict({"odd": one, "even": one}).save_to_disk(tmp_path / "odd")
    with pytest.raises(DataError) as caught:
        read_hub(tmp_path / "odd", Findings())
    assert caught.value.code == "no-known-split"
    assert "odd, even" in str(caught.value)


def test_an_unreachable_data_set_is_one_line(tmp_path: Path) -> None:
    for name in ("nobody/nothing", str(tmp_path / "none")):
        with pytest.raises(DataError) as caught:
            read_hub(name, Findings())
        assert caught.value.code == "hub-unreadable"
        assert name in str(caught.value)
        assert "save_to_disk" in str(caught.value)  # what a folder needs
        assert len(str(caught.value).splitlines()) == 1
    folder = saved(tmp_path / "set", columns())
    next(folder.glob("*.arrow")).write_bytes(b"broken")
    with pytest.raises(DataError) as caught:
        read_hub(folder, Findings())
    assert caught.value.code == "hub-unreadable"
    assert str(folder) in str(caught.value)
    assert "save_to_disk" not in str(caught.value)  # it has been saved, but is broken


def test_changed_data_are_read_anew(tmp_path: Path) -> None:
    """Nothing is kept in a cache that would not notice."""
    assert len(read_hub(saved(tmp_path / "set", columns()), Findings())["train"]) == 2
    one = {key: value[:1] for key, value in columns().items()}
    saved(tmp_path / "other", one)
    for file in (tmp_path / "other").iterdir():
        file.replace(tmp_path / "set" / file.name)
    assert len(read_hub(tmp_path / "set", Findings())["train"]) == 1


def equal(first: Index, second: Index) -> None:
    assert first.ground_truth() == second.ground_truth()
    assert first.upright.tolist() == second.upright.tolist()
    for image in range(len(first)):
        assert first.picture(image).tobytes() == second.picture(image).tobytes()
        for a, b in zip(first.target(image), second.target(image), strict=True):
            assert a.tolist() == b.tolist()


def test_written_and_read_again(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "coco")
    before = read_folder(folder, Findings()).splits
    to_hub(before).save_to_disk(tmp_path / "saved")
    files = {file.name: file.read_bytes() for file in (folder / "train").glob("*.png")}
    for file in folder.rglob("*.png"):
        file.unlink()  # the saved set holds everything
        assert file.name in BOXES
    with pytest.raises(FileNotFoundError):
        DetectionDataset(before["train"])[0]
    write_parts(folder)
    after = read_folder(tmp_path / "saved", Findings()).splits
    assert list(after) == list(SPLITS)
    for split in SPLITS:
        equal(before[split], after[split])
    cells = [after["train"].source.cell(row) for row in range(2)]  # pyrefly: ignore
    assert {cell["path"]: cell["bytes"] for cell in cells} == files
    to_hub(after).save_to_disk(tmp_path / "twice")  # from a table to a table
    for split, index in read_hub(tmp_path / "twice", Findings()).items():
        equal(before[split], index)


def test_empty_splits_are_left_out(tmp_path: Path) -> None:
    index = read_hub(saved(tmp_path / "set", columns()), Findings())["train"]
    to_hub({"train": index, "test": index.select([])}).save_to_disk(tmp_path / "again")
    assert list(read_hub(tmp_path / "again", Findings())) == ["train"]


def test_half_turns_survive(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path / "yolo")
    exif = Image.Exif()
    exif[0x0112] = 3
    photo = folder / "images" / "train" / "a.png"
    with Image.open(photo) as image:
        image.save(photo, exif=exif)
    before = read_folder(folder, Findings()).splits
    to_hub(before).save_to_disk(tmp_path / "saved")
    equal(before["train"], read_hub(tmp_path / "saved", Findings())["train"])


def test_a_push_embeds_the_images(tmp_path: Path) -> None:
    """What push_to_hub does to each shard before it is sent."""
    from datasets.table import embed_table_storage

    folder = write_parts(tmp_path)
    table = embed_table_storage(to_hub(read_folder(folder, Findings()).splits)["train"].data.table)
    cells = table.column("image").to_pylist()
    assert [cell["bytes"] for cell in cells] == [
        (folder / "train" / cell["path"]).read_bytes() for cell in cells
    ]


def test_splits_of_other_classes_are_refused(tmp_path: Path) -> None:
    index = read_hub(saved(tmp_path / "set", columns()), Findings())["train"]
    other = read_hub(saved(tmp_path / "other", *records(names=False)), Findings())["train"]
    assert to_hub({"train": index, "test": other}).keys() == {"train", "test"}
    with pytest.raises(GLIPError) as caught:
        to_hub({"train": index, "test": replace(other, class_names=("cat", "cow"))})
    assert caught.value.code == "classes-differ"
    assert "2" in str(caught.value)


def test_workers_get_no_images(tmp_path: Path) -> None:
    index = read_hub(saved(tmp_path / "set", columns()), Findings())["train"]
    content = pickle.dumps(index.source)
    assert len(content) < 5000
    assert png() not in content
    assert pickle.loads(content).read(0, upright=False).size == (WIDTH, HEIGHT)


def test_the_data_module_divides_a_lone_split(tmp_path: Path) -> None:
    from glip_lightning.training.data_sources import HubData

    data = HubData(str(saved(tmp_path / "OWNER-set", columns())))
    findings = Findings()
    assert {split: len(index) for split, index in data.read(findings).items()} == {
        "train": 1,
        "valid": 1,
    }
    assert data.label == "owner-set"
    assert [finding.code for finding in findings] == ["split-by-rule"]


def test_rows_are_decoded_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As photos of a folder are; a table that has not changed is not read again."""
    from glip_lightning.training.data_sources import HubData

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    table = columns()
    whole = table["image"][0]["bytes"]
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format="PNG")
    table["image"][0] = {"bytes": file.getvalue()[:-2000], "path": None}
    folder = str(saved(tmp_path / "set", table))
    for _ in range(2):
        with pytest.raises(DataError) as refused:
            HubData(folder).read_splits()
        assert refused.value.code == "undecodable-image"
    table["image"][0] = {"bytes": whole, "path": None}
    index = read_hub(saved(tmp_path / "whole", table), Findings())["train"]
    read: list[int] = []

    def bar(steps: Iterator[None], total: int) -> Iterator[None]:
        read.append(total)
        return steps

    for _ in range(2):
        check_photos({"train": index}, Findings(), bar)
    assert read == [2]


def test_pictures_of_other_columns_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a column of masks holds, Pillow is not asked which format it might be."""
    table = columns(mask=[{"bytes": b"%!PS-Adobe-3.0 EPSF-3.0", "path": None}] * 2)
    kinds = features(table)
    kinds["mask"] = datasets.Image()
    datasets.Dataset.from_dict(table, kinds).save_to_disk(tmp_path / "set")
    findings = Findings()
    assert truths(read_hub(tmp_path / "set", findings)["train"]) == TWO_BOXES
    assert not findings


def test_a_row_that_is_a_program(tmp_path: Path) -> None:
    table = columns(
        image=[{"bytes": b"%!PS-Adobe-3.0 EPSF-3.0", "path": None}, {"bytes": png(), "path": None}]
    )
    findings = Findings()
    read_hub(saved(tmp_path / "set", table), findings)
    assert [(f.code, f.count) for f in findings.errors] == [("unreadable-image", 1)]
    assert "train[0]" in findings.errors[0].message


@pytest.mark.parametrize("ending", ["json", "arrow"])
def test_a_pipe_in_a_saved_folder(tmp_path: Path, ending: str) -> None:
    folder = saved(tmp_path / "set", columns())
    file = max(folder.glob(f"*.{ending}"))
    content = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    findings = Findings()
    assert findings.attempt(folder, lambda: read_hub(folder, findings)) is None
    assert [f.code for f in findings.errors] == ["not-a-file"]
    file.unlink()
    file.write_bytes(content)
    assert len(read_hub(folder, Findings())["train"]) == 2
