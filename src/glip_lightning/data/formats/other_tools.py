"""Formats of other tools that are not read.

They are recognised by what their files hold, and refused with a message that says what to do.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import data_error

HEAD = 4000  # bytes of the beginning of a table or an XML file that tell its kind
COCO = "export them as COCO there, or convert them to COCO"


@dataclass(frozen=True)
class Tool:
    """A format that is known and not read."""

    name: str
    cure: str = COCO  # what to do


Test = Callable[[Any], bool]
"""Whether the content of a JSON file has a format."""


def _has_keys(content: Any, *wanted: str) -> bool:
    return isinstance(content, dict) and all(key in content for key in wanted)


def _keys(*wanted: str) -> Test:
    """Return the test whether an object has all of these keys."""

    def fits(content: Any) -> bool:
        return _has_keys(content, *wanted)

    return fits


def _entries(*wanted: str) -> Test:
    """Return the test whether the first entry of a list has all of these keys."""

    def fits(content: Any) -> bool:
        return isinstance(content, list) and bool(content) and _has_keys(content[0], *wanted)

    return fits


def _is_via(content: Any) -> bool:
    """Return whether this is a project of VIA or an export: an object, an entry per picture."""
    if not isinstance(content, dict):
        return False
    if "_via_img_metadata" in content:
        return True
    entries = list(content.values())
    return bool(entries) and all(_has_keys(entry, "filename", "regions") for entry in entries)


JSON_TOOLS: tuple[tuple[Test, Tool], ...] = (
    (
        _keys("shapes", "imagePath"),
        Tool("a file of LabelMe", "give the folder with all of them and their pictures"),
    ),
    (
        _is_via,
        Tool(
            "a file of VIA (VGG Image Annotator)", "choose Annotation, Export (COCO format) there"
        ),
    ),
    (_keys("project", "config", "metadata", "file"), Tool("a project of VIA 3")),
    (
        _entries("annotations", "data"),
        Tool("Label Studio's JSON", "export it as COCO or YOLO there"),
    ),
    (
        _entries("completions", "data"),
        Tool("Label Studio's JSON", "export it as COCO or YOLO there"),
    ),
    (_entries("image", "annotations"), Tool("Create ML's JSON")),
    (
        _entries("image", "label"),
        Tool("Label Studio's JSON-MIN", "export it as COCO or YOLO there"),
    ),
    (
        _entries("image_id", "bbox"),
        Tool("a list of detections or of COCO annotations", "give the whole COCO file"),
    ),
    (
        _entries("name", "labels"),
        Tool("JSON of BDD100K (Scalabel)", "convert it with bdd2coco of the BDD100K toolkit"),
    ),
    (_entries("Labeled Data"), Tool("an export of Labelbox")),
    (_keys("data_row"), Tool("an export of Labelbox")),
    (_keys("item", "annotations"), Tool("a file of V7 Darwin")),
    (_keys("items", "categories"), Tool("Datumaro's JSON", "export it as COCO there")),
    (_keys("assets"), Tool("an export of VoTT", "export it as Pascal VOC there")),
    (_keys("size", "objects"), Tool("a file of Supervisely", "export it as COCO there")),
    (_keys("imgHeight", "objects"), Tool("a file of Cityscapes")),
)
ENDINGS: Mapping[str, Tool] = {
    ".tfrecord": Tool("TFRecord"),
    ".record": Tool("TFRecord"),
    ".odgt": Tool("odgt (CrowdHuman)"),
    ".manifest": Tool("a manifest of SageMaker Ground Truth"),
    ".mat": Tool("a file of Matlab"),
    ".ndjson": Tool("a file of JSON lines"),
    ".jsonl": Tool("a file of JSON lines"),
    ".parquet": Tool("Parquet", "load it with datasets and write it by save_to_disk"),
}
XML_TOOLS: Mapping[str, Tool] = {
    r"<annotations[\s>]": Tool("CVAT's own XML", "export it as COCO 1.0 or Ultralytics YOLO there"),
    r"<dataset[\s>]": Tool("XML of dlib's imglab"),
}
PICTURE = r"[^,;\n]+\.(?:jpe?g|png|bmp|webp|tiff?|gif)"
CSV_TOOLS: Mapping[str, Tool] = {
    r"ImageID,.*LabelName": Tool("CSV of Open Images"),
    r"filename,.*region_shape_attributes": Tool(
        "VIA's CSV", "choose Annotation, Export (COCO format) there"
    ),
    r"(?i)x_?min.*y_?min|x1.*y1|bbox|left.*top.*width": Tool("a CSV table of boxes"),
    rf"(?i)^{PICTURE}(?:[,;]-?\d+(?:\.\d+)?){{4}}[,;]|^{PICTURE},,,,": Tool("a CSV table of boxes"),
}
TXT_TOOLS: Mapping[str, Tool] = {
    rf"(?i)^{PICTURE}(?: \d+(?:,\d+){{4}})+\s*\n": Tool("a list of boxes as keras-yolo3 reads it"),
    rf"(?i)^{PICTURE}\n\d+\n\d+ \d+ \d+ \d+ ": Tool("a list of boxes of WIDER FACE"),
}
TABLES = {".xml": XML_TOOLS, ".csv": CSV_TOOLS, ".txt": TXT_TOOLS}
FOLDERS: Mapping[str, Tool] = {
    "labelTxt": Tool("DOTA's layout (oriented boxes)"),
    "label_2": Tool("KITTI's layout"),
}


def load_json(file: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        GLIPError: it is no JSON.
        OSError: it cannot be read.
    """
    try:
        return json.loads(regular_file(file).read_text(encoding="utf-8-sig"))
    except GLIPError:
        raise
    except (ValueError, RecursionError) as error:
        raise GLIPError(f"not readable JSON ({error})", code="not-json") from None


def tool_of(content: Any) -> Tool | None:
    """Return the format of a JSON file's content, if it is known and not read."""
    for fits, tool in JSON_TOOLS:
        if fits(content):
            return tool
    return None


def refuse_tool(file: Path) -> None:
    """Raise DataError if the file has a format that is known and not read."""
    tool = _tool_of_file(file)
    if tool is not None:
        raise data_error("other-tool", file, tool=tool.name, cure=tool.cure)


def refuse_tools(folder: Path) -> None:
    """Raise DataError for the first file or folder with a format that is known and not read.

    Two levels are searched, and at most 1,000 files and folders of each.
    """
    for pattern in ("*", "*/*"):
        for path in sorted(folder.glob(pattern))[:1000]:
            if path.is_dir() and path.name in FOLDERS:
                tool = FOLDERS[path.name]
                raise data_error("other-tool", path, tool=tool.name, cure=tool.cure)
            if path.is_file() and not path.name.startswith("."):
                refuse_tool(path)


def _tool_of_file(file: Path) -> Tool | None:
    ending = file.suffix.lower()
    try:
        if ending == ".json":
            return tool_of(load_json(file))
        if ending in TABLES:
            with regular_file(file).open("rb") as stream:
                text = stream.read(HEAD).decode("utf-8-sig", "replace").replace("\r\n", "\n")
            if ending == ".csv":
                text = text.partition("\n")[0]
            for pattern, tool in TABLES[ending].items():
                if re.search(pattern, text):
                    return tool
            return None
    except (GLIPError, OSError):
        return None
    return ENDINGS.get(ending)
