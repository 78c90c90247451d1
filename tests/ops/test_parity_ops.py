"""Anchors, boxes, assignment, losses, NMS and score aggregation against the official operators."""

import ast
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from conftest import golden_dir
from glip_lightning.models.config import STRIDES
from glip_lightning.ops import boxes as box_ops
from glip_lightning.ops.anchors import cell_anchor, grid_anchors
from glip_lightning.ops.assignment import assign
from glip_lightning.ops.losses import centerness_targets, token_focal_loss
from glip_lightning.ops.postprocess import class_scores
from parity import LEVELS, read_json

pytestmark = pytest.mark.parity

# transforms: test_parity_transforms.py
FILES = ("anchors", "atss", "box_coder", "losses", "nms", "score_agg")
NOT_COMPARED = {
    "visibility.": "ATSS reads every anchor, visible or not: nothing uses the flag",
    "v1.ONEHOT": "first columns of the token map: no released config has it",
    "sigmoid_focal.": "loss of cls_logits, a layer that is not built (weight 0)",
    "keep_official_cpu_branch": "the CPU branch lacks the +1; the reference is the CUDA kernel",
}
INPUTS = {
    "atss": (".gt_boxes", ".gt_labels"),
    "box_coder": ("anchors", "gt", "pred"),
    "losses": (
        "giou.anchors",
        "giou.pred",
        "giou.reg_targets",
        "iou.boxes1",
        "iou.boxes2",
        "token_focal.logits",
        "token_focal.targets",
        "token_focal.text_mask",
    ),
    "nms": (".boxes", ".scores", ".labels"),
    "score_agg": ("probs",),
}


def outputs_of(path: Path) -> list[str]:
    """The tensors of a file that are results, not inputs."""
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
    return [name for name in names if not name.endswith(INPUTS.get(path.stem, ()))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    file = metafunc.function.__name__.removeprefix("test_")
    if file not in FILES:
        return
    path = golden_dir(metafunc.config) / "ops" / f"{file}.safetensors"
    if path.is_file():
        metafunc.parametrize("tensor", outputs_of(path))
    else:
        skip = pytest.mark.skip(reason=f"{path.parent.parent.name} has no ops/{path.name}")
        metafunc.parametrize("tensor", [pytest.param("", id=file, marks=skip)])


@pytest.fixture
def tensors(request: pytest.FixtureRequest, golden: Path, tensor: str) -> dict[str, Tensor]:
    for name, reason in NOT_COMPARED.items():
        if name in tensor:
            pytest.skip(f"{name}: {reason}")
    return load_file(
        golden / "ops" / f"{request.function.__name__.removeprefix('test_')}.safetensors"
    )


def facts(golden: Path) -> dict:
    return read_json(golden / "ops" / "ops.json")


def reference_grid(golden: Path) -> tuple[Tensor, list[int]]:
    sizes = [tuple(size) for size in facts(golden)["grids_hw"]]
    return grid_anchors(sizes, STRIDES), [h * w for h, w in sizes]


def test_anchors(golden: Path, tensors: dict[str, Tensor], tensor: str) -> None:
    kind, level = tensor.split(".")
    index = LEVELS.index(level)
    if kind == "cell_anchors":
        ours = torch.tensor([cell_anchor(STRIDES[index])])
    else:
        with safe_open(golden / "ops" / "anchors.safetensors", framework="pt") as file:
            grids = ast.literal_eval(file.metadata()["grids"])
        counts = [h * w for h, w in grids]
        ours = grid_anchors(grids, STRIDES).split(counts)[index]
    assert torch.equal(ours, tensors[tensor])


def test_atss(golden: Path, tensors: dict[str, Tensor], tensor: str) -> None:
    case, kind = tensor.split(".")
    anchors, counts = reference_grid(golden)
    boxes = tensors[f"{case}.gt_boxes"]
    matched = assign(anchors, counts, boxes)
    if kind == "matched_gt_index":
        assert torch.equal(matched, tensors[tensor])
    elif kind == "cls_labels":
        ours = torch.where(matched >= 0, tensors[f"{case}.gt_labels"][matched.clamp(min=0)], 0)
        assert torch.equal(ours, tensors[tensor])
    else:
        ours = box_ops.encode(boxes[matched.clamp(min=0)], anchors)
        torch.testing.assert_close(ours, tensors[tensor], rtol=1e-6, atol=1e-6)


def test_atss_without_boxes_is_all_negative(golden: Path) -> None:
    """The one case where the official code raises."""
    sizes = [(60, 80), (30, 40), (15, 20), (8, 10), (4, 5)]
    matched = assign(grid_anchors(sizes, STRIDES), [h * w for h, w in sizes], torch.zeros(0, 4))
    assert matched.unique().tolist() == [-1]


def test_box_coder(tensors: dict[str, Tensor], tensor: str) -> None:
    anchors = tensors["anchors"]
    ours = {
        "encoded": lambda: box_ops.encode(tensors["gt"], anchors),
        "decoded_of_encoded": lambda: box_ops.decode(tensors["encoded"], anchors),
        "decoded_of_pred": lambda: box_ops.decode(tensors["pred"], anchors),
    }[tensor]()
    scale = tensors[tensor].abs().max().item()
    torch.testing.assert_close(ours, tensors[tensor], rtol=1e-6, atol=1e-6 * scale)


def giou_terms(tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Deltas that ask for a gradient, and 1 - GIoU of the decoded pairs."""
    pred = tensors["giou.pred"].clone().requires_grad_()
    anchors = tensors["giou.anchors"]
    target = box_ops.decode(tensors["giou.reg_targets"], anchors)
    return pred, 1 - box_ops.giou(box_ops.decode(pred, anchors), target)


def test_losses(tensors: dict[str, Tensor], tensor: str) -> None:
    theirs = tensors[tensor]
    scale = theirs.abs().max().item()
    torch.testing.assert_close(our_loss(tensors, tensor), theirs, rtol=2e-6, atol=2e-6 * scale)


def our_loss(tensors: dict[str, Tensor], tensor: str) -> Tensor:
    if tensor == "iou.legacy_plus1":
        return box_ops.iou_matrix(tensors["iou.boxes1"], tensors["iou.boxes2"])
    if tensor == "giou.centerness_targets":
        anchors = tensors["giou.anchors"]
        return centerness_targets(anchors, box_ops.decode(tensors["giou.reg_targets"], anchors))
    if tensor.startswith("giou."):
        pred, terms = giou_terms(tensors)
        weighted = (terms * tensors["giou.centerness_targets"]).sum()
        if tensor == "giou.grad_pred":
            return torch.autograd.grad(weighted, pred)[0]
        return (weighted if tensor == "giou.weighted_sum_loss" else terms.sum()).detach()[None]
    logits = tensors["token_focal.logits"].clone().requires_grad_()
    loss = token_focal_loss(
        logits, tensors["token_focal.targets"], tensors["token_focal.text_mask"]
    )
    if tensor == "token_focal.grad_logits":
        return torch.autograd.grad(loss, logits)[0]
    return loss.detach()[None]


def test_nms(golden: Path, tensors: dict[str, Tensor], tensor: str) -> None:
    case = tensor.rsplit(".", 1)[0]
    boxes, scores, labels = (tensors[f"{case}.{name}"] for name in ("boxes", "scores", "labels"))
    keep = box_ops.class_nms(boxes, scores, labels, facts(golden)["nms_threshold"])
    assert torch.equal(keep, tensors[tensor])


def test_score_agg(golden: Path, tensors: dict[str, Tensor], tensor: str) -> None:
    tokens = facts(golden)["score_agg_positive_map_label_to_token"]
    columns = tensors[tensor].shape[-1]
    classes = [tokens.get(str(label + 1), []) for label in range(columns)]
    aggregation = tensor.split(".")[1]
    ours = torch.stack([class_scores(p, classes, aggregation) for p in tensors["probs"]])
    torch.testing.assert_close(ours, tensors[tensor], rtol=1e-5, atol=1e-6)
