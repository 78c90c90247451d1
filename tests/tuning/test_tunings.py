"""What is trained, how fast, and in which mode the rest is."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch.amp import GradScaler

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.types import Split
from glip_lightning.models.config import variant
from glip_lightning.models.dense import LAST_LAYERS
from glip_lightning.models.glip.model import GLIP
from glip_lightning.text.captions import Prompt
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.schedules import Plateau
from glip_lightning.tuning.base import Tuning, count_parts, eval_where_frozen
from glip_lightning.tuning.lora import LoRATuning
from glip_lightning.tuning.prompt import PromptTuning
from glip_lightning.tuning.weight_tunings import (
    FullTuning,
    LanguageTuning,
    LinearProbe,
    PartialTuning,
)
from printed import line_with
from tiny import Offset, same, tiny_data, tiny_module, tiny_trainer, validation_ap, weights


def nano() -> GLIP:
    with torch.device("meta"):
        return GLIP(variant("glip-nano"))


@pytest.mark.parametrize("freeze_at, frozen", [(-1, 0), (0, 0), (1, 0), (2, 1), (5, 4)])
def test_freeze_at_counts_as_the_official_one(freeze_at: int, frozen: int) -> None:
    model = nano()
    FullTuning(freeze_at=freeze_at).setup(model, None, Tokenizer.nano())
    body = model.backbone
    assert all(p.requires_grad == (freeze_at < 0) for p in body.patch_embed.parameters())
    assert [all(not p.requires_grad for p in stage.parameters()) for stage in body.stages] == [
        i < frozen for i in range(4)
    ]
    assert all(
        p.requires_grad
        for part in (body.norms, model.fpn, model.language)
        for p in part.parameters()
    )


def test_a_second_tuning_forgets_what_the_first_froze() -> None:
    model = nano()
    FullTuning(freeze_at=5).setup(model, None, Tokenizer.nano())
    FullTuning(freeze_at=-1).setup(model, None, Tokenizer.nano())
    assert all(p.requires_grad for p in model.parameters())


def test_a_wrong_freeze_at_is_named() -> None:
    with pytest.raises(GLIPError) as error:
        FullTuning(freeze_at=6).setup(nano(), None, Tokenizer.nano())
    assert error.value.code == "bad-value"
    assert "freeze_at=6" in str(error.value)


def test_groups_part_by_rate_and_decay_and_hold_every_trained_parameter_once() -> None:
    model = nano()
    groups = FullTuning(lr=1e-3, text_lr=1e-4, weight_decay=0.1).setup(
        model, None, Tokenizer.nano()
    )
    assert {group["name"]: (group["lr"], group["weight_decay"]) for group in groups} == {
        "detector": (1e-3, 0.1),
        "detector_bias": (2e-3, 0.0),
        "text": (1e-4, 0.1),
        "text_bias": (2e-4, 0.0),
    }
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    biases = {id(p) for group in groups[1::2] for p in group["params"]}
    assert id(model.grounding.token_bias_weight) in biases  # officially called bias_lang
    assert id(model.backbone.stages[1].blocks[0].attn.relative_position_bias_table) in biases


def test_equal_rates_make_one_group() -> None:
    names = [
        group["name"]
        for group in FullTuning(lr=1e-3, text_lr=1e-3).setup(nano(), None, Tokenizer.nano())
    ]
    assert names == ["detector+text", "detector_bias+text_bias"]


def trained(tuning: Tuning, detector: str = "glip-nano") -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        model = GLIP(variant(detector))
        groups = tuning.setup(model, None, Tokenizer.nano())
    found = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert sorted(map(id, found.values())) == sorted(
        id(p) for group in groups for p in group["params"]
    )
    return found


@pytest.mark.parametrize("detector", ["glip-nano", "glip-nano-a"])
def test_the_linear_probe_trains_the_last_layers_but_the_scales(detector: str) -> None:
    names = {key.removeprefix("grounding.") for key in trained(LinearProbe(), detector)}
    assert names == set(LAST_LAYERS)


@pytest.mark.parametrize(
    ("tuning", "rates"),
    [
        (PromptTuning, {"glip-nano-c": 0.3, "glip-tiny": 0.05}),
        (LinearProbe, {"glip-nano-c": 5e-3, "glip-tiny": 1e-4}),
        (LoRATuning, {"glip-nano-c": 2e-3, "glip-tiny": 1e-4}),
        (FullTuning, {"glip-nano-c": 1e-3, "glip-tiny": 1e-4}),
    ],
)
def test_a_rate_that_nobody_gives_is_the_detector_s_own(
    tuning: type[PromptTuning | LinearProbe | LoRATuning | FullTuning], rates: dict[str, float]
) -> None:
    for detector, rate in rates.items():
        with torch.device("meta"):
            groups = tuning().setup(GLIP(variant(detector)), Prompt("", (), ()), Tokenizer.nano())
        assert rate in {group["lr"] for group in groups}
    module = GLIPModule("glip-nano-c", tuning=tuning())
    assert module.tuning.lr == rates["glip-nano-c"]
    assert GLIPModule("glip-nano-c", tuning=tuning(lr=0.125)).tuning.lr == 0.125


def test_a_module_without_a_tuning_trains_all_at_the_detector_s_own_rates() -> None:
    tuning = GLIPModule("glip-nano-c").tuning
    assert isinstance(tuning, FullTuning)
    assert (tuning.lr, tuning.text_lr) == (1e-3, 1e-4)


def test_language_tuning_trains_the_text_encoder() -> None:
    model = nano()
    assert trained(LanguageTuning()).keys() == {
        k for k, _ in model.named_parameters() if k.startswith("language.")
    }


def test_partial_tuning_takes_the_first_expression_that_fits() -> None:
    model = nano()
    tuning = PartialTuning({r"fpn\.output": 1e-3, "^fpn": 1e-4}, weight_decay=0.1)
    groups = tuning.setup(model, None, Tokenizer.nano())
    assert {(group["lr"], group["weight_decay"]): len(group["params"]) for group in groups} == {
        (1e-3, 0.1): 3,
        (2e-3, 0.0): 3,
        (1e-4, 0.1): 5,
        (2e-4, 0.0): 5,
    }
    assert {k.split(".")[0] for k, p in model.named_parameters() if p.requires_grad} == {"fpn"}


@pytest.mark.parametrize(
    "rates", [{"fnp": 1e-4}, {"^fpn": 1e-4, "fpn.p6": 1e-3}, {"dyhead": 1e-4, "fusion": 1e-3}]
)
def test_an_expression_that_fits_nothing_is_an_error(rates: dict[str, float]) -> None:
    with pytest.raises(GLIPError) as error:
        PartialTuning(rates).setup(nano(), None, Tokenizer.nano())
    assert error.value.code == "unused-pattern"


def test_wrong_rates_are_named() -> None:
    with pytest.raises(GLIPError) as error:
        PartialTuning({"(": 1e-4})
    assert error.value.code == "bad-value"
    assert "'('" in str(error.value)
    with pytest.raises(GLIPError) as error:
        PartialTuning({})
    assert error.value.code == "bad-value"


def test_parts_are_counted_once() -> None:
    model, tuning = nano(), LinearProbe()
    tuning.setup(model, None, Tokenizer.nano())
    parts = count_parts(model, tuning)
    assert list(parts) == ["vision", "text", "fusion", "head", "all"]
    assert sum(part.total for name, part in parts.items() if name != "all") == parts["all"].total
    assert (
        parts["head"].trainable
        == parts["all"].trainable
        == sum(p.numel() for p in trained(LinearProbe()).values())
    )
    with torch.device("meta"):
        shallow = GLIP(variant("glip-nano-a"))
    assert "fusion" not in count_parts(shallow, tuning)


def test_frozen_text_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all steps and evaluations; where it is trained, in each of them."""
    calls: list[int] = []
    encode = GLIP.encode_text
    monkeypatch.setattr(GLIP, "encode_text", lambda *args: calls.append(1) or encode(*args))
    data = tiny_data(tmp_path / "data")
    tiny_trainer(tmp_path).fit(tiny_module(LinearProbe(lr=1e-3)), datamodule=data)
    assert len(calls) == 1
    tiny_trainer(tmp_path).fit(tiny_module(LanguageTuning(text_lr=1e-3)), datamodule=data)
    assert len(calls) == 1 + 4 + 2  # two epochs of two steps, two validations


def test_frozen_parts_are_in_eval_mode() -> None:
    model = nano()
    model.requires_grad_(False)
    model.grounding.box.requires_grad_(True)
    eval_where_frozen(model.train())
    training = {name for name, module in model.named_modules() if module.training}
    assert {"", "grounding", "grounding.box"} <= training
    assert not any(name.startswith(("backbone", "fpn", "language", "dyhead")) for name in training)


def test_frozen_parts_stay_as_they_are_and_in_eval_mode_after_validation(tmp_path: Path) -> None:
    module = tiny_module(FullTuning(lr=1e-3, freeze_at=2))
    before = weights(module)
    tiny_trainer(tmp_path).fit(module, datamodule=tiny_data(tmp_path / "data"))
    body = module.model.backbone
    assert [body.patch_embed.training, *(stage.training for stage in body.stages)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    changed = {
        key for key, tensor in weights(module).items() if not torch.equal(tensor, before[key])
    }
    assert changed == {
        f"model.{key}" for key, p in module.model.named_parameters() if p.requires_grad
    }
    assert validation_ap(module) >= 0


def test_a_tuning_with_parameters_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Trained, logged, saved beside the detector, and used by evaluation as well."""
    module, data = tiny_module(Offset()), tiny_data(tmp_path / "data")
    before, trainer = weights(module), tiny_trainer(tmp_path, max_epochs=1)
    with caplog.at_level("INFO", logger="glip_lightning"):
        trainer.fit(module, datamodule=data)
    total = 128 + sum(parameter.numel() for parameter in module.model.parameters())
    said = "\n".join(caplog.messages)
    line_with(said, f"128 of {total:,} parameters", "tuning 128")
    line_with(said, "offset 0.1 and 0")  # learning rate, weight decay
    assert isinstance(module.tuning, Offset)
    assert module.tuning.captions == [". ".join(data.class_names)]
    trainer.save_checkpoint(tmp_path / "tuned.ckpt")
    state = torch.load(tmp_path / "tuned.ckpt", weights_only=True)["state_dict"]
    assert same({key: x for key, x in state.items() if key != "tuning.offset"}, before)
    assert state["tuning.offset"].abs().min() > 0
    fresh = tiny_module(Offset())
    tiny_trainer(tmp_path).validate(
        fresh, datamodule=data, ckpt_path=str(tmp_path / "tuned.ckpt"), verbose=False
    )
    assert torch.equal(fresh.tuning.get_parameter("offset"), module.tuning.offset)
    calls = len(module.tuning.encoded)
    tiny_trainer(tmp_path).test(module, datamodule=data, verbose=False)
    assert len(module.tuning.encoded) == calls + 1  # the captions of all images are one


def test_rates_scale_with_the_batch(tmp_path: Path) -> None:
    module = tiny_module(FullTuning(lr=1e-3, text_lr=1e-4))
    module.lr_factor = 1.5
    trainer = tiny_trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(module, datamodule=tiny_data(tmp_path / "data"))
    rates = {group["name"]: group["lr"] for group in trainer.optimizers[0].param_groups}
    assert rates == pytest.approx(
        {"detector": 1.5e-3, "detector_bias": 3e-3, "text": 1.5e-4, "text_bias": 3e-4}
    )


class Steady(GLIPModule):
    """A detector whose AP never changes."""

    def _log_metrics(self, stage: Literal["val", "test"], split: Split) -> None:
        self.record.metrics[stage] = {"AP": 0.5}


def test_plateau__steps_once_per_validation(tmp_path: Path) -> None:
    """Several epochs may pass between two; with patience 0 the second equal AP lowers the rates."""
    module = Steady("glip-nano", "random", FullTuning(lr=1e-3, text_lr=1e-3), Plateau(patience=0))
    trainer = tiny_trainer(tmp_path, max_epochs=5, check_val_every_n_epoch=2)
    trainer.fit(module, datamodule=tiny_data(tmp_path / "data"))  # validated after epochs 2 and 4
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    "precision, fused", [("32-true", True), ("bf16-mixed", False), ("16-mixed", False)]
)
def test_one_kernel_updates_all_weights_where_lightning_can_clip(
    tmp_path: Path, precision: Literal["32-true", "bf16-mixed", "16-mixed"], fused: bool
) -> None:
    given: dict[str, Any] = {"precision": precision}
    if precision == "16-mixed":  # a Trainer allows it on CUDA alone
        given = {"plugins": MixedPrecision(precision, "cpu", GradScaler("cpu", init_scale=1.0))}
    trainer = tiny_trainer(
        tmp_path, max_steps=1, limit_val_batches=0, gradient_clip_val=1.0, **given
    )
    module = tiny_module(FullTuning(lr=1e-3, text_lr=1e-4))
    before = {name: x.clone() for name, x in module.state_dict().items()}
    trainer.fit(module, datamodule=tiny_data(tmp_path / "data"))
    assert trainer.optimizers[0].defaults["fused"] is fused
    assert trainer.precision == precision
    assert not same(module.state_dict(), before)


def test_bf16_trains_and_keeps_its_weights_in_fp32(tmp_path: Path) -> None:
    module = tiny_module(FullTuning(lr=1e-3, text_lr=1e-3))
    trainer = tiny_trainer(tmp_path, precision="bf16-mixed", max_epochs=1)
    trainer.fit(module, datamodule=tiny_data(tmp_path / "data"))
    assert torch.isfinite(trainer.callback_metrics["train/loss"])
    assert {tensor.dtype for tensor in weights(module).values() if tensor.is_floating_point()} == {
        torch.float32
    }
    assert all(torch.isfinite(tensor).all() for tensor in weights(module).values())


def test_short_names_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", "Shapes", "--model.detector=glip-nano"]
    tuning = [
        "--model.tuning",
        "FullTuning",
        "--model.tuning.lr=1e-3",
        "--model.schedule",
        "Cosine",
    ]
    with pytest.raises(SystemExit) as end:
        main(["fit", *arguments, *tuning, "--print_config"])
    printed = capsys.readouterr().out
    assert end.value.code == 0
    assert "class_path: glip_lightning.FullTuning" in printed
    assert "lr: 0.001" in printed
    assert "class_path: glip_lightning.Cosine" in printed
