"""The AP of a predictor that never looks: the least that a trained detector has to beat.

    python benchmarks/mean_box.py FOLDER [FOLDER ...]

It learns from the train split, for each class, the mean box relative to the image, the share of the
boxes and how many of them an image has. For every test image it predicts the mean box of each
class, with the share as score. Harder to beat is the second predictor: boxes of the mean size at
the most likely places of a grid, as many as an image has.
"""

import sys

import torch
from torch import Tensor

from glip_lightning.data.checks.consistency import check_splits
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.layouts import read_folder
from glip_lightning.data.index import Index
from glip_lightning.evaluation.coco_ap import CocoEvaluator

GRID = 12  # places along each side


def relative(index: Index) -> tuple[Tensor, Tensor]:
    """Return centre and size [M, 4] of the boxes that train, and their labels [M].

    Centre and size are fractions of the image.
    """
    boxes = index.boxes.select(index.trains())
    height, width = torch.from_numpy(index.sizes[boxes.images]).double().unbind(-1)
    x, y, w, h = torch.from_numpy(boxes.xywh).unbind(-1)
    places = torch.stack([(x + w / 2) / width, (y + h / 2) / height, w / width, h / height], -1)
    return places, torch.from_numpy(boxes.labels)


def mean_boxes(train: Index) -> tuple[Tensor, Tensor, Tensor]:
    """Return one box per class: boxes [K, 4], scores [K], labels [K]."""
    boxes, labels = relative(train)
    classes = labels.unique()
    means = torch.stack([boxes[labels == k].mean(0) for k in classes])
    return means, torch.stack([(labels == k).double().mean() for k in classes]), classes


def grid_boxes(train: Index) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes of the mean size of each class where its centres are most frequent."""
    boxes, labels = relative(train)
    means, shares, classes = mean_boxes(train)
    found, scores, names = [], [], []
    for mean, share, k in zip(means, shares, classes, strict=True):
        cells = (boxes[labels == k][:, :2].clamp(0, 0.999) * GRID).long()
        counts = torch.bincount(cells[:, 1] * GRID + cells[:, 0], minlength=GRID * GRID)
        number = max(1, round(int((labels == k).sum()) / len(train)))
        best = counts.argsort(descending=True, stable=True)[:number]
        centres = torch.stack([best % GRID, best // GRID], -1).double().add(0.5) / GRID
        found.append(torch.cat([centres, mean[2:].expand(number, 2)], 1))
        scores.append(share * counts[best] / counts[best[0]])
        names.append(k.expand(number))
    return torch.cat(found), torch.cat(scores), torch.cat(names)


def evaluate(test: Index, predicted: tuple[Tensor, Tensor, Tensor]) -> dict:
    """Return the metrics of the same predictions for every test image."""
    evaluator = CocoEvaluator(test.ground_truth(), test.class_names)
    (cx, cy, w, h), scores, labels = predicted[0].unbind(-1), *predicted[1:]
    for image in range(len(test)):
        height, width = test.size(image)
        boxes = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)
        boxes = boxes * torch.tensor([width, height, width, height])
        evaluator.update(
            [int(test.ids[image])], [{"boxes": boxes, "scores": scores, "labels": labels}]
        )
    return evaluator.compute()


def main(folders: list[str]) -> None:
    """Read the arguments, measure and print."""
    for folder in folders:
        findings = Findings()
        splits = check_splits(read_folder(folder, findings).splits, findings)
        findings.raise_errors()
        for name, predict in (("mean box", mean_boxes), ("mean size on a grid", grid_boxes)):
            metrics = evaluate(splits["test"], predict(splits["train"]))
            print(f"{folder}: {name}: AP {metrics['AP']:.4f}, AP50 {metrics['AP50']:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
