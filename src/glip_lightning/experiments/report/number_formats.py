"""How a report writes numbers and names."""

from pathlib import Path

from glip_lightning.experiments.report.paper_numbers import SHORT
from glip_lightning.experiments.report.runs import Shots
from glip_lightning.experiments.report.statistics import Group, Mean, Stat

MINUS, MISSING = "\N{MINUS SIGN}", "\N{EN DASH}"


def task_name(task: str) -> str:
    """Return the paper's word for a task of ODinW-13, which is shorter, and others as they are."""
    return SHORT.get(task, task)


def of_shots(shots: Shots) -> str:
    """Return a number of shots with its noun: 1 shot, 10 shots, all shots."""
    return "1 shot" if shots == 1 else f"{shots} shots"


def ap_text(ap: float | None) -> str:
    """Return an AP from 0 to 1 in percent; a dash where there is none."""
    return MISSING if ap is None else f"{100 * ap:.1f}"


def spread(stat: Stat) -> str:
    """Return a mean with its spread, like 52.3 ± 1.2; without a spread where there is one seed."""
    text = f"{stat.mean:.1f}"
    return text if stat.std is None else f"{text} ± {stat.std:.1f}"


def bounds(stat: Stat) -> str:
    """Return the interval over images, like [50.1, 54.0]; an empty text where it is not known."""
    if stat.interval is None:
        return ""
    ends = [f"{x:.1f}".replace("-0.0", "0.0").replace("-", MINUS) for x in stat.interval]
    return f"[{', '.join(ends)}]"


def signed(value: float) -> str:
    """Return a difference with its sign; zero has none."""
    number = f"{abs(value):.1f}"
    if number == "0.0":
        return number
    return f"{'+' if value > 0 else MINUS}{number}"


def signed_spread(stat: Stat) -> str:
    """Return a difference with its sign and its spread, like +2.5 ± 1.2."""
    text = signed(stat.mean)
    return text if stat.std is None else f"{text} ± {stat.std:.1f}"


def seeds_of(stat: Stat) -> str:
    """Return how many seeds are behind a mean; one may be a run without a seed."""
    return "1 run" if stat.n == 1 else f"{stat.n} seeds"


def lacking(mean: Mean, group: Group) -> str:
    """Return what a mean over fewer tasks must say; an empty text for a whole mean."""
    if mean.whole:
        return ""
    if len(mean.tasks) < len(group.tasks):
        return f"{len(mean.tasks)} of {len(group.tasks)} tasks"
    return "no seed has all tasks"


def gigabytes(size: float) -> str:
    """Return a number of bytes in GB of 10^9 bytes."""
    return f"{size / 1e9:.1f} GB"


def millions(count: float) -> str:
    """Return a count, in millions from 100,000 on."""
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count:,.0f}"


def inside(folder: Path, path: Path) -> str:
    """Return ``path`` relative to ``folder`` if it lies in it, else as it is."""
    try:
        return str(path.relative_to(folder))
    except ValueError:
        return str(path)
