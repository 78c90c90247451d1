"""Post-processing beyond the reference detections: limits, ties, classes without tokens."""

import pytest
import torch

from glip_lightning.common.errors import GLIPError
from glip_lightning.ops.dense_outputs import DenseOutputs
from glip_lightning.ops.postprocess import Detections, PostProcess, class_scores
from printed import words


def test_best_keeps_all_ties_at_the_last_place() -> None:
    scores = torch.tensor([0.9, 0.5, 0.5, 0.5, 0.1])
    found = Detections(torch.zeros(5, 4), scores, torch.zeros(5, dtype=torch.int64))
    assert len(PostProcess(max_detections=2).best(found).scores) == 4


def test_a_class_without_tokens_is_never_predicted() -> None:
    scores = class_scores(torch.rand(7, 5), [(1, 2), (), (4,)], "MEAN")
    assert scores[:, 1].tolist() == [0.0] * 7
    assert (scores[:, [0, 2]] > 0).all()


def test_no_class_has_tokens() -> None:
    assert class_scores(torch.rand(7, 5), [(), ()], "POWER").sum() == 0


def test_unknown_aggregation_is_an_error_that_lists_the_choices() -> None:
    with pytest.raises(GLIPError) as caught:
        class_scores(torch.rand(7, 5), [(1,)], "SUM")  # pyrefly: ignore
    assert caught.value.code == "bad-value"
    assert {"SUM", "MEAN", "MAX", "POWER"} <= words(str(caught.value))


def test_nothing_above_the_threshold() -> None:
    post = PostProcess()
    outputs = DenseOutputs(
        torch.full((1, 4, 3), -9.0),
        torch.zeros(1, 4, 4),
        torch.zeros(1, 4),
        torch.zeros(4, 4),
        ((2, 2),),
    )
    found = post(outputs, [[(1,)]], [(32, 32)])
    assert [len(x) for x in found[0]] == [0, 0, 0]
