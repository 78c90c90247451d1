"""AP on Shapes-13 without seeing shapes: the least that a detector has to beat.

    python benchmarks/shapes.py [TASK ...]

*Colour alone* gets the true boxes of all things, distractors too. It gives each the class whose
boxes in the train split have the nearest mean colour; the nearer, the higher the score. The other
two, of ``mean_box.py``, see no picture.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.index import Index
from glip_lightning.evaluation.coco_ap import CocoEvaluator
from glip_lightning.shapes.shapes13 import TASKS, ShapesTask, shapes13_names
from glip_lightning.shapes.task_pictures import Example, example, write_task
from mean_box import evaluate, grid_boxes, mean_boxes

TRAIN = 400  # pictures at most from which it is learned


def box_colours(shown: Example) -> np.ndarray:
    """Mean colour [M, 3] of the box of each thing."""
    pixels = np.asarray(shown.image).astype(float)
    return np.array(
        [pixels[y : y + h, x : x + w].mean((0, 1)) for x, y, w, h in shown.boxes]
    ).reshape(-1, 3)


def class_colours(task: ShapesTask, count: int) -> np.ndarray:
    """Mean colour [K, 3] of the boxes of each class in ``count`` training pictures."""
    found: list[list[np.ndarray]] = [[] for _ in task.classes]
    for index in range(count):
        shown = example(task, "train", index)
        for colour, label in zip(box_colours(shown), shown.labels, strict=True):
            if label is not None:
                found[label].append(colour)
    return np.array([np.mean(colours, 0) if colours else np.full(3, np.inf) for colours in found])


def colour_alone(task: ShapesTask, test: Index, count: int) -> float:
    """AP50 of the mean colour of true boxes."""
    means = class_colours(task, count)
    evaluator = CocoEvaluator(test.ground_truth(), test.class_names)
    for index in range(len(test)):
        shown = example(task, "test", index)
        distances = np.linalg.norm(box_colours(shown)[:, None] - means, axis=-1)
        x, y, w, h = torch.tensor(shown.boxes).reshape(-1, 4).unbind(-1)
        boxes = torch.stack([x, y, x + w, y + h], -1).float()
        scores, labels = (
            torch.tensor(1 / (1 + distances.min(1))).float(),
            torch.tensor(distances.argmin(1)),
        )
        evaluator.update(
            [int(test.ids[index])], [{"boxes": boxes, "scores": scores, "labels": labels}]
        )
    return evaluator.compute()["AP50"]


def main(names: list[str]) -> None:
    """Read the arguments, measure and print."""
    print(f"{'task':12} colour alone  mean box  mean size on a grid   (test AP50)")
    for name in names or shapes13_names():
        task = TASKS[name]
        counts = {"train": min(task.counts["train"], TRAIN), "test": task.counts["test"]}
        with tempfile.TemporaryDirectory() as folder:
            root = write_task(Path(folder) / name, name, counts=counts)
            train, test = (
                read_coco(root / split / ANNOTATIONS, root / split, Findings()) for split in counts
            )
            blind = [evaluate(test, predict(train))["AP50"] for predict in (mean_boxes, grid_boxes)]
            colour = colour_alone(task, test, counts["train"])
        print(f"{name:12} {colour:12.3f}  {blind[0]:8.3f}  {blind[1]:19.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
