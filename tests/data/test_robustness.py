"""Reading a data set ends soon, with findings or a DataError that names a file, whatever it has."""

import copy
import itertools
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from formats import BOXES, HEIGHT, WIDTH, coco, picture, write_coco, write_labels, xml
from glip_lightning.data.checks.consistency import check_splits
from glip_lightning.data.checks.findings import DataError, Findings
from glip_lightning.data.formats.layouts import read_folder
from glip_lightning.data.grounding import GroundingDataset
from glip_lightning.data.splits import SPLIT_FILE

KEPT = settings(
    max_examples=250,
    deadline=5000,  # milliseconds
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NUMBERS = st.one_of(
    st.integers(-3, 70),
    st.floats(-5, 70),
    st.sampled_from(
        [0, 1e308, -1e308, 1e-320, 10**400, -(10**30), 2**63, float("nan"), float("inf"), True]
    ),
)
TEXTS = st.one_of(
    st.sampled_from(
        [
            "a.png",
            "../a.png",
            "/etc/passwd",
            "C:\\a.png",
            "",
            " ",
            "\0",
            "\ud800",
            "x" * 5000,
            "1",
            "1e3",
            "cat",
        ]
    ),
    st.text(max_size=8),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["id", "name", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
IMAGE_KEYS = ["id", "file_name", "width", "height", "caption"]
BOX_KEYS = ["id", "image_id", "category_id", "bbox", "area", "iscrowd", "tokens_positive"]
CATEGORY_KEYS = ["id", "name", "supercategory"]


def entries(keys: list[str]) -> st.SearchStrategy:
    return st.lists(
        st.dictionaries(st.sampled_from(keys), VALUES, max_size=len(keys)) | VALUES, max_size=4
    )


CONTENTS = st.fixed_dictionaries(
    {},
    optional={
        "images": entries(IMAGE_KEYS) | VALUES,
        "annotations": entries(BOX_KEYS) | VALUES,
        "categories": entries(CATEGORY_KEYS) | VALUES,
    },
)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["images", "annotations", "categories"]),
        st.integers(0, 3),
        st.sampled_from([*IMAGE_KEYS, *BOX_KEYS, *CATEGORY_KEYS]),
        VALUES,
    ),
    min_size=1,
    max_size=3,
)


def grounded() -> dict[str, Any]:
    content: dict[str, Any] = coco(list(BOXES))
    for image in content["images"]:
        image["caption"] = "a cat and a dog"
    for annotation in content["annotations"]:
        annotation["tokens_positive"] = [[2, 5], [12, 15]]
    return content


def changed(changes: list[tuple[str, int, str, object]]) -> dict[str, Any]:
    content = grounded()
    for part, place, key, value in changes:
        content[part][place % len(content[part])][key] = copy.deepcopy(value)
    return content


@contextmanager
def only_named_faults(folder: Path) -> Iterator[None]:
    """Errors are of our kind and name something below ``folder``."""
    message = folder.name
    try:
        yield
    except DataError as error:
        message = str(error)
    assert folder.name in message


def examine(folder: Path) -> None:
    """Read and check as a training does; then every sample can be had."""
    findings = Findings()
    with only_named_faults(folder):
        splits = check_splits(read_folder(folder, findings).splits, findings)
        assert all(folder.name in finding.where for finding in findings)
        findings.raise_errors()
        for index in splits.values():
            truth = index.ground_truth()
            json.dumps(truth)
            for image in range(len(index)):
                boxes, labels = index.target(image)
                height, width = index.size(image)
                assert np.isfinite(boxes).all()
                assert ((boxes >= 0) & (boxes[:, [0, 0, 0, 0]] < width)).all()
                assert (boxes[:, 3] < height).all()
                assert all(0 <= label < len(index.class_names) for label in labels.tolist())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures, beside which each example writes its annotations."""
    place = tmp_path / "dataset"
    for name in BOXES:
        picture(place / "images", name)
    return place


def write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, skipkeys=True))


@KEPT
@given(content=CONTENTS | VALUES)
def test_any_json(folder: Path, content: object) -> None:
    write_json(folder / "coco.json", content)
    examine(folder)


@KEPT
@given(changes=CHANGES)
def test_changed_json(folder: Path, changes: list) -> None:
    write_json(folder / "coco.json", changed(changes))
    examine(folder)


@KEPT
@given(content=CONTENTS | CHANGES.map(changed))
def test_grounding_files(folder: Path, content: object) -> None:
    write_json(folder / "coco.json", content)
    with only_named_faults(folder):
        data = GroundingDataset(folder / "coco.json", folder / "images")
        for image in range(len(data)):
            sample = data.index.target(image)
            assert np.isfinite(sample[0]).all()


def spoiled(text: str) -> st.SearchStrategy[bytes]:
    """Bytes of ``text`` with a part replaced."""
    data = text.encode()
    cuts = st.tuples(st.integers(0, len(data)), st.integers(0, 6), st.binary(max_size=6))
    return cuts.map(lambda cut: data[: cut[0]] + cut[2] + data[cut[0] + cut[1] :])


@KEPT
@given(content=spoiled(json.dumps(coco(["a.png"]))) | st.binary(max_size=40))
def test_spoiled_json(folder: Path, content: bytes) -> None:
    (folder / "coco.json").write_bytes(content)
    examine(folder)


@KEPT
@given(
    content=spoiled(json.dumps({"train": ["a.png"], "test": ["c.png"]}))
    | VALUES.map(lambda v: json.dumps(v).encode())
)
def test_split_files(folder: Path, content: bytes) -> None:
    write_json(folder / "coco.json", coco(list(BOXES)))
    (folder / SPLIT_FILE).write_bytes(content)
    examine(folder)


WORDS = st.one_of(
    NUMBERS.map(str),
    st.sampled_from(["0", "1", "0.5", "1.0", "-0", "nan", "cat", "0x1", "1_0", ",", "\0"]),
)
LINES = st.lists(st.lists(WORDS, max_size=9).map(" ".join), max_size=4).map("\n".join)


@KEPT
@given(label=LINES.map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=30))
def test_label_files(folder: Path, label: bytes) -> None:
    write_labels(folder / "images", folder / "labels", ["c.png"])
    (folder / "labels" / "a.txt").write_bytes(label)
    (folder / "data.yaml").write_text("names: [cat, dog]\ntrain: images\n")
    examine(folder)


DESCRIPTION = "path: .\nnames:\n  0: cat\n  1: dog\nnc: 2\ntrain: images\nval: list.txt\n"
YAML_PARTS = st.sampled_from(
    ["&a", "*a", "!!python/name:os.system", "<<:", "- ", "[", "{", "? ", "|", "!!timestamp x", "~"]
)
YAML = st.one_of(
    spoiled(DESCRIPTION),
    st.lists(YAML_PARTS | TEXTS, max_size=8).map(
        lambda parts: "".join(parts).encode("utf-8", "replace")
    ),
    st.dictionaries(st.sampled_from(["names", "nc", "path", "train", "val", "test"]), VALUES).map(
        lambda value: json.dumps(value, skipkeys=True).encode()
    ),
)


@KEPT
@given(yaml=YAML, lines=st.lists(TEXTS, max_size=3))
def test_descriptions_and_image_lists(folder: Path, yaml: bytes, lines: list[str]) -> None:
    write_labels(folder / "images", folder / "labels", ["a.png"])
    (folder / "list.txt").write_bytes("\n".join(lines).encode("utf-8", "replace"))
    (folder / "data.yaml").write_bytes(yaml)
    examine(folder)


TAGS = st.sampled_from(
    [
        "xmin",
        "ymin",
        "xmax",
        "ymax",
        "name",
        "filename",
        "width",
        "height",
        "difficult",
        "object",
        "size",
    ]
)
CLEAN = TEXTS.map(lambda text: "".join(c for c in text if c.isalnum() or c in "./\\ "))


def retagged(changes: list[tuple[str, str]]) -> bytes:
    """A valid file, in which the content of some elements is replaced."""
    text = xml("a.png", BOXES["a.png"])
    for tag, value in changes:
        before, opened, rest = text.partition(f"<{tag}>")
        inner, closed, after = rest.partition(f"</{tag}>")
        text = f"{before}{opened}{value if closed else inner}{closed}{after}"
    return text.encode("utf-8", "replace")


XML = st.one_of(
    st.lists(st.tuples(TAGS, NUMBERS.map(str) | CLEAN), max_size=3).map(retagged),
    spoiled(xml("a.png", BOXES["a.png"])),
    st.binary(max_size=40),
)


@KEPT
@given(
    content=XML, listed=st.binary(max_size=12) | st.sampled_from([b"a\nb 1\nd", b"a -1", b"../a"])
)
def test_xml_files_and_lists(folder: Path, content: bytes, listed: bytes) -> None:
    for place in ("Annotations", "ImageSets/Main"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / "Annotations" / "a.xml").write_bytes(content)
    (folder / "Annotations" / "b 1.xml").write_text(xml("b 1.png", BOXES["b 1.png"]))
    (folder / "ImageSets" / "Main" / "train.txt").write_bytes(listed)
    examine(folder)


@KEPT
@given(
    name=st.sampled_from(["state.json", "dataset_dict.json", "dataset_info.json"]),
    content=CONTENTS | VALUES,
)
def test_saved_folders(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: object
) -> None:
    folder = tmp_path_factory.mktemp("x") / "dataset"
    (folder / "train").mkdir(parents=True)
    write_json(folder / "state.json", {})
    write_json(folder / name, content)
    examine(folder)
    shutil.rmtree(folder)


def chain(link: str) -> str:
    """Twelve definitions, each of which names its predecessor ``P`` several times."""
    return "".join(
        link.replace("P", old).replace("C", new) for old, new in itertools.pairwise("abcdefghijklm")
    )


HOSTILE = {
    "python object": (
        "data.yaml",
        "names: !!python/object/apply:os.system ['touch FLAG']\ntrain: images",
    ),
    "python module": (
        "data.yaml",
        "names: [cat]\ntrain: !!python/object/new:os.system ['touch FLAG']",
    ),
    "alias bomb": ("data.yaml", "a: &a [x,x,x]\n" + chain("C: &C [*P,*P,*P,*P]\n")),
    "merge bomb": ("data.yaml", "a: &a {x: 1}\n" + chain("C: &C {<<: [*P,*P,*P,*P]}\n")),
    "deep yaml": ("data.yaml", "[" * 200_000),
    "laughs": (
        "Annotations/a.xml",
        '<!DOCTYPE l [<!ENTITY a "ha">' + chain('<!ENTITY C "&P;&P;">') + "]><l>&m;</l>",
    ),
    "external entity": (
        "Annotations/a.xml",
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file://FLAG">]><a>&x;</a>',
    ),
    "deep json": ("coco.json", "[" * 200_000),
    "deep xml": ("Annotations/a.xml", "<a>" * 200_000),
    "long number": ("coco.json", '{"images": [{"id": ' + "9" * 50_000 + "}]}"),
    "long label": ("labels/a.txt", "0 0.5 0.5 0.5 " + "9" * 200_000),
    "long polygon": ("labels/a.txt", "0 " + "0.5 " * 300_001),
}


UNREADABLE = {
    ".yaml": {"not-yaml"},
    ".json": {"not-json", "nested-too-deeply"},
    ".xml": {"broken-xml"},
    ".txt": {"label-not-a-number", "label-numbers"},
}
"""The codes of files by their ending."""


def read_all(folder: Path) -> None:
    findings = Findings()
    read_folder(folder, findings)
    findings.raise_errors()


@pytest.mark.parametrize("attack", HOSTILE)
def test_nothing_is_executed_fetched_or_blown_up(folder: Path, attack: str, tmp_path: Path) -> None:
    name, text = HOSTILE[attack]
    flag = tmp_path / "executed"
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text.replace("FLAG", str(flag)))
    if name.startswith("labels"):
        (folder / "classes.txt").write_text("cat")
    with pytest.raises(DataError) as caught:
        read_all(folder)
    assert caught.value.code in UNREADABLE[Path(name).suffix]
    assert Path(name).name in str(caught.value)
    assert not flag.exists()


def test_pickles_are_not_touched(folder: Path, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    write_coco(folder / "coco.json", folder / "images")
    for name in ("labels.cache", "train.pkl", "data.pt", "images/a.pkl"):
        (folder / name).write_bytes(pickle.dumps(Harm()))
    examine(folder)
    assert not (tmp_path / "executed").exists()


def test_the_pictures_are_as_the_tests_say(folder: Path) -> None:
    write_json(folder / "coco.json", grounded())
    found = read_folder(folder, Findings()).splits
    assert sum(len(index) for index in found.values()) == len(BOXES)
    assert {index.size(0) for index in found.values()} == {(HEIGHT, WIDTH)}
