"""How an AP is shown: from 0 to 1 in files and in the names of metrics, in points for people."""

import math


def in_points(ap: float | None) -> str:
    """Return an AP from 0 to 1 in points (49.9); where there was no box to find, it says so."""
    return "no box" if ap is None or math.isnan(ap) else f"{100 * ap:.1f}"
