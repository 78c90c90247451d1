"""COCO average precision, with a merge of its own across processes.

torchmetrics' own mean average precision is not used: it compares with float32 thresholds, counts the images
twice with which a distributed sampler pads, and cannot gather shards of unequal size.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor
from torchmetrics import Metric

from glip_lightning.common.errors import GLIPError
from glip_lightning.evaluation.best_threshold import BestThreshold, best_thresholds
from glip_lightning.evaluation.bootstrap import bootstrap

AREAS = (
    "AP",
    "APs",
    "APm",
    "APl",
)  # in the order of COCO's area ranges: all, < 32^2, < 96^2, larger


class CocoEvaluator(Metric):
    """Box AP of COCO over the images that it was shown.

    ``ground_truth`` is a COCO dictionary with categories 1 to K and annotations numbered from 1, as
    ``CocoDetection.ground_truth()`` makes it; ``class_names[k]`` names category k + 1 in the result.
    """

    full_state_update = False

    def __init__(
        self, ground_truth: Mapping[str, list[dict[str, Any]]], class_names: Sequence[str]
    ) -> None:
        super().__init__(sync_on_compute=False)  # compute() merges by image id instead
        ids = [category["id"] for category in ground_truth["categories"]]
        if ids != list(range(1, len(class_names) + 1)):
            message = (
                f"{len(class_names)} class names for categories {ids}; the ground truth needs 1 to "
            )
            message += f"{len(class_names)}, as CocoDetection.ground_truth() makes it"
            raise GLIPError(message, code="bad-ground-truth")
        if repeated := {name for name in class_names if class_names.count(name) > 1}:
            message = f"class names {sorted(repeated)} occur twice; results need a name per class"
            raise GLIPError(message, code="bad-ground-truth")
        self.ground_truth = ground_truth
        self.class_names = list(class_names)
        self._known = {image["id"] for image in ground_truth["images"]}
        self._rows: dict[
            int, np.ndarray
        ] = {}  # image id -> [n, 7]: image id, x, y, w, h, score, category

    def update(self, image_ids: Sequence[int], detections: Sequence[Mapping[str, Tensor]]) -> None:
        """Add images; those without detections count too. A repeated image replaces its first showing.

        Each of ``detections`` holds ``boxes`` [n, 4] (outside corners, original frame), ``scores`` [n] and
        ``labels`` [n] (0-based class index).
        """
        for image_id, found in zip(image_ids, detections, strict=True):
            if image_id not in self._known:
                message = (
                    f"image {image_id} is not in the ground truth of {len(self._known)} images; "
                )
                message += "evaluate on the data set that the ground truth was made of"
                raise GLIPError(message, code="unknown-image")
            self._rows[image_id] = _rows(image_id, found)

    def compute(self) -> dict[str, Any]:
        """``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl`` from 0 to 1, the same on every rank.

        ``AP_class`` maps class name to AP, classes without a box in these images left out. ``images`` of
        ``images_total`` were seen; the boxes of the others do not count. What no box defines is nan.
        """
        rows = self._rows = self._merged()
        result = [self._evaluate(rows) if _rank() == 0 else None]
        if _distributed():
            dist.broadcast_object_list(result, src=0)
        assert result[0] is not None
        return result[0]

    def detections(self, category_ids: Sequence[int]) -> list[dict[str, Any]]:
        """What :meth:`compute` has gathered as COCO results; ``category_ids[k]`` is the data set's id of class k.

        Boxes are x, y, width, height, rounded to hundredths of a pixel.
        """
        return [
            {
                "image_id": image_id,
                "category_id": category_ids[int(label) - 1],
                "bbox": [round(x, 2) for x in box],
                "score": round(score, 5),
            }
            for image_id in sorted(self._rows)
            for _, *box, score, label in self._rows[image_id].tolist()
        ]

    def bootstrap(self) -> dict[str, Any]:
        """How far AP depends on which images :meth:`compute` has gathered (:func:`.bootstrap.bootstrap`)."""
        return bootstrap(self.ground_truth, self._rows)

    def best_thresholds(self) -> dict[str, BestThreshold]:
        """Of each class, chosen on the images that :meth:`compute` has gathered."""
        return best_thresholds(self.ground_truth, self._rows, self.class_names)

    def reset(self) -> None:
        super().reset()
        self._rows = {}

    def _merged(self) -> dict[int, np.ndarray]:
        """What all ranks have seen, each image once."""
        if not _distributed():
            return self._rows
        shards: list[dict[int, np.ndarray]] = [{}] * dist.get_world_size()
        dist.all_gather_object(shards, self._rows)
        return {image_id: rows for shard in shards for image_id, rows in shard.items()}

    def _evaluate(self, rows: dict[int, np.ndarray]) -> dict[str, Any]:
        counts = {"images": len(rows), "images_total": len(self._known)}
        precision = self._precision(rows)
        per_class = {name: _mean(precision[:, :, k, 0]) for k, name in enumerate(self.class_names)}
        return {
            **{name: _mean(precision[..., area]) for area, name in enumerate(AREAS)},
            "AP50": _mean(precision[0, ..., 0]),
            "AP75": _mean(precision[5, ..., 0]),
            "AP_class": {name: ap for name, ap in per_class.items() if not np.isnan(ap)},
            **counts,
        }

    def _precision(self, rows: dict[int, np.ndarray]) -> np.ndarray:
        """COCO's table [IoU .50:.05:.95, recall 0:.01:1, class, area] at 100 detections; -1 is undefined."""
        truth = COCO()
        truth.dataset = dict(self.ground_truth)
        truth.createIndex()
        found = truth.loadRes(np.concatenate([np.empty((0, 7)), *rows.values()]))
        evaluation = COCOeval_faster(truth, found, "bbox", print_function=_silent)
        evaluation.params.imgIds = sorted(rows)
        evaluation.evaluate()
        evaluation.accumulate()
        return evaluation.eval["precision"][..., -1]


def _rows(image_id: int, found: Mapping[str, Tensor]) -> np.ndarray:
    boxes = found["boxes"].detach().cpu().double()
    columns = [
        torch.full((len(boxes), 1), float(image_id), dtype=torch.float64),
        boxes[:, :2],
        boxes[:, 2:] - boxes[:, :2],
        found["scores"].detach().cpu().double()[:, None],
        found["labels"].cpu().double()[:, None] + 1,
    ]
    return torch.cat(columns, dim=1).numpy()


def _mean(precision: np.ndarray) -> float:
    """Mean over what is defined; nan if nothing is."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else float("nan")


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _rank() -> int:
    return dist.get_rank() if _distributed() else 0


def _silent(*_: object) -> None:
    """Takes the progress messages of faster_coco_eval."""
