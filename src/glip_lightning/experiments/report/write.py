"""``glip report``: what a sweep or a folder of runs has reached, as a page, as tables and for the leaderboard."""

from pathlib import Path

from glip_lightning.common.files import remove_parts, write_text
from glip_lightning.experiments.report.collect import collect
from glip_lightning.experiments.report.page import page
from glip_lightning.experiments.report.tables import cells_csv, claims_csv, markdown, trials_csv
from glip_lightning.experiments.report.view import make_view
from glip_lightning.shapes.claims import claims_of


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
        from glip_lightning.experiments.report.leaderboard import write_leaderboard

        said += write_leaderboard(view, Path(leaderboard)) or ["leaderboard: no test detections on tasks of ODinW"]
    return said
