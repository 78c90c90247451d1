"""The page in W&B on which the runs of a sweep are compared, as code."""

import os
from typing import TYPE_CHECKING

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.imports import import_optional
from glip_lightning.common.private_names import page_as_json
from glip_lightning.training.logging.run_names import (
    AFTER,
    BEFORE,
    CLASSES,
    COST_DEVICE,
    COST_PROCESS,
    COST_SECONDS,
    CURVE_AP,
    CURVE_IMAGES,
    CURVE_SHOTS,
    PICTURES,
    TRADE_OFF,
    TRAINABLE,
    picture_key,
)

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

RUNS_SHOWN = 100  # lines of a plot; W&B's default of 10 is less than a sweep
COLUMNS = (
    "config:task",
    "config:shots",
    "config:seed",
    "config:tuning",
    "summary:test/AP",
    f"summary:{TRAINABLE}",
)


def make_page(
    project: str, entity: str | None = None, sweep: str | None = None, show: bool = False
) -> int:
    """Make the page and save it in W&B; with ``show``, print it as JSON, which needs no network."""
    os.environ.setdefault("WANDB_SILENT", "true")  # else W&B asks for a key in the terminal
    for package in ("wandb", "wandb_workspaces"):
        import_optional(package, "glip dashboard", "dashboard")
    page = build(project, entity or "", sweep)
    if show:
        print(page_as_json(page))
    else:
        print(save_page(page))
    return 0


def save_page(page: "ws.Workspace") -> str:
    """Save the page as a new view of its project and return its address.

    A project without an owner is one of the user's own.

    Raises:
        GLIPError: nobody is logged in (code ``not-logged-in``), or W&B does not take the page
            (``refused-by-wandb``).
    """
    import wandb

    try:
        page.entity = page.entity or wandb.Api().default_entity or ""
        page.save()
    except wandb.errors.UsageError:
        raise GLIPError(
            "not logged in to W&B: run wandb login, then again; --print shows the page",
            code="not-logged-in",
        ) from None
    except Exception as error:  # what W&B raises has no common base
        reason = str(error).rstrip(".")
        message = f"W&B does not take the page of project {page.project!r}: {reason}. "
        message += "Check the network, the login (wandb login), and that a run of the project is "
        message += "synced (wandb sync)"
        raise GLIPError(message, code="refused-by-wandb") from error
    return page.url


def build(project: str, entity: str, sweep: str | None = None) -> "ws.Workspace":
    """Return the page, which has one section per question.

    Runs are grouped by sweep, then by tuning. With ``sweep``, runs of other sweeps are left out.
    """
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces.expr import Metric

    name, filters = "GLIP", ""
    if sweep:
        name, filters = f"GLIP: {sweep}", f"Metric('Group') == {sweep!r}"
    runs = ws.RunsetSettings(
        filters=filters,
        groupby=[Metric("Group"), Metric("JobType")],
        pinned_columns=list(COLUMNS),
    )
    sections = [
        ws.Section(name="Data efficiency", panels=_efficiency(), is_open=True),
        ws.Section(name="Training", panels=_training(), is_open=True),
        ws.Section(name="Per class", panels=_classes(), is_open=True),
        ws.Section(name="Pictures", panels=_pictures(), is_open=True),
        ws.Section(name="Cost", panels=_cost(), is_open=True),
        ws.Section(name="Retention", panels=_retention(), is_open=False),
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=sections,
        settings=ws.WorkspaceSettings(max_runs=RUNS_SHOWN),
        runset_settings=runs,
    )


def _efficiency() -> "list[wr.LinePlot | wr.BarPlot | wr.ScatterPlot]":
    import wandb_workspaces.reports.v2 as wr

    return [
        _curve("AP over shots", CURVE_SHOTS, "shots"),
        _curve("AP over training images", CURVE_IMAGES, "training images"),
        _bars("Test AP by tuning", "test/AP"),
        wr.ScatterPlot(
            title="Test AP of every run", x=wr.Config("shots"), y=wr.SummaryMetric("test/AP")
        ),
    ]


def _curve(title: str, x: str, title_x: str) -> "wr.LinePlot":
    """Return a plot with a line per tuning: mean and standard deviation over seeds and tasks."""
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=title,
        x=x,
        y=[CURVE_AP],
        title_x=title_x,
        title_y="AP",
        groupby=wr.Config("tuning"),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
    )


def _bars(title: str, metric: str) -> "wr.BarPlot":
    """Return a plot with a bar per tuning: mean and standard deviation over its runs."""
    import wandb_workspaces.reports.v2 as wr

    tuning = wr.Config("tuning")
    return wr.BarPlot(
        title=title,
        metrics=[metric],
        groupby=tuning,
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
    )


def _training() -> "list[wr.LinePlot]":
    import wandb_workspaces.reports.v2 as wr

    step = "trainer/global_step"
    return [
        wr.LinePlot(title="Validation AP", x=step, y=["val/AP"]),
        wr.LinePlot(title="Loss", x=step, y=["train/loss"]),
        wr.LinePlot(title="Parts of the loss", x=step, metric_regex="train/loss_.*"),
        wr.LinePlot(title="Learning rates", x=step, metric_regex="lr-.*"),
    ]


def _classes() -> "list[wr.WeavePanelSummaryTable | wr.LinePlot]":
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.WeavePanelSummaryTable(table_name=CLASSES),
        wr.LinePlot(
            title="Validation AP of each class",
            x="trainer/global_step",
            metric_regex="val/AP_class/.*",
        ),
    ]


def _pictures() -> "list[wr.MediaBrowser]":
    import wandb_workspaces.reports.v2 as wr

    panels = []
    for stage, title in (("test", "Test images"), ("val", "Validation images")):
        keys = [picture_key(stage, i) for i in range(PICTURES)]
        panels.append(wr.MediaBrowser(title=title, media_keys=keys, num_columns=PICTURES))
    return panels


def _cost() -> "list[wr.BarPlot | wr.ScatterPlot]":
    import wandb_workspaces.reports.v2 as wr

    return [
        _bars("Seconds", COST_SECONDS),
        _bars("Trainable parameters", TRAINABLE),
        _bars("Peak memory of the process, GB", COST_PROCESS),
        _bars("Peak memory of the device, GB", COST_DEVICE),
        wr.ScatterPlot(
            title="Test AP over trainable parameters",
            x=wr.SummaryMetric(TRAINABLE),
            y=wr.SummaryMetric("test/AP"),
            log_x=True,
        ),
    ]


def _retention() -> "list[wr.BarPlot | wr.ScatterPlot | wr.WeavePanelSummaryTable]":
    """Return the panels about runs with a probe (``retention`` in the recipe)."""
    import wandb_workspaces.reports.v2 as wr

    after, reached = wr.SummaryMetric(AFTER), wr.SummaryMetric("test/AP")
    return [
        _bars("AP on the probe, before", BEFORE),
        _bars("AP on the probe, after", AFTER),
        wr.ScatterPlot(title="Test AP over AP on the probe", x=after, y=reached),
        wr.WeavePanelSummaryTable(table_name=TRADE_OFF),
    ]
