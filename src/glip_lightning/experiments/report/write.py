"""``glip report``: what a sweep or a folder of runs has reached, as a page, as tables and for the leaderboard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from glip_lightning import __version__
from glip_lightning.common import registry
from glip_lightning.common.escaping import printable
from glip_lightning.common.files import remove_parts, write_text
from glip_lightning.experiments.report.ap_sections import (
    against_paper,
    all_numbers,
    efficiency,
    summary,
    tunings,
)
from glip_lightning.experiments.report.collect import collect
from glip_lightning.experiments.report.frames import cells, trials
from glip_lightning.experiments.report.parts import Section
from glip_lightning.experiments.report.retention_section import retention
from glip_lightning.experiments.report.run_sections import (
    best_pictures,
    classes,
    cost,
    repeat,
    undone,
)
from glip_lightning.experiments.report.view import ReportView, make_view

FOLDER = Path(__file__).parent
SECTIONS = (
    *(
        efficiency,
        all_numbers,
        against_paper,
        tunings,
        classes,
        best_pictures,
        cost,
        retention,
        undone,
        repeat,
    ),
)


def write_report(
    folder: str | Path, out: str | Path | None = None, leaderboard: str | Path | None = None
) -> list[str]:
    """Write ``report.html``, ``report.md``, ``report.csv`` and ``cells.csv`` into ``out`` (default: ``folder``), and
    the files of sections that plugins add, such as ``claims.csv``.

    ``leaderboard`` is the folder for the files of the leaderboard, if any. Returns a line for each file.
    """
    view = make_view(collect(Path(folder)))
    target = Path(out) if out else Path(folder)
    remove_parts(target)
    added = registry.report_sections.rows().values()
    sections = [summary(view), *(section for each in added for section in each.sections(view))]
    sections += [section for make in SECTIONS if (section := make(view))]
    frames = {"report.csv": trials(view), "cells.csv": cells(view)}
    for each in added:
        frames |= each.files(view)
    contents = {"report.html": page(view, sections), "report.md": markdown(view, sections)}
    contents |= {
        name: frame.to_csv(index=False, lineterminator="\n") for name, frame in frames.items()
    }
    for name, content in contents.items():
        write_text(target / name, content)
    said = [str(target / name) for name in contents]
    if leaderboard:
        from glip_lightning.experiments.report.leaderboard import write_leaderboard

        said += write_leaderboard(view, Path(leaderboard)) or [
            "leaderboard: no test detections on tasks of ODinW"
        ]
    return said


def page(view: ReportView, sections: list[Section]) -> str:
    """Return the report as one HTML file: no script, no request; the policy in its head forbids both."""
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    return _filled("report.html.jinja", True, printable, view, sections, style=style)


def markdown(view: ReportView, sections: list[Section]) -> str:
    """Return the report's texts and tables as Markdown."""
    return _filled("report.md.jinja", False, plain_text, view, sections)


def _filled(
    template: str,
    escape: bool,
    safe: Callable[[str], str],
    view: ReportView,
    sections: list[Section],
    **more: str,
) -> str:
    """Return a template with the sections in it; every text goes through ``safe`` first, and is HTML if ``escape``."""

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) else safe(str(value))

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=escape,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["one_line"] = lambda text: Markup(printable(str(text)))
    known = {"title": view.collection.name, "swept": swept(view), "version": __version__}
    return environment.get_template(template).render(**known, **more, sections=sections)


def plain_text(content: str) -> str:
    """Return one line without what Markdown would read as markup."""
    content = printable(" ".join(content.split()))
    for sign in "\\|`*_<>":
        content = content.replace(sign, f"\\{sign}")
    return content


def swept(view: ReportView) -> str:
    """Return in a sentence what was varied."""
    lines = list(view.names.values())
    shots = ", ".join(map(str, view.cells.shots))
    seeds = {point.seed for point, _ in view.collection.points if point.shots != 0}
    tasks = (
        f"{len(view.cells.tasks)} tasks"
        if len(view.cells.tasks) > 1
        else f"task {view.cells.tasks[0]}"
    )
    names = f"{len(lines)} tunings ({', '.join(lines)})" if len(lines) > 1 else lines[0]
    seed = f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed"
    detectors = dict.fromkeys(line.get("detector") for line in view.lines)
    detector = f"{next(iter(detectors))}: " if len(detectors) == 1 and None not in detectors else ""
    return f"{detector}{tasks}, {shots} shots, {seed}, {names}."
