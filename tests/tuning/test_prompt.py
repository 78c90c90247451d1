"""Only the prompt learns: what it begins with, what it changes, and what it refuses."""

from functools import partial
from pathlib import Path

import pytest
import torch

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.config import variant
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.query import encode_query
from glip_lightning.models.rates import SMALL_RATES, Rates
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.captions import Prompt, build_prompts
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.tuning.base import eval_where_frozen
from glip_lightning.tuning.prompt import PromptTuning
from tiny import same, tiny_data, tiny_module, tiny_trainer, validation_ap, weights

FORMS = ("offset", "features", "context")
PHRASES = [Phrase("red circle"), Phrase("blue square")]


def nano(name: str = "glip-nano") -> GLIP:
    torch.manual_seed(0)
    return GLIP(variant(name)).eval()


def prompt_of(tuning: PromptTuning) -> Prompt:
    (prompt,) = build_prompts(tuning.phrases(PHRASES), Tokenizer.nano())
    return prompt


def prepared(form: str, detector: str = "glip-nano") -> tuple[GLIP, PromptTuning]:
    model, tuning = nano(detector), PromptTuning(form)  # pyrefly: ignore
    tuning.setup(model, prompt_of(tuning), Tokenizer.nano())
    return model, tuning


@pytest.mark.parametrize("detector", ["glip-nano", "glip-nano-a"])
@pytest.mark.parametrize("form", ["offset", "features"])
@torch.inference_mode()
def test_it_begins_as_the_untuned_detector_bit_for_bit(form: str, detector: str) -> None:
    model, tuning = prepared(form, detector)
    plain = nano(detector)
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    query = encode_query(model, Tokenizer.nano(), PHRASES, partial(tuning.encode_text, model))
    untuned = encode_query(plain, Tokenizer.nano(), PHRASES)
    ours, theirs = model(images, query.texts[0]), plain(images, untuned.texts[0])
    for name in ("logits", "deltas", "centerness"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


@pytest.mark.parametrize("form", FORMS)
def test_the_prompt_alone_is_trained(form: str, tmp_path: Path) -> None:
    module, data = tiny_module(PromptTuning(form)), tiny_data(tmp_path / "data")  # pyrefly: ignore
    before = {key: x.clone() for key, x in module.model.state_dict().items()}
    trainer = tiny_trainer(tmp_path)
    trainer.fit(module, datamodule=data)
    assert same(module.model.state_dict(), before)
    assert not any(part.training for part in module.model.modules())
    learned = dict(module.tuning.named_parameters())
    assert [p.requires_grad for p in learned.values()] == [True]
    trainer.save_checkpoint(tmp_path / "prompt.ckpt")
    fresh = tiny_module(PromptTuning(form))  # pyrefly: ignore
    tiny_trainer(tmp_path).validate(
        fresh, datamodule=data, ckpt_path=str(tmp_path / "prompt.ckpt"), verbose=False
    )
    assert same(weights(fresh), weights(module))
    assert validation_ap(fresh) == validation_ap(module)


@pytest.mark.parametrize("form", FORMS)
def test_every_learned_token_gets_a_gradient(form: str) -> None:
    model, tuning = prepared(form)
    eval_where_frozen(model.train())
    ids, mask = Tokenizer.nano().encode([prompt_of(tuning).caption])
    text = tuning.encode_text(model, ids, mask)
    outputs = model(torch.randn(1, 3, 64, 96), text)
    outputs.logits.sum().backward()
    (learned,) = tuning.parameters()
    assert learned.grad is not None
    rows = learned.grad.abs().sum(1)
    assert rows[: ids.shape[1]].all() if form != "context" else rows.all()
    assert not rows[ids.shape[1] :].any()


def test_the_offset_is_one_row_per_position() -> None:
    _, tuning = prepared("offset")
    (offset,) = tuning.parameters()
    assert offset.shape == (MAX_TOKENS, 128)
    assert not offset.any()


def test_context_words_stand_before_every_class_and_replace_their_placeholders() -> None:
    model, tuning = prepared("context")
    prompt, tokenizer = prompt_of(tuning), Tokenizer.nano()
    words = "[unused0] [unused1] [unused2] [unused3]"
    assert prompt.caption == f"{words} red circle. {words} blue square"
    tokens = tokenizer.tokens(prompt.caption)
    assert [[tokens[i] for i in group] for group in prompt.tokens] == [
        ["red", "circle"],
        ["blue", "square"],
    ]
    (embeddings,) = tuning.parameters()
    table = model.language.get_submodule("bert.embeddings.word_embeddings").weight  # pyrefly: ignore
    ids, mask = tokenizer.encode([prompt.caption])
    with torch.no_grad():
        learned = tuning.encode_text(model, ids, mask).hidden
        assert not torch.allclose(learned, model.encode_text(ids, mask).hidden, atol=1e-3)
        table[ids[0, 1:5]] = embeddings  # the same embeddings in the vocabulary
        torch.testing.assert_close(
            learned, model.encode_text(ids, mask).hidden, rtol=1e-6, atol=1e-6
        )


def test_context_keeps_a_prefix_of_the_task() -> None:
    (phrase,) = PromptTuning("context", context=2).phrases(
        [Phrase("package", " there is a ", " on the porch")]
    )
    assert phrase.text == "[unused0] [unused1] there is a package on the porch"


@pytest.mark.parametrize("form", ["offset", "features"])
def test_several_captions_need_context(form: str) -> None:
    tuning = PromptTuning(form)  # pyrefly: ignore
    with pytest.raises(GLIPError) as error:
        tuning.setup(nano(), None, Tokenizer.nano())
    assert error.value.code == "several-captions"
    context = PromptTuning("context")
    context.setup(nano(), None, Tokenizer.nano())


def test_learned_features_belong_to_their_caption() -> None:
    model, tuning = prepared("features")
    ids, mask = Tokenizer.nano().encode(["green triangle. blue square"])
    with pytest.raises(GLIPError) as error:
        tuning.encode_text(model, ids, mask)
    assert error.value.code == "other-classes"


def test_decay_pulls_to_the_untuned_prompt_only_where_that_is_zero() -> None:
    decays: dict[str, list[float]] = {form: [] for form in FORMS}
    for form, found in decays.items():
        for own in (Rates(), SMALL_RATES):
            tuning = PromptTuning(form)  # pyrefly: ignore
            tuning.use_rates(own)
            found.append(tuning.weight_decay)
    assert decays == {"offset": [0.25, 0.0], "features": [0.0, 0.0], "context": [0.0, 0.0]}
    given = PromptTuning("offset", weight_decay=0.1)
    given.use_rates(SMALL_RATES)
    assert given.weight_decay == 0.1


def test_wrong_options_are_named() -> None:
    with pytest.raises(GLIPError) as error:
        PromptTuning("soft")  # pyrefly: ignore
    assert error.value.code == "bad-value"
    assert "form='soft'" in str(error.value)
    with pytest.raises(GLIPError) as error:
        PromptTuning("context", context=17)
    assert error.value.code == "bad-value"
    assert "context=17" in str(error.value)
