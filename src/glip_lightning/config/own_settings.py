"""The detector's own sizes and learning rates, for settings that a recipe leaves open (null).

They are filled in before anything is made: they decide the identity of a trial, and stand in
``recipe.yaml``.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from jsonargparse import Namespace

from glip_lightning.data.transforms import train_sizes
from glip_lightning.models.rates import Rates
from glip_lightning.weights.detector_files import own_settings

Own = Callable[[str], tuple[tuple[int, int], Rates]]
"""What :func:`own_settings` is: the name of a detector to its input size and its learning rates."""

SIZES = ("min_sizes", "max_size", "test_size")


def fill_in(config: Namespace, detector: str, own: Own = own_settings) -> dict[str, Any]:
    """Give the open settings of a parsed recipe their values in place; return them by key.

    Args:
        config: the recipe as it was parsed, or some parts of it.
        detector: the detector of the recipe.
        own: what the settings come from.
    """
    filled: dict[str, Any] = {}
    if "data" in config:
        filled |= _fill_in_sizes("data", config.data.init_args, detector, own)
    if config.get("retention") is not None:
        of_retention = config.retention.init_args.data.init_args
        filled |= _fill_in_sizes("retention.data", of_retention, detector, own)
    if config.get("model.tuning") is not None:
        filled |= _fill_in_rates(config.model.tuning, detector, own)
    return filled


def _fill_in_rates(tuning: Namespace, detector: str, own: Own) -> dict[str, Any]:
    """Give the open rates of a tuning their values in place, and return them by their key."""
    filled: dict[str, Any] = {}
    for name, kind in _class_of(tuning.class_path).own_rates.items():
        if tuning.init_args.get(name, 0) is None:
            _, rates = own(detector)
            rate = getattr(rates, kind)
            tuning.init_args[name] = rate
            filled[f"model.tuning.{name}"] = rate
    return filled


def _fill_in_sizes(key: str, arguments: Namespace, detector: str, own: Own) -> dict[str, Any]:
    """Give the open sizes of a data module their values in place, and return them by their key."""
    missing = [name for name in SIZES if arguments.get(name, 0) is None]
    if not missing:
        return {}
    (short, longest), _ = own(detector)
    sizes = {"min_sizes": list(train_sizes(short)), "max_size": longest, "test_size": short}
    for name in missing:
        arguments[name] = sizes[name]
    return {f"{key}.{name}": sizes[name] for name in missing}


def _class_of(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
