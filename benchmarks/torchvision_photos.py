"""Train torchvision's detectors from random weights for as many core seconds as ours took.

Used by own_photos.py. Photos, views, evaluation, learning rate and weight decay are those of
recipes/custom_nano.yaml. The learning rate falls as half a cosine over the time.
"""

import math
import resource
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from glip_lightning.data.augment import Augment
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.formats.layouts import read_dataset
from glip_lightning.data.index import Index
from glip_lightning.data.sampler import EpochSampler
from glip_lightning.data.transforms import Transform
from glip_lightning.evaluation.coco_ap import CocoEvaluator
from glip_lightning.ops.boxes import to_outside

BATCH, RATE, DECAY, WARMUP = 8, 1e-3, 0.05, 0.05
SIDES, LONGEST = (256, 288, 320), 448  # both detectors resize to 320 by themselves
COPIES = 8


def core_seconds() -> float:
    """Return the processor seconds that this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def learn(name: str, folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Train the detector ``name`` for ``seconds``; evaluate its last weights on valid and test."""
    began = core_seconds()
    torch.manual_seed(seed)
    splits = read_dataset(folder).splits
    classes = len(splits["train"].class_names) + 1  # 0 is background
    model = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=classes
    )
    train = DetectionDataset(
        splits["train"], Transform(SIDES, LONGEST, 0.5, seed), COPIES, Augment("strong", seed)
    )
    steps = _train(model, train, seconds - (core_seconds() - began), seed)
    spent = core_seconds() - began
    model.eval()
    scores = {split: _evaluate(model, splits[split]) for split in ("valid", "test")}
    interval = scores["test"].bootstrap()
    val, test = (scores[split].compute() for split in ("valid", "test"))
    return {
        "steps": steps,
        "core_seconds": spent,
        "val": {metric: val[metric] for metric in ("AP", "AP50")},
        "test": {metric: test[metric] for metric in ("AP", "AP50")},
        "interval95": {"AP": interval["interval95"], "AP50": interval["AP50_interval95"]},
    }


def _train(model: nn.Module, data: DetectionDataset, seconds: float, seed: int) -> int:
    """Train until the time is over; return the number of steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    sampler = EpochSampler(len(data), seed)
    began, steps, epoch = core_seconds(), 0, 0
    model.train()
    while True:
        sampler.set_epoch(epoch)
        keys = list(sampler)
        for place in range(0, len(keys), BATCH):
            done = (core_seconds() - began) / seconds
            if done >= 1:
                return steps
            factor = min(1.0, done / WARMUP) * 0.5 * (1 + math.cos(math.pi * done))
            for group in optimizer.param_groups:
                group["lr"] = RATE * factor
            samples = [data[key] for key in keys[place : place + BATCH]]
            images = [sample["image"].float() / 255 for sample in samples]
            losses = model(
                images, [_target(sample["boxes"], sample["labels"]) for sample in samples]
            )
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            steps += 1
        epoch += 1


def _target(boxes: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return {"boxes": to_outside(boxes, 1.0, 1.0), "labels": labels + 1}


@torch.inference_mode()
def _evaluate(model: nn.Module, index: Index) -> CocoEvaluator:
    evaluator = CocoEvaluator(index.ground_truth(), index.class_names)
    data = DetectionDataset(index, Transform((max(SIDES),), LONGEST))
    for place in range(len(data)):
        sample = data[place]
        (found,) = model([sample["image"].float() / 255])
        height, width = sample["original_size"]
        scale = torch.tensor(
            [width / sample["image"].shape[2], height / sample["image"].shape[1]]
        ).repeat(2)
        rows = {
            "boxes": found["boxes"] * scale,
            "scores": found["scores"],
            "labels": found["labels"] - 1,
        }
        evaluator.update([sample["image_id"]], [rows])
    evaluator.compute()
    return evaluator
