"""How fast the detector is beside the arithmetic it has to do, and beside the straightforward formulation.

    python benchmarks/model.py                # this machine; GLIP-T, batch 1, 20 tokens
    python benchmarks/model.py --no-baseline  # without the straightforward formulation

On a CPU: 480x640 in fp32. On CUDA: 800x1333 in bf16, images per second. Everything is measured side by side
in one run, each number the fastest of several repetitions: other programs only ever add time. The floor is
the number of multiplications and additions in matrix products and convolutions over the best matrix-product
rate that the machine reached in the same run.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from glip_lightning.losses import build_targets, detection_losses
from glip_lightning.models.config import variant
from glip_lightning.models.glip import GLIP
from straightforward import make_straightforward, pad_text

TOKENS = 20
SEED = 0
PRODUCTS = ((2048, 2048, 2048), (4800, 2304, 256), (6400, 256, 1024))
CUDA_PRODUCTS = ((8192, 8192, 8192), (16800, 2304, 256), (22400, 256, 1024))
AIMS = {"inference": 1.5, "training step": 2.0}
"""Multiples of the floor that we aim at on a CPU; where one is missed, a profile says what takes the rest."""
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
OFFICIAL_SECONDS = {"inference": 8.5, "training step": 51.0}
OFFICIAL_MEMORY = 10.0
"""microsoft/GLIP on two cores of a machine with OFFICIAL_RATE GFLOP/s, at 480x640: seconds and gigabytes."""
OFFICIAL_RATE = 86.0


@dataclass
class Setting:
    device: torch.device
    height: int
    width: int
    autocast: bool

    def context(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, torch.bfloat16) if self.autocast else nullcontext()

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def setting() -> Setting:
    if torch.cuda.is_available():
        return Setting(torch.device("cuda"), 800, 1344, autocast=True)
    return Setting(torch.device("cpu"), 480, 640, autocast=False)


def seconds(run: Callable[[], object], where: Setting) -> float:
    where.synchronize()
    start = time.perf_counter()
    run()
    where.synchronize()
    return time.perf_counter() - start


def matrix_rate(where: Setting) -> float:
    """Best GFLOP/s over a few shapes of matrix products, each kept up for a second, in the model's precision.

    A burst of a few milliseconds may meet a moment that no run of seconds has.
    """
    dtype = torch.bfloat16 if where.autocast else torch.float32
    best = 0.0
    for n, k, m in CUDA_PRODUCTS if where.device.type == "cuda" else PRODUCTS:
        a = torch.randn(n, k, device=where.device, dtype=dtype)
        b = torch.randn(k, m, device=where.device, dtype=dtype)
        count = max(1, round(1.0 / seconds(lambda a=a, b=b: a @ b, where)))
        needed = seconds(lambda a=a, b=b, count=count: [a @ b for _ in range(count)], where)
        best = max(best, 2 * n * k * m * count / needed / 1e9)
    return best


class Bench:
    """One model with one image, one caption and two boxes."""

    def __init__(self, where: Setting, straightforward: bool = False) -> None:
        torch.manual_seed(SEED)
        self.where = where
        self.model = GLIP(variant("glip-tiny")).to(where.device)
        self.image = torch.randn(1, 3, where.height, where.width, device=where.device)
        self.ids = torch.randint(1000, 30000, (1, TOKENS), device=where.device)
        self.mask = torch.ones_like(self.ids)
        if straightforward:
            make_straightforward(self.model)
            self.ids, self.mask = pad_text(self.ids, self.mask)
        self.boxes = [torch.tensor([[50.0, 60, 300, 400], [200, 100, 500, 300]], device=where.device)]
        self.positive = torch.zeros(2, self.ids.shape[1], dtype=torch.bool, device=where.device)
        self.positive[0, 1] = self.positive[1, 3] = True
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-5, fused=True)

    def infer(self) -> None:
        self.model.eval()
        with torch.inference_mode(), self.where.context():
            self.model(self.image, self.model.encode_text(self.ids, self.mask))

    def loss(self) -> Tensor:
        with self.where.context():
            outputs = self.model(self.image, self.model.encode_text(self.ids, self.mask))
        targets = build_targets(outputs, self.boxes, [self.positive])
        return detection_losses(outputs, self.mask, targets).total

    def step(self) -> None:
        self.model.train()
        self.loss().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def flops(self, run: Callable[[], object]) -> float:
        """GFLOP in matrix products and convolutions; torch does not know torchvision's operator."""
        deform = torch.ops.torchvision
        counter = FlopCounterMode(
            display=False,
            custom_mapping={deform.deform_conv2d: deform_flops, deform._deform_conv2d_backward: deform_backward_flops},
        )
        with counter:
            run()
        return counter.get_total_flops() / 1e9

    def activation_bytes(self) -> int:
        """Bytes that autograd holds between forward and backward, parameters left out, each storage once."""
        self.model.train()
        known = {p.untyped_storage().data_ptr() for p in self.model.parameters()}
        held: dict[int, int] = {}

        def pack(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            if storage.data_ptr() not in known:
                held[storage.data_ptr()] = storage.nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = self.loss()
        del loss
        return sum(held.values())


def deform_flops(
    x_shape: Sequence[int], weight_shape: Sequence[int], *_: object, out_shape: Sequence[int], **__: object
) -> int:
    """Of torchvision.ops.deform_conv2d: a matrix product of sampled columns and weights."""
    return 2 * prod(weight_shape) * out_shape[0] * out_shape[2] * out_shape[3]


def deform_backward_flops(
    grad_shape: Sequence[int], x_shape: Sequence[int], weight_shape: Sequence[int], *_: object, **__: object
) -> int:
    """One product for the columns' gradient, one for the weights'."""
    return 2 * 2 * prod(weight_shape) * grad_shape[0] * grad_shape[2] * grad_shape[3]


def where_time_goes(run: Callable[[], object]) -> str:
    """Shares of one run on a CPU by kind of operator."""
    with torch.profiler.profile() as profile:
        run()
    seconds_of: dict[str, float] = dict.fromkeys([*KINDS, "all else"], 0.0)
    for event in profile.key_averages():
        name = event.key.removeprefix("aten::")
        kind = next((kind for kind, names in KINDS.items() if name in names), "all else")
        seconds_of[kind] += event.self_cpu_time_total / 1e6
    return ", ".join(f"{kind} {needed:.2f} s" for kind, needed in seconds_of.items())


def fastest(runs: dict[str, Callable[[], object]], where: Setting, repeats: int) -> dict[str, float]:
    """Interleaved, so that a slow moment of the machine meets every candidate."""
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            best[name] = min(best[name], seconds(run, where))
    return best


def report(title: str, gflop: float, rate: float, times: dict[str, float], where: Setting) -> None:
    """One line per candidate: seconds, multiples of the floor, and what the official code needs of its floor."""
    floor = gflop / rate
    print(f"{title}: {gflop:.0f} GFLOP, floor {floor:.3f} s")
    for candidate, needed in times.items():
        line = (
            f"  {candidate:<16} {needed:7.3f} s   {needed / floor:5.2f} x floor   {needed / times['ours']:5.2f} x ours"
        )
        print(line + (f"   {1 / needed:6.1f} images/s" if where.device.type == "cuda" else ""), flush=True)
    if where.device.type == "cpu":
        official = OFFICIAL_SECONDS[title] / (gflop / OFFICIAL_RATE)
        ratio = official / (times["ours"] / floor)
        print(f"  {'official code':<16} {official:15.2f} x floor of its machine   {ratio:.2f} x ours")
        missed = "reached" if times["ours"] <= AIMS[title] * floor else "missed"
        print(f"  aim: {AIMS[title]} x floor, {missed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-baseline", action="store_true", help="skip the straightforward formulation")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    where = setting()
    torch.set_float32_matmul_precision("high")  # TF32 on CUDA, as a user who trains in bf16 would
    print(f"torch {torch.__version__}, {where.device}, {torch.get_num_threads()} threads, ", end="")
    print(f"{where.height}x{where.width}, {'bf16' if where.autocast else 'fp32'}, batch 1, {TOKENS} tokens")
    ours = Bench(where)
    candidates = {"ours": ours}
    if not arguments.no_baseline:
        candidates["straightforward"] = Bench(where, straightforward=True)
    rates, times = [matrix_rate(where)], {}
    work = {"inference": ours.flops(ours.infer), "training step": ours.flops(ours.step)}
    for title, name in (("inference", "infer"), ("training step", "step")):
        runs = {candidate: getattr(bench, name) for candidate, bench in candidates.items()}
        times[title] = fastest(runs, where, arguments.repeats)
        rates.append(matrix_rate(where))
    rate = max(rates)
    print(f"matrix products: best {rate:.0f} GFLOP/s")
    for title, gflop in work.items():
        report(title, gflop, rate, times[title], where)
        if where.device.type == "cpu":
            print(f"  ours, profiled: {where_time_goes(ours.infer if title == 'inference' else ours.step)}")
    for candidate, bench in candidates.items():
        held = f"{bench.activation_bytes() / 1e9:.2f} GB"
        print(f"activations held for the backward pass, {candidate}: {held} (official: about {OFFICIAL_MEMORY:.0f} GB)")
    if where.device.type == "cuda":
        print(f"matrix products in fp32 may use TF32: {torch.backends.cuda.matmul.allow_tf32}")
        candidates.clear()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        ours.step()
        print(f"peak memory of a training step: {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
