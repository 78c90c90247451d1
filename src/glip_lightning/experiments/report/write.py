"""``glip report``: what a sweep or a folder of runs has reached, as a page, as tables and for the leaderboard."""

from pathlib import Path

from glip_lightning.common import registry
from glip_lightning.common.files import remove_parts, write_text
from glip_lightning.experiments.report.collect import collect
from glip_lightning.experiments.report.page import page
from glip_lightning.experiments.report.tables import cells_csv, markdown, trials_csv
from glip_lightning.experiments.report.view import make_view


def report(folder: str | Path, out: str | Path | None = None, leaderboard: str | Path | None = None) -> list[str]:
    """Write ``report.html``, ``report.md``, ``report.csv`` and ``cells.csv`` into ``out`` (default: ``folder``), and
    the files of sections that plugins add, such as ``claims.csv``.

    ``leaderboard`` is the folder for the files of the leaderboard, if any. Returns a line for each file.
    """
    view = make_view(collect(Path(folder)))
    target = Path(out) if out else Path(folder)
    remove_parts(target)
    written = {"report.html": page, "report.md": markdown, "report.csv": trials_csv, "cells.csv": cells_csv}
    contents = {name: make(view) for name, make in written.items()}
    for each in registry.report_sections.rows().values():
        contents |= each.files(view)
    for name, content in contents.items():
        write_text(target / name, content)
    said = [str(target / name) for name in contents]
    if leaderboard:
        from glip_lightning.experiments.report.leaderboard import write_leaderboard

        said += write_leaderboard(view, Path(leaderboard)) or ["leaderboard: no test detections on tasks of ODinW"]
    return said
