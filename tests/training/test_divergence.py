"""Training that diverges: nothing bad reaches the weights, and the run says what it did."""

import re
from pathlib import Path

import pytest
import torch

from glip_lightning.common.errors import GLIPError
from glip_lightning.training.callbacks.divergence import DivergenceGuard
from printed import numbers, words
from tiny import Scripted, same, tiny_data, tiny_module, tiny_trainer, weights

NAN, INF = float("nan"), float("inf")


def step_and_loss(ended: str | None) -> tuple[str, str]:
    """Return the two numbers in the reason why training ended, as they are written."""
    step, loss = re.findall(r"\bnan\b|\binf\b|\d+(?:\.\d+)?", str(ended))
    return step, loss


class InfiniteGradient(Scripted):
    """The loss stays finite; the gradient of the third step does not."""

    def on_after_backward(self) -> None:
        if self.global_step == 2:
            self.layer.weight.grad[0, 0] = INF


@pytest.mark.parametrize("factor", [NAN, INF])
def test_stop_before_a_bad_step(
    tmp_path: Path, factor: float, caplog: pytest.LogCaptureFixture
) -> None:
    guard, module = DivergenceGuard(), Scripted(factors={3: factor})
    trainer = tiny_trainer(tmp_path, guard, max_epochs=9)
    with caplog.at_level("WARNING", logger="glip_lightning"):
        trainer.fit(module)
    assert trainer.global_step == 4
    assert step_and_loss(guard.ended) == ("3", str(factor))
    assert guard.ended is not None
    assert guard.ended in caplog.text
    healthy = Scripted()
    tiny_trainer(tmp_path, max_steps=3).fit(healthy)
    assert same(weights(module), weights(healthy))


def test_a_gradient_that_is_not_finite(tmp_path: Path) -> None:
    guard, module = DivergenceGuard(), InfiniteGradient()
    tiny_trainer(tmp_path, guard).fit(module)
    step, loss = step_and_loss(guard.ended)
    assert step == "2"
    assert loss.startswith("3.9")
    assert torch.isfinite(module.layer.weight).all()


def test_a_loss_that_explodes(tmp_path: Path) -> None:
    """Five times the start from step 30 on: bad when more than half of the last 20 are so."""
    guard = DivergenceGuard()
    tiny_trainer(tmp_path, guard, max_epochs=9).fit(Scripted(factors={30: 5.0}))
    assert guard.ended is not None
    # two medians, and how often the first
    step, window, now, factor, first = map(float, numbers(guard.ended))
    assert (step, window, factor) == (40, guard.WINDOW, guard.EXPLODED)
    assert now > factor * first


@pytest.mark.parametrize(
    "factors",
    [
        {20: 3.5},  # worse, but no explosion
        {25: 1e6, 34: 1.0},  # nine wild batches in a row
        {0: 1.0, 10: 0.01, 40: 1.0},  # back to the start after having been a hundred times better
    ],
)
def test_no_false_alarm(tmp_path: Path, factors: dict[int, float]) -> None:
    guard = DivergenceGuard()
    trainer = tiny_trainer(tmp_path, guard, max_epochs=9)
    trainer.fit(Scripted(factors=factors))
    assert guard.ended is None
    assert trainer.global_step == 72


def test_restore_brings_back_good_weights_with_half_the_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard, module = DivergenceGuard("restore"), Scripted(factors={5: NAN, 6: 1.0})
    start = weights(module)
    trainer = tiny_trainer(tmp_path, guard, max_steps=6)
    with caplog.at_level("WARNING", logger="glip_lightning"):
        trainer.fit(module)
    assert same(weights(module), start)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(5e-4)
    assert trainer.lr_scheduler_configs[0].scheduler.base_lrs == pytest.approx([5e-4])
    assert [entry["step"] for entry in guard.restored] == [5]
    (line,) = [line for line in caplog.messages if "nan" in words(line)]
    assert "5" in numbers(line)
    assert guard.ended is None
    assert not trainer.optimizers[0].state


def test_training_goes_on_after_a_restore(tmp_path: Path) -> None:
    guard, module = DivergenceGuard("restore"), Scripted(factors={5: NAN, 6: 1.0})
    tiny_trainer(tmp_path, guard, max_steps=8).fit(module)
    # two steps of AdamW
    assert module.layer.weight.detach().numpy() == pytest.approx(1 - 2 * 5e-4, abs=1e-6)


def test_the_older_copy_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of step 8, which 8 good steps have followed, not those of step 16."""
    monkeypatch.setattr(DivergenceGuard, "KEEP_EVERY", 8)
    guard, module = DivergenceGuard("restore"), Scripted(factors={17: NAN})
    tiny_trainer(tmp_path, guard, max_epochs=9, max_steps=18).fit(module)
    good = Scripted()
    tiny_trainer(tmp_path, max_steps=8).fit(good)
    assert same(weights(module), weights(good))


def test_it_gives_up_after_a_few_times(tmp_path: Path) -> None:
    guard = DivergenceGuard("restore", most=2)
    trainer = tiny_trainer(tmp_path, guard, max_epochs=9)
    trainer.fit(Scripted(factors={5: NAN}))
    assert [entry["step"] for entry in guard.restored] == [5, 6]
    assert step_and_loss(guard.ended) == ("7", "nan")


def test_accumulated_batches_count_as_one(tmp_path: Path) -> None:
    guard, module = DivergenceGuard(), Scripted(factors={2: NAN})
    trainer = tiny_trainer(tmp_path, guard, accumulate_grad_batches=4)
    trainer.fit(module)
    assert step_and_loss(guard.ended) == ("2", "nan")
    assert guard._first[0] == pytest.approx(4.0)


def test_what_was_done_survives_the_loading_of_an_earlier_checkpoint(tmp_path: Path) -> None:
    guard, module = DivergenceGuard("restore", most=1), Scripted(factors={8: NAN})
    trainer = tiny_trainer(tmp_path, guard, max_epochs=1)
    trainer.fit(module)
    trainer.save_checkpoint(tmp_path / "early.ckpt")
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module)
    trainer.validate(module, ckpt_path=str(tmp_path / "early.ckpt"), verbose=False)
    assert guard.ended is not None
    assert len(guard.restored) == 1


def test_a_resumed_run_remembers_what_the_loss_was_in_the_beginning(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, DivergenceGuard(), max_epochs=4)
    trainer.fit(Scripted())
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    guard = DivergenceGuard()
    tiny_trainer(tmp_path, guard, max_epochs=9).fit(
        Scripted(factors={32: 5.0}), ckpt_path=str(tmp_path / "half.ckpt")
    )
    assert guard.ended is not None
    assert numbers(guard.ended)[:2] == ["42", str(guard.WINDOW)]


class BadRank(Scripted):
    """Only the second process meets a loss that is not a number."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * NAN if self.global_rank == 1 and self.global_step == 2 else loss

    def on_train_end(self) -> None:
        guard = next(x for x in self.trainer.callbacks if isinstance(x, DivergenceGuard))
        Path(self.trainer.default_root_dir, f"rank{self.global_rank}").write_text(str(guard.ended))


def test_two_processes_agree(tmp_path: Path) -> None:
    """A rank that went on would wait for the other for ever."""
    trainer = tiny_trainer(
        tmp_path, DivergenceGuard(), max_epochs=3, devices=2, strategy="ddp_fork"
    )
    trainer.fit(BadRank())
    ended = [(tmp_path / f"rank{rank}").read_text() for rank in range(2)]
    assert [step_and_loss(text) for text in ended] == [("2", "nan")] * 2


def test_a_wrong_action_is_named() -> None:
    with pytest.raises(GLIPError, match="action='halt'") as caught:
        DivergenceGuard("halt")  # pyrefly: ignore
    assert caught.value.code == "bad-value"


def test_a_detector_whose_weights_were_spoilt(tmp_path: Path) -> None:
    """The real module: the run ends by itself, validated, with the weights that it had."""
    module = tiny_module()
    with torch.no_grad():
        module.model.grounding.token_bias.fill_(NAN)
    before, guard = weights(module), DivergenceGuard()
    trainer = tiny_trainer(tmp_path, guard)
    trainer.fit(module, datamodule=tiny_data(tmp_path / "data"))
    assert trainer.global_step == 1
    assert step_and_loss(guard.ended) == ("0", "nan")
    assert all(
        torch.equal(x, before[k])
        for k, x in weights(module).items()
        if k != "model.grounding.token_bias"
    )
