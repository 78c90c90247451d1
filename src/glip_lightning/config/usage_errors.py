"""What is wrong with a command line or a recipe, in a few lines: the errors of jsonargparse, explained.

jsonargparse wraps an error once per nested object, in paragraphs about all that would have been right. The chain of
its exceptions leads to the innermost one; on the way stand the keys and the class. What is accepted there is read
from the type of the option itself. Texts of jsonargparse are read in one place, :func:`find_fault`.
"""

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.schema import parse_yaml
from glip_lightning.config.class_paths import OLD, of_a_run, old_names
from glip_lightning.config.recipe_files import given_recipes, recipe_names
from glip_lightning.config.wrong_usage import WrongUsage, meant, suggest

WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    dict: "a mapping",
    types.NoneType: "null",
}
OTHER_WORDS = {
    **dict.fromkeys(("epochs", "trainer.epochs", "num_epochs"), "trainer.max_epochs"),
    **dict.fromkeys(("steps", "iterations", "max_iter"), "trainer.max_steps"),
    **dict.fromkeys(("imgsz", "img", "img_size", "image_size"), "data.max_size"),
    **dict.fromkeys(("batch", "batch_size"), "data.batch_size"),
    **dict.fromkeys(("name", "project", "output_dir", "save_dir"), "run"),
    **dict.fromkeys(("lr0", "learning_rate"), "model.tuning.lr"),
    **dict.fromkeys(("weights", "checkpoint"), "model.detector"),
    "device": "trainer.accelerator",
}
"""What other programs call our options."""
DESCRIPTIONS = (".yaml", ".yml", ".json")
"""Endings of the files that other programs take as data."""
LISTED = 8  # at most so many classes are listed; of more, only the close ones


class Option(NamedTuple):
    """An option of the parser: its dotted key and the type it takes."""

    key: str
    kind: Any = None


def options_of(parser: Any) -> list[Option]:
    """Return the options of a parser of jsonargparse."""
    return [Option(action.dest, getattr(action, "_typehint", None)) for action in parser._actions]


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where."""

    key: str  # dotted, without init_args; empty if it is no option's value
    reason: BaseException  # the innermost error
    owner: str | None = None  # import path of the class that has the key, or that the key names
    unknown: str | None = None  # an option that nobody takes
    missing: tuple[str, ...] = ()  # options without a value
    value: str | None = None


def check_recipes(arguments: Sequence[str]) -> None:
    """Raise WrongUsage for recipe files that cannot be meant, before anything heavy is imported."""
    if arguments and arguments[-1] in ("--config", "-c"):
        raise WrongUsage(f"{arguments[-1]}: a value is missing, a recipe", code="missing-value")
    for word in arguments:
        if (old := word.split("=")[-1]) in OLD:
            raise WrongUsage(
                f"{word}: is called {OLD[old]} now; {OLD[old].split('.')[-1]} is enough here",
                code="old-name",
            )
    for file in given_recipes(arguments):
        path = Path(file)
        if not path.is_file():
            if path.exists() and not path.is_dir():
                raise WrongUsage(
                    f"--config {file}: a pipe or a device; write the recipe to a file",
                    code="not-a-file",
                )
            what = "a folder, not a recipe file" if path.is_dir() else "no such file"
            known = [
                str(p) for folder in {path.parent, Path("recipes")} for p in folder.glob("*.y*ml")
            ]
            code = "not-a-file" if path.is_dir() else "unknown-recipe"
            raise WrongUsage(
                f"--config {file}: {what}{meant(file, [*recipe_names(), *known])}", code=code
            )
        try:
            text = path.read_text(encoding="utf-8")
            content = parse_yaml(text, file)
        except GLIPError as error:
            raise WrongUsage(_yaml_fault(file, error), code=error.code) from None
        except UnicodeDecodeError as error:
            raise WrongUsage(f"{file}: not a YAML text: {error}", code="not-yaml") from None
        if not isinstance(content, dict):
            found = "nothing" if content is None else _short(content)
            raise WrongUsage(
                f"{file}: expected keys like model, data and trainer, found {found}",
                code="not-a-recipe",
            )
        if not of_a_run(path):
            _refuse_old_names(file, text)


def read_recipe(file: Path) -> dict[str, Any]:
    """Return the keys of a recipe or sweep file as they stand in it; raise WrongUsage if it cannot be meant."""
    check_recipes(["--config", str(file)])
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _refuse_old_names(file: str, text: str) -> None:
    """Raise WrongUsage that names each class path of version 0.1, its line and what to write instead."""
    found = [f"{file}, line {line}: {name}: write {OLD[name]}" for line, name in old_names(text)]
    if found:
        raise WrongUsage("\n  ".join(found), code="old-name")


def _yaml_fault(file: str, error: GLIPError) -> str:
    """Return what is wrong with a YAML file, with the line where PyYAML says one."""
    fault = error.__cause__
    if not isinstance(fault, yaml.MarkedYAMLError):
        return str(error)
    place = f", line {fault.problem_mark.line + 1}" if fault.problem_mark else ""
    return f"{file}{place}: not YAML: {fault.problem or fault.context}"


def explain(
    error: BaseException, arguments: Sequence[str], options: Sequence[Option], verb: str
) -> WrongUsage:
    """Return an error of jsonargparse as ours, in one or two lines, with the code of its kind.

    ``options`` are those of the verb's parser. The place is the command line, or file and line of the recipe.
    """
    fault = find_fault(error, verb)
    if fault.unknown:
        return WrongUsage(_explain_unknown(fault, arguments, options), code="unknown-option")
    if fault.missing:
        return WrongUsage(_explain_missing(fault, arguments, options), code="missing-value")
    if found := re.match(r"argument (\S+): expected (.*)", str(fault.reason)):  # of argparse
        said = f"{found[1].split('/')[-1]}: a value is missing (expected {found[2]})"
        return WrongUsage(said, code="missing-value")
    kind = _kind_of(fault, options)
    if kind is not None and isinstance(
        fault.reason, (ValueError, TypeError, ImportError, AttributeError)
    ):
        code = "unknown-class" if _classes(kind) else "bad-value"
        return WrongUsage(_explain_value(fault, kind, arguments), code=code)
    lines = [line.strip() for line in str(fault.reason).splitlines() if line.strip()]
    where = f"{_place(fault.key, arguments)}: " if fault.key else ""
    return WrongUsage(f"{where}{'; '.join(lines[:4])}")


def find_fault(error: BaseException, verb: str) -> Fault:
    """Follow the chain of an error of jsonargparse; this alone reads its texts.

    Each link says ``Parser key "data"``, ``Problem with given class_path 'ODinW'``, or what is wrong.
    """
    keys: list[str] = []
    owner, text = None, ""
    reason = error
    for each in _chain(error):
        if str(each) == text:
            continue  # the same, wrapped once more
        text, reason = str(each), each
        if found := re.match(r'Parser key "([^"]+)":', text):
            keys.append(found[1].removeprefix(f"{verb}."))
        elif found := re.match(r"Problem with given class_path '([^']+)':", text):
            owner = found[1]
    key = ".".join(keys).replace(".init_args", "")
    fault = Fault(key, reason, owner)
    if found := re.match(r"unrecognized arguments: (.*)", text, re.DOTALL):
        words = found[1].split()
        return replace(
            fault, unknown=next((word for word in words if word.startswith("-")), words[0])
        )
    if found := re.match(r"(?:Subcommand '\w+' does not accept option|Option|Key) '([^']+)'", text):
        return replace(fault, unknown=f"--{'.'.join(filter(None, (key, found[1])))}")
    if found := re.match(r"the following arguments are required: (.*)", text):
        return replace(fault, missing=tuple(name.strip() for name in found[1].split(",")))
    found = re.search(r"(?:Got value|import path string): (.*)", text)
    return replace(fault, value=found[1] if found else None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was made of, the innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explain_unknown(fault: Fault, arguments: Sequence[str], options: Sequence[Option]) -> str:
    """Say that nobody takes an option, on the command line or in a file, and which are like it."""
    given = fault.unknown or ""
    if not given.startswith("-"):
        return f"{given}: not understood; every option begins with --, as in --trainer.max_epochs 5"
    key = given.split("=")[0].lstrip("-")
    known = [option.key for option in options] + _taken_by(fault.key, fault.owner)
    known += [name for owner, path in _named_classes(arguments) for name in _taken_by(owner, path)]
    place, dash = _place(key, arguments), ""
    if _given(key, arguments) == key:
        place, dash = f"--{key}", "--"
    ours = OTHER_WORDS.get(key.replace("-", "_"))
    return f"{place}: no such option{suggest([ours] if ours else _close_options(key, known), dash)}"


def _close_options(key: str, known: Sequence[str]) -> list[str]:
    """Options whose last part is like that of ``key``, the likest first: ``model.tuning.lr`` for ``lr``."""

    def likeness(name: str) -> float:
        last = SequenceMatcher(None, name.split(".")[-1], key.split(".")[-1]).ratio()
        return last + SequenceMatcher(None, name, key).ratio() if last > 0.75 else 0

    ranked = sorted(
        {name for name in known if not name.endswith(".help")}, key=likeness, reverse=True
    )
    return [name for name in ranked if likeness(name) > max(1, likeness(ranked[0]) - 0.1)][:2]


def _taken_by(key: str, path: str | None) -> list[str]:
    """Return the dotted keys that the class with this import path takes at ``key``."""
    return [f"{key}.{name}" for name in _parameters(path)]


def _parameters(path: str | None) -> dict[str, Any]:
    """Return the types of what a class takes, also of what it passes to its parents, by name."""
    module, _, name = (path or "").rpartition(".")
    owner = getattr(sys.modules.get(module), name, None)
    found: dict[str, Any] = {}
    for each in reversed(owner.__mro__) if isinstance(owner, type) else ():
        try:
            found |= typing.get_type_hints(each.__init__)
        except (NameError, TypeError):  # types that are there for type checkers only
            continue
    return {name: kind for name, kind in found.items() if name != "return"}


def _named_classes(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(key, import path) of the classes that the recipes name."""

    def walk(content: Any, key: str) -> Iterator[tuple[str, str]]:
        for name, value in content.items() if isinstance(content, dict) else ():
            if name == "class_path":
                yield key, str(value)
            else:
                yield from walk(value, key if name == "init_args" else f"{key}.{name}".lstrip("."))

    for file in given_recipes(arguments):
        yield from walk(yaml.safe_load(Path(file).read_text(encoding="utf-8")), "")


def _explain_missing(fault: Fault, arguments: Sequence[str], options: Sequence[Option]) -> str:
    """Say which options need a value, and where it can be given."""
    if fault.key:
        names = [f"{fault.key}.{name}" for name in fault.missing]
        files = given_recipes(arguments)
        place = f", or write it into {files[-1]}" if files else ""
        verb = "have" if len(names) > 1 else "has"
        flags = " ".join(f"--{name} VALUE" for name in names)
        return f"{' and '.join(names)} {verb} no value, and {_short_name(fault.owner)} needs it: give {flags}{place}"
    names = [name.split(".", 1)[-1] for name in fault.missing]
    kinds = {option.key: option.kind for option in options}
    classes = [f"--{name} {' | '.join(c)}" for name in names if (c := _classes(kinds.get(name)))]
    return f"{' and '.join(names)} is missing: give a recipe, --config FILE, or {' and '.join(classes) or 'a value'}"


def _kind_of(fault: Fault, options: Sequence[Option]) -> Any:
    """Return the type of the option that is wrong, None where it is not known."""
    kinds = {option.key: option.kind for option in options}
    if fault.key in kinds:
        return kinds[fault.key]
    return _parameters(fault.owner).get(fault.key.split(".")[-1])


def _explain_value(fault: Fault, kind: Any, arguments: Sequence[str]) -> str:
    """Say which class or which kind of value the option takes."""
    if classes := _classes(kind):
        named = isinstance(fault.reason, (ImportError, AttributeError)) and fault.owner
        given = fault.value or _value_of(fault.key, arguments) or "the value"
        name = named.split(".")[-1] if named else given
        if fault.key == "data" and (folder := _folder_of(given)):
            root = suggest([f"data.root {folder}"], "--")
            return f"{_place(fault.key, arguments, name)}: not a class of data{root}"
        listed = f"; there are {', '.join(classes)}" if len(classes) <= LISTED else ""
        return f"{_place(fault.key, arguments, name)}: no such class{listed}{meant(name, classes)}"
    choices = [choice for each in _alternatives(kind) for choice in _choices(each)]
    words = [_word(each) for each in _alternatives(kind) if not _choices(each)]
    close = meant(str(fault.value), choices) if len(choices) > 3 else ""
    return f"{_place(fault.key, arguments, fault.value)}: expected {_either([*words, *choices])}{close}"


def _value_of(key: str, arguments: Sequence[str]) -> str | None:
    """Return what the command line gives as the value of an option, None if it gives nothing."""
    for word, after in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == f"--{key}":
            return after or None
        if word.startswith(f"--{key}="):
            return word.partition("=")[2]
    return None


def _folder_of(given: str) -> str | None:
    """Return the folder that is given, or that of a file; None if ``given`` is no path."""
    path = Path(given)
    if path.is_dir():
        return given
    is_path = path.is_file() or path.suffix in DESCRIPTIONS or "/" in given
    return str(path.parent) if is_path else None


def _alternatives(kind: Any) -> list[Any]:
    """Return the types of a union, of another type itself."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return (
        [each for inner in typing.get_args(kind) for each in _alternatives(inner)]
        if is_union
        else [kind]
    )


def _choices(kind: Any) -> list[str]:
    return (
        [str(choice) for choice in typing.get_args(kind)]
        if typing.get_origin(kind) is Literal
        else []
    )


def _word(kind: Any) -> str:
    """Return what a type is called in a message."""
    origin = typing.get_origin(kind) or kind
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return WORDS[dict]
    if isinstance(origin, type) and issubclass(origin, Iterable) and origin is not str:
        inner = next(iter(typing.get_args(kind)), None)
        return (
            f"a list of {WORDS[inner].removeprefix('a ')}s"
            if inner in (int, float, str)
            else "a list"
        )
    return WORDS.get(origin, getattr(origin, "__name__", str(origin)))


def _either(words: Iterable[str]) -> str:
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last


def _classes(kind: Any) -> list[str]:
    """Return the short names of the classes whose objects an option of this type takes."""
    return sorted({c.__name__ for base in _bases(kind) for c in _subclasses(base)})


def _bases(kind: Any) -> list[type]:
    if isinstance(kind, type) and kind.__module__ != "builtins" and not typing.get_args(kind):
        return [kind]
    return [base for inner in typing.get_args(kind) for base in _bases(inner)]


def _subclasses(base: type) -> Iterable[type]:
    if not inspect.isabstract(base) and not base.__name__.startswith("_"):
        yield base
    for child in base.__subclasses__():
        yield from _subclasses(child)


def _place(key: str, arguments: Sequence[str], value: str | None = None) -> str:
    """Return ``--key value`` where the command line has it, ``FILE, line N: key: value`` where a recipe has it."""
    given = _given(key, arguments)
    what = "" if value is None else _short(value)
    if given == key:
        return f"--{given} {what}".rstrip()
    where = [
        f"{file}, line {line}: "
        for file in given_recipes(arguments)[-1:]
        if (line := _line(file, key))
    ]
    if given and not where:
        where = [f"--{given}: "]
    return f"{''.join(where)}{key}{f': {what}' if what else ''}"


def _given(key: str, arguments: Sequence[str]) -> str | None:
    """The option of the command line that sets ``key``, or what it is a part of."""
    words = [word.split("=")[0] for word in arguments if word.startswith("--")]
    flags = {word.rstrip("+").lstrip("-").replace(".init_args", "") for word in words}
    parts = key.split(".")
    return next(
        (part for n in range(len(parts), 0, -1) if (part := ".".join(parts[:n])) in flags), None
    )


def _line(file: str, key: str) -> int | None:
    """The line of a dotted key in a recipe; ``init_args`` and lists on the way are passed through."""
    try:
        return _search(yaml.compose(Path(file).read_text(encoding="utf-8")), key.split("."), None)
    except (OSError, yaml.YAMLError):
        return None


def _search(node: yaml.Node | None, keys: Sequence[str], line: int | None) -> int | None:
    if not keys:
        return line
    if isinstance(node, yaml.SequenceNode):
        return next((found for item in node.value if (found := _search(item, keys, None))), None)
    if not isinstance(node, yaml.MappingNode):
        return None
    children = {name.value: (name.start_mark.line + 1, child) for name, child in node.value}
    if keys[0] in children:
        at, child = children[keys[0]]
        return _search(child, keys[1:], at)
    return _search(children["init_args"][1], keys, line) if "init_args" in children else None


def _short_name(path: str | None) -> str:
    return "it" if path is None else path.split(".")[-1]


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
