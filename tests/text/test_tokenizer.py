import json
import pickle
import random
import re
import string
from collections.abc import Iterable
from pathlib import Path

import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer

from glip_lightning.common.errors import GLIPError
from glip_lightning.text.tokenizer import (
    MAX_TOKENS,
    NANO_SIZE,
    NANO_VOCAB,
    PLACEHOLDERS,
    SPECIAL,
    Tokenizer,
    read_words,
    train_vocabulary,
)

SEP = SPECIAL.index("[SEP]")  # the special tokens come first in our vocabulary


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.nano()


@pytest.fixture(scope="module")
def pieces() -> list[str]:
    return NANO_VOCAB.read_text(encoding="utf-8").splitlines()


# the shipped vocabulary


def test_rebuilt_vocabulary_is_the_shipped_one() -> None:
    words = read_words()
    rebuilt = train_vocabulary(words)
    assert "".join(f"{token}\n" for token in rebuilt).encode() == NANO_VOCAB.read_bytes()
    random.Random(0).shuffle(words)
    assert train_vocabulary(words) == rebuilt, "the order of the list must not matter"


def test_shipped_vocabulary_is_complete(pieces: list[str]) -> None:
    letters = string.ascii_lowercase + string.digits
    needed = {*SPECIAL, *PLACEHOLDERS, *string.punctuation, *letters, *(f"##{c}" for c in letters)}
    assert needed <= set(pieces)
    assert len(pieces) == len(set(pieces)) == NANO_SIZE
    assert pieces[0] == "[PAD]"
    assert len(PLACEHOLDERS) == 16


def test_every_listed_word_is_one_token(tokenizer: Tokenizer) -> None:
    for entry in read_words():
        words = re.findall(r"[a-z0-9]+|[^a-z0-9 ]", entry)
        assert tokenizer.tokens(entry)[1:-1] == words


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=90))
def test_ascii_never_becomes_unknown(tokenizer: Tokenizer, text: str) -> None:
    assert "[UNK]" in text or "[UNK]" not in tokenizer.tokens(text)


def test_training_adds_the_letters_of_other_scripts() -> None:
    vocab = train_vocabulary(["привет мир", "мир"], size=400)
    assert {"мир", "привет", "п", "##п"} <= set(vocab)
    assert vocab.index("мир") < vocab.index("привет"), "frequent words come first"


# encoding


def test_encode_pads_to_the_longest(tokenizer: Tokenizer) -> None:
    ids, mask = tokenizer.encode(["raccoon", "raccoon. dog"])
    assert ids.dtype == mask.dtype == torch.int64
    assert ids.shape == (2, 5)
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert ids[0, 3:].tolist() == [0, 0]  # [PAD]
    assert tokenizer.encode([])[0].shape == (0, 0)


def test_encode_to_a_given_length(tokenizer: Tokenizer) -> None:
    short, mask = tokenizer.encode(["dog. cat"], length=8)
    assert short.shape == (1, 8)
    assert mask.sum() == 5
    cut, _ = tokenizer.encode(["dog. cat"], length=4)
    assert cut[0].tolist() == [*short[0, :3].tolist(), short[0, 4].item()]  # [SEP] stays


@pytest.mark.parametrize("length", [0, 2, 257])
def test_impossible_lengths_are_errors(tokenizer: Tokenizer, length: int) -> None:
    with pytest.raises(GLIPError) as refused:
        tokenizer.encode(["dog"], length=length)
    assert refused.value.code == "bad-value"
    assert f"length={length}" in str(refused.value)


@settings(deadline=None)
@given(captions=st.lists(st.text(max_size=600), min_size=1, max_size=3))
def test_encode_never_exceeds_the_limit(tokenizer: Tokenizer, captions: list[str]) -> None:
    ids, mask = tokenizer.encode(captions)
    lengths = [min(tokenizer.count(caption), MAX_TOKENS) for caption in captions]
    assert mask.sum(1).tolist() == lengths
    assert ids.shape == mask.shape == (len(captions), max(lengths))
    ends = ids[torch.arange(len(captions)), torch.tensor(lengths) - 1]
    assert set(ends.tolist()) == {SEP}


def test_offsets_are_those_of_the_text_as_written(tokenizer: Tokenizer) -> None:
    caption = "Café. HOT dog"
    spans = tokenizer.offsets(caption)
    assert spans[0] == spans[-1] == (0, 0)
    assert "".join(caption[start:end] for start, end in spans) == "Café.HOTdog"
    assert tokenizer.count(caption) == len(spans) == len(tokenizer.tokens(caption))


def test_accents_and_capitals_make_no_difference(tokenizer: Tokenizer) -> None:
    ids, _ = tokenizer.encode(["Pâté BIRD", "pate bird"])
    assert torch.equal(ids[0], ids[1])


def test_special_tokens_in_a_caption_are_special(tokenizer: Tokenizer) -> None:
    caption = "[unused0] [unused15] dog [SEP]"
    assert tokenizer.tokens(caption) == [
        "[CLS]",
        "[unused0]",
        "[unused15]",
        "dog",
        "[SEP]",
        "[SEP]",
    ]
    assert tokenizer.offsets(caption)[1:3] == [(0, 9), (10, 20)]


# the same as transformers' BertTokenizer

WORDS = (
    *(
        "raccoon",
        "Pâté",
        "Ångström",
        "naïve café",
        "straße",
        "İstanbul",
        "ﬁre",
        "e\u0301",
        "\uff24\uff2f\uff27",
        "привет",
        "東京タワー",
    ),
    *(
        "שלום",
        "สวัสดี",
        "🐕 dog",
        "a\u200bb",
        "tab\tnew\nline\r",
        "\x00\x07\ufffd",
        "\u00a0",
        "don't!?",
        "x-ray (arm)",
    ),
    *(
        "a" * 100,
        "a" * 101,
        "antidisestablishmentarianism",
        "[unused3][unused99]",
        "[unused1]x [SEP] [sep] [MASK]y",
    ),
    *("[ CLS ]", "[PAD]", "##dog", "2.5 mm", "   ", "", "wine_glass(red)", "½ ² ⅷ", "한국어"),
)


def theirs(vocab: Path) -> tokenizers.Tokenizer:
    lines = vocab.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    bert = BertTokenizer(vocab={token: number for number, token in enumerate(lines)})
    known = [
        tokenizers.AddedToken(p, normalized=False, special=True) for p in PLACEHOLDERS if p in lines
    ]
    bert.add_tokens(known, special_tokens=True)
    return bert.backend_tokenizer


def assert_equal_to_berts(vocab: Path, texts: Iterable[str]) -> None:
    ours, bert = Tokenizer(vocab), theirs(vocab)
    for text in texts:
        expected = bert.encode(text)
        assert ours.tokens(text) == expected.tokens, text
        assert ours.offsets(text) == expected.offsets, text
        assert ours.encode([text])[0][0].tolist() == [
            *expected.ids[:255],
            *expected.ids[255:][-1:],
        ], text
    mine, its = json.loads(ours._backend.to_str()), json.loads(bert.to_str())
    for part in ("added_tokens", "normalizer", "pre_tokenizer", "model", "truncation", "padding"):
        assert mine[part] == its[part]
    for key in ("single", "special_tokens"):
        assert mine["post_processor"][key] == its["post_processor"][key]


@settings(deadline=None, max_examples=300)
@given(text=st.lists(st.text() | st.sampled_from(WORDS), max_size=8).map(" ".join))
def test_text_becomes_what_berts_tokenizer_makes_of_it(
    bert: tokenizers.Tokenizer, text: str
) -> None:
    expected = bert.encode(text)
    tokenizer = Tokenizer.nano()
    assert tokenizer.tokens(text) == expected.tokens
    assert tokenizer.offsets(text) == expected.offsets


@pytest.fixture(scope="module")
def bert() -> tokenizers.Tokenizer:
    return theirs(NANO_VOCAB)


def test_the_nano_tokenizer_is_berts(tmp_path: Path) -> None:
    assert_equal_to_berts(NANO_VOCAB, [*WORDS, *read_words(), " ".join(WORDS)])
    # other numbers, an empty line, one placeholder
    lines = [
        *SPECIAL[::-1],
        "dog",
        "",
        "##s",
        "[unused7]",
    ]
    (tmp_path / "vocab.txt").write_text("".join(f"{line}\n" for line in lines))
    assert_equal_to_berts(tmp_path / "vocab.txt", WORDS)


@pytest.mark.parity
def test_the_official_tokenizer_is_berts(golden: Path) -> None:
    file = golden / "bert-base-uncased-vocab.txt"
    if not file.exists():
        pytest.skip("golden: no bert-base-uncased-vocab.txt")
    assert_equal_to_berts(file, [*WORDS, *read_words(), " ".join(WORDS)])


# files


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    assert (tmp_path / "vocab.txt").read_bytes() == NANO_VOCAB.read_bytes()
    again = Tokenizer.from_folder(tmp_path)
    assert len(again) == len(tokenizer) == NANO_SIZE
    assert again.tokens("raccoon") == tokenizer.tokens("raccoon")


def test_pickle_survives(tokenizer: Tokenizer) -> None:
    again = pickle.loads(pickle.dumps(tokenizer))  # data loaders with spawned workers
    assert torch.equal(again.encode(["raccoon"])[0], tokenizer.encode(["raccoon"])[0])


@pytest.mark.parametrize(
    "content, named",
    [
        (b"[PAD]\n[UNK]\n[CLS]\ndog\n", ["[SEP]"]),
        (b"dog\r\n", ["[PAD]"]),
        (b"", ["[PAD]"]),
        (b"\x80\x02\xff", ["0x80"]),
        (
            "\n".join([*SPECIAL, "dog", "dog"]).encode(),
            ["7", "'dog'", "6"],
        ),  # the lines of the same word
    ],
)
def test_files_that_are_no_vocabulary(tmp_path: Path, content: bytes, named: list[str]) -> None:
    file = tmp_path / "vocab.txt"
    file.write_bytes(content)
    with pytest.raises(GLIPError) as refused:
        Tokenizer(file)
    assert refused.value.code == "bad-vocabulary"
    assert str(file) in str(refused.value)
    message = str(refused.value).replace(str(file), "")
    assert all(part in message for part in named), message


def test_a_missing_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        Tokenizer.from_folder(tmp_path)
    assert isinstance(missing.value, GLIPError)
    assert missing.value.code == "missing-file"
    assert str(tmp_path / "vocab.txt") in str(missing.value)


def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    file = tmp_path / "vocab.txt"
    file.write_bytes("\r\n".join([*SPECIAL, "dog", ""]).encode())
    assert Tokenizer(file).tokens("dog cat") == ["[CLS]", "dog", "[UNK]", "[SEP]"]


@pytest.mark.parity
def test_the_official_vocabulary_is_saved_byte_by_byte(golden: Path, tmp_path: Path) -> None:
    file = golden / "bert-base-uncased-vocab.txt"
    if not file.exists():
        pytest.skip("golden: no bert-base-uncased-vocab.txt")
    tokenizer = Tokenizer(file)
    tokenizer.save(tmp_path)
    assert len(tokenizer) == 30522
    assert (tmp_path / "vocab.txt").read_bytes() == file.read_bytes()
