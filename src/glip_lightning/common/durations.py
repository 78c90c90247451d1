"""Lengths of time as they are printed."""


def time_text(seconds: float) -> str:
    """Return a length of time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
