"""What to do where memory or the disk does not suffice."""

import errno
import re
from pathlib import Path

from glip_lightning.common.files import disk_error, is_disk_full

ELSEWHERE = {
    "predict": "--out DIR",
    "pseudo-label": "--out FILE",
    "report": "--out FOLDER",
    "sweep": "--dir DIR",
    "download": "--root DIR",
    "convert": "another target",
    "doctor": None,
    "dashboard": None,
}
"""What puts the output of a verb elsewhere; of the others ``--run FOLDER``."""


def resource_advice(error: BaseException, verb: str = "fit") -> str | None:
    """Return what to do when memory or disk did not suffice, with an option of ``verb``; None for every other error."""
    text = str(error)
    found = disk_error(error)
    if (found and is_disk_full(found)) or "No space left on device" in text:
        file, option = getattr(error, "filename", None), ELSEWHERE.get(verb, "--run FOLDER")
        what = (
            "a file became too large for its disk"
            if found and found.errno == errno.EFBIG
            else "the disk is full"
        )
        where, room = (
            (f" ({file})", f"make room in {Path(file).parent}") if file else ("", "make room")
        )
        return f"{what}{where}: {room}{f', or choose another disk with {option}' if option else ''}"
    memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if memory or re.search(r"DefaultCPUAllocator|can't allocate memory|CUDA out of memory", text):
        return (
            f"out of memory: {' '.join(text.split('. ')[0].split())[:80]}\n"
            "  less at once: --data.images_per_device 1 (the batch is kept by accumulation)\n"
            "  smaller images: --data.min_sizes, --data.max_size\n"
            "  half the activations: --trainer.precision bf16-mixed"
        )
    return None
