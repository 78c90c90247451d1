"""Factors on the learning rate as functions of the optimizer step."""

import math
from typing import Literal

Schedule = Literal["constant", "cosine"]


def factor(schedule: Schedule, step: int, warmup: int, total: int) -> float:
    """Rises linearly over ``warmup`` steps, then stays or falls as half a cosine to 0 at step ``total``."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
