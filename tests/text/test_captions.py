import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer

from glip_lightning.common.errors import GLIPError
from glip_lightning.text.captions import (
    build_prompt,
    build_prompts,
    caption_of,
    classes_without_tokens,
    sample_phrases,
)
from glip_lightning.text.phrases import (
    Phrase,
    check_phrases,
    clean_name,
    read_phrases,
    read_phrases_file,
)
from glip_lightning.text.token_spans import char_to_token, positive_map, token_indices
from glip_lightning.text.tokenizer import NANO_VOCAB, Tokenizer

NAMES = st.lists(st.text(max_size=40), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.nano()


@pytest.fixture(scope="module")
def reference() -> Any:
    return BertTokenizer(vocab=str(NANO_VOCAB))


def named(*names: str) -> list[Phrase]:
    return [Phrase(name) for name in names]


# captions


@pytest.mark.parametrize(
    "name, cleaned",
    [
        ("wine_glass", "wine glass"),
        ("bow_(weapon)", "bow "),
        ("bus (a) stop (b)", "bus "),
        ("a__b", "a b"),
        ("a   b", "a  b"),  # one pass over double blanks
        ("(all)", ""),
    ],
)
def test_clean_name(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


def test_caption_marks_the_name_without_prefix_and_suffix() -> None:
    caption, spans = caption_of([Phrase("holes", "there are some ", " on the road"), Phrase("dog")])
    assert caption == "there are some holes on the road. dog"
    assert [caption[start:end] for start, end in spans] == ["holes", "dog"]


def test_caption_without_phrases_is_empty() -> None:
    assert caption_of([]) == ("", [])


# tokens

OFFSETS = [(0, 0), (0, 3), (4, 7), (7, 8), (0, 0)]  # [CLS] hot dog . [SEP]


@pytest.mark.parametrize(
    "char, token", [(-1, None), (0, 1), (2, 1), (3, None), (4, 2), (7, 3), (8, None)]
)
def test_char_to_token(char: int, token: int | None) -> None:
    assert char_to_token(OFFSETS, char) == token


@given(text=st.text(max_size=60))
def test_char_to_token_equals_that_of_transformers(
    tokenizer: Tokenizer, reference: Any, text: str
) -> None:
    encoding = reference(text)
    ours = [char_to_token(tokenizer.offsets(text), char) for char in range(len(text) + 1)]
    assert ours == [encoding.char_to_token(char) for char in range(len(text) + 1)]


@pytest.mark.parametrize(
    "spans, tokens",
    [
        ([(0, 7)], (1, 2)),
        ([(0, 3), (7, 8)], (1, 3)),
        ([(3, 7)], (2,)),  # begins on a blank: one character on
        ([(0, 4)], (1,)),  # ends on a blank: one character back
        ([(3, 4)], ()),  # only a blank: the borders cross
        ([(0, 0)], ()),
        ([(4, 300)], ()),  # the end is far outside
        ([(4, 9)], (2, 3)),  # one character outside
        ([], ()),
    ],
)
def test_token_indices(spans: list[tuple[int, int]], tokens: tuple[int, ...]) -> None:
    assert token_indices(spans, OFFSETS) == tokens


def test_positive_map_drops_tokens_behind_its_end() -> None:
    rows = positive_map([(1, 2), (), (3, 9)], length=4)
    assert rows.dtype == torch.bool
    assert rows.tolist() == [
        [False, True, True, False],
        [False, False, False, False],
        [False, False, False, True],
    ]
    assert positive_map([], length=4).shape == (0, 4)


# prompts


def test_build_prompt_finds_each_name(tokenizer: Tokenizer) -> None:
    prompt = build_prompt(
        [Phrase("hot dog"), Phrase("fish", prefix="a big ")], tokenizer, classes=(4, 7)
    )
    assert prompt.caption == "hot dog. a big fish"
    assert prompt.tokens == ((1, 2), (6,))
    assert prompt.classes == (4, 7)


def test_a_blank_class_has_no_tokens_and_is_found(tokenizer: Tokenizer) -> None:
    names = [" ", "black bishop", "", "black king", " "]  # ODinW ChessPieces begins like this
    prompts = build_prompts(named(*names), tokenizer)
    assert [bool(tokens) for tokens in prompts[0].tokens] == [False, True, False, True, False]
    assert classes_without_tokens(prompts, ["a", "b", "c", "d", "e"]) == ["a", "c", "e"]


def test_short_lists_make_one_prompt(tokenizer: Tokenizer) -> None:
    phrases = named("dog", "cat")
    assert build_prompts(phrases, tokenizer) == [build_prompt(phrases, tokenizer)]


def test_long_lists_are_cut_where_the_next_class_no_longer_fits(tokenizer: Tokenizer) -> None:
    # each takes 2 tokens with its separator, the last of a caption 1
    phrases = named(*["dog"] * 10)
    prompts = build_prompts(phrases, tokenizer, max_tokens=9)
    assert [len(prompt.classes) for prompt in prompts] == [4, 4, 2]
    assert [tokenizer.count(prompt.caption) for prompt in prompts] == [9, 9, 5]
    assert prompts[1].classes == (4, 5, 6, 7)
    assert prompts[1].tokens == ((1,), (3,), (5,), (7,))


def test_chunks_of_forty(tokenizer: Tokenizer) -> None:
    prompts = build_prompts(named(*map(str, range(100))), tokenizer, max_classes=40)
    assert [len(prompt.classes) for prompt in prompts] == [40, 40, 20]


def test_a_phrase_too_long_by_itself_keeps_the_tokens_that_fit(tokenizer: Tokenizer) -> None:
    late = Phrase("bus", prefix="dog " * 8)
    prompts = build_prompts(
        [Phrase("cat"), Phrase("dog " * 8), late, Phrase("cow")], tokenizer, max_tokens=6
    )
    assert [prompt.tokens for prompt in prompts] == [((1,),), ((1, 2, 3, 4),), ((),), ((1,),)]
    assert classes_without_tokens(prompts, ["cat", "dogs", "bus", "cow"]) == ["bus"]


def test_no_phrases_is_an_error(tokenizer: Tokenizer) -> None:
    for build in (build_prompt, build_prompts):
        with pytest.raises(GLIPError) as caught:
            build([], tokenizer)
        assert caught.value.code == "no-phrases"


def test_impossible_limits_are_errors(tokenizer: Tokenizer) -> None:
    for limits, text in (
        ({"max_tokens": 2}, "max_tokens=2"),
        ({"max_classes": 0}, "max_classes=0"),
    ):
        with pytest.raises(GLIPError) as caught:
            build_prompts(named("dog"), tokenizer, **limits)
        assert caught.value.code == "bad-value"
        assert text in str(caught.value)
    with pytest.raises(GLIPError) as caught:
        build_prompt(named("dog", "cat"), tokenizer, classes=[3])
    assert caught.value.code == "bad-value"
    assert re.findall(r"\d+", str(caught.value)) == ["2", "1"]  # phrases, numbers of classes


@settings(max_examples=60, deadline=None)
@given(names=NAMES, max_tokens=st.integers(3, 64), max_classes=st.none() | st.integers(1, 9))
def test_any_names_make_valid_prompts(
    tokenizer: Tokenizer, names: list[str], max_tokens: int, max_classes: int | None
) -> None:
    prompts = build_prompts(named(*names), tokenizer, max_tokens, max_classes)
    assert [index for prompt in prompts for index in prompt.classes] == list(range(len(names)))
    for prompt in prompts:
        assert len(prompt.classes) <= (max_classes or len(names))
        assert all(0 < token < max_tokens - 1 for tokens in prompt.tokens for token in tokens)
        assert len(prompt.classes) == 1 or tokenizer.count(prompt.caption) <= max_tokens
        flat = [token for tokens in prompt.tokens for token in tokens]
        assert flat == sorted(set(flat))  # no token names two classes


# what users write


@pytest.mark.parametrize(
    "text, names",
    [
        ("raccoon", ["raccoon"]),
        ("raccoon. dog", ["raccoon", "dog"]),
        ("raccoon . dog .", ["raccoon", "dog"]),
        ("raccoon; hot dog;", ["raccoon", "hot dog"]),
        ("\n raccoon\n\n  dog \n", ["raccoon", "dog"]),
        ("raccoon.\ndog;\ncat", ["raccoon", "dog", "cat"]),
        ("2.5 mm screw. and/or sign", ["2.5 mm screw", "and/or sign"]),
        ("penguin, black and white", ["penguin, black and white"]),
    ],
)
def test_read_phrases(text: str, names: list[str]) -> None:
    assert read_phrases(text) == named(*names)


@pytest.mark.parametrize(
    "text, code, places",
    [
        ("", "bad-phrases", ["1", "1"]),  # the first of one
        ("  \n ", "bad-phrases", ["1", "1"]),
        (".", "bad-phrases", ["1", "1"]),
        ("raccoon. . dog", "bad-phrases", ["2", "3"]),
        (";raccoon", "bad-phrases", ["1", "2"]),
        (
            "raccoon. dog. Raccoon",
            "repeated-phrase",
            ["3", "1"],
        ),  # the third is the first once more
    ],
)
def test_read_phrases_names_the_place_of_a_mistake(text: str, code: str, places: list[str]) -> None:
    with pytest.raises(GLIPError) as caught:
        read_phrases(text)
    assert caught.value.code == code
    assert repr(text) in str(caught.value)
    assert re.findall(r"\d+", str(caught.value)) == places
    assert code != "repeated-phrase" or "'Raccoon'" in str(caught.value)


WORD = st.from_regex(r"[a-z0-9(][a-z0-9 '/,-]{0,12}[a-z0-9)]", fullmatch=True)
UNIQUE = st.lists(WORD, min_size=1, max_size=8, unique_by=lambda name: " ".join(name.split()))


@given(names=UNIQUE, separator=st.sampled_from([". ", " . ", ";", "\n", ".\n", " ; "]))
def test_read_phrases_round_trip(names: list[str], separator: str) -> None:
    assert read_phrases(separator.join(names)) == named(*names)
    caption, spans = caption_of(read_phrases(separator.join(names)))
    assert [caption[start:end] for start, end in spans] == names


def test_check_phrases_takes_one_name_in_two_contexts() -> None:
    check_phrases([Phrase("car", prefix="red "), Phrase("car", prefix="blue ")])
    with pytest.raises(GLIPError) as caught:
        check_phrases([])
    assert caught.value.code == "no-phrases"
    with pytest.raises(GLIPError) as caught:
        check_phrases(named("dog", "  "), source="recipe")
    assert caught.value.code == "bad-phrases"
    assert str(caught.value).startswith("recipe: ")
    assert re.findall(r"\d+", str(caught.value)) == ["2", "2"]


FILES = {
    "phrases.txt": "# two animals\nraccoon\n\nSt. Bernard\n",
    "phrases.json": '["raccoon", {"name": "St. Bernard"}]',
    "phrases.yaml": "- raccoon\n- {name: St. Bernard}\n",
    "phrases.YML": "[raccoon, St. Bernard]",
    "notepad.txt": "\ufeffraccoon\r\nSt. Bernard\r\n",
}


@pytest.mark.parametrize("name, content", FILES.items())
def test_read_phrases_file(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_phrases_file(tmp_path / name) == named("raccoon", "St. Bernard")


def test_read_phrases_file_with_prefix_and_suffix(tmp_path: Path) -> None:
    file = tmp_path / "phrases.json"
    entry = {"name": "holes", "prefix": "there are some ", "suffix": " on the road"}
    file.write_text(json.dumps([entry]), encoding="utf-8")
    assert read_phrases_file(file) == [Phrase(**entry)]


@pytest.mark.parametrize(
    "name, content, code, places",
    [
        ("p.csv", "dog", "unknown-ending", ["'.csv'", ".txt, .json, .yaml, .yml"]),
        ("p.txt", "# nothing\n", "no-phrases", []),
        ("p.txt", b"\xff\xfe", "unreadable-phrases", ["0xff"]),
        ("p.json", "[", "unreadable-json", ["line 1 column 2"]),  # Python's words
        ("p.yaml", "- [", "unreadable-yaml", ["line 1, column 4"]),  # PyYAML's words
        ("p.yaml", "dog: 1", "bad-value", ["{'dog': 1}"]),
        ("p.yaml", "- dog\n- 10", "bad-value", ["2", "10", "'10'"]),
        ("p.yaml", "- no", "bad-value", ["1", "False", "'False'"]),
        (
            "p.yaml",
            "- dog\n- {name: a, prefixx: b}",
            "unknown-key",
            ["2", "'prefixx'", "name, prefix, suffix"],
        ),
        ("p.yaml", "- {prefix: a}", "missing-key", ["1", "'name'"]),
        ("p.yaml", "- {name: 3}", "bad-value", ["1", "name", "3"]),
        ("p.yaml", "- dog\n- ' '", "bad-phrases", ["2", "' '"]),
        ("p.json", '["dog", "Dog"]', "repeated-phrase", ["2", "'Dog'", "1"]),
    ],
)
def test_read_phrases_file_says_what_is_wrong(
    tmp_path: Path, name: str, content: str | bytes, code: str, places: list[str]
) -> None:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(GLIPError) as caught:
        read_phrases_file(file)
    assert caught.value.code == code
    assert str(file) in str(caught.value)
    message = str(caught.value).replace(str(file), "")
    assert all(part in message for part in places), message


# sampling of long lists in training

CLASSES = [
    f"{color} {shape}" for color in ("red", "green", "blue") for shape in ("ring", "star", "kite")
] * 20


def sampled(tokenizer: Tokenizer, positives: list[int], seed: int, **limits: int) -> list[int]:
    rngs = random.Random(seed), np.random.default_rng(seed)
    return sample_phrases(CLASSES, positives, tokenizer, *rngs, **limits)


@pytest.mark.parametrize("seed", range(8))
def test_sample_keeps_positives_and_fits(tokenizer: Tokenizer, seed: int) -> None:
    chosen = sampled(tokenizer, [5, 5, 99], seed)
    assert {5, 99} <= set(chosen)
    assert len(chosen) == len(set(chosen)) > 2
    assert tokenizer.count(caption_of([Phrase(CLASSES[i]) for i in chosen])[0]) <= 256
    assert chosen == sampled(tokenizer, [5, 5, 99], seed)


def test_sample_drops_positives_that_do_not_fit(tokenizer: Tokenizer) -> None:
    chosen = sampled(tokenizer, list(range(9)), seed=0, budget=12)  # 3 tokens each
    assert len(chosen) == 4
    assert set(chosen) <= set(range(9))


def test_sample_takes_at_most_the_wanted_negatives(tokenizer: Tokenizer) -> None:
    sizes = {len(sampled(tokenizer, [0], seed, negatives=5)) for seed in range(40)}
    assert max(sizes) == 6
    assert min(sizes) < 6


def test_sample_without_negatives(tokenizer: Tokenizer) -> None:
    assert all(sampled(tokenizer, [3], seed, negatives=0) == [3] for seed in range(6))


def test_sample_without_positives(tokenizer: Tokenizer) -> None:
    assert sampled(tokenizer, [], seed=1)
