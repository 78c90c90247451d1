"""Evaluations outside of the trainer's: of another data set, or of other weights."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning import Trainer

from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.evaluation.coco_ap import CocoEvaluator
from glip_lightning.inference.predictor import find_classes, to_original
from glip_lightning.models.detector import Detector
from glip_lightning.models.query import Query
from glip_lightning.training.module import GLIPModule


def evaluate(
    trainer: Trainer, module: GLIPModule, dataset: DetectionDataset, query: Query
) -> dict[str, Any]:
    """Return COCO metrics on ``dataset``, the same in all processes.

    Every process finds objects in its share of the images.
    """
    evaluator = CocoEvaluator(dataset.index.ground_truth(), dataset.class_names)
    mine = range(trainer.global_rank, len(dataset), trainer.world_size)
    detect_in(dataset, mine, module.model, query, evaluator)
    return evaluator.compute()


def detect_in(
    dataset: DetectionDataset,
    places: Iterable[int],
    model: Detector,
    query: Query,
    evaluator: CocoEvaluator,
) -> None:
    """Find objects in the images at ``places`` of ``dataset``, one by one, for ``evaluator``."""
    for place in places:
        sample = dataset[place]
        encoded = model.encode_images([sample["image"]])
        (found,) = find_classes(encoded, query)
        row = to_original(found, encoded.sizes[0], sample["original_size"])
        evaluator.update([sample["image_id"]], [row._asdict()])


@contextmanager
def evaluating(trainer: Trainer, module: GLIPModule) -> Iterator[None]:
    """Switch to eval mode, the precision of the trainer and no gradients, as in a validation."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), trainer.strategy.precision_plugin.val_step_context():
            yield
    finally:
        module.train(training)
