"""``glip report``: a sweep or a folder of runs as a page, as tables and for the leaderboard."""

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
SECTIONS: tuple[Callable[[ReportView], Section | None], ...] = (
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
)
"""Sections after the summary and those of plugins; None where there is nothing to show."""


def write_report(
    folder: str | Path, out: str | Path | None = None, leaderboard: str | Path | None = None
) -> list[str]:
    """Write ``report.html``, ``report.md``, ``report.csv``, ``cells.csv`` and the files of plugins.

    Args:
        folder: a folder of sweeps or of runs.
        out: where to write; None: into ``folder``.
        leaderboard: folder for the files of the leaderboard; None: they are not written.

    Returns:
        A line for each file.
    """
    view = make_view(collect(Path(folder)))
    target = Path(out) if out else Path(folder)
    remove_parts(target)
    added = registry.report_sections.rows().values()
    sections = [summary(view)]
    frames = {"report.csv": trials(view), "cells.csv": cells(view)}
    for each in added:
        sections += each.sections(view)
        frames |= each.files(view)
    for make in SECTIONS:
        section = make(view)
        if section:
            sections.append(section)
    contents = {"report.html": page(view, sections), "report.md": markdown(view, sections)}
    for name, frame in frames.items():
        contents[name] = frame.to_csv(index=False, lineterminator="\n")
    lines = []
    for name, content in contents.items():
        write_text(target / name, content)
        lines.append(str(target / name))
    if leaderboard:
        from glip_lightning.experiments.report.leaderboard import write_leaderboard

        files = write_leaderboard(view, Path(leaderboard))
        lines += files or ["leaderboard: no test detections on tasks of ODinW"]
    return lines


def page(view: ReportView, sections: list[Section]) -> str:
    """Return the report as one HTML file without script or request, which its head forbids, too."""
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
    """Return a template with the sections in it.

    Every text goes through ``safe`` first and then, if ``escape``, becomes HTML.
    """

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) else safe(str(value))

    def one_line(text: Any) -> Markup:
        return Markup(printable(str(text)))

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=escape,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["one_line"] = one_line
    return environment.get_template(template).render(
        title=view.collection.name,
        swept=swept(view),
        version=__version__,
        sections=sections,
        **more,
    )


def plain_text(content: str) -> str:
    """Return one line without what Markdown would read as markup."""
    content = printable(" ".join(content.split()))
    for sign in "\\|`*_<>":
        content = content.replace(sign, f"\\{sign}")
    return content


def swept(view: ReportView) -> str:
    """Return in a sentence what was varied: detector, tasks, shots, seeds and tunings."""
    tasks = view.cells.tasks
    lines = list(view.names.values())
    detectors = {line.get("detector") for line in view.lines}
    seeds = {point.seed for point, _ in view.collection.points if point.shots != 0}
    parts = [
        f"{len(tasks)} tasks" if len(tasks) > 1 else f"task {tasks[0]}",
        f"{', '.join(str(shots) for shots in view.cells.shots)} shots",
        f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed",
        f"{len(lines)} tunings ({', '.join(lines)})" if len(lines) > 1 else lines[0],
    ]
    text = f"{', '.join(parts)}."
    detector = next(iter(detectors))
    if len(detectors) == 1 and detector is not None:
        return f"{detector}: {text}"
    return text
