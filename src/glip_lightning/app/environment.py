"""What a bug report begins with."""

import os
import platform
import sys
from typing import Annotated

import typer

from glip_lightning.common.signals import blocked


def env(
    detector: Annotated[
        str | None,
        typer.Option(
            help="Show the parts of this detector, their parameters, and how many each tuning trains."
        ),
    ] = None,
) -> int:
    """Show versions, devices and reach of the Hub: the first thing of a bug report."""
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
    """Return versions, devices and whether the Hub can be reached, as aligned lines."""
    from huggingface_hub import constants

    from glip_lightning.common.versions import versions

    rows = [
        ("Python", f"{platform.python_version()} ({sys.implementation.name})"),
        ("platform", platform.platform()),
        *versions().items(),
        *_devices(),
        ("Hub", _hub()),
        ("Hub cache", constants.HF_HUB_CACHE),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


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


def _hub() -> str:
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        return f"{constants.ENDPOINT} not asked: offline mode is on (HF_HUB_OFFLINE)"
    try:
        HfApi().model_info("GLIPModel/GLIP", timeout=5)
    except Exception as error:  # whatever stands between us and the Hub is the answer
        return f"{constants.ENDPOINT} cannot be reached ({type(error).__name__})"
    return f"{constants.ENDPOINT} reached"
