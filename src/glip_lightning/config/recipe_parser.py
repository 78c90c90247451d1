"""The options of a recipe, for the command line and for sweeps, and the complete recipe."""

from collections.abc import Iterable
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from glip_lightning.common import registry
from glip_lightning.common.schema import short_repr
from glip_lightning.config.class_paths import with_public_names
from glip_lightning.config.wrong_usage import WrongUsage

# F401: a recipe may name classes of these modules
from glip_lightning.training import data_sources, pretraining  # noqa: F401
from glip_lightning.training.callbacks import divergence, ema  # noqa: F401
from glip_lightning.training.callbacks.retention import Retention
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.module import GLIPModule
from glip_lightning.tuning import lora  # noqa: F401

TRAINER_DEFAULTS = {
    "use_distributed_sampler": False,
    "enable_model_summary": False,
    "log_every_n_steps": 5,
}
NOT_KEPT = ("config", "run", "resume", "ckpt_path")  # belong to one start, not to the recipe


def register_classes() -> None:
    """Import all classes that a recipe may name without their path."""
    for table in (registry.data_modules, registry.callbacks):
        table.rows()


def add_seed(parser: LightningArgumentParser) -> None:
    """Add the seed of all that is drawn."""
    text = "seed of all that is drawn; true: a random one"
    parser.add_argument("--seed_everything", type=bool | int, default=0, help=text)


def add_trainer(parser: LightningArgumentParser) -> None:
    """Add the arguments of Lightning's trainer."""
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})


def add_model(parser: LightningArgumentParser) -> None:
    """Add the arguments of the module."""
    parser.add_lightning_class_args(GLIPModule, "model")


def add_data(parser: LightningArgumentParser) -> None:
    """Add the choice of a data module, and its arguments."""
    parser.add_lightning_class_args(DetectionData, "data", subclass_mode=True)


def add_run(parser: LightningArgumentParser) -> None:
    """Add the options that belong to no other part."""
    parser.add_argument(
        "--run",
        type=str,
        default=None,
        help="folder for all that the run leaves (default: runs/<data>-<number>)",
    )
    parser.add_argument(
        "--resume",
        type=str,
        default=None,
        metavar="RUN",
        help="fit only: go on with the interrupted run in RUN",
    )
    text = "fit only: AP on another set before and after, and of weights between (default: none)"
    parser.add_argument("--retention", type=Retention | None, default=None, help=text)


PARTS = {
    "seed_everything": add_seed,
    "trainer": add_trainer,
    "model": add_model,
    "data": add_data,
    "run": add_run,
}
"""The function that adds each part of a recipe to a parser; ``run`` has all other keys.

No part depends on another.
"""


def add_parts(parser: LightningArgumentParser, parts: Iterable[str] = tuple(PARTS)) -> None:
    """Add the options of all parts of a recipe, or of some."""
    for part in parts:
        PARTS[part](parser)


def check_parts(config: Namespace) -> None:
    """Raise WrongUsage (code ``bad-value``) if model or trainer is no mapping.

    The parser takes any value there (``model: false``).
    """
    for name in ("model", "trainer"):
        if name in config and not isinstance(config[name], Namespace):
            raise WrongUsage(
                f"{name}: {short_repr(config[name])}, expected a mapping of options of --{name}",
                code="bad-value",
            )


def complete_recipe(parser: LightningArgumentParser, config: Namespace) -> dict[str, Any]:
    """Return what ``parser`` has read, with all defaults, as plain values.

    Classes have their public names. The way leads over a text: jsonargparse has no other that makes
    plain values of its types.
    """
    return with_public_names(yaml.safe_load(parser.dump(config, skip_none=False)))
