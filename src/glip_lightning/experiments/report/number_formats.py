"""How a report writes numbers and names."""

from pathlib import Path

from glip_lightning.experiments.report.paper_numbers import SHORT
from glip_lightning.experiments.report.runs import Shots
from glip_lightning.experiments.report.statistics import Group, Mean, Stat

MINUS, MISSING = "\N{MINUS SIGN}", "\N{EN DASH}"


def task_name(task: str) -> str:
    """The paper's word for a task of ODinW-13, which is shorter."""
    return SHORT.get(task, task)


def of_shots(shots: Shots) -> str:
    return "1 shot" if shots == 1 else f"{shots} shots"


def spread(stat: Stat) -> str:
    """52.3 ± 1.2; without a spread where there is one seed."""
    return f"{stat.mean:.1f}" + (f" ± {stat.std:.1f}" if stat.std is not None else "")


def bounds(stat: Stat) -> str:
    """The interval over images, empty if it is not known."""
    if stat.interval is None:
        return ""
    low, high = (f"{x:.1f}".replace("-0.0", "0.0").replace("-", MINUS) for x in stat.interval)
    return f"[{low}, {high}]"


def signed(value: float) -> str:
    number = f"{abs(value):.1f}"
    return number if number == "0.0" else f"{'+' if value > 0 else MINUS}{number}"


def signed_spread(stat: Stat) -> str:
    return signed(stat.mean) + (f" ± {stat.std:.1f}" if stat.std is not None else "")


def seeds_of(stat: Stat) -> str:
    return "1 run" if stat.n == 1 else f"{stat.n} seeds"


def lacking(mean: Mean, group: Group) -> str:
    """What a mean over fewer tasks must say."""
    if mean.whole:
        return ""
    of = f"{len(mean.tasks)} of {len(group.tasks)} tasks"
    return of if len(mean.tasks) < len(group.tasks) else "no seed has all tasks"


def time_text(value: float) -> str:
    if value < 90:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def gigabytes(value: float) -> str:
    return f"{value / 1e9:.1f} GB"


def millions(value: float) -> str:
    return f"{value / 1e6:.1f} M" if value >= 1e5 else f"{value:,.0f}"


def inside(folder: Path, path: Path) -> str:
    """``path`` as it is called from the report's folder."""
    try:
        return str(path.relative_to(folder))
    except ValueError:
        return str(path)
