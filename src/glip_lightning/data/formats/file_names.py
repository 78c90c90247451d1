"""Names of pictures that another system or another folder has written."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import unquote

from glip_lightning.data.images import pictures


def same_last_part(names: Sequence[str], folder: Path, taken: Collection[str]) -> dict[str, str]:
    """Return the picture below ``folder`` that each of the names means, where only one can be meant.

    The last part of a name counts, after any slash or backslash, whatever its capitals, in the composed form of
    Unicode, and also without percent signs (``a%20b.jpg``).

    Args:
        names: of pictures that are not where they say.
        folder: of all pictures.
        taken: pictures, by their paths below the folder, that others have named.
    """
    there: dict[str, list[str]] = defaultdict(list)
    for path in pictures(folder):
        name = path.relative_to(folder).as_posix()
        if name not in taken:
            there[_last_part(name)].append(name)
    wanted: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found = there.get(_last_part(name)) or there.get(_last_part(unquote(name)), [])
        if len(found) == 1:
            wanted[found[0]].append(name)
    return {meant[0]: picture for picture, meant in wanted.items() if len(meant) == 1}


def _last_part(name: str) -> str:
    last = name.replace("\\", "/").rpartition("/")[2]
    return unicodedata.normalize("NFC", last).casefold()
