"""What went wrong, in a few lines: the errors of the configuration and of the machine, translated.

jsonargparse says where a value is wrong in nested paragraphs, one per way in which it could have been right.
Here the way that was meant is picked, its key and value are named, with what is accepted and what is close.
"""

import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.schema import parse_yaml
from glip_lightning.config.class_paths import OLD, of_a_run, old_names
from glip_lightning.config.recipe_files import recipe_names
from glip_lightning.config.wrong_usage import WrongUsage, meant, suggest

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "dict": "a mapping",
    "NoneType": "null",
    "Iterable": "a list",
    "Sequence": "a list",
}
LISTED = 8  # at most so many classes are listed; of more, only the close ones


class Option(NamedTuple):
    """An option of the parser: its dotted key and the type it takes."""

    key: str
    kind: Any = None


class Fault(NamedTuple):
    """One error of jsonargparse, taken apart."""

    key: str  # dotted, without init_args
    text: str  # what is left of it
    owner: str | None = None  # import path of the class that has the key
    value: str | None = None


def check_recipes(arguments: Sequence[str]) -> None:
    """Raise WrongUsage for recipe files that cannot be meant, before anything heavy is imported."""
    for word in arguments:
        if (old := word.split("=")[-1]) in OLD:
            raise WrongUsage(f"{word}: is called {OLD[old]} now; {OLD[old].split('.')[-1]} is enough here")
    for file in recipes(arguments):
        path = Path(file)
        if not path.is_file():
            if path.exists() and not path.is_dir():
                raise WrongUsage(f"--config {file}: a pipe or a device; write the recipe to a file")
            what = "a folder, not a recipe file" if path.is_dir() else "no such file"
            known = [str(p) for folder in {path.parent, Path("recipes")} for p in folder.glob("*.y*ml")]
            raise WrongUsage(f"--config {file}: {what}{meant(file, [*recipe_names(), *known])}")
        try:
            text = path.read_text(encoding="utf-8")
            content = parse_yaml(text, file)
        except GLIPError as error:
            raise WrongUsage(_yaml_fault(file, error)) from None
        except UnicodeDecodeError as error:
            raise WrongUsage(f"{file}: not a YAML text: {error}") from None
        if not isinstance(content, dict):
            found = "nothing" if content is None else _short(content)
            raise WrongUsage(f"{file}: expected keys like model, data and trainer, found {found}")
        if not of_a_run(path):
            _refuse_old_names(file, text)


def _refuse_old_names(file: str, text: str) -> None:
    """Raise WrongUsage that names each class path of version 0.1, its line and what to write instead."""
    found = [f"{file}, line {line}: {name}: write {OLD[name]}" for line, name in old_names(text)]
    if found:
        raise WrongUsage("\n  ".join(found))


def _yaml_fault(file: str, error: GLIPError) -> str:
    """Return what is wrong with a YAML file, with the line where PyYAML says one."""
    fault = error.__cause__
    if not isinstance(fault, yaml.MarkedYAMLError):
        return str(error)
    place = f", line {fault.problem_mark.line + 1}" if fault.problem_mark else ""
    return f"{file}{place}: not YAML: {fault.problem or fault.context}"


def recipes(arguments: Sequence[str]) -> list[str]:
    """The values of ``--config`` (``-c``) in ``arguments``."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    found = [value if sep == "" else rest for (name, sep, rest), value in ((a.partition("="), v) for a, v in pairs)
             if name in ("--config", "-c")]  # fmt: skip
    return [file for file in found if file]


def explain(text: str, arguments: Sequence[str], options: Sequence[Option], verb: str) -> str:
    """An error of jsonargparse in one or two lines.

    ``options`` are those of the verb's parser. The place is the command line, or file and line of the recipe.
    """
    fault = _take_apart(text, verb)
    for explained in (_unknown, _missing, _wrong_class, _wrong_value):
        if message := explained(fault, arguments, options):
            return message
    lines = [line.strip() for line in fault.text.splitlines() if line.strip()]
    return f"{_place(fault, arguments)}: {'; '.join(lines[:4])}" if fault.key else "; ".join(lines[:4])


def _take_apart(text: str, verb: str) -> Fault:
    """Follow the paragraphs down to the one that says what is wrong."""
    keys: list[str] = []
    owner = value = None
    while True:
        text = textwrap.dedent(text).strip("\n ")
        if found := re.match(r'Parser key "([^"]+)":\s*?\n?', text):
            keys.append(found[1].removeprefix(f"{verb}."))
        elif found := re.match(r"Problem with given class_path '([^']+)':\n", text):
            owner = found[1]
        elif "Does not validate against any of the Union subtypes" in text:
            given = re.search(r"^ *Given value: (.*)", text, re.MULTILINE)
            value = given[1] if given else value
            text = _alternative(text)
            continue
        else:
            return Fault(".".join(keys).replace(".init_args", ""), text, owner, value)
        text = text[found.end() :]


def _alternative(text: str) -> str:
    """Of the ways in which a value could have been right, the one that was meant; else all of them."""
    inner = text.split("Errors:\n", 1)[1]
    inner = inner[: inner.rindex("Given value type:")].rstrip(" ")
    ways = re.split(r"^- ", textwrap.dedent(inner), flags=re.MULTILINE)[1:]
    for way in ways:
        if not re.match(r"Expected a|Not a valid subclass", way):
            first, *rest = way.splitlines()
            return "\n".join([first, textwrap.dedent("\n".join(rest))])
    return "\n".join(dict.fromkeys(way.splitlines()[0] for way in ways))


def _unknown(fault: Fault, arguments: Sequence[str], options: Sequence[Option]) -> str | None:
    """A key that nobody takes, on the command line or in a file."""
    if found := re.match(r"unrecognized arguments: (.*)", fault.text, re.DOTALL):
        given = next((word for word in found[1].split() if word.startswith("-")), found[1].split()[0])
        key = given.split("=")[0].lstrip("-")
        if not given.startswith("-"):
            return f"{given}: not understood; every option begins with --, as in --trainer.max_epochs 5"
    elif found := re.search(r"Subcommand '\w+' does not accept option '([^']+)'", fault.text):
        key = found[1]
    elif found := re.match(r"(?:Option|Key) '([^']+)' is not (?:accepted|expected)", fault.text):
        key = ".".join(filter(None, (fault.key, found[1])))
    else:
        return None
    known = [option.key for option in options] + _taken_by(fault.key, fault.owner)
    known += [name for owner, path in _named_classes(arguments) for name in _taken_by(owner, path)]
    place, dash = _place(Fault(key, ""), arguments), ""
    if _given(key, arguments) == key:
        place, dash = f"--{key}", "--"
    return f"{place}: no such option{suggest(_close_options(key, known), dash)}"


def _close_options(key: str, known: Sequence[str]) -> list[str]:
    """Options whose last part is like that of ``key``, the likest first: ``model.tuning.lr`` for ``lr``."""

    def likeness(name: str) -> float:
        last = SequenceMatcher(None, name.split(".")[-1], key.split(".")[-1]).ratio()
        return last + SequenceMatcher(None, name, key).ratio() if last > 0.75 else 0

    ranked = sorted({name for name in known if not name.endswith(".help")}, key=likeness, reverse=True)
    return [name for name in ranked if likeness(name) > max(1, likeness(ranked[0]) - 0.1)][:2]


def _taken_by(key: str, path: str | None) -> list[str]:
    """The dotted keys that the class with this import path takes at ``key``, also what it passes to its parent."""
    from jsonargparse import ArgumentParser

    module, _, name = (path or "").rpartition(".")
    owner = getattr(sys.modules.get(module), name, None)
    if not isinstance(owner, type):
        return []
    taken = ArgumentParser(exit_on_error=False).add_class_arguments(owner, fail_untyped=False)
    return [f"{key}.{option}" for option in taken]


def _named_classes(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(key, import path) of the classes that the recipes name."""

    def walk(content: Any, key: str) -> Iterator[tuple[str, str]]:
        for name, value in content.items() if isinstance(content, dict) else ():
            if name == "class_path":
                yield key, str(value)
            else:
                yield from walk(value, key if name == "init_args" else f"{key}.{name}".lstrip("."))

    for file in recipes(arguments):
        yield from walk(yaml.safe_load(Path(file).read_text(encoding="utf-8")), "")


def _missing(fault: Fault, arguments: Sequence[str], options: Sequence[Option]) -> str | None:
    if found := re.match(r"argument (\S+): expected (.*)", fault.text):
        return f"{found[1].split('/')[-1]}: a value is missing (expected {found[2]})"
    found = re.match(r"the following arguments are required: (.*)", fault.text)
    if not found:
        return None
    names = [name.strip() for name in found[1].split(",")]
    if fault.key:
        names = [f"{fault.key}.{name}" for name in names]
        files = recipes(arguments)
        place = f", or write it into {files[-1]}" if files else ""
        verb = "have" if len(names) > 1 else "has"
        flags = " ".join(f"--{name} VALUE" for name in names)
        return f"{' and '.join(names)} {verb} no value, and {_short_name(fault.owner)} needs it: give {flags}{place}"
    names = [name.split(".", 1)[-1] for name in names]
    classes = [f"--{name} {' | '.join(c)}" for name in names if (c := _classes(name, options))]
    return f"{' and '.join(names)} is missing: give a recipe, --config FILE, or {' and '.join(classes) or 'a value'}"


def _wrong_class(fault: Fault, arguments: Sequence[str], options: Sequence[Option]) -> str | None:
    if found := re.search(r"module '[\w.]+' has no attribute '(\w+)'", fault.text):
        name = found[1]
    elif found := re.search(r"Expected a dot import path string: (\S+)|No module named '([\w.]+)'", fault.text):
        name = found[1] or (fault.owner or found[2]).split(".")[-1]
    elif found := re.match(r"Not a valid subclass of (\w+)", fault.text):
        name = fault.value or "the value"
    else:
        return None
    known = _classes(fault.key, options)
    listed = f"; there are {', '.join(known)}" if 0 < len(known) <= LISTED else ""
    return f"{_place(fault, arguments, name)}: no such class{listed}{meant(name, known)}"


def _classes(key: str, options: Sequence[Option]) -> list[str]:
    """Short names of the classes that the option takes."""
    for option in options:
        if option.key == key:
            return sorted({c.__name__ for base in _bases(option.kind) for c in _subclasses(base)})
    return []


def _bases(kind: Any) -> list[type]:
    if isinstance(kind, type) and kind.__module__ != "builtins" and not typing.get_args(kind):
        return [kind]
    return [base for inner in typing.get_args(kind) for base in _bases(inner)]


def _subclasses(base: type) -> Iterable[type]:
    if not inspect.isabstract(base) and not base.__name__.startswith("_"):
        yield base
    for child in base.__subclasses__():
        yield from _subclasses(child)


def _wrong_value(fault: Fault, arguments: Sequence[str], options: Sequence[Option]) -> str | None:
    wanted = re.findall(r"Expected an? (<class '[^']+'>|[\w.]*\w\[[^\n]*\]|[\w.]+)", fault.text)
    if not wanted or not fault.key:
        return None
    given = re.search(r"Got value: (.*)", fault.text)
    value = given[1] if given else fault.value
    choices = [choice for kind in wanted for choice in _choices(kind)]
    words = [word for kind in wanted if not _choices(kind) for word in [_word(kind)] if word]
    accept = _either([*words, *choices])
    return (
        f"{_place(fault, arguments, value)}: expected {accept}{meant(str(value), choices if len(choices) > 3 else ())}"
    )


def _either(words: Iterable[str]) -> str:
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last


def _choices(kind: str) -> list[str]:
    if "Literal[" not in kind:
        return []
    return [choice.strip("' ") for choice in kind[kind.index("[") + 1 : -1].split(",")]


def _word(kind: str) -> str:
    name = re.sub(r"<class '([^']+)'>", r"\1", kind).split("[")[0].split(".")[-1]
    return WORDS.get(name, name)


def _place(fault: Fault, arguments: Sequence[str], value: str | None = None) -> str:
    """``--key value`` where the command line has it, ``FILE, line N: key: value`` where a recipe has it."""
    given = _given(fault.key, arguments)
    what = "" if value is None else _short(value)
    if given == fault.key:
        return f"--{given} {what}".rstrip()
    where = [f"{file}, line {line}: " for file in recipes(arguments)[-1:] if (line := _line(file, fault.key))]
    if given and not where:
        where = [f"--{given}: "]
    return f"{''.join(where)}{fault.key}{f': {what}' if what else ''}"


def _given(key: str, arguments: Sequence[str]) -> str | None:
    """The option of the command line that sets ``key``, or what it is a part of."""
    words = [word.split("=")[0] for word in arguments if word.startswith("--")]
    flags = {word.rstrip("+").lstrip("-").replace(".init_args", "") for word in words}
    parts = key.split(".")
    return next((part for n in range(len(parts), 0, -1) if (part := ".".join(parts[:n])) in flags), None)


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
