"""``glip report``: what a sweep or a folder of runs has reached, as a page, as tables and for the leaderboard."""

from pathlib import Path

from ..files import remove_parts, write_text
from .claims import claims_of
from .collect import collect
from .page import page
from .tables import cells_csv, claims_csv, markdown, trials_csv
from .view import make_view


def report(folder: str | Path, out: str | Path | None = None, leaderboard: str | Path | None = None) -> list[str]:
    """Write ``report.html``, ``report.md``, ``report.csv`` and ``cells.csv`` into ``out`` (default: ``folder``), and
    ``claims.csv`` where the runs are about claims of the GLIP paper.

    ``leaderboard`` is the folder for the files of the leaderboard, if any. Returns a line for each file.
    """
    view = make_view(collect(Path(folder)))
    target = Path(out) if out else Path(folder)
    remove_parts(target)
    written = {"report.html": page, "report.md": markdown, "report.csv": trials_csv, "cells.csv": cells_csv}
    if claims_of(view):
        written["claims.csv"] = claims_csv
    for name, make in written.items():
        write_text(target / name, make(view))
    said = [str(target / name) for name in written]
    if leaderboard:
        from .leaderboard import write_leaderboard

        said += write_leaderboard(view, Path(leaderboard)) or ["leaderboard: no test detections on tasks of ODinW"]
    return said
