"""AP as people read it: in points. Files and metrics have it from 0 to 1."""

import math


def in_points(ap: float | None) -> str:
    """Return an AP from 0 to 1 in points ("49.9"); "no box" where there was no box to find."""
    if ap is None or math.isnan(ap):
        return "no box"
    return f"{100 * ap:.1f}"
