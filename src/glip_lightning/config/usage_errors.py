"""Short messages for faults of a command line or a recipe, instead of those of jsonargparse.

jsonargparse wraps an error once per nested object, in paragraphs about all values that would have
been right. :func:`find_fault` follows this chain of exceptions to the innermost error, and collects
the keys and the class that they name. No other function reads texts of jsonargparse. The values
that an option takes are known from its type.
"""

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.private_names import options_with_types
from glip_lightning.common.schema import parse_yaml
from glip_lightning.config.class_paths import OLD, of_a_run, old_names
from glip_lightning.config.recipe_files import given_recipes, recipe_names
from glip_lightning.config.wrong_usage import (
    WrongUsage,
    close_keys,
    meant,
    missing_values,
    no_option,
    no_value,
    suggest,
)

WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    dict: "a mapping",
    types.NoneType: "null",
}
OTHER_KEYS = {
    "epochs": "trainer.max_epochs",
    "trainer.epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs",
    "steps": "trainer.max_steps",
    "iterations": "trainer.max_steps",
    "max_iter": "trainer.max_steps",
    "imgsz": "data.max_size",
    "img": "data.max_size",
    "img_size": "data.max_size",
    "image_size": "data.max_size",
    "batch": "data.batch_size",
    "batch_size": "data.batch_size",
    "name": "run",
    "project": "run",
    "output_dir": "run",
    "save_dir": "run",
    "lr0": "model.tuning.lr",
    "learning_rate": "model.tuning.lr",
    "weights": "model.detector",
    "checkpoint": "model.detector",
    "device": "trainer.accelerator",
}
"""Keys of other programs, each with the key of our recipes for it."""
DATA_FILES = (".yaml", ".yml", ".json")
"""Endings of the files by which other programs are told where the data are."""
LISTED = 8  # up to this number of classes a message lists all, else only those with like names


@dataclass(frozen=True, slots=True)
class Option:
    """An option of the parser: its dotted key and the type that it takes."""

    key: str
    kind: Any = None


def options_of(parser: Any) -> list[Option]:
    """Return the options of a parser of jsonargparse."""
    return [Option(key, kind) for key, kind in options_with_types(parser)]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a command line or a recipe, and where."""

    key: str  # dotted, without init_args; empty if no option's value is wrong
    reason: BaseException  # the innermost error
    owner: str | None = None  # import path of the class that the error names
    unknown: str | None = None  # an option that does not exist
    missing: tuple[str, ...] = ()  # options that nobody gives
    bare: str | None = None  # an option of the command line that ends without its value
    expected: str | None = None  # what it takes, in argparse's words: "one argument"
    value: str | None = None  # the wrong value, if jsonargparse says it


def check_recipes(arguments: Sequence[str]) -> None:
    """Raise WrongUsage for recipe files that are missing or wrong, before heavy imports."""
    if arguments and arguments[-1] in ("--config", "-c"):
        message = f"{arguments[-1]}: a value is missing; give the name or the file of a recipe"
        raise WrongUsage(message, code="missing-value")
    for word in arguments:
        class_path = word.split("=")[-1]  # of the forms --data PATH and --data=PATH
        if class_path in OLD:
            short_name = OLD[class_path].split(".")[-1]
            message = f"{word}: is called {OLD[class_path]} now; write {short_name}"
            raise WrongUsage(message, code="old-name")
    for file in given_recipes(arguments):
        _check_recipe_file(file)
        _check_recipe_content(file)


def _check_recipe_file(file: str) -> None:
    """Raise WrongUsage if there is no file; the message names recipes like it."""
    path = Path(file)
    if path.is_file():
        return
    if path.exists() and not path.is_dir():
        raise WrongUsage(
            f"--config {file}: a pipe or a device; write the recipe to a file", code="not-a-file"
        )
    known = recipe_names()
    for folder in {path.parent, Path("recipes")}:
        known += [str(recipe) for recipe in folder.glob("*.y*ml")]
    close = meant(file, known)
    if path.is_dir():
        raise WrongUsage(f"--config {file}: a folder, not a recipe file{close}", code="not-a-file")
    raise WrongUsage(f"--config {file}: no such file{close}", code="unknown-recipe")


def _check_recipe_content(file: str) -> None:
    """Raise WrongUsage if a file is no YAML mapping, or if it names classes of version 0.1."""
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8")
        content = parse_yaml(text, file)
    except GLIPError as error:
        raise WrongUsage(_yaml_fault(file, error), code=error.code) from None
    except UnicodeDecodeError as error:
        raise WrongUsage(f"{file}: not a YAML text: {error}", code="not-yaml") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else _shortened(content)
        raise WrongUsage(
            f"{file}: expected keys like model, data and trainer, found {found}",
            code="not-a-recipe",
        )
    if of_a_run(path):
        return
    old = [f"{file}, line {line}: {name}: write {OLD[name]}" for line, name in old_names(text)]
    if old:
        raise WrongUsage("\n  ".join(old), code="old-name")


def read_recipe(file: Path) -> dict[str, Any]:
    """Return the content of a recipe or sweep file; raise WrongUsage if it is none."""
    check_recipes(["--config", str(file)])
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _yaml_fault(file: str, error: GLIPError) -> str:
    """Return the message about a YAML file, with the line if PyYAML names one."""
    fault = error.__cause__
    if not isinstance(fault, yaml.MarkedYAMLError):
        return str(error)
    line = f", line {fault.problem_mark.line + 1}" if fault.problem_mark else ""
    return f"{file}{line}: not YAML: {fault.problem or fault.context}"


def explain(
    error: BaseException, arguments: Sequence[str], options: Sequence[Option], verb: str
) -> WrongUsage:
    """Return our error in place of one of jsonargparse, with the code for this kind of fault.

    The message has one or two lines and names the place: the option of the command line, or file
    and line of the recipe. ``options`` are those of the verb's parser.
    """
    fault = find_fault(error, verb)
    if fault.unknown:
        return _explain_unknown(fault.unknown, fault, arguments, options)
    if fault.missing and fault.key:
        return missing_values(fault.key, fault.owner, fault.missing, arguments)
    if fault.missing:
        return WrongUsage(_explain_missing(fault, options), code="missing-value")
    if fault.bare:
        return no_value(fault.bare, fault.expected)
    kind = _kind_of(fault, options)
    is_bad_value = isinstance(fault.reason, (ValueError, TypeError, ImportError, AttributeError))
    if kind is not None and is_bad_value:
        code = "unknown-class" if _class_names(kind) else "bad-value"
        return WrongUsage(_explain_value(fault, kind, arguments), code=code)
    lines = [line.strip() for line in str(fault.reason).splitlines() if line.strip()]
    message = "; ".join(lines[:4])
    if fault.key:
        message = f"{_place(fault.key, arguments)}: {message}"
    return WrongUsage(message)


def find_fault(error: BaseException, verb: str) -> Fault:
    """Return the fault that an error of jsonargparse is about.

    Each error of the chain says ``Parser key "data"``, ``Problem with given class_path 'ODinW'``,
    or what is wrong.
    """
    keys: list[str] = []
    owner = None
    text = ""
    reason = error
    for each in _chain(error):
        if str(each) == text:
            continue  # the same error, wrapped once more
        text = str(each)
        reason = each
        key_found = re.match(r'Parser key "([^"]+)":', text)
        class_found = re.match(r"Problem with given class_path '([^']+)':", text)
        if key_found:
            keys.append(key_found[1].removeprefix(f"{verb}."))
        elif class_found:
            owner = class_found[1]
    key = ".".join(keys).replace(".init_args", "")
    fault = Fault(key, reason, owner)
    unrecognized = re.match(r"unrecognized arguments: (.*)", text, re.DOTALL)
    if unrecognized:
        words = unrecognized[1].split()
        options = [word for word in words if word.startswith("-")]
        return replace(fault, unknown=options[0] if options else words[0])
    refused = re.match(r"(?:Subcommand '\w+' does not accept option|Option|Key) '([^']+)'", text)
    if refused:
        unknown = f"{key}.{refused[1]}" if key else refused[1]
        return replace(fault, unknown=f"--{unknown}")
    required = re.match(r"the following arguments are required: (.*)", text)
    if required:
        return replace(fault, missing=tuple(name.strip() for name in required[1].split(",")))
    ended = re.match(r"argument (\S+): expected (.*)", text)  # argument -c/--config: expected ...
    if ended:
        return replace(fault, bare=ended[1].split("/")[-1], expected=ended[2])
    value_found = re.search(r"(?:Got value|import path string): (.*)", text)
    return replace(fault, value=value_found[1] if value_found else None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors that it was made of, the innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explain_unknown(
    word: str, fault: Fault, arguments: Sequence[str], options: Sequence[Option]
) -> WrongUsage:
    """Return the error for an option that does not exist, with names like it."""
    if not word.startswith("-"):
        return no_option(word)
    key = word.split("=")[0].lstrip("-")
    known = [option.key for option in options] + _keys_of_class(fault.key, fault.owner)
    for owner, path in _named_classes(arguments):
        known += _keys_of_class(owner, path)
    our_key = OTHER_KEYS.get(key.replace("-", "_"))
    close = [our_key] if our_key else close_keys(key, known)
    message = f"{_place(key, arguments)}: no such option{suggest(close)}"
    if _given_key(key, arguments) == key:  # on the command line
        message = f"--{key}: no such option{suggest(close, '--')}"
    return WrongUsage(message, code="unknown-option")


def _keys_of_class(key: str, path: str | None) -> list[str]:
    """Return the dotted keys that the class with this import path takes at ``key``."""
    return [f"{key}.{name}" for name in _parameters(path)]


def _parameters(path: str | None) -> dict[str, Any]:
    """Return the types of the arguments of the class with this import path, by name."""
    module, _, name = (path or "").rpartition(".")
    owner = getattr(sys.modules.get(module), name, None)
    if not isinstance(owner, type):
        return {}
    found: dict[str, Any] = {}
    for each in reversed(owner.__mro__):
        try:
            found |= typing.get_type_hints(each.__init__)
        except (NameError, TypeError):  # types that only type checkers import
            continue
    found.pop("return", None)
    return found


def _named_classes(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield dotted key and import path of the classes that the recipes name."""
    for file in given_recipes(arguments):
        yield from _classes_in(yaml.safe_load(Path(file).read_text(encoding="utf-8")))


def _classes_in(content: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted key and import path of the classes in a part of a recipe."""
    if not isinstance(content, dict):
        return
    for name, value in content.items():
        if name == "class_path":
            yield key, str(value)
        elif name == "init_args":
            yield from _classes_in(value, key)
        else:
            yield from _classes_in(value, f"{key}.{name}".lstrip("."))


def _explain_missing(fault: Fault, options: Sequence[Option]) -> str:
    """Return the message about a missing part of a recipe, with the ways to give it."""
    kinds = {option.key: option.kind for option in options}
    names = [name.split(".", 1)[-1] for name in fault.missing]
    flags = []
    for name in names:
        classes = _class_names(kinds.get(name))
        if classes:
            flags.append(f"--{name} {' | '.join(classes)}")
    message = f"{' and '.join(names)} is missing: give a recipe, --config FILE, or "
    return message + (" and ".join(flags) or "a value")


def _kind_of(fault: Fault, options: Sequence[Option]) -> Any:
    """Return the type of the option that is wrong, None if it is not known."""
    kinds = {option.key: option.kind for option in options}
    if fault.key in kinds:
        return kinds[fault.key]
    return _parameters(fault.owner).get(fault.key.split(".")[-1])


def _explain_value(fault: Fault, kind: Any, arguments: Sequence[str]) -> str:
    """Return the message about a wrong value, with the classes or the values that are allowed."""
    classes = _class_names(kind)
    if classes:
        given = fault.value or _value_of(fault.key, arguments) or "the value"
        name = given
        if isinstance(fault.reason, (ImportError, AttributeError)) and fault.owner:
            name = fault.owner.split(".")[-1]
        folder = _folder_of(given)
        if fault.key == "data" and folder:
            root = suggest([f"data.root {folder}"], "--")
            return f"{_place(fault.key, arguments, name)}: not a class of data{root}"
        listed = f"; there are {', '.join(classes)}" if len(classes) <= LISTED else ""
        close = meant(name, classes)
        return f"{_place(fault.key, arguments, name)}: no such class{listed}{close}"
    choices: list[str] = []
    words: list[str] = []
    for each in _alternatives(kind):
        if typing.get_origin(each) is Literal:
            choices += [str(choice) for choice in typing.get_args(each)]
        else:
            words.append(_word(each))
    close = meant(str(fault.value), choices) if len(choices) > 3 else ""
    *others, last = dict.fromkeys([*words, *choices])  # each once
    expected = f"{', '.join(others)} or {last}" if others else last
    return f"{_place(fault.key, arguments, fault.value)}: expected {expected}{close}"


def _value_of(key: str, arguments: Sequence[str]) -> str | None:
    """Return the value of an option on the command line, None if it has none."""
    next_words = [*arguments[1:], ""]
    for word, next_word in zip(arguments, next_words, strict=True):
        if word == f"--{key}":
            return next_word or None
        if word.startswith(f"--{key}="):
            return word.partition("=")[2]
    return None


def _folder_of(given: str) -> str | None:
    """Return a folder itself, or the folder of a file; None if ``given`` is no path."""
    path = Path(given)
    if path.is_dir():
        return given
    is_path = path.is_file() or path.suffix in DATA_FILES or "/" in given
    return str(path.parent) if is_path else None


def _alternatives(kind: Any) -> list[Any]:
    """Return the types of a union; for another type, the type alone."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return [kind]
    found = []
    for inner in typing.get_args(kind):
        found += _alternatives(inner)
    return found


def _word(kind: Any) -> str:
    """Return the words for a type in a message, such as "a whole number"."""
    origin = typing.get_origin(kind) or kind
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return WORDS[dict]
    if isinstance(origin, type) and issubclass(origin, Iterable) and origin is not str:
        inner = next(iter(typing.get_args(kind)), None)
        if inner in (int, float, str):
            return f"a list of {WORDS[inner].removeprefix('a ')}s"
        return "a list"
    return WORDS.get(origin, getattr(origin, "__name__", str(origin)))


def _class_names(kind: Any) -> list[str]:
    """Return the short names of the classes whose objects an option of this type takes."""
    names: set[str] = set()
    for base in _bases(kind):
        names.update(each.__name__ for each in _subclasses(base))
    return sorted(names)


def _bases(kind: Any) -> list[type]:
    """Return the classes that a type names, also within unions and lists; builtins do not count."""
    if isinstance(kind, type) and kind.__module__ != "builtins" and not typing.get_args(kind):
        return [kind]
    found = []
    for inner in typing.get_args(kind):
        found += _bases(inner)
    return found


def _subclasses(base: type) -> Iterable[type]:
    if not inspect.isabstract(base) and not base.__name__.startswith("_"):
        yield base
    for child in base.__subclasses__():
        yield from _subclasses(child)


def _place(key: str, arguments: Sequence[str], value: str | None = None) -> str:
    """Return the place of a key and its value.

    It is ``--key value`` on the command line, and ``FILE, line N: key: value`` in a recipe.
    """
    given = _given_key(key, arguments)
    shown = "" if value is None else _shortened(value)
    if given == key:
        return f"--{given} {shown}".rstrip()
    text = f"{key}: {shown}" if shown else key
    files = given_recipes(arguments)
    line = _line_of(files[-1], key) if files else None
    if line:
        return f"{files[-1]}, line {line}: {text}"
    return f"--{given}: {text}" if given else text


def _given_key(key: str, arguments: Sequence[str]) -> str | None:
    """Return ``key``, or the nearest key above it, that the command line gives; else None."""
    flags = set()
    for word in arguments:
        if word.startswith("--"):
            flag = word.split("=")[0].rstrip("+").lstrip("-")  # --key+ adds to a list
            flags.add(flag.replace(".init_args", ""))
    while key:
        if key in flags:
            return key
        key = key.rpartition(".")[0]
    return None


def _line_of(file: str, key: str) -> int | None:
    """Return the line of a dotted key in a recipe, or None.

    The key does not name the ``init_args`` and lists that the recipe has on the way to it.
    """
    try:
        root = yaml.compose(Path(file).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    return _line_below(root, key.split("."), None)


def _line_below(node: yaml.Node | None, keys: Sequence[str], line: int | None) -> int | None:
    """Return the line of nested keys below a node, whose own line is ``line``, or None."""
    if not keys:
        return line
    if isinstance(node, yaml.SequenceNode):
        lines = [_line_below(item, keys, None) for item in node.value]
        return next((line for line in lines if line), None)
    if not isinstance(node, yaml.MappingNode):
        return None
    children = {name.value: (name.start_mark.line + 1, child) for name, child in node.value}
    if keys[0] in children:
        line_of_child, child = children[keys[0]]
        return _line_below(child, keys[1:], line_of_child)
    if "init_args" in children:
        return _line_below(children["init_args"][1], keys, line)
    return None


def _shortened(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
