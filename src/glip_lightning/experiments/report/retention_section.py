"""What a detector still finds of other things after it was tuned: ``retention`` in ``result.json``.

``{"probe": name, "before": AP, "after": AP, "wise_ft": [{"alpha", "AP", "probe_AP"}]}``: AP from 0 to 1 on a set that
was not trained on; ``wise_ft`` are weights between those before (alpha 0) and after (1).
"""

from collections.abc import Sequence
from typing import Any

from glip_lightning.experiments.report.charts import Mark, Row, Way, dots, plane
from glip_lightning.experiments.report.html import Td, figure, paragraph, section, table
from glip_lightning.experiments.report.runs import Line, Run, number, percent
from glip_lightning.experiments.report.sections import legend
from glip_lightning.experiments.report.view import MISSING, View, of_shots, signed, task_name


def retention(view: View) -> str:
    """Loss on the probe against gain on the task, and the best weights between."""
    runs = [run for run in view.collection.runs if run.state == "finished" and _content(run)]
    if not runs:
        return ""
    rows: list[list[Td | str]] = []
    marks: dict[str, list[Mark]] = {}
    for run in runs:
        point, content = run.points[0], _content(run)
        before, after = percent(content.get("before")), percent(content.get("after"))
        if before is None or after is None:
            continue
        name = f"{task_name(point.task)}, {of_shots(point.shots)}"
        seed = f", seed {point.seed}" if point.seed is not None else ""
        title = f"{name}, {view.names[point.line]}: {signed(after - before)} on {content.get('probe')}"
        marks.setdefault(name, []).append(Mark(view.lines.index(point.line), after - before, None, None, title))
        rows.append(_row(view, point.line, name + seed, run, before, after))
    text = (
        "AP on a probe that was not trained on, before and after tuning. Weights between (WiSE-FT): the alpha with the "
        "highest sum of probe AP and AP on the valid split of the task; alpha 0 are the weights before, 1 those after."
    )
    head = ["tuning", "task", "probe", "before", "after", "change", "test AP", "best alpha", "valid AP", "probe AP"]
    changes = dots([Row(k, v) for k, v in marks.items()], 320, "Change on the probe", "AP (points)", [-1, 1])
    panel = figure("Change on the probe", changes)
    grid = f'<div class="tall">{panel}{"".join(_planes(view, runs))}</div>'
    numbers = table(head, rows, "What is kept")
    return section("retention", "What is kept", paragraph(text, "note"), legend(view), numbers, grid)


def _content(run: Run) -> dict[str, Any]:
    content = (run.result or {}).get("retention")
    return content if isinstance(content, dict) else {}


def _steps(run: Run) -> list[tuple[float, float, float]]:
    """alpha, task AP, probe AP, in percent."""
    steps = _content(run).get("wise_ft")
    found = []
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict):
            alpha, own, probe = number(step.get("alpha")), percent(step.get("AP")), percent(step.get("probe_AP"))
            if alpha is not None and own is not None and probe is not None:
                found.append((alpha, own, probe))
    return sorted(found)


def _row(view: View, line: Line, name: str, run: Run, before: float, after: float) -> list[Td | str]:
    steps = _steps(run)
    best = max(steps, key=lambda step: step[1] + step[2]) if steps else None
    return [
        Td(view.names[line], kind="left", swatch=view.lines.index(line)),
        Td(name, kind="left"),
        Td(str(_content(run).get("probe")), kind="left"),
        f"{before:.1f}",
        f"{after:.1f}",
        signed(after - before),
        f"{100 * run.ap:.1f}" if run.ap is not None else MISSING,
        *([f"{best[0]:g}", f"{best[1]:.1f}", f"{best[2]:.1f}"] if best else [MISSING] * 3),
    ]


def _planes(view: View, runs: Sequence[Run]) -> list[str]:
    """Of each task the ways from the weights before to those after: task AP over probe AP."""
    tasks: dict[str, list[Way]] = {}
    for run in runs:
        line, name = run.points[0].line, task_name(run.points[0].task)
        if steps := _steps(run):
            points = [(probe, own, f"alpha {a:g}: {name} {own:.1f}, probe {probe:.1f}") for a, own, probe in steps]
            tasks.setdefault(name, []).append(Way(view.lines.index(line), points))
    return [
        figure(
            f"{name}, from before to after", plane(ways, 320, f"Probe and {name}", "probe AP (%)", "AP on valid (%)")
        )
        for name, ways in tasks.items()
    ]
