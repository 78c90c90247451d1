"""Speed of a step of each tuning beside its counted arithmetic, with and without cached features.

    python benchmarks/tuning.py

GLIP-T with random weights, one image of 480x640 with two boxes, 20 tokens, fp32 on a CPU (CUDA:
800x1344, bf16). A step is forward, losses, backward, clipping and AdamW. All is measured side by
side in one run; each number is the fastest of several repetitions. The floor of a step is the
number of multiplications and additions in its own matrix products and convolutions, over the best
rate of matrix products that the machine reached in the same run.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch

from glip_lightning.models.config import variant
from glip_lightning.models.feature_cache import FeatureCache
from glip_lightning.models.glip.model import GLIP
from glip_lightning.ops.losses import build_targets, detection_losses
from glip_lightning.text.captions import Prompt
from glip_lightning.tuning.base import Tuning, eval_where_frozen
from glip_lightning.tuning.prompt import PromptTuning
from glip_lightning.tuning.weight_tunings import FullTuning, LinearProbe
from measure import Setting, fastest, flops, matrix_rate, others, setting, where_time_goes

TOKENS = 20
SEED = 0
FUSED = "prompt, cached"
FLOORS = 1.8
"""Aim of the fused prompt step with kept features, in multiples of its floor, on a CPU."""
FASTER = 10.0
"""Aim of the steps that need only the last layers: so many times as fast with kept features."""
PAIRS = ("prompt", "linear probe", "prompt of variant A")
OFFICIAL_SECONDS = {"full": (46, 51), "prompt": (34, 37)}
OFFICIAL_RATE = 86.0
"""microsoft/GLIP on two cores of a machine with OFFICIAL_RATE GFLOP/s, at 480x640."""


class Bench:
    """One model under one tuning, with one image, one caption and two boxes."""

    def __init__(self, where: Setting, detector: str, tuning: Tuning) -> None:
        torch.manual_seed(SEED)
        self.where, self.tuning = where, tuning
        self.model = GLIP(variant(detector)).to(where.device)
        prompt = Prompt("of random tokens", ((1,), (3,)), (0, 1))
        groups = tuning.setup(self.model, prompt, None)  # type: ignore[arg-type] - the forms here need no tokenizer
        eval_where_frozen(self.model.train())
        self.trained = [p for group in groups for p in group["params"]]
        self.optimizer = torch.optim.AdamW(groups, fused=True)  # type: ignore[arg-type]
        tuning.to(where.device)
        self.images = [
            torch.randint(
                256, (3, where.height, where.width), dtype=torch.uint8, device=where.device
            )
        ]
        self.ids = torch.randint(1000, 30000, (1, TOKENS), device=where.device)
        self.mask = torch.ones_like(self.ids)
        self.boxes = [
            torch.tensor([[50.0, 60, 300, 400], [200, 100, 500, 300]], device=where.device)
        ]
        self.positive = torch.zeros(2, TOKENS, dtype=torch.bool, device=where.device)
        self.positive[0, 1] = self.positive[1, 3] = True

    def step(self, features: FeatureCache) -> None:
        """Take the step that GLIPModule and its trainer take with a batch."""
        with self.where.context():
            text = self.tuning.encode_text(self.model, self.ids, self.mask)
            encoded = self.model.encode_images(
                self.images, self.tuning.frozen_stages(self.model), features
            )
            outputs = encoded.detect(text)
        targets = build_targets(outputs, self.boxes, [self.positive])
        detection_losses(outputs, text.mask, targets).total.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def candidates(where: Setting) -> dict[str, Callable[[], object]]:
    """Name -> one step; the models of a pair are the same."""
    benches = {
        "full": Bench(where, "glip-tiny", FullTuning()),
        "prompt": Bench(where, "glip-tiny", PromptTuning()),
        "linear probe": Bench(where, "glip-tiny", LinearProbe()),
        "prompt of variant A": Bench(where, "glip-tiny-a", PromptTuning()),
    }
    steps: dict[str, Callable[[], object]] = {}
    for name, bench in benches.items():
        steps[name] = partial(bench.step, FeatureCache(0))
        if name in PAIRS:
            steps[f"{name}, cached"] = partial(bench.step, FeatureCache())
    return steps


def report(times: dict[str, float], work: dict[str, float], rate: float, where: Setting) -> None:
    """Print seconds and multiples of the floor, and those of the official code."""
    for name, needed in times.items():
        floor = work[name] / rate
        line = (
            f"{name:<28} {needed:7.3f} s   {work[name]:6.1f} GFLOP   {needed / floor:6.2f} x floor"
        )
        plain = name.removesuffix(", cached")
        if plain != name:
            line += f"   {times[plain] / needed:6.1f} times as fast as uncached"
        print(line)
    if where.device.type != "cpu":
        return
    for name, (least, most) in OFFICIAL_SECONDS.items():
        floor = work[name] / OFFICIAL_RATE  # the official code keeps no features
        of_floor = f"{least / floor:.1f} to {most / floor:.1f} x floor of its machine"
        line = f"official code, {name}: {least} to {most} s, {of_floor}"
        cached = f"{name}, cached"
        ours = times.get(cached, times[name]) * rate / OFFICIAL_RATE
        print(f"{line}, {least / ours:.1f} to {most / ours:.1f} times what ours would take there")
    reached = times[FUSED] / (work[FUSED] / rate)
    verdict = "reached" if reached <= FLOORS else "missed"
    print(f"aim: {FUSED}, {FLOORS} x floor: {verdict} ({reached:.2f})")
    for name in PAIRS[1:]:
        faster = times[name] / times[f"{name}, cached"]
        verdict = "reached" if faster >= FASTER else "missed"
        print(f"aim: {name}, {FASTER:g} times as fast cached: {verdict} ({faster:.0f})")


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    where = setting()
    precision = "bf16" if where.autocast else "fp32"
    machine = f"{where.device}, {torch.get_num_threads()} threads, {others()}"
    size = f"{where.height}x{where.width}, {precision}, batch 1, {TOKENS} tokens"
    print(f"torch {torch.__version__}, {machine}, {size}")
    steps = candidates(where)
    rates: list[float] = []
    # the rate in turn with the steps: a slow minute of the machine meets both
    times = fastest(
        {"rate": lambda: rates.append(matrix_rate(where)), **steps}, where, arguments.repeats
    )
    del times["rate"]
    work = {
        name: flops(step) for name, step in steps.items()
    }  # after the first run has filled the caches
    print(f"matrix products: best {max(rates):.0f} GFLOP/s; afterwards {others()}")
    report(times, work, max(rates), where)
    if where.device.type == "cpu":
        print(f"{FUSED}, profiled: {where_time_goes(steps[FUSED])}")


if __name__ == "__main__":
    main()
