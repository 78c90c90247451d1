"""The processes of one training: what is said where one of them is lost."""

import os
import re

PARENT = os.getppid()  # at the start
LOST = (
    r"Connection (closed by peer|reset)|Broken pipe|remote process exited|Socket (Timeout|closed)"
)


def lost_rank(error: BaseException) -> str | None:
    """Return what to say where the connection to another process of the run broke, None for other errors."""
    from_backend = re.search(r"gloo|nccl|c10d|ProcessGroup", str(error), re.IGNORECASE)
    if not isinstance(error, RuntimeError) or not from_backend or not re.search(LOST, str(error)):
        return None
    return (
        "another process of this run was lost (killed, or out of memory); what it said stands above"
    )


def is_orphan() -> bool:
    """Return whether the parent of this process, of several ranks the one that says things for all, is gone."""
    return os.getppid() != PARENT
