"""Names of pictures as another system wrote them, or for another folder."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import unquote

from glip_lightning.data.images import pictures


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
