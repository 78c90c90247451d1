"""Sizes and learning rates that a recipe leaves open (null) are the detector's own: numbers before anything is made.

So they decide the identity of a trial, and stand in ``recipe.yaml``.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from glip_lightning.data.transforms import train_sizes
from glip_lightning.models.rates import Rates
from glip_lightning.weights.detector_files import own_settings

Own = Callable[[str], tuple[tuple[int, int], Rates]]
"""What :func:`own_settings` is."""


def fill_in(
    model: Any, data: Any, retention: Any = None, own: Own = own_settings
) -> dict[str, Any]:
    """Give the open settings of a parsed recipe their values in place, and return them by their key.

    The parts of the recipe are mappings, plain ones or those of jsonargparse.
    """
    parts = {"data": data}
    if retention is not None:
        parts["retention.data"] = retention["init_args"]["data"]
    filled: dict[str, Any] = {}
    for key, part in parts.items():
        arguments = part["init_args"]
        missing = [
            name
            for name in ("min_sizes", "max_size", "test_size")
            if arguments.get(name, 0) is None
        ]
        if missing:
            (short, longest), _ = own(model["detector"])
            sizes = {"min_sizes": list(train_sizes(short)), "max_size": longest, "test_size": short}
            for name in missing:
                arguments[name] = filled[f"{key}.{name}"] = sizes[name]
    tuning = model["tuning"]
    if tuning is not None:
        for name, kind in _class(tuning["class_path"]).own_rates.items():
            if tuning["init_args"].get(name, 0) is None:
                _, rates = own(model["detector"])
                tuning["init_args"][name] = filled[f"model.tuning.{name}"] = getattr(rates, kind)
    return filled


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
