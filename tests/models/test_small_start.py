"""The start of small detectors: words and pixels pass through; others start officially."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from glip_lightning.models.config import VARIANTS, GLIPConfig, variant
from glip_lightning.models.glip.fusion import TextLayer
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.layers.dynamic_conv import DyConv
from glip_lightning.shapes.scene import Vocabulary
from glip_lightning.text.token_spans import token_indices
from glip_lightning.text.tokenizer import Tokenizer


def made(config: GLIPConfig) -> GLIP:
    torch.manual_seed(0)
    return GLIP(config).eval()


@pytest.fixture(scope="module")
def small() -> GLIP:
    return made(variant("glip-nano"))


@pytest.fixture(scope="module")
def official() -> GLIP:
    return made(replace(variant("glip-nano"), small_start=False, log_scale=0.0))


def normalised(*shape: int) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.layer_norm(x, shape[-1:])


def test_text_layers_are_the_identity(small: GLIP, official: GLIP) -> None:
    """Of what a layer norm gives, which they get."""
    x, mask = normalised(2, 7, 128), torch.ones(2, 7, dtype=torch.bool)
    for model, same in ((small, True), (official, False)):
        layers = [part for part in model.modules() if isinstance(part, TextLayer)]
        assert len(layers) == 2
        for layer in layers:
            assert torch.allclose(layer(x, mask), x, atol=1e-5) == same
        ids = torch.randint(1000, 2000, (2, 7))
        embedded = model.language.bert.embeddings(ids)
        assert (
            torch.allclose(model.encode_text(ids, mask.long()).hidden, embedded, atol=1e-5) == same
        )


def test_maps_pass_through_the_pyramid_and_the_tower(small: GLIP, official: GLIP) -> None:
    x = torch.randn(1, 64, 6, 5, generator=torch.Generator().manual_seed(2))
    still, whole = torch.zeros(1, 18, 6, 5), torch.ones(1, 9, 6, 5)  # neither moved nor damped
    for model, same in ((small, True), (official, False)):
        assert [torch.allclose(conv(x), x) for conv in model.fpn.output] == [same] * 3
        towers = [part for part in model.modules() if isinstance(part, DyConv)]
        assert len(towers) == 2
        for tower in towers:
            assert torch.allclose(tower.convs[1]([x], [still], [whole])[0], x, atol=1e-6) == same
            neighbours = [conv for conv in tower.convs if conv.stride == 1]
            # of another level
            assert not torch.allclose(neighbours[0]([x], [still], [whole])[0], x, atol=1e-1)


def cosines(model: GLIP) -> Tensor:
    """Return cosines between features of all pairs of words in one caption."""
    tokenizer = Tokenizer.nano()
    words = Vocabulary().words
    caption = ". ".join(words)
    offsets = tokenizer.offsets(caption)
    starts = [caption.index(word) for word in words]
    tokens = [
        token_indices([(a, a + len(w))], offsets)[0] for a, w in zip(starts, words, strict=True)
    ]
    with torch.no_grad():
        hidden = model.encode_text(*tokenizer.encode([caption])).hidden[0, tokens]
    hidden = torch.nn.functional.normalize(hidden, dim=1)
    return (hidden @ hidden.T)[~torch.eye(len(tokens), dtype=torch.bool)]


def test_words_can_be_told_apart(small: GLIP, official: GLIP) -> None:
    assert cosines(small).abs().mean() < 0.12
    assert cosines(small).max() < 0.5
    assert cosines(official).min() > 0.1  # as if all words had something in common


def test_all_else_is_the_official_start(small: GLIP, official: GLIP) -> None:
    """Tensor by tensor: only what is said above is other."""
    one, other = small.state_dict(), official.state_dict()
    changed = {key for key in one if not torch.equal(one[key], other[key])}
    bert = "language.bert.encoder.layer"
    expected = {"grounding.log_scale", "language.bert.embeddings.word_embeddings.weight"}
    expected |= {
        f"{bert}.{k}.{part}.dense.weight"
        for k in range(2)
        for part in ("attention.output", "output")
    }
    expected |= {f"fpn.output.{k}.weight" for k in range(3)}
    for k in range(2):
        expected |= {f"dyhead.rounds.{k}.vision.convs.1.weight"}
        expected |= {
            f"dyhead.rounds.{k}.text.{part}"
            for part in ("out.weight", "out.bias", "fc2.weight", "fc2.bias")
        }
    assert changed == expected
    assert one["grounding.log_scale"] == pytest.approx(-2.08)
    assert one["language.bert.embeddings.word_embeddings.weight"].std() == pytest.approx(
        1, abs=0.01
    )


def test_without_fusion_and_without_text() -> None:
    """Variant A has no text layers in its tower, a detector of tuned prompts no text encoder."""
    one = made(variant("glip-nano-a"))
    assert cosines(one).abs().mean() < 0.12
    silent = made(replace(variant("glip-nano-a"), text_encoder=False))
    assert not any(key.startswith("language") for key in silent.state_dict())


def test_official_detectors_have_the_official_start() -> None:
    for name, config in VARIANTS.items():
        assert config.small_start == ("nano" in name)
        assert (config.log_scale == 0) == (not config.small_start)
    assert not GLIPConfig().small_start
