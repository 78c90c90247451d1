"""The official prompt tuning (language_prompt_v2) with a given offset: numbers at each step."""

from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from glip_lightning.ops.dense_outputs import DenseOutputs
from glip_lightning.ops.losses import Losses, detection_losses
from glip_lightning.ops.postprocess import Detections, PostProcess
from glip_lightning.tuning.prompt import PromptTuning
from parity import (
    LEVELS,
    Reference,
    assert_same_detections,
    assert_stage,
    class_tokens,
    load_reference_model,
    read_json,
)
from test_parity_tuning import LOSSES, MODELS, folder_of, tuned

pytestmark = pytest.mark.parity

OFFSETS = ("zero", "random")


class Prompted:
    """A reference model with an offset: a training step on its captions, and an evaluation."""

    def __init__(self, golden: Path, name: str, offset: Tensor) -> None:
        self.reference = Reference(golden / MODELS[name])
        self.model, tuning = load_reference_model(golden / MODELS[name]), PromptTuning()
        tuned(self.model, tuning)
        (self.offset,) = tuning.parameters()
        with torch.no_grad():
            self.offset.copy_(offset[: len(self.offset)])
        images = self.reference.inputs["images"]
        self.text = tuning.encode_text(self.model, *self.reference.text("train"))
        self.outputs = self.model(images, self.text)
        self.losses: Losses = detection_losses(
            self.outputs, self.text.mask, self.reference.targets(self.outputs)
        )
        self.losses.total.backward()
        with torch.no_grad():
            evaluated = self.model(
                images, tuning.encode_text(self.model, *self.reference.text("eval"))
            )
        sizes = [tuple(size) for size in self.reference.facts["image_sizes_hw"]]
        self.detections = PostProcess()(
            evaluated, [class_tokens(self.reference)] * len(sizes), sizes
        )


@cache
def stored(folder: Path) -> dict[str, Tensor]:
    if not (folder / "prompt_v2.safetensors").is_file():
        pytest.skip(f"{folder.name} holds no prompt_v2.safetensors")
    return load_file(folder / "prompt_v2.safetensors")


@cache
def prompted(golden: Path, name: str, which: str) -> Prompted:
    table = stored(golden / name)["tunable_linear.weight"]
    return Prompted(golden, name, table if which == "random" else torch.zeros_like(table))


def head_outputs(outputs: DenseOutputs) -> dict[str, Tensor]:
    """Return outputs by the reference's names and in its layouts.

    Logits [B, n, T], deltas [B, 4, h, w], centerness [B, 1, h, w].
    """
    found = {}
    logits, deltas, centerness = (
        x.split(outputs.level_counts, dim=1)
        for x in (outputs.logits, outputs.deltas, outputs.centerness[..., None])
    )
    for i, (level, size) in enumerate(zip(LEVELS, outputs.level_sizes, strict=True)):
        found[f"head.dot_product_logits.{level}"] = logits[i]
        found[f"head.bbox_reg.{level}"] = deltas[i].transpose(1, 2).unflatten(2, size)
        found[f"head.centerness.{level}"] = centerness[i].transpose(1, 2).unflatten(2, size)
    return found


@pytest.mark.parametrize("which", OFFSETS)
@pytest.mark.parametrize("name", MODELS)
def test_forward(golden: Path, name: str, which: str) -> None:
    """Inputs and outputs of the head are equal within 10 times the recorded noise of each."""
    theirs, job = stored(folder_of(golden, name)), prompted(golden, name, which)
    noise = job.reference.noise["eval_stage_fp32_vs_fp64"]
    mask = job.reference.inputs["train.attention_mask"]
    hidden = theirs[f"{which}.head_input.hidden"]
    assert_stage(
        job.text.hidden.detach(), hidden, noise["lang.hidden"]["max_abs"], mask, "lang.hidden"
    )
    for key, ours in head_outputs(job.outputs).items():
        assert_stage(ours.detach(), theirs[f"{which}.{key}"], noise[key]["max_abs"], mask, key)


@pytest.mark.parametrize("which", OFFSETS)
@pytest.mark.parametrize("name", MODELS)
def test_losses_and_norm_of_the_gradient(golden: Path, name: str, which: str) -> None:
    theirs = read_json(folder_of(golden, name) / "tuning.json")["prompt_v2_forward"][which]
    if not (golden / name / "prompt_v2.safetensors").is_file() and which == "random":
        pytest.skip(f"{name} holds no random offset")
    job = prompted(golden, name, which) if which == "random" else prompted_by_zero(golden, name)
    for key, own in LOSSES.items():
        assert getattr(job.losses, own).item() == pytest.approx(theirs["losses"][key], rel=5e-6)
    assert job.losses.total.item() == pytest.approx(theirs["total"], rel=5e-6)
    assert job.offset.grad is not None
    assert job.offset.grad.norm().item() == pytest.approx(theirs["grad_l2_norm"], rel=1e-5)


@cache
def prompted_by_zero(golden: Path, name: str) -> Prompted:
    """The start of the tuning needs no file."""
    return Prompted(golden, name, torch.zeros(256, 1))


@pytest.mark.parametrize("which", OFFSETS)
@pytest.mark.parametrize("name", MODELS)
def test_gradient(golden: Path, name: str, which: str) -> None:
    """Relative L2 error within 1e-5, the floor of all gradients; none for rows of padding."""
    theirs = stored(folder_of(golden, name))[f"{which}.grad_tunable_linear[:256]"]
    ours = prompted(golden, name, which).offset.grad
    assert ours is not None
    rows = int(prompted(golden, name, which).reference.text("train")[1].sum(1).max())
    assert not ours[rows:].any()
    assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


@pytest.mark.parametrize("which", OFFSETS)
@pytest.mark.parametrize("name", MODELS)
def test_detections(golden: Path, name: str, which: str) -> None:
    theirs, job = stored(folder_of(golden, name)), prompted(golden, name, which)
    for i, ours in enumerate(job.detections):
        boxes, scores, labels = (
            theirs[f"{which}.detections.im{i}.{kind}"] for kind in ("boxes", "scores", "labels")
        )
        assert_same_detections(ours, Detections(boxes, scores, labels - 1))
