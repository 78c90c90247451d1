"""Pascal VOC folders: lists, corners, difficult objects, and what is said about faulty files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from formats import BOXES, HEIGHT, SPLITS, WIDTH, coco, picture, write_voc, xml
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.voc_xml import is_voc, parse_xml, read_voc

LISTS = {
    "train": ["a", "b 1"],
    "val": ["c -1", "d  1"],
    "test": ["d"],
    "dog_train": ["a"],
    "trainval": ["c"],
}


def read(folder: Path) -> dict:
    assert is_voc(folder)
    findings = Findings()
    splits = read_voc(folder, findings)
    assert not findings
    return splits


def check(splits: dict, **wanted: tuple[str, ...]) -> None:
    assert splits.keys() == wanted.keys()
    for split, names in wanted.items():
        truth, expected = splits[split].ground_truth(), coco(names)
        assert [splits[split].name(i) for i in range(len(names))] == list(names)
        assert truth["annotations"] == expected["annotations"]
        assert truth["categories"] == expected["categories"]


def test_lists(tmp_path: Path) -> None:
    check(read(write_voc(tmp_path, LISTS)), **SPLITS)


def test_trainval_trains_where_there_is_no_train_list(tmp_path: Path) -> None:
    lists = {"trainval": ["a", "b 1", "c"], "test": ["d"]}
    check(read(write_voc(tmp_path, lists)), train=("a.png", "b 1.png", "c.png"), test=("d.png",))


def test_no_lists(tmp_path: Path) -> None:
    check(read(write_voc(tmp_path)), train=tuple(BOXES))


def test_split_folders(tmp_path: Path) -> None:
    for split, names in SPLITS.items():
        for name in names:
            picture(tmp_path / split, name)
            (tmp_path / split / name).with_suffix(".xml").write_text(xml(name, BOXES[name]))
    check(read(tmp_path), **SPLITS)


@pytest.mark.parametrize("images", ["images", "Annotations", "."])
def test_other_places_of_the_pictures(tmp_path: Path, images: str) -> None:
    write_voc(tmp_path)
    for file in (tmp_path / "JPEGImages").iterdir():
        (tmp_path / images).mkdir(exist_ok=True)
        file.rename(tmp_path / images / file.name)
    check(read(tmp_path), train=tuple(BOXES))


def test_a_stale_file_name_gives_way_to_the_stem(tmp_path: Path) -> None:
    write_voc(tmp_path)
    file = tmp_path / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("a.png", "IMG_17.JPG"))
    check(read(tmp_path), train=tuple(BOXES))


def write_one(folder: Path, content: str) -> Path:
    picture(folder / "JPEGImages", "a.png")
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "a.xml").write_text(content)
    return folder


def test_difficult_objects_are_crowds(tmp_path: Path) -> None:
    content = xml("a.png", BOXES["a.png"]).replace("<difficult>0", "<difficult>1", 1)
    findings = Findings()
    index = read_voc(write_one(tmp_path, content), findings)["train"]
    assert index.boxes.crowd.tolist() == [True, False]
    assert index.target(0)[1].tolist() == [1]
    assert [(f.code, f.level, f.count) for f in findings] == [("difficult", "info", 1)]


@pytest.mark.parametrize(
    "corners, boxes",
    [
        ((0, 5, 9, 19), [[0, 5, 10, 15], [4, 6, 20, 10]]),
        ((0, 5, WIDTH, 19), [[0, 5, WIDTH, 14], [4, 6, 19, 9]]),
    ],
)
def test_zeros_mean_that_pixels_are_counted_from_0(
    tmp_path: Path, corners: tuple[int, ...], boxes: list
) -> None:
    x1, y1, x2, y2 = corners
    first = (
        f"<object><name>cat</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox></object>"
    )
    content = xml("a.png", BOXES["a.png"][:1], start=0).replace("<object>", f"{first}<object>", 1)
    findings = Findings()
    index = read_voc(write_one(tmp_path, content), findings)["train"]
    assert index.boxes.xywh.tolist() == boxes
    assert [(f.code, f.level, f.count) for f in findings] == [("zero-based", "warning", 1)]


@pytest.mark.parametrize(
    "old, new, code",
    [
        ("<annotation>", '<!DOCTYPE a [<!ENTITY e "x">]><annotation>', "broken-xml"),
        ("<annotation>", '<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><annotation>', "broken-xml"),
        ("</annotation>", "", "broken-xml"),
        ("<annotation>", '<?xml version="1.0" encoding="nonsense"?><annotation>', "broken-xml"),
        ("<xmin>5<", "<xmin>five<", "bad-box"),
        ("<xmin>5<", "<xmin>nan<", "bad-box"),
        ("<xmin>5<", "<xmin>1e308<", "bad-box"),
        ("<xmin>5<", f"<xmin>{10**400}<", "bad-box"),
        ("<xmin>5<", "<xmin>25<", "bad-box"),
        ("<xmax>24</xmax>", "", "bad-box"),
        ("<name>cat</name>", "", "no-category-name"),
        ("a.png", "../a.png", "outside-folder"),
        ("a.png", "/etc/passwd", "outside-folder"),
        (f"<width>{WIDTH}", "<width>640", "wrong-size"),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, code: str) -> None:
    content = xml("a.png", BOXES["a.png"])
    assert old in content
    findings = Findings()
    read_voc(write_one(tmp_path, content.replace(old, new, 1)), findings)
    assert findings.errors[0].code == code
    assert "a.xml" in findings.errors[0].message or "a.png" in findings.errors[0].message


def test_the_line_of_broken_xml_is_named(tmp_path: Path) -> None:
    findings = Findings()
    read_voc(write_one(tmp_path, "<annotation>\n<size>\n</annotation>"), findings)
    (error,) = findings.errors
    assert error.code == "broken-xml"
    assert "a.xml" in error.message
    assert "mismatched tag: line 3" in error.message  # expat's words


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_in_any_encoding(encoding: str) -> None:
    bomb = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><l>&b;</l>'
    with pytest.raises(GLIPError) as caught:
        parse_xml(bomb.encode(encoding))
    assert caught.value.code == "broken-xml"
    assert "<!DOCTYPE" in str(caught.value)
    assert parse_xml("<l>caf\u00e9</l>".encode(encoding)).text == "caf\u00e9"


def test_sizes_of_zero_say_nothing(tmp_path: Path) -> None:
    content = xml("a.png", BOXES["a.png"]).replace(f"<width>{WIDTH}", "<width>0")
    findings = Findings()
    index = read_voc(write_one(tmp_path, content), findings)["train"]
    assert index.sizes.tolist() == [[HEIGHT, WIDTH]]
    assert not findings


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": ["a", "b 1", "x", "y"], "val": ["c"]})
    for name in ("a.png", "b 1.png"):
        (tmp_path / "JPEGImages" / name).unlink()
    findings = Findings()
    read_voc(tmp_path, findings)
    messages = {finding.code: finding.message for finding in findings}
    assert "a.png (a.xml), b 1.png (b 1.xml)" in messages["missing-image"]
    assert "'x', 'y'" in messages["missing-annotation"]
    assert "d" in messages["split-unlisted"]


def test_a_picture_has_one_annotation_file(tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "z.xml").write_text(xml("a.png", []))
    findings = Findings()
    assert len(read_voc(tmp_path, findings)["train"]) == 4
    assert [(f.code, "a.png (a.xml, z.xml)" in f.message) for f in findings] == [
        ("duplicate-image", True)
    ]


def test_a_turned_photo_is_read_as_its_size_says(tmp_path: Path) -> None:
    write_one(tmp_path, xml("a.png", BOXES["a.png"]))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "JPEGImages" / "a.png", exif=exif)
    assert read_voc(tmp_path, Findings())["train"].upright.tolist() == [True]


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_an_annotation_that_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    write_voc(tmp_path)
    make(tmp_path / "Annotations" / "z.xml")
    findings = Findings()
    read_voc(tmp_path, findings)
    assert [(f.code, f.count) for f in findings.errors] == [("broken-xml", 1)]
    assert "z.xml" in findings.errors[0].message


def test_deep_nesting_is_read(tmp_path: Path) -> None:
    """Neither the parser nor the search below the root calls itself for each level."""
    findings = Findings()
    read_voc(write_one(tmp_path, "<annotation>" * 50_000 + "</annotation>" * 50_000), findings)
    assert [f.code for f in findings.errors] == ["no-categories"]


@pytest.mark.parametrize(
    "annotations, images", [("annots", "images"), ("xml", "pics"), ("labels", "Bilder"), (".", "x")]
)
def test_folders_of_any_name(tmp_path: Path, annotations: str, images: str) -> None:
    write_voc(tmp_path / "voc")
    (tmp_path / "set" / annotations).mkdir(parents=True)
    for file in (tmp_path / "voc" / "Annotations").iterdir():
        file.rename(tmp_path / "set" / annotations / file.name)
    (tmp_path / "voc" / "JPEGImages").rename(tmp_path / "set" / images)
    check(read(tmp_path / "set"), train=tuple(BOXES))


@pytest.mark.parametrize(
    "places", [("Annotations/{}", "images/{}"), ("{}/annots", "{}/pics"), ("xml/{}", "pics/{}")]
)
def test_splits_below_folders_of_any_name(tmp_path: Path, places: tuple[str, str]) -> None:
    for split, names in SPLITS.items():
        annotations, images = (tmp_path / place.format(split) for place in places)
        annotations.mkdir(parents=True)
        for name in names:
            picture(images, name)
            (annotations / name).with_suffix(".xml").write_text(xml(name, BOXES[name]))
    check(read(tmp_path), **SPLITS)


@pytest.mark.parametrize("stored", ["A.PNG", "caf\u00e9.png"])
@pytest.mark.parametrize("given", ["a.png", "cafe\u0301.png", "C:\\Users\\me\\a.png"])
def test_names_of_other_systems(tmp_path: Path, stored: str, given: str) -> None:
    folder = write_one(tmp_path, xml(given, BOXES["a.png"]))
    (folder / "JPEGImages" / "a.png").rename(folder / "JPEGImages" / stored)
    (folder / "Annotations" / "a.xml").rename(
        folder / "Annotations" / f"{Path(stored).stem.lower()}.xml"
    )
    findings = Findings()
    splits = read_voc(folder, findings)
    if ":" in given:
        assert [finding.code for finding in findings.errors] == ["outside-folder"]
    else:
        assert [splits["train"].name(0), len(splits["train"].boxes.labels)] == [stored, 2]


ROTATION = "<attributes><attribute><name>rotation</name><value>{}</value></attribute></attributes>"
TURNED = "<cx>30</cx><cy>20</cy><w>20</w><h>10</h><angle>1.57079632679</angle>"
QUAD = "<x1>3</x1><y1>4</y1><x2>20</x2><y2>6</y2><x3>18</x3><y3>30</y3>"


@pytest.mark.parametrize(
    "shape, box",
    [
        (f"<robndbox>{TURNED}</robndbox>", [25, 10, 10, 20]),
        (f"<polygon>{QUAD}</polygon>", [3, 4, 17, 26]),
        (f"<bndbox>{QUAD}<x4>2</x4><y4>28</y4></bndbox>", [2, 4, 18, 26]),
        (
            "<bndbox><xmin>10</xmin><ymin>5</ymin><xmax>30</xmax><ymax>15</ymax></bndbox>"
            + ROTATION.format("90.0"),
            [15, 0, 10, 20],
        ),
    ],
)
def test_turned_boxes_and_polygons(tmp_path: Path, shape: str, box: list[float]) -> None:
    # its corners are edges between pixels, counted from 0
    edges = "<bndbox><xmin>0</xmin><ymin>0</ymin><xmax>64</xmax><ymax>48</ymax></bndbox>"
    objects = [f"<object><name>cat</name>{each}</object>" for each in (shape, edges)]
    findings = Findings()
    index = read_voc(write_one(tmp_path, xml("a.png", (), "".join(objects))), findings)["train"]
    assert index.boxes.xywh[0].tolist() == pytest.approx(box, abs=1e-6)
    assert [(f.level, f.count) for f in findings if f.code == "turned-box"] == [("warning", 1)]


def test_an_upright_box_has_no_turn(tmp_path: Path) -> None:
    content = xml("a.png", BOXES["a.png"]).replace(
        "</object>", f"{ROTATION.format('0.0')}</object>"
    )
    findings = Findings()
    read_voc(write_one(tmp_path, content), findings)
    assert not findings


@pytest.mark.parametrize("encoding", ["gbk", "gb2312", "big5", "shift_jis", "utf-8", "utf-16"])
def test_encodings_of_other_systems(tmp_path: Path, encoding: str) -> None:
    content = f'<?xml version="1.0" encoding="{encoding}"?>' + xml("a.png", BOXES["a.png"]).replace(
        "cat", "\u5927"
    )
    folder = write_one(tmp_path, "")
    (folder / "Annotations" / "a.xml").write_bytes(content.encode(encoding))
    findings = Findings()
    assert read_voc(folder, findings)["train"].class_names == ("dog", "\u5927")
    assert not findings
