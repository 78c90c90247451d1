"""Messages of Lightning that say nothing about a run of this package."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

IGNORED = (
    "LightningCLI's args parameter",  # the command line passes on the arguments that it was given
    ".*LeafSpec.*",  # lightning 2.6 raises it itself at every fit
    "The number of training batches",  # few shots are few batches, whatever log_every_n_steps
    r"Found \d+ module\(s\) in eval mode",  # the tuning freezes them
    "Total length of `list` across ranks is zero",  # there is no such split
    "You're using the WeightAveraging callback with",  # EMA; no layer of ours is sharded
    "You're resuming from a checkpoint that ended before",  # DetectionData keeps the position
    "Checkpoint directory .* exists",  # RunFolder checks the folder
    "This DataLoader will create",  # DetectionData says it once, with the option's name
    "The `srun` command is available",  # a sweep submits jobs, a fit need not
    "The '.*' does not have many workers",  # data.workers: small images need no processes
    "Be aware that when using `ckpt_path`",  # an evaluation needs no callbacks of the training
)
"""How the warnings begin that are not shown, each with the reason."""

LOGGERS = ("lightning.pytorch", "lightning.fabric")
"""Loggers whose news are advertisements and what the log of this package says, too."""


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Show no message of Lightning that says nothing about a run of this package.

    Other warnings, and all of Lightning's from level WARNING on, are shown. Afterwards filters and
    levels are as before.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, logging.WARNING))
    try:
        with warnings.catch_warnings():
            for message in IGNORED:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
