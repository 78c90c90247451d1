import pickle
import random
import re
import string
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
    with pytest.raises(ValueError, match=f"length={length}: captions take 3 to 256 tokens"):
        tokenizer.encode(["dog"], length=length)


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
    assert tokenizer.tokens(caption) == ["[CLS]", "[unused0]", "[unused15]", "dog", "[SEP]", "[SEP]"]
    assert tokenizer.offsets(caption)[1:3] == [(0, 9), (10, 20)]


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
    "content, message",
    [
        (b"[PAD]\n[UNK]\n[CLS]\ndog\n", r"no WordPiece vocabulary, \[SEP\] is missing"),
        (b"dog\r\n", r"\[PAD\] is missing"),
        (b"", r"\[PAD\] is missing"),
        (b"\x80\x02\xff", "not a text file"),
        ("\n".join([*SPECIAL, "dog", "dog"]).encode(), "line 7 repeats 'dog' of line 6"),
    ],
)
def test_files_that_are_no_vocabulary(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "vocab.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        Tokenizer(file)
    assert str(file) in str(error.value)


def test_a_missing_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such vocabulary"):
        Tokenizer.from_folder(tmp_path)


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
