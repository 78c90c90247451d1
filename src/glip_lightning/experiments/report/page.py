"""The report as one HTML file: no script, no request; the policy in its head forbids both."""

from pathlib import Path

from glip_lightning import __version__
from glip_lightning.common import registry
from glip_lightning.experiments.report.details import classes, cost, pictures, repeat, undone
from glip_lightning.experiments.report.html import escape
from glip_lightning.experiments.report.retention_section import retention
from glip_lightning.experiments.report.sections import against_paper, efficiency, paper_layout, summary, tunings
from glip_lightning.experiments.report.view import View, shots_name

STYLE = Path(__file__).parent / "report.css"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
LINKS = {
    "curves": "Data efficiency",
    "table": "All numbers",
    "paper": "Paper",
    "tunings": "Tunings",
    "classes": "Classes",
    "pictures": "Pictures",
    "cost": "Cost",
    "retention": "What is kept",
    "undone": "Failed and missing",
    "repeat": "To repeat it",
}


def page(view: View) -> str:
    title = f"{view.collection.name}: report"
    parts = (
        efficiency,
        paper_layout,
        against_paper,
        tunings,
        classes,
        pictures,
        cost,
        retention,
        undone,
        repeat,
    )
    added = registry.report_sections.rows()
    body = "".join(each.page(view) for each in added.values()) + "".join(part(view) for part in parts)
    titles = {name: each.title for name, each in added.items()} | LINKS
    links = "".join(f'<a href="#{k}">{v}</a>' for k, v in titles.items() if f'id="{k}"' in body)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'  # else the browser would ask for one
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head><body>"
        f"<header><h1>{escape(view.collection.name)}</h1><p class='soft'>{escape(swept(view))}</p>"
        f"<nav>{links}</nav></header>"
        f"<main>{summary(view)}{body}</main>"
        f"<footer><p class='note'>glip report, glip-lightning {escape(__version__)}</p></footer></body></html>"
    )


def swept(view: View) -> str:
    """In a sentence what was varied."""
    cells, names = view.cells, list(view.names.values())
    shots = ", ".join(map(shots_name, cells.shots))
    seeds = {point.seed for point, _ in view.collection.points if point.shots != 0}
    tasks = f"{len(cells.tasks)} tasks" if len(cells.tasks) > 1 else f"task {cells.tasks[0]}"
    tunings = f"{len(names)} tunings ({', '.join(names)})" if len(names) > 1 else names[0]
    seed = f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed"
    detectors = dict.fromkeys(line.get("detector") for line in view.lines)
    detector = f"{next(iter(detectors))}: " if len(detectors) == 1 and None not in detectors else ""
    return f"{detector}{tasks}, {shots} shots, {seed}, {tunings}."
