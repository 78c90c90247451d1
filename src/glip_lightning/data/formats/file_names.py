"""Names of pictures: lists of them, and names that another system wrote."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import unquote

from glip_lightning.common.files import regular_file
from glip_lightning.data.images import pictures


def read_list(file: Path) -> list[str]:
    """Return the lines of a list of names, without blanks around them; lines may be empty.

    Bytes that are no UTF-8 are replaced.
    """
    text = regular_file(file).read_text(encoding="utf-8-sig", errors="replace")
    return [line.strip() for line in text.splitlines()]


def same_last_part(names: Sequence[str], folder: Path, taken: Collection[str]) -> dict[str, str]:
    """Return name -> picture below ``folder``, for the names that can mean one picture only.

    The last part of a name counts: what follows the last slash or backslash. Capitals and the form
    of Unicode do not matter, and percent signs may be decoded (``a%20b.jpg``).

    Args:
        names: of pictures that are not where the names say.
        folder: holds all pictures.
        taken: paths below the folder of the pictures that other names mean.
    """
    there: dict[str, list[str]] = defaultdict(list)
    for path in pictures(folder):
        name = path.relative_to(folder).as_posix()
        if name not in taken:
            there[_last_part(name)].append(name)
    wanted: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found = there.get(_last_part(name))
        if found is None:
            found = there.get(_last_part(unquote(name)), [])
        if len(found) == 1:
            wanted[found[0]].append(name)
    return {meant[0]: picture for picture, meant in wanted.items() if len(meant) == 1}


def _last_part(name: str) -> str:
    last = name.replace("\\", "/").rpartition("/")[2]
    return unicodedata.normalize("NFC", last).casefold()
