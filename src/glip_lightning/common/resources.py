"""What a user can do when memory or the disk is not enough."""

import errno
import re
from pathlib import Path

from glip_lightning.common.files import disk_error, is_disk_full

OUTPUT_OPTIONS = {
    "predict": "--out DIR",
    "pseudo-label": "--out FILE",
    "report": "--out FOLDER",
    "sweep": "--dir DIR",
    "download": "--root DIR",
    "convert": "another target",
    "doctor": None,
    "dashboard": None,
}
"""The option that puts the output of a verb on another disk; all others have ``--run FOLDER``."""

OUT_OF_MEMORY = re.compile(r"DefaultCPUAllocator|can't allocate memory|CUDA out of memory")
"""How torch says it, in a RuntimeError."""


def resource_advice(error: BaseException, verb: str = "fit") -> str | None:
    """Return a message for an error about memory or the disk, None for all other errors.

    The message says what to do, for a full disk with an option of ``verb``.
    """
    text = str(error)
    found = disk_error(error)
    if (found and is_disk_full(found)) or "No space left on device" in text:
        too_large = found is not None and found.errno == errno.EFBIG
        message = "a file became too large for its disk" if too_large else "the disk is full"
        file = getattr(error, "filename", None)
        if file:
            message += f" ({file}): make room in {Path(file).parent}"
        else:
            message += ": make room"
        option = OUTPUT_OPTIONS.get(verb, "--run FOLDER")
        if option:
            message += f", or choose another disk with {option}"
        return message
    is_memory_error = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if is_memory_error or OUT_OF_MEMORY.search(text):
        first_sentence = " ".join(text.split(". ")[0].split())
        return (
            f"out of memory: {first_sentence[:80]}\n"
            "  less at once: --data.images_per_device 1 (the batch is kept by accumulation)\n"
            "  smaller images: --data.min_sizes, --data.max_size\n"
            "  half the activations: --trainer.precision bf16-mixed"
        )
    return None
