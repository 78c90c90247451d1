"""Speed of the detector beside its counted arithmetic and the straightforward formulation.

    python benchmarks/model.py                # this machine; GLIP-T, batch 1, 20 tokens
    python benchmarks/model.py --no-baseline  # without the straightforward formulation

On a CPU: 480x640 in fp32. On CUDA: 800x1333 in bf16, images per second. Everything is measured side
by side in one run. Each number is the fastest of several repetitions, since other programs only
ever add time. The floor is the number of multiplications and additions in matrix products and
convolutions, over the best rate of matrix products that the machine reached in the same run.
"""

import argparse

import torch
from torch import Tensor

from glip_lightning.models.config import variant
from glip_lightning.models.glip.model import GLIP
from glip_lightning.ops.dense_outputs import DenseOutputs
from glip_lightning.ops.losses import build_targets, detection_losses
from measure import Setting, fastest, flops, matrix_rate, setting, where_time_goes
from straightforward import make_straightforward, pad_text

TOKENS = 20
SEED = 0
AIMS = {"inference": 1.5, "training step": 2.0}
"""Multiples of the floor that we aim at on a CPU; if one is missed, a profile is printed."""
OFFICIAL_SECONDS = {"inference": 8.5, "training step": 51.0}
OFFICIAL_MEMORY = 10.0
"""Seconds and gigabytes of microsoft/GLIP at 480x640, on two cores with OFFICIAL_RATE GFLOP/s."""
OFFICIAL_RATE = 86.0


class Bench:
    """One model with one image, one caption and two boxes."""

    def __init__(self, where: Setting, straightforward: bool = False) -> None:
        torch.manual_seed(SEED)
        self.where = where
        self.model = GLIP(variant("glip-tiny")).to(where.device)
        self.images = [
            torch.randint(
                256, (3, where.height, where.width), dtype=torch.uint8, device=where.device
            )
        ]
        self.ids = torch.randint(1000, 30000, (1, TOKENS), device=where.device)
        self.mask = torch.ones_like(self.ids)
        if straightforward:
            make_straightforward(self.model)
            self.ids, self.mask = pad_text(self.ids, self.mask)
        self.boxes = [
            torch.tensor([[50.0, 60, 300, 400], [200, 100, 500, 300]], device=where.device)
        ]
        self.positive = torch.zeros(2, self.ids.shape[1], dtype=torch.bool, device=where.device)
        self.positive[0, 1] = self.positive[1, 3] = True
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-5, fused=True)

    def detect(self) -> DenseOutputs:
        """Return the outputs of the detector for the images."""
        return self.model.encode_images(self.images).detect(
            self.model.encode_text(self.ids, self.mask)
        )

    def infer(self) -> None:
        """Run the detector without gradients."""
        self.model.eval()
        with torch.inference_mode(), self.where.context():
            self.detect()

    def loss(self) -> Tensor:
        """Return the sum of the losses."""
        with self.where.context():
            outputs = self.detect()
        targets = build_targets(outputs, self.boxes, [self.positive])
        return detection_losses(outputs, self.mask, targets).total

    def step(self) -> None:
        """Take one training step."""
        self.model.train()
        self.loss().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def activation_bytes(self) -> int:
        """Return the bytes that autograd holds between forward and backward.

        Each storage counts once; parameters do not count.
        """
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


def report(title: str, gflop: float, rate: float, times: dict[str, float], where: Setting) -> None:
    """Print seconds and multiples of the floor of each candidate, and of the official code."""
    floor = gflop / rate
    print(f"{title}: {gflop:.0f} GFLOP, floor {floor:.3f} s")
    for candidate, needed in times.items():
        line = f"  {candidate:<16} {needed:7.3f} s   {needed / floor:5.2f} x floor"
        line += f"   {needed / times['ours']:5.2f} x ours"
        print(
            line + (f"   {1 / needed:6.1f} images/s" if where.device.type == "cuda" else ""),
            flush=True,
        )
    if where.device.type == "cpu":
        official = OFFICIAL_SECONDS[title] / (gflop / OFFICIAL_RATE)
        ratio = official / (times["ours"] / floor)
        print(
            f"  {'official code':<16} {official:15.2f} x floor of its machine   {ratio:.2f} x ours"
        )
        missed = "reached" if times["ours"] <= AIMS[title] * floor else "missed"
        print(f"  aim: {AIMS[title]} x floor, {missed}")


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--no-baseline", action="store_true", help="skip the straightforward formulation"
    )
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    where = setting()
    torch.set_float32_matmul_precision("high")  # TF32 on CUDA, as a user who trains in bf16 would
    print(f"torch {torch.__version__}, {where.device}, {torch.get_num_threads()} threads, ", end="")
    precision = "bf16" if where.autocast else "fp32"
    print(f"{where.height}x{where.width}, {precision}, batch 1, {TOKENS} tokens")
    ours = Bench(where)
    candidates = {"ours": ours}
    if not arguments.no_baseline:
        candidates["straightforward"] = Bench(where, straightforward=True)
    rates, times = [matrix_rate(where)], {}
    work = {"inference": flops(ours.infer), "training step": flops(ours.step)}
    for title, name in (("inference", "infer"), ("training step", "step")):
        runs = {candidate: getattr(bench, name) for candidate, bench in candidates.items()}
        times[title] = fastest(runs, where, arguments.repeats)
        rates.append(matrix_rate(where))
    rate = max(rates)
    print(f"matrix products: best {rate:.0f} GFLOP/s")
    for title, gflop in work.items():
        report(title, gflop, rate, times[title], where)
        if where.device.type == "cpu":
            run = ours.infer if title == "inference" else ours.step
            print(f"  ours, profiled: {where_time_goes(run)}")
    for candidate, bench in candidates.items():
        held = f"{bench.activation_bytes() / 1e9:.2f} GB"
        official = f"official: about {OFFICIAL_MEMORY:.0f} GB"
        print(f"activations held for the backward pass, {candidate}: {held} ({official})")
    if where.device.type == "cuda":
        print(f"matrix products in fp32 may use TF32: {torch.backends.cuda.matmul.allow_tf32}")
        candidates.clear()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        ours.step()
        print(f"peak memory of a training step: {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
