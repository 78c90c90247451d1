"""Low-rank updates: nothing changes at first, only they learn, and they fold into the weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.config import variant
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.layers.deform_conv import DeformConv
from glip_lightning.ops.dense_outputs import DenseOutputs
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.tuning.lora import LoRALinear, LoRATuning
from glip_lightning.tuning.lora import adapted as adapted_class
from glip_lightning.weights.load import load_detector
from small_runs import go, make_shapes
from tiny import same, tiny_data, tiny_module, tiny_trainer, validation_ap, weights

ALL = ("text", "fusion", "vision", "head")


def run(model: GLIP, tuning: LoRATuning | None = None) -> DenseOutputs:
    ids, mask = Tokenizer.nano().encode(["red circle. blue square"])
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    text = tuning.encode_text(model, ids, mask) if tuning else model.encode_text(ids, mask)
    return model(images, text)


def nano(name: str = "glip-nano") -> GLIP:
    torch.manual_seed(0)
    return GLIP(variant(name)).eval()


def adapted(*parts: str, **options: float) -> tuple[GLIP, LoRATuning]:
    model, tuning = nano(), LoRATuning(parts, **options)  # pyrefly: ignore
    tuning.setup(model, None, Tokenizer.nano())
    return model, tuning


def disturb(tuning: LoRATuning) -> None:
    """As if it had learned something."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in tuning.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.05)


@pytest.mark.parametrize("part", ALL)
def test_it_begins_as_the_untuned_detector_and_names_stay(part: str) -> None:
    plain = nano()
    model, tuning = adapted(part)
    assert model.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():  # torch takes other kernels where it needs gradients
        assert torch.equal(run(model, tuning).logits, run(plain).logits)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("part", ALL)
def test_every_update_learns(part: str) -> None:
    model, tuning = adapted(part)
    disturb(tuning)
    outputs = run(model, tuning)
    (outputs.logits.sum() + outputs.deltas.sum() + outputs.centerness.sum()).backward()
    silent = [key for key, p in tuning.named_parameters() if p.grad is None or not p.grad.any()]
    # a constant added to all scores of a query drops out of the softmax; the key's update is none
    assert silent == []
    assert all(p.grad is None for p in model.parameters())


def test_merged_weights_give_the_same_numbers() -> None:
    model, tuning = adapted(*ALL)
    disturb(tuning)
    kinds = {type(layer) for layer in model.modules()}
    assert {LoRALinear, adapted_class(DeformConv)} <= kinds
    before, start = run(model, tuning), run(nano())
    assert not torch.allclose(before.logits, start.logits, atol=1e-3)
    tuning.merge(model)
    after = run(model)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.deltas, before.deltas, rtol=1e-4, atol=1e-4)
    assert not {LoRALinear, adapted_class(DeformConv)} & {type(layer) for layer in model.modules()}
    assert list(tuning.parameters()) == []
    assert model.state_dict().keys() == nano().state_dict().keys()


def test_the_update_of_a_linear_layer_is_the_formula() -> None:
    model, tuning = adapted("fusion", rank=4, alpha=8.0)
    disturb(tuning)
    layer = model.dyhead.get_submodule("rounds.0.fusion.query")
    assert isinstance(layer, LoRALinear)
    expected: Tensor = layer.base + layer.update.up @ layer.update.down * 2
    assert torch.equal(layer.weight, expected)
    x = torch.randn(3, layer.in_features)
    torch.testing.assert_close(
        layer(x), torch.nn.functional.linear(x, expected, layer.bias), rtol=1e-5, atol=1e-5
    )
    assert layer.update.down.shape == (4, layer.in_features)


def test_a_fit_trains_the_updates_alone_and_its_checkpoint_restores_them(tmp_path: Path) -> None:
    module, data = tiny_module(LoRATuning(ALL, lr=1e-3)), tiny_data(tmp_path / "data")
    before, trainer = (
        {f"model.{k}": x.clone() for k, x in module.model.state_dict().items()},
        tiny_trainer(tmp_path),
    )
    trainer.fit(module, datamodule=data)
    after = weights(module)
    assert same({key: x for key, x in after.items() if key.startswith("model.")}, before)
    ups = [x for key, x in after.items() if key.endswith(".up")]
    assert ups
    assert all(up.any() for up in ups)
    trainer.save_checkpoint(tmp_path / "lora.ckpt")
    fresh = tiny_module(LoRATuning(ALL, lr=1e-3))
    tiny_trainer(tmp_path).validate(
        fresh, datamodule=data, ckpt_path=str(tmp_path / "lora.ckpt"), verbose=False
    )
    assert same(weights(fresh), after)
    assert validation_ap(fresh) == validation_ap(module)


def test_what_cannot_be_adapted_is_named() -> None:
    with pytest.raises(GLIPError) as error:
        LoRATuning(["neck"])  # pyrefly: ignore
    assert error.value.code == "bad-value"
    assert "neck" in str(error.value)
    with pytest.raises(GLIPError) as error:
        LoRATuning(rank=0)
    assert error.value.code == "bad-value"
    assert "rank=0" in str(error.value)
    with pytest.raises(GLIPError) as error:
        LoRATuning().setup(nano("glip-nano-a"), None, Tokenizer.nano())
    assert error.value.code == "empty-part"


def test_a_run_keeps_the_merged_detector(tmp_path: Path) -> None:
    shapes = make_shapes(tmp_path)
    run = tmp_path / "run"
    found = go(
        "fit",
        shapes,
        run,
        "--model.tuning=LoRATuning",
        "--model.tuning.parts=[fusion,head]",
        "--data.shots=2",
    )
    assert found["parts"]["tuning"]["trainable"] == found["parts"]["all"]["trainable"] > 0
    assert found["parts"]["fusion"]["trainable"] == 0
    loaded = load_detector(str(run))
    assert loaded.model.state_dict().keys() == nano().state_dict().keys()
    again = go(
        "test", shapes, tmp_path / "again", f"--model.detector={run}", "--model.weights=pretrained"
    )
    assert again["metrics"]["test"]["AP"] == pytest.approx(found["metrics"]["test"]["AP"], abs=1e-4)
