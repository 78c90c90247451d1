"""``glip env``: what a bug report begins with, or the parts of a detector."""

import os
import platform
import sys
from pathlib import Path
from typing import Annotated

import typer

from glip_lightning.common.signals import blocked


def env(
    detector: Annotated[
        str | None,
        typer.Option(
            help="Show the parts of this detector, their parameters, how many each tuning trains."
        ),
    ] = None,
) -> int:
    """Show versions, devices, detectors, runs and the Hub: the first thing of a bug report."""
    if detector is None:
        print(describe_environment())
        return 0
    from glip_lightning.weights.detector_files import check_detector

    check_detector(detector)
    with blocked():
        from glip_lightning.app.detector_parts import describe_parts

    print(describe_parts(detector))
    return 0


def describe_environment() -> str:
    """Return versions, devices, detectors, runs and the state of the Hub, as aligned lines."""
    from huggingface_hub import constants

    from glip_lightning.common import registry
    from glip_lightning.common.versions import versions
    from glip_lightning.weights.hub_files import OFFICIAL
    from glip_lightning.weights.run_files import RUNS

    finished, unfinished = count_runs(RUNS)
    rows = [
        ("Python", f"{platform.python_version()} ({sys.implementation.name})"),
        ("platform", platform.platform()),
        *versions().items(),
        *_devices(),
        ("shipped detectors", ", ".join(registry.detector_weights.names()) or "none"),
        ("official detectors", ", ".join(OFFICIAL)),
        ("runs in ./runs", f"{finished} finished, {unfinished} not finished"),
        ("Hub", _state_of_hub()),
        ("Hub cache", constants.HF_HUB_CACHE),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def count_runs(folder: Path) -> tuple[int, int]:
    """Return how many finished and unfinished runs lie in ``folder`` and in the sweeps in it."""
    from glip_lightning.config.class_paths import of_a_run  # brings yaml
    from glip_lightning.weights.run_files import RECIPE_NAME, RESULT_NAME

    recipes = [*folder.glob(f"*/{RECIPE_NAME}"), *folder.glob(f"*/*/{RECIPE_NAME}")]
    runs = [recipe.parent for recipe in recipes if of_a_run(recipe)]
    finished = sum((run / RESULT_NAME).is_file() for run in runs)
    return finished, len(runs) - finished


def _devices() -> list[tuple[str, str]]:
    import torch

    rows = [("CPU", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")]
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        rows.append((f"CUDA {i}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"))
    if not torch.cuda.is_available():
        rows.append(("CUDA", f"none (torch built for CUDA {torch.version.cuda})"))
    rows.append(("MPS", "available" if torch.backends.mps.is_available() else "none"))
    return rows


def _state_of_hub() -> str:
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        return f"{constants.ENDPOINT} not asked: offline mode is on (HF_HUB_OFFLINE)"
    try:
        HfApi().model_info("GLIPModel/GLIP", timeout=5)
    except Exception as error:  # whatever stands between us and the Hub is the answer
        return f"{constants.ENDPOINT} cannot be reached ({type(error).__name__})"
    return f"{constants.ENDPOINT} reached"
