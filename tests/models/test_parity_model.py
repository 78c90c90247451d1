"""The detector against every tensor of the official code's reference models."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from conftest import golden_dir
from glip_lightning.ops import boxes as box_ops
from glip_lightning.ops.postprocess import Detections, PostProcess
from glip_lightning.weights.official_checkpoint import official_names, to_official
from parity import (
    LEVELS,
    NOT_BUILT,
    Reference,
    assert_same_detections,
    assert_stage,
    class_tokens,
    read_json,
)

pytestmark = pytest.mark.parity

MODELS = ("model_fusion", "model_shallow", "model_large", "model_mini")
# reference mode -> ours; the MDETR100 modes differ only in the number of score columns
AGGREGATION = {
    "MEAN": "MEAN",
    "MAX": "MAX",
    "MDETR100_MEAN": "MEAN",
    "MDETR100_POWER": "POWER",
    "SINGLE_IMAGE0_MEAN": "MEAN",
}
ZERO_GRADIENTS = {
    ".attention.self.key.bias": "a constant added to all scores of a query drops out of the "
    "softmax: the gradient is zero in exact arithmetic, both codes hold rounding only",
}


def keys(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per model and tensor of its files."""
    if "model" not in metafunc.fixturenames:
        return
    folder = golden_dir(metafunc.config)
    found = [name for name in MODELS if (folder / name).is_dir()]
    missing = [
        pytest.param(
            name,
            *([None] * ("tensor" in metafunc.fixturenames)),
            id=name,
            marks=absent(name, folder),
        )
        for name in MODELS
        if name not in found
    ]
    if "tensor" not in metafunc.fixturenames:
        metafunc.parametrize("model", [*found, *missing])
        return
    source = metafunc.definition.get_closest_marker("source")
    assert source is not None
    rows = [(name, key) for name in found for key in tensors_of(folder / name, source.args[0])]
    metafunc.parametrize(
        "model, tensor", [*[pytest.param(*row, id="-".join(row)) for row in rows], *missing]
    )


def absent(name: str, folder: Path) -> pytest.MarkDecorator:
    return pytest.mark.skip(reason=f"{folder.name} has no {name}")


def tensors_of(folder: Path, source: str) -> list[str]:
    if source == "losses.json":
        return list(read_json(folder / source)["losses"])
    if source == "grad_norms.json":
        return list(read_json(folder / source)["grad_l2_norm"])
    if source == "detections.safetensors":
        return sorted({key.rsplit(".", 1)[0] for key in keys(folder / source)})
    return keys(folder / source)


@cache
def reference(folder: Path) -> Reference:
    return Reference(folder)


@cache
def stored(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def skip_if_not_built(tensor: str) -> None:
    for name, reason in NOT_BUILT.items():
        if tensor.startswith(name):
            pytest.skip(f"{name}: {reason}")


@pytest.mark.source("eval_stages.safetensors")
def test_eval_stage(golden: Path, model: str, tensor: str) -> None:
    skip_if_not_built(tensor)
    ref = reference(golden / model)
    noise = ref.noise["eval_stage_fp32_vs_fp64"].get(tensor, {"max_abs": 0.0})["max_abs"]
    theirs = stored(golden / model / "eval_stages.safetensors")[tensor]
    assert_stage(
        ref.evaluate()[0][tensor], theirs, noise, ref.inputs["eval.attention_mask"], tensor
    )


@pytest.mark.source("train_outputs.safetensors")
def test_train_output(golden: Path, model: str, tensor: str) -> None:
    skip_if_not_built(tensor)
    ref = reference(golden / model)
    theirs = stored(golden / model / "train_outputs.safetensors")[tensor]
    if tensor.startswith("target."):
        assert_target(ref, tensor, theirs)
        return
    noise = ref.noise["eval_stage_fp32_vs_fp64"].get(tensor, {"max_abs": 0.0})["max_abs"]
    ours = ref.train().stages[tensor].detach()
    assert_stage(ours, theirs, noise, ref.inputs["train.attention_mask"], tensor)


def assert_target(ref: Reference, tensor: str, theirs: Tensor) -> None:
    """Labels and token rows are exact; so are box targets, also those of negatives."""
    _, kind, image = tensor.split(".")
    i = int(image.removeprefix("im"))
    outputs = ref.train().outputs
    targets = ref.padded_targets()
    matched = targets.matched[i]
    if kind == "cls_labels":
        ours = torch.where(matched >= 0, ref.inputs[f"labels_{i}"][matched.clamp(min=0)], 0)
        assert torch.equal(ours, theirs)
    elif kind == "token_labels":
        assert torch.equal(targets.tokens[i], theirs.bool())
    else:
        ours = box_ops.encode(ref.inputs[f"boxes_{i}"][matched.clamp(min=0)], outputs.anchors)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.source("losses.json")
def test_loss(golden: Path, model: str, tensor: str) -> None:
    ours_by_name = {
        "loss_reg": "box",
        "loss_centerness": "centerness",
        "loss_dot_product_token": "token",
    }
    theirs = read_json(golden / model / "losses.json")["losses"][tensor]
    if tensor == "loss_cls":
        assert theirs == 0.0  # the official weight of this loss; the layer is not built
        return
    ref = reference(golden / model)
    ours = getattr(ref.train().losses, ours_by_name[tensor]).item()
    noise = abs(theirs - ref.noise["loss_fp64"][tensor])
    assert abs(ours - theirs) <= max(10 * noise, 5e-6 * abs(theirs))


def test_total_loss_and_positives(golden: Path, model: str) -> None:
    theirs = read_json(golden / model / "losses.json")
    ref = reference(golden / model)
    trained = ref.train()
    assert trained.losses.total.item() == pytest.approx(theirs["total"], rel=5e-6)
    positives = (ref.padded_targets().matched >= 0).sum(1).tolist()
    assert positives == theirs["num_pos_per_image"]


@cache
def official_gradients(folder: Path) -> dict[str, Tensor]:
    model = reference(folder).train().model
    return to_official({name: p.grad for name, p in model.named_parameters()}, model.config)


@pytest.mark.source("grads.safetensors")
def test_gradient(golden: Path, model: str, tensor: str) -> None:
    theirs = stored(golden / model / "grads.safetensors")
    if tensor == "unique_train_ids":
        ids = reference(golden / model).text("train")[0].unique()
        assert set(ids.tolist()) <= set(theirs[tensor].tolist())  # theirs has [PAD] as well
        return
    name, _, rows = tensor.partition("@")
    ours = official_gradients(golden / model)[name]
    if rows:
        ours = ours[theirs[rows]]
    assert_gradient(golden / model, name, ours, theirs[tensor])


@pytest.mark.source("grad_norms.json")
def test_gradient_norm(golden: Path, model: str, tensor: str) -> None:
    theirs = read_json(golden / model / "grad_norms.json")["grad_l2_norm"][tensor]
    ours = official_gradients(golden / model)[tensor]
    assert_gradient(golden / model, tensor, ours.norm()[None], torch.tensor([theirs]))


def test_no_other_gradients(golden: Path, model: str) -> None:
    """Ours has gradients for all official parameters, also frozen ones, and no others."""
    theirs = read_json(golden / model / "grad_norms.json")
    not_built = {f"rpn.head.cls_logits.{kind}" for kind in ("weight", "bias")}
    ref = reference(golden / model)
    names = official_names(ref.train().model.config)
    assert {names[name] for name, _ in ref.train().model.named_parameters()} == (
        {*theirs["grad_l2_norm"], *theirs["grad_none"]} - not_built
    )
    assert [name for name, p in ref.train().model.named_parameters() if p.grad is None] == []


def assert_gradient(folder: Path, name: str, ours: Tensor, theirs: Tensor) -> None:
    """Relative L2 error within 10 times the recorded noise, at least 1e-5."""
    if any(name.endswith(end) for end in ZERO_GRADIENTS):
        query = official_gradients(folder)[name.replace(".key.", ".query.")]
        assert ours.norm() <= 1e-4 * query.norm()
        return
    noise = reference(folder).noise["grad_relative_l2_error_fp32_vs_fp64"].get(name, 0.0)
    assert (ours - theirs).norm().item() <= max(10 * noise, 1e-5) * theirs.norm().item()


def our_detections(ref: Reference, mode: str) -> list[Detections]:
    sizes = [tuple(size) for size in ref.facts["image_sizes_hw"]]
    outputs = ref.evaluate()[1]
    if mode.startswith("SINGLE_IMAGE0"):
        outputs, sizes = single_image(ref), sizes[:1]
    return PostProcess(aggregation=AGGREGATION[mode])(
        outputs, [class_tokens(ref)] * len(sizes), sizes
    )


def single_image(ref: Reference):
    """Image 0 alone, padded to its own multiple of 32."""
    image = ref.inputs["image_0"]
    height, width = (size + -size % 32 for size in image.shape[1:])
    batch = torch.zeros(1, 3, height, width)
    batch[0, :, : image.shape[1], : image.shape[2]] = image
    ids, mask = ref.text("eval")
    model = ref.train().model.eval()
    with torch.no_grad():
        return model(batch, model.encode_text(ids[:1], mask[:1]))


@pytest.mark.source("detections.safetensors")
def test_detections(golden: Path, model: str, tensor: str) -> None:
    mode, image = tensor.split(".")
    theirs = detections_of(golden / model / "detections.safetensors", tensor)
    ours = our_detections(reference(golden / model), mode)[int(image.removeprefix("im"))]
    assert_same_detections(ours, theirs)


def test_candidates_before_nms(golden: Path, model: str) -> None:
    ref = reference(golden / model)
    for i, (height, width) in enumerate(ref.facts["image_sizes_hw"]):
        ours = PostProcess().candidates(ref.evaluate()[1], i, class_tokens(ref), (height, width))
        theirs = detections_of(golden / model / "pre_nms_candidates_MEAN.safetensors", f"im{i}")
        assert_same_detections(ours, theirs)


def detections_of(path: Path, name: str) -> Detections:
    tensors = stored(path)
    return Detections(
        tensors[f"{name}.boxes"], tensors[f"{name}.scores"], tensors[f"{name}.labels"] - 1
    )


@pytest.mark.parametrize("more", [0, 7])
def test_text_length_does_not_matter(golden: Path, model: str, more: int) -> None:
    """A caption padded to 256 or to (nearly) its own length gives equal logits and boxes."""
    ref = reference(golden / model)
    model_ = deepcopy(ref.train().model).eval().double()  # exact but for the order of sums
    images = ref.inputs["images"].double()
    real = int(ref.inputs["eval.attention_mask"].sum(1).max())
    length = min(256, real + more)
    with torch.no_grad():
        padded = model_(images, model_.encode_text(*ref.text("eval", 256)))
        own = model_(images, model_.encode_text(*ref.text("eval", length)))
    torch.testing.assert_close(
        own.logits[..., :real], padded.logits[..., :real], rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(own.deltas, padded.deltas, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(own.centerness, padded.centerness, rtol=1e-9, atol=1e-9)


def test_an_image_alone_and_in_a_batch(golden: Path, model: str) -> None:
    """Two images of one size have the same predictions together and one by one."""
    ref = reference(golden / model)
    model_ = ref.train().model.eval()
    images = ref.inputs["images"]
    images = torch.stack([images[0], images[0].flip(-1)])
    ids, mask = ref.text("eval")
    size = (images.shape[2], images.shape[3])
    with torch.no_grad():
        text = model_.encode_text(ids, mask)
        together = model_(images, text)
        alone = [model_(image[None], text.select(torch.tensor([0]))) for image in images]
    for i, one in enumerate(alone):
        torch.testing.assert_close(together.logits[i], one.logits[0], rtol=1e-5, atol=2e-5)
        both = PostProcess()(together, [class_tokens(ref)] * 2, [size, size])[i]
        assert_same_detections(PostProcess()(one, [class_tokens(ref)], [size])[0], both)


def test_levels_are_the_reference_levels(golden: Path, model: str) -> None:
    sizes = reference(golden / model).evaluate()[1].level_sizes
    theirs = stored(golden / model / "eval_stages.safetensors")
    assert [tuple(theirs[f"fpn.{level}"].shape[-2:]) for level in LEVELS] == list(sizes)
