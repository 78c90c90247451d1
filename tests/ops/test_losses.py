"""What the reference tensors cannot show: batches without boxes, and several processes."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from glip_lightning.models.config import STRIDES
from glip_lightning.ops.anchors import grid_anchors
from glip_lightning.ops.dense_outputs import DenseOutputs
from glip_lightning.ops.losses import Losses, build_targets, detection_losses

SIZES = [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]
COUNTS = [h * w for h, w in SIZES]
TOKENS = 6


def outputs(images: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    n = sum(COUNTS)
    shapes = ((images, n, TOKENS), (images, n, 4), (images, n))
    logits, deltas, centerness = (
        torch.randn(shape, generator=generator).requires_grad_() for shape in shapes
    )
    return logits, deltas, centerness


def outputs_of(predicted: tuple[Tensor, Tensor, Tensor]) -> DenseOutputs:
    return DenseOutputs(*predicted, grid_anchors(SIZES, STRIDES), tuple(SIZES))


def losses_of(predicted: tuple[Tensor, Tensor, Tensor], boxes: list[Tensor]) -> Losses:
    rows = [torch.zeros(len(b), TOKENS, dtype=torch.bool) for b in boxes]
    for row in rows:
        row[:, 2] = True
    raw = outputs_of(predicted)
    mask = torch.ones(len(boxes), TOKENS, dtype=torch.bool)
    return detection_losses(raw, mask, build_targets(raw, boxes, rows))


def boxes_of(*images: list[list[float]]) -> list[Tensor]:
    return [torch.tensor(rows).reshape(-1, 4) for rows in images]


def test_images_without_boxes_train_as_negatives() -> None:
    """The official code raises here. All anchors are negatives: only the token loss is not zero."""
    predicted = outputs(2)
    losses = losses_of(predicted, boxes_of([], []))
    losses.total.backward()
    assert losses.token > 0
    assert losses.box == 0
    assert losses.centerness == 0
    logits, deltas, centerness = predicted
    assert logits.grad is not None
    assert (logits.grad > 0).all()  # every logit is pushed down
    assert deltas.grad is not None
    assert centerness.grad is not None
    assert not deltas.grad.any()
    assert not centerness.grad.any()


def test_an_image_without_boxes_beside_one_with_boxes() -> None:
    losses = losses_of(outputs(2), boxes_of([[5.0, 5, 40, 40]], []))
    assert all(torch.isfinite(x) for x in losses)
    assert losses.box > 0


def test_masked_tokens_do_not_count() -> None:
    raw = outputs_of(outputs(1))
    logits = raw.logits
    targets = build_targets(
        raw, boxes_of([[5.0, 5, 40, 40]]), [torch.zeros(1, TOKENS, dtype=torch.bool)]
    )
    mask = torch.tensor([[True, True, True, False, False, False]])
    detection_losses(raw, mask, targets).token.backward()
    assert logits.grad is not None
    assert logits.grad[..., :3].all()
    assert not logits.grad[..., 3:].any()


def test_full_caption_trains_the_last_token_as_no_object() -> None:
    """The official quirk of captions with all 256 tokens (loss.py:783-786)."""
    raw = outputs_of(outputs(1))._replace(logits=torch.zeros(1, sum(COUNTS), 256))
    targets = build_targets(
        raw, boxes_of([[5.0, 5, 40, 40]]), [torch.ones(1, 256, dtype=torch.bool)]
    )
    assert targets.tokens[0, :, 255].all()
    assert targets.tokens[0, :, :255].any(-1).equal(targets.matched[0] >= 0)


def _rank(rank: int, folder: str) -> None:
    """Each process has one image; the second has no box at all."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    logits, deltas, centerness = outputs(2)
    mine = tuple(x[rank : rank + 1].detach().requires_grad_() for x in (logits, deltas, centerness))
    boxes = boxes_of([[5.0, 5, 40, 40], [10.0, 20, 60, 50]], [])
    losses_of((mine[0], mine[1], mine[2]), boxes[rank : rank + 1]).total.backward()
    torch.save([x.grad for x in mine], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """The mean of DDP equals one process with both images, also if one has no positives."""
    mp.start_processes(_rank, args=(str(tmp_path),), nprocs=2, start_method="spawn")
    predicted = outputs(2)
    losses_of(predicted, boxes_of([[5.0, 5, 40, 40], [10.0, 20, 60, 50]], [])).total.backward()
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for i, whole in enumerate(predicted):
        halves = torch.cat([ranks[0][i], ranks[1][i]]) / 2  # the mean over two processes
        assert whole.grad is not None
        torch.testing.assert_close(halves, whole.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "boxes", [[[3.0, 3, 3, 3]], [[0.0, 0, 500, 500]], [[-20.0, -20, -10, -10]]]
)
def test_strange_boxes_stay_finite(boxes: list[list[float]]) -> None:
    """One pixel, far larger than the image, outside of it."""
    losses = losses_of(outputs(1), boxes_of(boxes))
    losses.total.backward()
    assert torch.isfinite(losses.total)
