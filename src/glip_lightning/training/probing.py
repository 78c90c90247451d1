"""Evaluations besides those of the trainer: of another data set, or of other weights."""

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
    """COCO metrics on ``dataset``: every process looks at its share of the images and has the numbers of all."""
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
    """Tell ``evaluator`` what is found in the images at ``places`` of ``dataset``, one at a time."""
    for place in places:
        sample = dataset[place]
        encoded = model.encode_images([sample["image"]])
        (found,) = find_classes(encoded, query)
        row = to_original(found, encoded.sizes[0], sample["original_size"])
        evaluator.update([sample["image_id"]], [row._asdict()])


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
