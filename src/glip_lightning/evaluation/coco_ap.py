"""COCO average precision, with its own merge across processes.

The mean average precision of torchmetrics is not used: it compares with float32 thresholds, it
counts an image twice that a distributed sampler repeats as padding, and it cannot gather shards of
unequal size.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.plurals import count_with_noun
from glip_lightning.evaluation.best_threshold import BestThreshold, best_thresholds
from glip_lightning.evaluation.bootstrap import bootstrap

AREAS = ("AP", "APs", "APm", "APl")
"""In the order of COCO's area ranges: all, < 32^2, < 96^2, larger."""


class CocoEvaluator(Metric):
    """COCO's AP of boxes over the images that were added by :meth:`update`."""

    full_state_update = False

    def __init__(
        self, ground_truth: Mapping[str, list[dict[str, Any]]], class_names: Sequence[str]
    ) -> None:
        """Make an evaluator without images.

        Args:
            ground_truth: a COCO dictionary with categories 1 to K and annotations numbered from 1,
                as ``CocoDetection.ground_truth()`` makes it.
            class_names: ``class_names[k]`` is the name of category k + 1 in the result.

        Raises:
            GLIPError: the categories are others, or two classes have one name (code
                ``bad-ground-truth``).
        """
        super().__init__(sync_on_compute=False)  # compute() merges by image id instead
        ids = [category["id"] for category in ground_truth["categories"]]
        if ids != list(range(1, len(class_names) + 1)):
            message = (
                f"{count_with_noun(len(class_names), 'class name')} for categories {ids}; the "
            )
            message += f"ground truth needs categories 1 to {len(class_names)}, as "
            message += "CocoDetection.ground_truth() makes it"
            raise GLIPError(message, code="bad-ground-truth")
        repeated = {name for name in class_names if class_names.count(name) > 1}
        if repeated:
            message = f"class names {sorted(repeated)} occur twice; results need a name per class"
            raise GLIPError(message, code="bad-ground-truth")
        self.ground_truth = ground_truth
        self.class_names = list(class_names)
        self._known = {image["id"] for image in ground_truth["images"]}
        self._rows: dict[int, np.ndarray] = {}  # as bootstrap.Rows

    @override
    def update(self, image_ids: Sequence[int], detections: Sequence[Mapping[str, Tensor]]) -> None:
        """Add images; those without detections count, too.

        A repeated image replaces what was added for it before.

        Args:
            image_ids: ids of images of the ground truth.
            detections: of each image ``boxes`` [n, 4] (outside corners, original frame), ``scores``
                [n] and ``labels`` [n] (0-based class index).

        Raises:
            GLIPError: the ground truth has no such image (code ``unknown-image``).
        """
        for image_id, found in zip(image_ids, detections, strict=True):
            if image_id not in self._known:
                images = count_with_noun(len(self._known), "image")
                message = f"image {image_id} is not in the ground truth of {images}; "
                message += "evaluate on the data set that the ground truth was made of"
                raise GLIPError(message, code="unknown-image")
            self._rows[image_id] = _rows(image_id, found)

    @override
    def compute(self) -> dict[str, Any]:
        """Return the metrics of the images of all processes, the same on every rank.

        Returns:
            ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm`` and ``APl`` from 0 to 1, nan where there is
            no box; ``AP_class``, the AP by class name, without the classes that have no box in
            these images; ``images``, how many of the ``images_total`` were added. Boxes of other
            images do not count.
        """
        self._rows = self._merged()
        result: list[dict[str, Any] | None] = [None]
        if _rank() == 0:
            result = [self._evaluate(self._rows)]
        if _distributed():
            dist.broadcast_object_list(result, src=0)
        assert result[0] is not None
        return result[0]

    def detections(self, category_ids: Sequence[int]) -> list[dict[str, Any]]:
        """Return the detections that :meth:`compute` has gathered, as COCO results.

        ``category_ids[k]`` is the id of class k in the data set. Boxes are x, y, width, height,
        rounded to hundredths of a pixel.
        """
        results = []
        for image_id in sorted(self._rows):
            for _, *box, score, category in self._rows[image_id].tolist():
                results.append(
                    {
                        "image_id": image_id,
                        "category_id": category_ids[int(category) - 1],
                        "bbox": [round(x, 2) for x in box],
                        "score": round(score, 5),
                    }
                )
        return results

    def bootstrap(self) -> dict[str, Any]:
        """Return how far AP spreads over resamples of the images that :meth:`compute` has gathered.

        The result is that of :func:`.bootstrap.bootstrap`.
        """
        return bootstrap(self.ground_truth, self._rows)

    def best_thresholds(self) -> dict[str, BestThreshold]:
        """Return the best threshold by class name on the images :meth:`compute` has gathered."""
        return best_thresholds(self.ground_truth, self._rows, self.class_names)

    @override
    def reset(self) -> None:
        super().reset()
        self._rows = {}

    def _merged(self) -> dict[int, np.ndarray]:
        """Return the detections of all ranks, each image once."""
        if not _distributed():
            return self._rows
        shards: list[dict[int, np.ndarray]] = [{}] * dist.get_world_size()
        dist.all_gather_object(shards, self._rows)
        merged: dict[int, np.ndarray] = {}
        for shard in shards:
            merged |= shard
        return merged

    def _evaluate(self, rows: dict[int, np.ndarray]) -> dict[str, Any]:
        precision = self._precision(rows)
        per_class = {}
        for k, name in enumerate(self.class_names):
            ap = _mean(precision[:, :, k, 0])
            if not np.isnan(ap):
                per_class[name] = ap
        return {
            **{name: _mean(precision[..., area]) for area, name in enumerate(AREAS)},
            "AP50": _mean(precision[0, ..., 0]),
            "AP75": _mean(precision[5, ..., 0]),
            "AP_class": per_class,
            "images": len(rows),
            "images_total": len(self._known),
        }

    def _precision(self, rows: dict[int, np.ndarray]) -> np.ndarray:
        """Return COCO's table of precisions at 100 detections; -1 is undefined.

        Its axes are IoU .50:.05:.95, recall 0:.01:1, class, area.
        """
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
    """Return the detections of an image as in :data:`.bootstrap.Rows`."""
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
    """Return the mean of the defined precisions; nan if none is."""
    defined = precision[precision > -1]
    if not defined.size:
        return float("nan")
    return float(defined.mean())


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _rank() -> int:
    return dist.get_rank() if _distributed() else 0


def _silent(*_: object) -> None:
    """Take the progress messages of faster_coco_eval and print nothing."""
