"""Private names of other packages that we use, each with the reason why.

No other file uses one, and no subclass a private name that it inherits from Lightning
(tests/common/test_private_names.py). The objects are given, so nothing is imported here.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any, NoReturn


def leave_signals_to_us(trainer: Any) -> None:
    """Take Lightning's handler of SIGTERM out of a trainer where a program has one of its own.

    Lightning's sends messages to the other ranks from within the handler, between other messages.
    Lightning has no setting for it, and calls it before all other handlers.
    """
    if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None):
        trainer._signal_connector._sigterm_notifier_fn = lambda *_: None


def pass_no_anonymous(logger: Any) -> None:
    """Take the argument ``anonymous`` of W&B's start out of Lightning's WandbLogger.

    Lightning always passes it, and W&B 0.31 always warns of it.
    """
    logger._wandb_init.pop("anonymous", None)


def page_as_json(page: Any) -> str:
    """Return a page of W&B as JSON; in public it can only be saved, which needs the network."""
    return page._to_model().model_dump_json(indent=2, by_alias=True, exclude_none=True)


def options_with_types(parser: Any) -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the type of each option of a parser of jsonargparse.

    None stands for an option without a type. Neither argparse nor jsonargparse lists its options.
    """
    for action in parser._actions:
        yield action.dest, getattr(action, "_typehint", None)


def fingerprint_of(rows: Any) -> str:
    """Return the fingerprint of a data set of the package datasets: equal for equal rows."""
    return rows._fingerprint


def version_of(tensor: Any) -> int:
    """Return torch's counter of changes in place of a tensor; torch has no public name for it."""
    return tensor._version


def end_process() -> NoReturn:
    """End this process at once, without exit handlers and without waiting for threads."""
    os._exit(0)
