"""What describes a YOLO data set: data.yaml, obj.data of darknet and CVAT, lists of pictures and of classes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Findings, data_error, listing, short
from glip_lightning.data.images import PICTURES, is_file
from glip_lightning.data.splits import SPLIT_WORDS
from glip_lightning.data.types import Split

if TYPE_CHECKING:
    import yaml

YAML_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
CLASS_FILES = ("classes.txt", "obj.names")
DEEPEST = 10  # levels of data.yaml


@dataclass(frozen=True)
class Config:
    """What is known of a YOLO folder before its pictures are looked at."""

    folder: Path
    file: Path  # data.yaml, or the folder where there is none
    content: Mapping[str, Any]
    root: Path  # what the entries of data.yaml are relative to

    @property
    def splits(self) -> dict[Split, Any]:
        """The entries of the splits that data.yaml names."""
        items = (
            (word, split)
            for word, split in SPLIT_WORDS.items()
            if self.content.get(word) is not None
        )
        return {split: self.content[word] for word, split in items}

    @property
    def key_points(self) -> int:
        """How many numbers of key points follow a box, 0 where there are none."""
        match self.content.get("kpt_shape"):
            case [int(points), int(numbers)] if points > 0 and numbers in (2, 3):
                return points * numbers
        return 0

    @property
    def foreign_path(self) -> str:
        """What to say of a `path:` that is that of another machine."""
        path = self.content.get("path")
        if self.root != self.folder or not isinstance(path, str) or _exists(self.folder / path):
            return ""
        return f": path: {short(path)} is not on this machine"


def find_yaml(folder: Path) -> Path | None:
    """The file that describes the data set: a usual name, or the only YAML file that has a key ``names``."""
    if usual := [folder / name for name in YAML_FILES if (folder / name).is_file()]:
        return usual[0]
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in (".yaml", ".yml") and path.is_file()
    ]
    named = [
        path
        for path in files
        if "\nnames:" in "\n" + regular_file(path).read_text(encoding="utf-8", errors="replace")
    ]
    return named[0] if len(named) == 1 else None


def find_darknet(folder: Path) -> Path | None:
    """The file of darknet and CVAT that names lists of pictures and of classes."""
    usual = folder / "obj.data"
    files = [usual] if is_file(usual) else [path for path in folder.glob("*.data") if is_file(path)]
    return files[0] if len(files) == 1 else None


def class_files(folder: Path) -> list[Path]:
    """The lists of classes in the folder, among its label files (LabelImg) too."""
    patterns = (f"{below}{name}" for below in ("", "*/", "*/*/") for name in CLASS_FILES)
    return [path for pattern in patterns for path in sorted(folder.glob(pattern)) if is_file(path)]


def describe(folder: Path) -> Config:
    """What is known of the folder.

    Raises:
        DataError: its description cannot be read.
    """
    if file := find_yaml(folder):
        content = _load(file)
    elif file := find_darknet(folder):
        content = _load_darknet(file)
    else:
        file, content = folder, {}
    if not any(content.get(word) is not None for word in SPLIT_WORDS):
        content = content | _picture_lists(folder)
    path = content.get("path")
    root = folder / path if isinstance(path, str) and "\0" not in path else folder
    return Config(folder, file, content, root if root.is_dir() else folder)


def _load_darknet(file: Path) -> dict[str, Any]:
    """The lines ``key = value`` of obj.data, keys in lower case: CVAT calls its subsets Train and Validation."""
    text = regular_file(file).read_text(encoding="utf-8-sig", errors="replace")
    pairs = [
        line.partition("=")
        for line in text.splitlines()
        if "=" in line and not line.lstrip().startswith("#")
    ]
    content = {key.strip().lower(): value.strip() for key, _, value in pairs}
    wanted = {*SPLIT_WORDS, "names"}  # "classes" and "backup" say nothing that is needed
    return {key: value for key, value in content.items() if key in wanted and value}


def _picture_lists(folder: Path) -> dict[str, str]:
    """The lists of pictures that are called as a split, such as train.txt of darknet."""
    found = {}
    for path in sorted(folder.glob("*.txt")):
        if path.stem.lower() in SPLIT_WORDS and is_file(path):
            lines = regular_file(path).read_text(encoding="utf-8-sig", errors="replace").split()
            if lines and PurePosixPath(lines[0].replace("\\", "/")).suffix.lower() in PICTURES:
                found[path.stem.lower()] = path.name
    return found


def _class_list(file: Path) -> list[str]:
    """The lines of a list of classes.

    Raises:
        DataError: it is no UTF-8 text, so that its names would be read wrongly.
    """
    try:
        return regular_file(file).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise data_error(
            "bad-names", file, fault=f"no UTF-8 text ({error.reason})", cure="save it as UTF-8"
        ) from None


def _load(file: Path) -> dict[str, Any]:
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
    """Raise GLIPError for what takes PyYAML without end, and no description needs."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
            event, yaml.CollectionEndEvent
        )
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


def read_names(config: Config, findings: Findings) -> dict[int, str]:
    """Class number -> name, from the description or else from a list of classes.

    Raises:
        DataError: there are none, two lists differ, or a name is no text.
    """
    names = config.content.get("names")
    where = config.file
    lists = {path: _class_list(path) for path in class_files(config.folder)}
    if (
        isinstance(names, str)
        and (place := locate(names, config, config.folder))
        and place.is_file()
    ):
        where, names = place, _class_list(place)
        lists.pop(place, None)
    if names is None:
        if not lists:
            cure = "write them as `names:` into data.yaml or into classes.txt"
            raise data_error("bad-names", where, fault="no names of classes", cure=cure)
        where, names = next(iter(lists.items()))
        if others := [path for path, found in lists.items() if found != names]:
            fault = f"{listing(others)} has other classes"
            raise data_error("bad-names", where, fault=fault, cure="keep the right list only")
    elif isinstance(names, list):
        for path, found in lists.items():
            if found != names:
                findings.add(
                    "class-lists-differ", where, other=path, names=listing(map(repr, found))
                )
    entries = (
        names
        if isinstance(names, dict)
        else dict(enumerate(names))
        if isinstance(names, list)
        else {}
    )
    if not entries:
        cure = "write a list of names, or numbers with names"
        raise data_error("bad-names", where, fault=f"names is {short(names)}", cure=cure)
    result: dict[int, str] = {}
    for key, name in entries.items():
        number = int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 10 else key
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1e9:
            fault = f"names has the key {short(key)}"
            raise data_error("bad-names", where, fault=fault, cure="number the classes from 0")
        if not isinstance(name, str):
            fault = f"the name of class {number} is {short(name)}"
            raise data_error("bad-names", where, fault=fault, cure="put it in quotes")
        result[number] = name
    count = config.content.get("nc")
    if count is not None and count != len(result):
        findings.add("class-count", where, len(result), given=short(count))
    return result


def locate(entry: str, config: Config, base: Path) -> Path | None:
    """Where a path of data.yaml or of an image list is.

    Roboflow writes ``../train/images`` for its own ``train/images``; a path that was right on another
    machine is looked for below the folder, its first parts left off one by one.
    """
    parts = [
        part for part in PurePosixPath(entry.replace("\\", "/")).parts if part not in ("/", ".")
    ]
    while parts and parts[0] == "..":
        parts = parts[1:]
    shorter = (
        [config.folder.joinpath(*parts[i:]) for i in range(len(parts))] if ".." not in parts else []
    )
    first = [config.root / entry] if config.root != config.folder else []
    places = [*first, *shorter[:1], base / entry, *shorter[1:]]
    return next((Path(os.path.normpath(place)) for place in places if _exists(place)), None)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, a null byte
        return False
