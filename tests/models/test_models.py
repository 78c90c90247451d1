"""The detector as a module: variants, folders, mixed precision, text length, memory layout."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.build import build_detector
from glip_lightning.models.config import VARIANTS, GLIPConfig, variant
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.layers.fpn import FPN, DropBlock
from glip_lightning.models.layers.swin import shift_mask
from glip_lightning.ops.dense_outputs import DenseOutputs
from glip_lightning.ops.losses import build_targets, detection_losses


def nano(fusion: bool = True) -> GLIP:
    torch.manual_seed(0)
    config = variant("glip-nano")
    return GLIP(replace(config, fusion=fusion, text=replace(config.text, vocab_size=100)))


def run(model: GLIP, image: Tensor, tokens: int = 7) -> DenseOutputs:
    ids = torch.arange(5, 5 + tokens)[None]
    return model(image, model.encode_text(ids, torch.ones_like(ids)))


def train_step(model: GLIP, outputs: DenseOutputs) -> Tensor:
    boxes = [torch.tensor([[10.0, 12, 70, 80]])]
    rows = [torch.zeros(1, outputs.logits.shape[2], dtype=torch.bool)]
    rows[0][:, 2] = True
    mask = torch.ones(1, outputs.logits.shape[2], dtype=torch.bool)
    return detection_losses(outputs, mask, build_targets(outputs, boxes, rows)).total


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_builds(name: str) -> None:
    with torch.device("meta"):
        model = build_detector(variant(name))
    assert (model.dyhead.rounds[0].fusion is not None) == variant(name).fusion


def test_an_unknown_variant_names_the_closest() -> None:
    with pytest.raises(GLIPError, match="glip-tiny") as caught:
        variant("glip-tinny")
    assert caught.value.code == "unknown-detector"


@pytest.mark.parametrize("fusion", [True, False])
def test_save_and_load_through_the_hub_mixin(tmp_path: Path, fusion: bool) -> None:
    model = nano(fusion).eval()
    model.save_pretrained(tmp_path)
    again = GLIP.from_pretrained(tmp_path)
    assert again.config == model.config
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(run(model, image).logits, run(again.eval(), image).logits)


def test_a_folder_with_a_tensor_missing_is_refused(tmp_path: Path) -> None:
    nano().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["grounding.log_scale"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"grounding\.log_scale"):
        GLIP.from_pretrained(tmp_path)


def test_a_model_in_bf16_runs() -> None:
    model = nano().eval().bfloat16()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        outputs = model(
            torch.randn(1, 3, 64, 64).bfloat16(), model.encode_text(ids, torch.ones_like(ids))
        )
    assert torch.isfinite(outputs.logits).all()


def test_config_from_plain_json_values() -> None:
    config = GLIPConfig(swin_depths=[2, 2, 6, 2], text={"vocab_size": 7})  # pyrefly: ignore
    assert config == replace(GLIPConfig(), text=replace(GLIPConfig().text, vocab_size=7))


@pytest.mark.parametrize("fusion", [True, False])
def test_bf16_autocast_trains_and_infers(fusion: bool) -> None:
    """Values are near those of fp32, gradients are finite, parameters and losses are fp32."""
    model = nano(fusion)
    image = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        exact = run(model.eval(), image)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.inference_mode():
            rough = run(model, image)
        loss = train_step(model.train(), run(model, image))
    error = (rough.deltas.float() - exact.deltas).norm() / exact.deltas.norm()
    assert error < 0.05
    loss.backward()
    assert loss.dtype == torch.float32
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("fusion", [True, False])
def test_every_parameter_gets_a_gradient(fusion: bool) -> None:
    """DDP fails on a trainable parameter that no loss reaches."""
    model = nano(fusion).train()
    train_step(model, run(model, torch.randn(1, 3, 96, 128))).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_images_are_normalised_as_bgr_and_padded_with_zeros() -> None:
    model = nano()
    red = torch.zeros(3, 40, 50, dtype=torch.uint8)
    red[0] = 255
    batch = model.preprocess([red, torch.zeros(3, 33, 70, dtype=torch.uint8)])
    assert batch.shape == (2, 3, 64, 96)
    mean, std = model.config.pixel_mean, model.config.pixel_std
    expected = [(0 - mean[0]) / std[0], (0 - mean[1]) / std[1], (255 - mean[2]) / std[2]]
    torch.testing.assert_close(batch[0, :, 0, 0], torch.tensor(expected))
    assert not batch[0, :, 40:].any()
    assert not batch[0, :, :, 50:].any()


def test_shift_mask_separates_regions_that_the_roll_joins() -> None:
    """By definition, positions see each other if they were neighbours before the shift."""
    height, width, window, shift = 9, 14, 7, 3
    mask = shift_mask(height, width, window, torch.device("cpu"))
    side_y, side_x = 14, 14
    assert mask.shape == (side_y // window * (side_x // window), window**2, window**2)
    wrapped_y = (torch.arange(side_y) >= side_y - shift).long()
    wrapped_x = (torch.arange(side_x) >= side_x - shift).long()
    last = mask[-1].view(window, window, window, window)
    y, x = wrapped_y[-window:], wrapped_x[-window:]
    apart = (y[:, None, None, None] != y[None, None, :, None]) | (
        x[None, :, None, None] != x[None, None, None, :]
    )
    assert torch.equal(last, apart * -100.0)
    assert not mask[0].any()


def test_drop_block_keeps_the_mean_and_drops_blocks() -> None:
    torch.manual_seed(0)
    layer = DropBlock(0.3).train()
    out = layer(torch.ones(4, 2, 60, 60))
    assert out.mean().item() == pytest.approx(1.0, abs=1e-4)
    dropped = (out[:, 0] == 0).float().mean().item()
    assert 0.2 < dropped < 0.35  # 1 - (1 - 0.3 / 9) ** 9 = 0.26 away from borders
    assert torch.equal(out[:, 0] == 0, out[:, 1] == 0)
    assert torch.equal(layer.eval()(torch.ones(1, 1, 9, 9)), torch.ones(1, 1, 9, 9))


def test_other_captions_in_the_batch_do_not_matter() -> None:
    """A short caption beside a longer one: the padding that it gets changes nothing."""
    model = nano().eval()
    image = torch.randn(1, 3, 64, 96)
    short, long = torch.tensor([[5, 6, 7, 0, 0, 0]]), torch.tensor([[9, 10, 11, 12, 13, 14]])
    with torch.no_grad():
        text = model.encode_text(torch.cat([short, long]), (torch.cat([short, long]) > 0).long())
        both = model(image.expand(2, -1, -1, -1), text)
        alone = model(image, model.encode_text(short[:, :3], torch.ones(1, 3, dtype=torch.int64)))
    torch.testing.assert_close(both.logits[:1, :, :3], alone.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(both.deltas[:1], alone.deltas, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("height", [1, 2, 3])
def test_gradients_of_narrow_images_are_finite_in_bfloat16(height: int) -> None:
    """The coarsest maps of an image of 64 pixels are one pixel wide."""
    fpn = FPN([8, 8, 8], 64, drop_block=0.0)
    for _ in range(3):
        poison = [torch.full((64, 64, 3, 3), math.nan, dtype=torch.bfloat16) for _ in range(4)]
        del poison  # so that memory which is not written to holds what is no number
        fpn.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            maps = fpn([torch.randn(2, 8, 4 * height * size, size) for size in (8, 4, 2)])
        assert [tuple(x.shape[-2:]) for x in maps][-2:] == [(4 * height, 1), (2 * height, 1)]
        torch.stack([x.float().sum() for x in maps]).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in fpn.parameters())
