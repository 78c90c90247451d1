"""Shared by the benchmarks of the detector: machine rate, counted operations, interleaved times."""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import prod

import torch
from torch.utils.flop_counter import FlopCounterMode

PRODUCTS = ((2048, 2048, 2048), (4800, 2304, 256), (6400, 256, 1024))
CUDA_PRODUCTS = ((8192, 8192, 8192), (16800, 2304, 256), (22400, 256, 1024))
KINDS = {
    "matrix products": {"mm", "addmm", "bmm", "baddbmm", "addmm_"},
    "convolutions": {"mkldnn_convolution", "_slow_conv2d_forward", "convolution_backward"},
    "sampling": {
        "_embedding_bag",
        "_embedding_bag_forward_only",
        "_embedding_bag_dense_backward",
        "_embedding_bag_per_sample_weights_backward",
        "sort",
    },
    "copies": {"copy_", "cat", "fill_", "zero_"},
    "dropout": {"bernoulli_"},
    "optimizer and clipping": {"_fused_adamw_", "linalg_vector_norm"},
}


@dataclass
class Setting:
    """Device, input size in pixels and precision of a benchmark."""

    device: torch.device
    height: int
    width: int
    autocast: bool

    def context(self) -> AbstractContextManager:
        """Return the context in which the model runs: autocast to bf16, or nothing."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.autocast else nullcontext()

    def synchronize(self) -> None:
        """Wait for the GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def setting() -> Setting:
    """Return the setting of this machine: a GPU where there is one."""
    if torch.cuda.is_available():
        return Setting(torch.device("cuda"), 800, 1344, autocast=True)
    return Setting(torch.device("cpu"), 480, 640, autocast=False)


def seconds(run: Callable[[], object], where: Setting) -> float:
    """Return how long a call takes."""
    where.synchronize()
    start = time.perf_counter()
    run()
    where.synchronize()
    return time.perf_counter() - start


def matrix_rate(where: Setting) -> float:
    """Return the best GFLOP/s of a few matrix products in the model's precision.

    Each product runs for a second: a burst of a few milliseconds may be faster than any longer run.
    """
    dtype = torch.bfloat16 if where.autocast else torch.float32
    best = 0.0
    for n, k, m in CUDA_PRODUCTS if where.device.type == "cuda" else PRODUCTS:
        a = torch.randn(n, k, device=where.device, dtype=dtype)
        b = torch.randn(k, m, device=where.device, dtype=dtype)
        count = max(1, round(1.0 / seconds(lambda a=a, b=b: a @ b, where)))
        # maxlen=0: each product is dropped at once; a second of kept ones does not fit into a GPU
        needed = seconds(
            lambda a=a, b=b, count=count: deque((a @ b for _ in range(count)), maxlen=0), where
        )
        best = max(best, 2 * n * k * m * count / needed / 1e9)
    return best


def flops(run: Callable[[], object]) -> float:
    """Return the GFLOP in matrix products and convolutions.

    torch does not count torchvision's operator; :func:`deform_flops` does.
    """
    deform = torch.ops.torchvision
    counter = FlopCounterMode(
        display=False,
        custom_mapping={
            deform.deform_conv2d: deform_flops,
            deform._deform_conv2d_backward: deform_backward_flops,
        },
    )
    with counter:
        run()
    return counter.get_total_flops() / 1e9


def deform_flops(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    *_: object,
    out_shape: Sequence[int],
    **__: object,
) -> int:
    """Count torchvision.ops.deform_conv2d: a matrix product of sampled columns and weights."""
    return 2 * prod(weight_shape) * out_shape[0] * out_shape[2] * out_shape[3]


def deform_backward_flops(
    grad_shape: Sequence[int],
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    *_: object,
    **__: object,
) -> int:
    """Count one product for the gradient of the columns, one for that of the weights."""
    return 2 * 2 * prod(weight_shape) * grad_shape[0] * grad_shape[2] * grad_shape[3]


def where_time_goes(run: Callable[[], object]) -> str:
    """Return the seconds of one run on a CPU by kind of operator."""
    with torch.profiler.profile() as profile:
        run()
    seconds_of: dict[str, float] = dict.fromkeys([*KINDS, "all else"], 0.0)
    for event in profile.key_averages():
        name = event.key.removeprefix("aten::")
        kind = next((kind for kind, names in KINDS.items() if name in names), "all else")
        seconds_of[kind] += event.self_cpu_time_total / 1e6
    return ", ".join(f"{kind} {needed:.2f} s" for kind, needed in seconds_of.items())


def fastest(
    runs: dict[str, Callable[[], object]], where: Setting, repeats: int
) -> dict[str, float]:
    """Return the fastest time of each run.

    The runs are interleaved, so that a slow moment of the machine meets every candidate.
    """
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            best[name] = min(best[name], seconds(run, where))
    return best


def others() -> str:
    """Return the load of the machine: other programs can only make a run slower."""
    if not hasattr(os, "getloadavg"):
        return "load unknown"
    load = os.getloadavg()[0]
    return f"load {load:.1f} on {os.cpu_count()} cores"
