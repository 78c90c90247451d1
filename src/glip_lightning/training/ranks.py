"""The processes of one training: how the others notice that one is lost."""

import os
import re

PARENT = os.getppid()
"""The process that started this one."""
LOST = (
    r"Connection (closed by peer|reset)|Broken pipe|remote process exited|Socket (Timeout|closed)"
)


def lost_rank(error: BaseException) -> str | None:
    """Return a message where the connection to another process of the run broke, else None."""
    text = str(error)
    is_from_backend = re.search(r"gloo|nccl|c10d|ProcessGroup", text, re.IGNORECASE)
    if not isinstance(error, RuntimeError) or not is_from_backend or not re.search(LOST, text):
        return None
    return (
        "another process of this run was lost (killed, or out of memory); its messages stand above"
    )


def is_orphan() -> bool:
    """Return whether the parent of this process is gone; of several ranks it is the first one."""
    return os.getppid() != PARENT
