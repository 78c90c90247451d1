"""Changes that no exporter makes, but disks, editors, scripts and attackers do: of bytes, values,
trees and options.

Every function takes a random generator and nothing else that varies, so that one number gives the
same input again.
"""

import json
import os
import re
import shutil
import stat
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

Mutation = Callable[[Path, Random], str]
"""Changes a folder; returns what it did, in a few words."""

MAGIC = (
    *(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
    ),
    *(
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"RIFF\0\0\0\0WEBP",
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"P6 9 9 255\n",
        b"PK\x03\x04",
    ),
    *(
        b"PK\x05\x06",
        b"%PDF-1.4",
        b"\x80\x04\x95",
        b"\x93NUMPY",
        b"ARROW1\0\0",
        b"\x1f\x8b\x08",
        b"<!DOCTYPE a []>",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\0",
        b"\xff" * 8,
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\x7f\xff",
    ),
)
LONE = "\ud800"  # half a character, which JSON can hold
TEXTS = (
    *(
        "",
        " ",
        "\n",
        "\0",
        LONE,
        "a" + LONE,
        "\x1b[31mred\x1b[0m",
        "\u202eright to left",
        "é",
        "\u2028",
        "🦝",
    ),
    *(
        "nan",
        "null",
        "true",
        "-1",
        "1e999",
        "0x10",
        "None",
        "..",
        "../../outside/secret.txt",
        "/dev/zero",
        "C:\\a.png",
    ),
    *(
        "a/b",
        "a.png",
        "{}",
        "[]",
        "%s%n",
        "<b>&amp;",
        "os.system",
        "word " * 2000,
        "x" * 5000,
        "." * 300,
        "a\tb\rc",
    ),
)
NUMBERS = (
    *(
        0,
        -1,
        1,
        -0.0,
        0.5,
        1e-320,
        1e308,
        -1e308,
        2**31,
        -(2**31),
        2**53 + 1,
        2**63,
        -(2**63) - 1,
        10**30,
        10**400,
    ),
    *(float("nan"), float("inf"), float("-inf"), 1e6, 1000000, 256, 65536),
)
SPECIAL: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"": None}, [None], {"a": {"b": []}})
NAMES = (
    *(
        "a b",
        " a",
        "a ",
        "ä.jpg",
        "🦝.png",
        "A.JPG",
        "a\nb.png",
        "a\x1b[31m.png",
        "-rf.png",
        "%s.png",
        "a;b.json",
    ),
    *(
        "x" * 240 + ".png",
        "con.png",
        ".hidden.png",
        "a.png.txt",
        "a'b.png",
        'a"b.json',
        "a\\b.png",
        "[x].png",
        "*.jpg",
    ),
    *(
        "train",
        "test",
        "labels",
        "images",
        "Annotations",
        "data.yaml",
        "a.json",
        "a.xml",
        "a.txt",
        "a.zip",
        "{}.png",
    ),
)
SUFFIXES = (".jpg", ".png", ".JSON", ".txt", ".xml", ".zip", ".eps", ".yaml", "")
ODD_NAME = b"odd-\xff\xfe.png"  # no UTF-8


class Pairs(list):
    """A JSON object as (key, value) pairs, which can hold a key twice."""


class Raw(str):
    """Text that is written as it stands."""


# Bytes


def change_bytes(folder: Path, rng: Random) -> str:
    """Damage one file; half of the time a small one, which is text more often than not."""
    files = files_of(folder)
    if not files:
        return "no file"
    file = rng.choice(files)
    data = bytearray(file.read_bytes())
    other = rng.choice(files).read_bytes()
    done = [_damage(data, other, rng) for _ in range(rng.choice((1, 1, 1, 2, 4)))]
    file.write_bytes(data)
    return f"{file.relative_to(folder)}: {', '.join(done)}"


def _damage(data: bytearray, other: bytes, rng: Random) -> str:  # noqa: C901 - a branch per kind
    place = rng.randrange(len(data) + 1)
    if rng.random() < 0.3:
        place = min(place, rng.randrange(64))  # headers decide most
    length = rng.choice((1, 2, 4, 16, 256))
    kind = rng.choice(
        (
            "flip",
            "set",
            "cut off",
            "delete",
            "insert",
            "repeat",
            "splice",
            "magic",
            "magic at start",
        )
    )
    if kind == "flip" and place < len(data):
        data[place] ^= 1 << rng.randrange(8)
    elif kind == "set":
        data[place : place + length] = (
            bytes([rng.choice((0, 255, 32, rng.randrange(256)))]) * length
        )
    elif kind == "cut off":
        del data[place:]
    elif kind == "delete":
        del data[place : place + length]
    elif kind == "insert":
        data[place:place] = rng.randbytes(length)
    elif kind == "repeat":
        data[place:place] = data[place : place + length] * rng.choice((1, 2, 50))
    elif kind == "splice":
        start = rng.randrange(len(other) + 1)
        data[place : place + length] = other[start : start + rng.choice((length, len(other)))]
    elif kind == "magic":
        data[place:place] = rng.choice(MAGIC)
    elif kind == "magic at start":
        magic = rng.choice(MAGIC)
        data[: rng.choice((0, len(magic)))] = magic
    return kind


# Values


def change_values(folder: Path, rng: Random) -> str:
    """Change values of one file that has some: JSON, JSON lines, YAML, XML, tables, lists, heads of
    safetensors.
    """
    files = [file for file in files_of(folder) if file.suffix.lower() in EDITORS]
    if not files:
        return change_bytes(folder, rng)
    file = rng.choice(files)
    try:
        done = EDITORS[file.suffix.lower()](file, rng)
    except Exception:
        # an earlier change has made it unreadable; PyYAML lets all kinds of errors through
        return change_bytes(folder, rng)
    return f"{file.relative_to(folder)}: {done}"


def _edit_json(file: Path, rng: Random) -> str:
    text, done = edited_json(file.read_text("utf-8-sig"), rng)
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return done


def edited_json(text: str, rng: Random) -> tuple[str, str]:
    """Return a JSON text with one to three values changed, and what was done."""
    root = [json.loads(text, object_pairs_hook=Pairs)]
    done = [_change_one(root, rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    return to_json(root[0]), ", ".join(done)


def _change_one(root: list[Any], rng: Random) -> str:  # noqa: C901 - a branch per kind
    """Change a value somewhere below ``root``, all depths alike."""
    slots = list(_slots(root))
    depth = rng.choice(sorted({len(path) for _, _, path in slots}))
    owner, place, path = rng.choice([slot for slot in slots if len(slot[2]) == depth])
    pair = isinstance(owner, Pairs)
    value = owner[place][1] if pair else owner[place]
    kind = rng.choice(
        (
            "text",
            "number",
            "special",
            "sign",
            "type",
            "remove",
            "repeat",
            "deep",
            "key",
            "other",
            "many",
        )
    )

    def put(new: Any) -> None:
        owner[place] = (owner[place][0], new) if pair else new

    if kind == "text":
        put(rng.choice(TEXTS))
    elif kind == "number":
        put(rng.choice(NUMBERS))
    elif kind == "special":
        put(rng.choice(SPECIAL))
    elif kind == "sign":
        put(-value if isinstance(value, int | float) else value)
    elif kind == "type":
        put(
            rng.choice(
                (str(value), [value], Pairs([("a", value)]), Raw(f'"{value}"' if pair else "0"))
            )
        )
    elif kind == "remove" and owner is not root:
        del owner[place]
    elif kind == "repeat" and owner is not root:
        owner.insert(rng.randrange(len(owner) + 1), owner[place])  # of an object: a key twice
    elif kind == "deep":
        levels = rng.choice((50, 990, 100_000))
        put(Raw("[" * levels + "]" * levels))
    elif kind == "key" and pair:
        owner[place] = (rng.choice((*TEXTS[:12], "id", "name", "extra")), value)
    elif kind == "key" and isinstance(value, Pairs):
        value.append(
            (
                rng.choice(("extra", "id", "", LONE, "path")),
                rng.choice((*TEXTS, *NUMBERS, *SPECIAL)),
            )
        )
    elif kind == "other":
        put(rng.choice([x for _, _, x in _values(slots)]))
    elif kind == "many" and isinstance(value, list) and value:
        value.extend([rng.choice(value)] * rng.choice((1, 20, 300)))
    return f"{kind} at {'/'.join(map(str, path))}".encode("ascii", "backslashreplace").decode()


def _slots(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """Yield (owner, place, path) of every value below ``value``."""
    if isinstance(value, list) and not isinstance(value, Raw):
        for place, entry in enumerate(value):
            inner = entry[1] if isinstance(value, Pairs) else entry
            name = entry[0] if isinstance(value, Pairs) else place
            yield value, place, (*path, name)
            if len(path) < 12:
                yield from _slots(inner, (*path, name))


def _values(slots: Sequence[Any]) -> Any:
    for owner, place, path in slots:
        yield owner, path, owner[place][1] if isinstance(owner, Pairs) else owner[place]


def to_json(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {to_json(entry)}" for key, entry in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_json, value)) + "]"
    return json.dumps(value)


def _edit_lines(file: Path, rng: Random) -> str:
    """Change JSON lines: the values of one line, or whole lines."""
    lines = file.read_text("utf-8", "replace").split("\n")
    place = rng.randrange(len(lines))
    kind = rng.choice(("values", "values", "repeat", "remove", "swap", "no end"))
    if kind == "values":
        lines[place], kind = edited_json(lines[place], rng)
    elif kind == "repeat":
        lines.insert(rng.randrange(len(lines)), lines[place])
    elif kind == "remove":
        del lines[place]
    elif kind == "swap":
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    text = "\n".join(lines).rstrip("\n" if kind == "no end" else "")
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return f"line {place + 1}: {kind}"


YAML_ODDITIES = (
    *(
        "&a [*a]",
        "*missing",
        "!!python/object/apply:os.system [id]",
        "!!binary x",
        "2001-01-01",
        ".nan",
        ".inf",
        "~",
    ),
    *(
        "0o17",
        "1:30:00",
        "[a, b",
        "{a: b",
        "- a\n- b",
        "? a\n: b",
        "!!set {a, b}",
        "|\n  text",
        "<<: {a: 1}",
        "no",
    ),
    *(
        '"\\ud800"',
        '"\\0"',
        "0x" + "f" * 40,
        "1" * 5000,
        "[" * 500 + "]" * 500,
        "'" + "x" * 5000 + "'",
    ),
)


def _edit_yaml(file: Path, rng: Random) -> str:
    """Change a value, a key or a whole line as text; or write it as JSON, which is YAML, with
    values changed.
    """
    import yaml

    text = file.read_text("utf-8")
    if rng.random() < 0.4:
        text, done = edited_json(json.dumps(yaml.safe_load(text)), rng)
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        return done
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    kind = rng.choice(("value", "value", "key", "remove", "repeat", "indent", "tab"))
    key, colon, value = lines[place].partition(":")
    if kind == "value":
        odd = (*YAML_ODDITIES, *map(json.dumps, (*TEXTS, *NUMBERS, *SPECIAL)))
        lines[place] = f"{key}{colon} {rng.choice(odd)}"
    elif kind == "key":
        lines[place] = (
            f"{rng.choice(('extra', '<<', '? a', '1', 'null', '[a]', '{}', key + 'x'))}:{value}"
        )
    elif kind == "remove":
        del lines[place]
    elif kind == "repeat":
        lines.insert(place, lines[place])
    else:
        lines[place] = ("\t" if kind == "tab" else "   ") + lines[place]
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    return f"line {place + 1}: {kind}"


def _edit_xml(file: Path, rng: Random) -> str:
    """Change the text, the name or the whole of an element."""
    text = file.read_text("utf-8")
    elements = list(re.finditer(r"<(\w+)>([^<>]*)</\1>", text))
    found = rng.choice(elements)
    kind = rng.choice(("text", "number", "name", "remove", "repeat", "nest", "comment", "entity"))
    name, inner = found[1], found[2]
    new = {
        "text": f"<{name}>{rng.choice(TEXTS)}</{name}>",
        "number": f"<{name}>{rng.choice(NUMBERS[:14])}</{name}>",
        "name": f"<{rng.choice(('x', 'name', 'object', 'bndbox', 'size'))}>{inner}</{name}>",
        "remove": "",
        "repeat": found[0] * rng.choice((2, 50)),
        "nest": f"<{name}>" * 500 + inner + f"</{name}>" * 500,
        "comment": f"<{name}><!-- {inner} -->{inner}<x/></{name}>",
        "entity": f"<{name}>&{rng.choice(('lt', '#0', '#xD800', 'x', '#x1F99D'))};</{name}>",
    }[kind]
    text = text[: found.start()] + new + text[found.end() :]
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return f"{name}: {kind}"


def _edit_table(file: Path, rng: Random) -> str:
    """Change a field of a list or a table, or a whole line."""
    lines = file.read_text("utf-8", "replace").split("\n")
    place = rng.randrange(len(lines))
    separator = "," if file.suffix.lower() == ".csv" else " "
    fields = lines[place].split(separator)
    kind = rng.choice(("text", "number", "number", "field", "remove", "repeat", "quote"))
    at = rng.randrange(len(fields))
    if kind == "text":
        fields[at] = rng.choice(TEXTS)
    elif kind == "number":
        fields[at] = str(rng.choice(NUMBERS[:14]))
    elif kind == "field":
        fields.insert(at, fields[at])
    elif kind == "quote":
        fields[at] = f'"{fields[at]}'
    lines[place] = separator.join(fields)
    if kind == "remove":
        del lines[place]
    elif kind == "repeat":
        lines[place:place] = [lines[place]] * rng.choice((1, 40))
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    return f"line {place + 1}: {kind}"


def _edit_safetensors(file: Path, rng: Random) -> str:
    """Change the JSON at its head: offsets, shapes, types, and the JSON in its metadata."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    head, body = data[8 : 8 + length].decode(), data[8 + length :]
    content = json.loads(head)
    metadata = content.get("__metadata__", {})
    inner = [key for key, text in metadata.items() if text.startswith("{")]
    if inner and rng.random() < 0.7:
        metadata[inner[0]], done = edited_json(metadata[inner[0]], rng)
        head = json.dumps(content)
    elif rng.random() < 0.4:
        body, done = _odd_numbers(body, rng), "numbers"
    else:
        head, done = edited_json(head, rng)
    encoded = head.encode("utf-8", "surrogatepass")
    file.write_bytes(struct.pack("<Q", len(encoded)) + encoded + body)
    return done


def _odd_numbers(body: bytes, rng: Random) -> bytes:
    """Make some of the tensors' numbers NaN, infinite or huge."""
    odd = rng.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", b"\0\0\0\0"))
    start = 4 * rng.randrange(max(1, len(body) // 4))
    count = rng.choice((1, 100, len(body)))
    middle = odd * min(count, (len(body) - start) // 4)
    return body[:start] + middle + body[start + len(middle) :]


EDITORS: dict[str, Callable[[Path, Random], str]] = {
    ".json": _edit_json,
    ".jsonl": _edit_lines,
    ".yaml": _edit_yaml,
    ".yml": _edit_yaml,
    ".xml": _edit_xml,
    ".txt": _edit_table,
    ".csv": _edit_table,
    ".safetensors": _edit_safetensors,
}


# Trees


KINDS = (
    *(
        "remove",
        "rename",
        "suffix",
        "case",
        "folder",
        "fifo",
        "loop",
        "outside",
        "parent",
        "device",
        "empty",
        "mode",
    ),
    *("copy", "swap", "move", "odd file", "odd name", "hide"),
)


def change_tree(folder: Path, rng: Random, kinds: Sequence[str] = KINDS) -> str:
    """Put something else in the place of a file or a folder, or something odd beside it."""
    paths = [
        path for path in sorted(folder.rglob("*")) if not path.is_symlink() and _is_plain(path)
    ]
    if not paths:
        return "no file"
    path = rng.choice(paths)
    kind = rng.choice(kinds)
    name = str(path.relative_to(folder)).encode("ascii", "backslashreplace").decode()
    try:
        _replant(folder, path, rng.choice(paths), kind, rng)
    except (OSError, shutil.Error) as error:  # what this file system cannot hold
        return f"{name}: no {kind} ({type(error).__name__})"
    return f"{name}: {kind}"


def _is_plain(path: Path) -> bool:
    return path.is_dir() or path.is_file()


def _specials(folder: str, names: Sequence[str]) -> list[str]:
    """Return what cannot be copied."""
    return [name for name in names if not _is_plain(Path(folder, name))]


def change_tree_within(folder: Path, rng: Random) -> str:
    """Do :func:`change_tree` without links that lead elsewhere: for what may be written to."""
    return change_tree(folder, rng, [kind for kind in KINDS if kind not in ("outside", "parent")])


def _replant(  # noqa: C901, PLR0912 - a branch per kind
    folder: Path, path: Path, other: Path, kind: str, rng: Random
) -> None:
    content = path.read_bytes() if path.is_file() else b""
    if kind in ("remove", "folder", "fifo", "loop", "outside", "parent", "device"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kind == "rename":
        path.rename(path.with_name(rng.choice(NAMES)))
    elif kind == "suffix":
        path.rename(path.with_suffix(rng.choice(SUFFIXES)))
    elif kind == "case":
        path.rename(path.with_name(path.name.swapcase()))
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "outside":
        path.symlink_to(
            folder.parent / "outside" / rng.choice(("secret.txt", "secret.png", "", "missing"))
        )
    elif kind == "parent":
        path.symlink_to("..")
    elif kind == "device":
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
    elif kind == "empty" and path.is_file():
        path.write_bytes(b"")
    elif kind == "mode":
        path.chmod(0)
    elif kind == "copy":
        target = path.with_name(f"copy-{path.name}")
        shutil.copytree(path, target, ignore=_specials) if path.is_dir() else shutil.copy(
            path, target
        )
    elif kind == "swap" and path.is_file() and other.is_file() and path != other:
        mine, its = path.read_bytes(), other.read_bytes()
        path.write_bytes(its)
        other.write_bytes(mine)
    elif kind == "move":
        path.rename((other if other.is_dir() else other.parent) / f"moved-{path.name}")
    elif kind == "odd file":
        (path.parent / rng.choice(NAMES)).write_bytes(rng.choice((b"", b"x", content)))
    elif kind == "odd name":
        Path(os.fsdecode(os.fsencode(path.parent) + b"/" + ODD_NAME)).write_bytes(content)
    elif kind == "hide":
        path.rename(path.with_name(f".{path.name}"))


def files_of(folder: Path) -> list[Path]:
    """Return the plain files below ``folder`` in a fixed order."""
    found = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return sorted(
        path
        for path in found
        if path.is_file() and not path.is_symlink() and path.lstat().st_size < 1 << 24
    )


# Options

WORDS = (
    *(
        "",
        " ",
        "-1",
        "0",
        "1",
        "2",
        "0.5",
        "nan",
        "inf",
        "1e999",
        "-0",
        "10000000000000000000000",
        "null",
        "[]",
    ),
    *(
        "{}",
        "[1",
        "{a: b}",
        "a b",
        "--",
        "-x",
        "--help",
        "ä",
        "🦝",
        "\udcff",
        "\x1b[31m",
        "x" * 5000,
        "data",
    ),
    *(
        "missing",
        "missing/deep",
        "recipe.yaml",
        "../outside/secret.txt",
        "name=value",
        "*",
        "cpu",
        "true",
        "photos",
    ),
    *(
        "glip-nano",
        "owner/name",
        "http://127.0.0.1:9/",
        "cuda:99",
        "FullTuning",
        "!!python/name:os.system",
        "%s",
    ),
)


def change_options(words: list[str], rng: Random) -> tuple[list[str], str]:
    """Return a command line with a value, an option or their order changed."""
    words = list(words)
    place = rng.randrange(1, len(words)) if len(words) > 1 else 0
    kind = rng.choice(("value", "value", "value", "remove", "repeat", "swap", "add", "join"))
    if kind == "value":
        option, equals, _ = words[place].partition("=")
        words[place] = f"{option}={rng.choice(WORDS)}" if equals else rng.choice(WORDS)
    elif kind == "remove":
        del words[place]
    elif kind == "repeat":
        words.insert(place, words[place])
    elif kind == "swap":
        other = rng.randrange(len(words))
        words[place], words[other] = words[other], words[place]
    elif kind == "add":
        words.insert(
            rng.randrange(len(words) + 1),
            rng.choice((*WORDS, "--version", "--device", "--run", "--x.y=1")),
        )
    elif kind == "join" and place + 1 < len(words):
        words[place : place + 2] = [f"{words[place]}={words[place + 1]}"]
    return words, f"{kind} of word {place}"
