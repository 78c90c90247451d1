"""Evaluations besides those of the trainer: of another data set, or of other weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning import Trainer

from .data.dataset import DetectionDataset
from .evaluation.coco import CocoEvaluator
from .module import GLIPModule
from .predictor import detect_images, to_original
from .query import Query


def evaluate(
    module: GLIPModule, dataset: DetectionDataset, query: Query, first: int = 0, step: int = 1
) -> dict[str, Any]:
    """COCO metrics on ``dataset``, of which this process evaluates every ``step``-th image from ``first`` on; the same
    numbers in all processes."""
    evaluator = CocoEvaluator(dataset.index.ground_truth(), dataset.class_names)
    for i in range(first, len(dataset), step):
        sample = dataset[i]
        image = sample["image"].to(module.device)
        (found,) = detect_images(module.model, [image], query, module.post)
        size = (image.shape[1], image.shape[2])
        evaluator.update([sample["image_id"]], [to_original(found, size, sample["original_size"])._asdict()])
    return evaluator.compute()


@contextmanager
def evaluating(trainer: Trainer, module: GLIPModule) -> Iterator[None]:
    """As in a validation: eval mode, the precision of the trainer, no gradients."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), trainer.strategy.precision_plugin.val_step_context():
            yield
    finally:
        module.train(training)


def share(trainer: Trainer) -> tuple[int, int]:
    """The first image of this process, and the distance to its next one."""
    return trainer.global_rank, trainer.world_size
