"""Captions, token ids and positive maps equal those of the official code."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import golden_dir
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.captions import (
    Prompt,
    build_prompt,
    build_prompts,
    caption_of,
    sample_phrases,
)
from glip_lightning.text.phrases import Phrase, clean_name
from glip_lightning.text.token_spans import positive_map, token_indices
from glip_lightning.text.tokenizer import Tokenizer

pytestmark = pytest.mark.parity

TRAINING = {"train_simple": "", "train_simple_with_detection_prompt": "object detection : "}
MAPS = {"train_simple": "{}", "train_simple_with_detection_prompt": "{}@detprompt"}
COMPARED = {*TRAINING, "names", "cleaned", "caption_prompt"} | {
    "eval_create_queries_and_maps",
    "eval_with_additional_labels",
    "demo_list_of_names",
}
EXCEPTIONS = {
    (
        "empty_first",
        "train_simple",
    ): "official raises OverflowError; ours: the blank name has no tokens",
    ("empty_first", "eval_create_queries_and_maps"): "the same",
    ("empty_first", "demo_list_of_names"): "the same",
}
"""Where the official code has no result to compare with, and what ours does instead."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per case, and per section of a case, of posmap.json."""
    folder = golden_dir(metafunc.config)
    file, vocab = folder / "posmap" / "posmap.json", folder / "bert-base-uncased-vocab.txt"
    missing = [str(path.relative_to(folder)) for path in (file, vocab) if not path.exists()]
    cases = {} if missing else json.loads(file.read_text(encoding="utf-8"))
    lists = {
        name: case for name, case in cases.items() if "names" in case or "caption_prompt" in case
    }
    grounding = {name: case for name, case in cases.items() if name.startswith("sentence")}
    parameters = {
        "training": [(n, s) for n, case in lists.items() for s in TRAINING if s in case],
        "evaluation": [n for n, case in lists.items() if "eval_create_queries_and_maps" in case],
        "demo": [n for n, case in lists.items() if "demo_list_of_names" in case],
        "additional": [n for n, case in lists.items() if "eval_with_additional_labels" in case],
        "sentence": list(grounding),
        "sample": range(len(cases["_pretrain_sampling"]["samples"])) if cases else [],
    }
    skipped = [
        pytest.param(None, marks=pytest.mark.skip(reason=f"golden: no {' and no '.join(missing)}"))
    ]
    for argument in parameters.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(argument, skipped if missing else parameters[argument], ids=str)


@pytest.fixture(scope="module")
def cases(golden: Path) -> dict:
    file = golden / "posmap" / "posmap.json"
    if not file.exists():
        pytest.skip("golden: no posmap/posmap.json")
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def maps(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "posmap" / "positive_maps.safetensors")


@pytest.fixture(scope="module")
def tokenizer(golden: Path) -> Tokenizer:
    return Tokenizer(golden / "bert-base-uncased-vocab.txt")


def phrases_of(case: dict, prefix: str = "", clean_prompt: bool = True) -> list[Phrase]:
    """Return the phrases of a case; official training cleans their names, evaluation does not."""
    if "names" in case:
        phrases = [Phrase(clean_name(name)) for name in case["names"]]
    else:
        phrases = [Phrase(**entry) for entry in case["caption_prompt"]]
        if clean_prompt:
            phrases = [phrase._replace(name=clean_name(phrase.name)) for phrase in phrases]
    return [phrases[0]._replace(prefix=prefix + phrases[0].prefix), *phrases[1:]]


def named_tokens(prompt: Prompt) -> dict[str, list[int]]:
    """Official label (1-based, as text) -> tokens; classes without tokens have no entry there."""
    pairs = zip(prompt.classes, prompt.tokens, strict=True)
    return {str(index + 1): list(tokens) for index, tokens in pairs if tokens}


def assert_blank_first(prompt: Prompt) -> None:
    assert prompt.tokens[0] == ()
    assert all(prompt.tokens[1:])


def test_every_case_is_compared(cases: dict) -> None:
    for name, case in cases.items():
        if "names" in case or "caption_prompt" in case:
            assert case.keys() <= COMPARED, name
            raising = {(name, key) for key, value in case.items() if "error" in value}
            assert raising == {pair for pair in EXCEPTIONS if pair[0] == name}
        else:
            assert name in ("sentence_0", "sentence_1", "_pretrain_sampling")


def test_clean_name(cases: dict) -> None:
    for case in cases.values():
        if "names" in case:
            assert [clean_name(name) for name in case["names"]] == case["cleaned"]


def test_training(cases: dict, maps: dict, tokenizer: Tokenizer, training: tuple[str, str]) -> None:
    name, section = training
    expected = cases[name][section]
    phrases = phrases_of(cases[name], prefix=TRAINING[section])
    prompt = build_prompt(phrases, tokenizer)
    if "error" in expected:
        return assert_blank_first(prompt)
    caption, spans = caption_of(phrases)
    assert prompt.caption == caption == expected["caption"]
    assert [[list(span)] for span in spans] == expected["tokens_positive"]
    assert [list(tokens) for tokens in prompt.tokens] == expected["positive_map_nonzero"]
    assert torch.equal(
        positive_map(prompt.tokens, MAX_TOKENS), maps[MAPS[section].format(name)] > 0
    )
    assert_tokenised(tokenizer, expected)
    row_values = [1 / (len(tokens) + 1e-6) if tokens else 0.0 for tokens in prompt.tokens]
    assert row_values == pytest.approx(expected["positive_map_row_value"], rel=1e-6)


def assert_tokenised(tokenizer: Tokenizer, expected: dict) -> None:
    """Ids, pieces and offsets of ``expected["caption"]``, those that the reference holds."""
    caption = expected["caption"]
    ids, mask = tokenizer.encode([caption])
    assert ids[0].tolist() == expected["input_ids_truncated_256"]
    assert mask.all()
    assert tokenizer.count(caption) == len(expected["input_ids_full"]) == expected["n_tokens_full"]
    if "tokens_full" in expected:
        assert tokenizer.tokens(caption) == expected["tokens_full"]
    if "offsets_full" in expected:
        assert [list(span) for span in tokenizer.offsets(caption)] == expected["offsets_full"]


def test_evaluation(cases: dict, tokenizer: Tokenizer, evaluation: str) -> None:
    expected = cases[evaluation]["eval_create_queries_and_maps"]
    phrases = phrases_of(cases[evaluation], clean_prompt=False)
    if "error" in expected:
        return assert_blank_first(build_prompt(phrases, tokenizer))
    # the official map of a long list points behind the 256 tokens that the model sees
    whole = build_prompt(phrases, tokenizer, max_tokens=10_000)
    assert whole.caption == expected["query"]
    assert named_tokens(whole) == expected["positive_map_label_to_token"]
    chunks = build_prompts(phrases, tokenizer)
    assert ". ".join(chunk.caption for chunk in chunks) == expected["query"]
    assert {label for chunk in chunks for label in named_tokens(chunk)} == named_tokens(
        whole
    ).keys()


def test_additional_labels(cases: dict, tokenizer: Tokenizer, additional: str) -> None:
    expected = cases[additional]["eval_with_additional_labels"]
    phrases = phrases_of(cases[additional])
    prompt = build_prompt([*phrases, Phrase("sky"), Phrase("road sign")], tokenizer)
    assert prompt.caption == expected["query"]
    ours = {k: v for k, v in named_tokens(prompt).items() if int(k) <= len(phrases)}
    assert ours == expected["positive_map_label_to_token"]


def test_demo(cases: dict, tokenizer: Tokenizer, demo: str) -> None:
    """The official demo joins differently and adds a last separator; all else is equal."""
    expected = cases[demo]["demo_list_of_names"]
    caption, spans = caption_of([Phrase(name) for name in cases[demo]["names"]], separator=" . ")
    offsets = tokenizer.offsets(caption + " . ")
    tokens = [[t for t in token_indices([span], offsets) if t < MAX_TOKENS - 1] for span in spans]
    if "error" in expected:
        assert tokens[0] == []
        return
    assert caption + " . " == expected["caption"]
    assert {str(i): row for i, row in enumerate(tokens, start=1)} == expected[
        "positive_map_label_to_token"
    ]


def test_sentence(cases: dict, maps: dict, tokenizer: Tokenizer, sentence: str) -> None:
    expected = cases[sentence]
    assert_tokenised(tokenizer, expected)
    offsets = tokenizer.offsets(expected["caption"])
    tokens = [list(token_indices(spans, offsets)) for spans in expected["tokens_positive"]]
    assert (
        tokens
        == expected["positive_map_nonzero"]
        == expected["demo_create_positive_map"]["nonzero"]
    )
    assert tokens == list(expected["label_to_token_plus1"].values())
    assert torch.equal(positive_map(tokens, MAX_TOKENS), maps[sentence] > 0)


def test_pretraining_sample(cases: dict, tokenizer: Tokenizer, sample: int) -> None:
    reference = cases["_pretrain_sampling"]
    expected = reference["samples"][sample]
    names = [clean_name(name) for name in reference["ind_to_class"].values()]
    rng, numpy_rng = (
        random.Random(expected["random_seed"]),
        np.random.RandomState(expected["numpy_seed"]),
    )
    chosen = sample_phrases(names, expected["labels"], tokenizer, rng, numpy_rng)
    prompt = build_prompt([Phrase(names[i]) for i in chosen], tokenizer, chosen)
    assert prompt.caption == expected["caption"]
    assert [str(i) for i in chosen] == list(expected["label_to_positions"])
    by_class = dict(zip(prompt.classes, prompt.tokens, strict=True))
    assert [list(by_class[label]) for label in expected["labels"]] == expected[
        "positive_map_nonzero"
    ]
    assert tokenizer.count(prompt.caption) == expected["n_tokens_full"]
