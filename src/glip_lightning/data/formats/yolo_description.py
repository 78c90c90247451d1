"""Descriptions of YOLO data sets.

They are data.yaml, obj.data of darknet and CVAT, lists of pictures, and lists of classes.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Findings, data_error, listing, short
from glip_lightning.data.formats.file_names import read_list
from glip_lightning.data.images import PICTURES, is_file
from glip_lightning.data.splits import SPLIT_WORDS
from glip_lightning.data.types import Split

if TYPE_CHECKING:
    import yaml

YAML_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
CLASS_FILES = ("classes.txt", "obj.names")
DEEPEST = 10  # levels of data.yaml


@dataclass(frozen=True)
class YoloDescription:
    """What is known of a YOLO folder before its pictures are read."""

    folder: Path
    file: Path  # data.yaml or obj.data; the folder where there is neither
    content: Mapping[str, Any]
    root: Path  # what the entries of data.yaml are relative to

    @property
    def splits(self) -> dict[Split, Any]:
        """The entries of the splits that the description names."""
        entries: dict[Split, Any] = {}
        for word, split in SPLIT_WORDS.items():
            if self.content.get(word) is not None:
                entries[split] = self.content[word]
        return entries

    @property
    def key_points(self) -> int:
        """How many numbers of key points follow a box, 0 where there are none."""
        match self.content.get("kpt_shape"):
            case [int(points), int(numbers)] if points > 0 and numbers in (2, 3):
                return points * numbers
        return 0

    @property
    def foreign_path(self) -> str:
        """The part of a message about a ``path:`` of another machine; empty if it is right."""
        path = self.content.get("path")
        if self.root != self.folder or not isinstance(path, str) or _exists(self.folder / path):
            return ""
        return f": path: {short(path)} is not on this machine"


def find_yaml(folder: Path) -> Path | None:
    """Return the YAML file that describes a data set, None if there is none.

    It has a usual name (:data:`YAML_FILES`), or is the only YAML file with a key ``names``.
    """
    for name in YAML_FILES:
        if (folder / name).is_file():
            return folder / name
    named = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".yaml", ".yml") and path.is_file():
            text = regular_file(path).read_text(encoding="utf-8", errors="replace")
            if "\nnames:" in f"\n{text}":
                named.append(path)
    return named[0] if len(named) == 1 else None


def find_darknet(folder: Path) -> Path | None:
    """Return the file of darknet and CVAT that names lists of pictures and of classes, if any."""
    usual = folder / "obj.data"
    if is_file(usual):
        return usual
    files = [path for path in folder.glob("*.data") if is_file(path)]
    return files[0] if len(files) == 1 else None


def class_files(folder: Path) -> list[Path]:
    """Return the lists of classes in the folder and up to two levels below (LabelImg)."""
    found: list[Path] = []
    for below in ("", "*/", "*/*/"):
        for name in CLASS_FILES:
            found += [path for path in sorted(folder.glob(f"{below}{name}")) if is_file(path)]
    return found


def read_description(folder: Path) -> YoloDescription:
    """Read what describes a YOLO folder: data.yaml, else obj.data, else the lists of pictures.

    Raises:
        DataError: the description cannot be read.
    """
    content: dict[str, Any] = {}
    file = find_yaml(folder)
    if file is not None:
        content = _load_yaml(file)
    else:
        file = find_darknet(folder)
        if file is not None:
            content = _load_darknet(file)
    if all(content.get(word) is None for word in SPLIT_WORDS):
        content = content | _picture_lists(folder)
    path = content.get("path")
    root = folder
    if isinstance(path, str) and "\0" not in path and (folder / path).is_dir():
        root = folder / path
    return YoloDescription(folder, file or folder, content, root)


def _load_darknet(file: Path) -> dict[str, Any]:
    """Return the lines ``key = value`` of obj.data that matter, with keys in lower case.

    CVAT calls its subsets Train and Validation. ``classes`` and ``backup`` say nothing new.
    """
    wanted = {*SPLIT_WORDS, "names"}
    content: dict[str, Any] = {}
    for line in read_list(file):
        key, _, value = line.partition("=")
        name = key.strip().lower()
        if name in wanted and "=" in line:
            content[name] = value.strip()
    return {key: value for key, value in content.items() if value}


def _picture_lists(folder: Path) -> dict[str, str]:
    """Return the lists of pictures named like a split, such as train.txt of darknet."""
    found = {}
    for path in sorted(folder.glob("*.txt")):
        if path.stem.lower() in SPLIT_WORDS and is_file(path):
            lines = regular_file(path).read_text(encoding="utf-8-sig", errors="replace").split()
            if lines and PurePosixPath(lines[0].replace("\\", "/")).suffix.lower() in PICTURES:
                found[path.stem.lower()] = path.name
    return found


def _class_list(file: Path) -> list[str]:
    """Return the lines of a list of classes.

    Raises:
        DataError: the file is no UTF-8 text, so that its names would be read wrongly.
    """
    try:
        return regular_file(file).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        fault = f"no UTF-8 text ({error.reason})"
        raise data_error("bad-names", file, fault=fault, cure="save it as UTF-8") from None


def _load_yaml(file: Path) -> dict[str, Any]:
    """Return the content of data.yaml; the names of classes stay texts.

    Raises:
        DataError: the file is no YAML, or no mapping.
    """
    import yaml

    try:
        text = regular_file(file).read_text(encoding="utf-8-sig")
        _refuse_bombs(text)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if isinstance(node, yaml.MappingNode):
            _keep_names_as_text(loader, node)
        content = None if node is None else loader.construct_document(node)
    except Exception as error:  # the constructors of PyYAML let all kinds of errors through
        reason = " ".join(str(error).split()) or type(error).__name__
        raise data_error("not-yaml", file, reason=reason) from None
    if not isinstance(content, dict):
        raise data_error("not-yaml/keys", file, value=short(content))
    return content


def _refuse_bombs(text: str) -> None:
    """Raise GLIPError for aliases and deep nesting.

    They can keep PyYAML busy without end, and no description needs them.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
            raise GLIPError("aliases (*name) and deep nesting are not read", code="not-yaml")


def _keep_names_as_text(loader: "yaml.SafeLoader", root: "yaml.MappingNode") -> None:
    """Mark the names of classes as texts: YAML reads ``007`` as a number and ``on`` as true.

    Names with a tag of their own (``!!binary``) and empty ones stay what they are.
    """
    import yaml

    for key, value in root.value:
        if key.value != "names":
            continue
        names = []
        if isinstance(value, yaml.SequenceNode):
            names = value.value
        elif isinstance(value, yaml.MappingNode):
            names = [name for _, name in value.value]
        for name in names:
            if isinstance(name, yaml.ScalarNode) and name.value:
                untagged = loader.resolve(yaml.ScalarNode, name.value, (True, False))
                if name.tag == untagged:
                    name.tag = loader.DEFAULT_SCALAR_TAG


def read_names(description: YoloDescription, findings: Findings) -> dict[int, str]:
    """Return class number -> name, from the description or else from a list of classes.

    Raises:
        DataError: there are no names, two lists differ, or a name is no text.
    """
    where, names = _listed_names(description, findings)
    entries: Mapping[Any, Any] = {}
    if isinstance(names, dict):
        entries = names
    elif isinstance(names, list):
        entries = dict(enumerate(names))
    if not entries:
        cure = "write a list of names, or numbers with names"
        raise data_error("bad-names", where, fault=f"names is {short(names)}", cure=cure)
    result: dict[int, str] = {}
    for key, name in entries.items():
        number = _class_number(key)
        if number is None:
            fault = f"names has the key {short(key)}"
            raise data_error("bad-names", where, fault=fault, cure="number the classes from 0")
        if not isinstance(name, str):
            fault = f"the name of class {number} is {short(name)}"
            raise data_error("bad-names", where, fault=fault, cure="put it in quotes")
        result[number] = name
    count = description.content.get("nc")
    if count is not None and count != len(result):
        findings.add("class-count", where, len(result), given=short(count))
    return result


def _listed_names(description: YoloDescription, findings: Findings) -> tuple[Path, Any]:
    """Return the names of the classes as a file has them, and which file that is.

    Raises:
        DataError: there are no names, or two lists differ.
    """
    where = description.file
    names = description.content.get("names")
    lists = {path: _class_list(path) for path in class_files(description.folder)}
    if isinstance(names, str):
        place = locate(names, description, description.folder)
        if place is not None and place.is_file():
            where, names = place, _class_list(place)
            lists.pop(place, None)
    if names is None and not lists:
        cure = "write them as `names:` into data.yaml or into classes.txt"
        raise data_error("bad-names", where, fault="no names of classes", cure=cure)
    if names is None:
        where, names = next(iter(lists.items()))
        others = [path for path, found in lists.items() if found != names]
        if others:
            fault = f"{listing(others)} has other classes"
            raise data_error("bad-names", where, fault=fault, cure="keep the right list only")
    elif isinstance(names, list):
        for path, found in lists.items():
            if found != names:
                shown = listing(repr(name) for name in found)
                findings.add("class-lists-differ", where, other=path, names=shown)
    return where, names


def _class_number(key: object) -> int | None:
    """Return the class number that a key of ``names`` means, None if it means none."""
    number = key
    if isinstance(key, str) and key.isdecimal() and len(key) < 10:
        number = int(key)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1e9:
        return None
    return number


def locate(entry: str, description: YoloDescription, base: Path) -> Path | None:
    """Return the place that a path of data.yaml or of an image list means, None for no place.

    Roboflow writes ``../train/images`` for its own ``train/images``. A path of another machine is
    looked for below the folder, without its first part, without its first two parts, and so on.
    """
    parts = list(PurePosixPath(entry.replace("\\", "/")).parts)
    parts = [part for part in parts if part not in ("/", ".")]
    while parts and parts[0] == "..":
        parts = parts[1:]
    below: list[Path] = []
    if ".." not in parts:
        below = [description.folder.joinpath(*parts[i:]) for i in range(len(parts))]
    places = [*below[:1], base / entry, *below[1:]]
    if description.root != description.folder:
        places.insert(0, description.root / entry)
    for place in places:
        if _exists(place):
            return Path(os.path.normpath(place))
    return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, a null byte
        return False
