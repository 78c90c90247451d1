"""HTML by hand: text is escaped where it enters."""

import html
from collections.abc import Sequence
from typing import NamedTuple

from glip_lightning.common.escaping import printable


def escape(text: str) -> str:
    """Return ``text`` for a page: markup and control characters in names of others show, and do nothing."""
    return html.escape(printable(text))


class Td(NamedTuple):
    """A cell of a table; the lines of ``small`` stand below, ``title`` appears when the pointer rests on it."""

    text: str
    small: str = ""
    kind: str = ""
    title: str = ""
    swatch: int | None = None


def td(cell: Td | str, header: bool = False) -> str:
    cell = cell if isinstance(cell, Td) else Td(cell)
    name = 'th scope="row"' if header else "td"
    kind = f' class="{cell.kind}"' if cell.kind else ""
    title = f' title="{escape(cell.title)}"' if cell.title else ""
    swatch = f'<span class="swatch s{cell.swatch % 7}"></span>' if cell.swatch is not None else ""
    small = "".join(f"<small>{escape(each)}</small>" for each in cell.small.split("\n") if each)
    return f"<{name}{kind}{title}>{swatch}{escape(cell.text)}{small}</{name.split()[0]}>"


def table(
    head: Sequence[str], rows: Sequence[Sequence[Td | str]], label: str, headers: int = 1, blocks: Sequence[int] = ()
) -> str:
    """A table in a box of its own that scrolls. The first ``headers`` cells of a row name it; a block of rows begins
    at each of ``blocks``."""
    top = []
    for i, name in enumerate(head):
        kind = " ".join(word for word, on in (("left", i < headers or _is_left(rows, i)), ("first", i == 0)) if on)
        top.append(f'<th scope="col" class="{kind}">{escape(name)}</th>')
    body = []
    for number, row in enumerate(rows):
        cells = [_first(cell) if i == 0 else cell for i, cell in enumerate(row)]
        kind = ' class="block"' if number in blocks and number else ""
        body.append(f"<tr{kind}>" + "".join(td(cell, i < headers) for i, cell in enumerate(cells)) + "</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table>'
        f"<thead><tr>{''.join(top)}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _is_left(rows: Sequence[Sequence[Td | str]], column: int) -> bool:
    cell = rows[0][column] if rows else ""
    return isinstance(cell, Td) and any(kind in cell.kind.split() for kind in ("left", "wrap"))


def _first(cell: Td | str) -> Td:
    cell = cell if isinstance(cell, Td) else Td(cell)
    return cell._replace(kind=f"{cell.kind} first".strip())


def section(anchor: str, title: str, *content: str) -> str:
    """Nothing if there is no content."""
    inside = "".join(content)
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{inside}</section>' if inside else ""


def paragraph(content: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(content)}</p>' if kind else f"<p>{escape(content)}</p>"


def figure(title: str, *pictures: str, level: int = 3) -> str:
    return f"<figure><h{level}>{escape(title)}</h{level}>{''.join(pictures)}</figure>"
