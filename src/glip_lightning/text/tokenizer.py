"""Token ids of captions: BERT's uncased WordPiece, and the vocabulary of the nano models.

    python -m glip_lightning.text.tokenizer    # trains nano_vocab.txt anew from nano_words.txt

The vocabulary belongs to the model: an exchange folder holds it as ``vocab.txt``. The official
models use that of bert-base-uncased, the nano models the small one in this folder.
"""

import string
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.plurals import count_with_noun
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.token_spans import Span

if TYPE_CHECKING:
    from torch import Tensor

SEPARATOR = ". "
"""Stands between two phrases, never behind the last one (DATASETS.SEPARATION_TOKENS).

A tokenizer may have its own.
"""

VOCAB_NAME = "vocab.txt"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PLACEHOLDERS = tuple(f"[unused{i}]" for i in range(16))
"""Tokens without a meaning of their own; prompt tuning can learn their embeddings."""

ASSETS = Path(__file__).parent
NANO_WORDS = ASSETS / "nano_words.txt"
NANO_VOCAB = ASSETS / "nano_vocab.txt"
NANO_SIZE = 2800  # every word of the list as one token, and about 600 pieces


class Tokenizer:
    """A tokenizer that lower-cases, strips accents and splits words as transformers' BertTokenizer.

    It has the same parts of the package tokenizers, since the import of transformers takes 1.5 s. A
    literal ``[SEP]``, ``[MASK]``, ... in a caption becomes that special token, as in the tokenizer
    on the Hub. Unlike there, ``[unused0]`` to ``[unused15]`` are one token each, too.
    """

    separator = SEPARATOR
    """Stands between the phrases of a caption."""

    padding = 0
    """The id that fills up a shorter caption."""

    reads_words = True
    """Whether tokens are parts of words; else each class is one token, whatever its name."""

    def __init__(self, vocab_file: str | Path) -> None:
        """Read a vocabulary with one token per line.

        Raises:
            GLIPError: there is no such file (code ``missing-file``), or it is no WordPiece
                vocabulary (``bad-vocabulary``).
        """
        self._vocab = _read_vocab(Path(vocab_file))
        self.padding = self._vocab["[PAD]"]
        self._backend = tokenizers.Tokenizer(models.WordPiece(self._vocab, unk_token="[UNK]"))
        self._backend.normalizer = normalizers.BertNormalizer(lowercase=True)
        self._backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        ends = [(token, self._vocab[token]) for token in ("[CLS]", "[SEP]")]
        template = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
        self._backend.post_processor = template
        special = [token for token in (*SPECIAL, *PLACEHOLDERS) if token in self._vocab]
        self._backend.add_special_tokens(special)

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Tokenizer":
        """Return the tokenizer of an exchange folder (``vocab.txt``)."""
        return cls(Path(folder) / VOCAB_NAME)

    @classmethod
    def nano(cls) -> "Tokenizer":
        """Return the tokenizer of the nano models."""
        return cls(NANO_VOCAB)

    def save(self, folder: str | Path) -> None:
        """Write ``vocab.txt`` into an existing ``folder``."""
        _write_vocab(self._vocab, Path(folder) / VOCAB_NAME)

    def __len__(self) -> int:
        return len(self._vocab)

    def encode(self, captions: Sequence[str], length: int | None = None) -> "tuple[Tensor, Tensor]":
        """Return ids and attention mask, int64 [U, T], of U captions.

        Each caption is cut to at most 256 tokens. T is the length of the longest one, or
        ``length``: the official code always pads to 256.

        Raises:
            GLIPError: ``length`` is not from 3 to 256 (code ``bad-value``).
        """
        import torch  # here, since counting tokens does not need it

        if length is not None and not 3 <= length <= MAX_TOKENS:
            message = f"length={length}: captions take 3 to {MAX_TOKENS} tokens; leave length out"
            raise GLIPError(message, code="bad-value")
        most = MAX_TOKENS if length is None else length
        rows = [self._ids(caption, most) for caption in captions]
        width = length
        if width is None:
            width = max((len(row) for row in rows), default=0)
        input_ids = torch.full((len(rows), width), self.padding, dtype=torch.int64)
        mask = torch.zeros_like(input_ids)
        for i, row in enumerate(rows):
            input_ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        return input_ids, mask

    def _ids(self, caption: str, most: int) -> list[int]:
        """Return at most ``most`` ids of a caption; [SEP] stays the last one."""
        ids = self._backend.encode(caption).ids
        if len(ids) > most:
            return [*ids[: most - 1], ids[-1]]
        return ids

    def offsets(self, caption: str) -> list[Span]:
        """Return the span of every token of the whole caption; ``(0, 0)`` for [CLS] and [SEP]."""
        return self._backend.encode(caption).offsets

    def count(self, caption: str) -> int:
        """Return the number of tokens of the whole caption, [CLS] and [SEP] included."""
        return len(self._backend.encode(caption))

    def tokens(self, caption: str) -> list[str]:
        """Return the word pieces of a caption, for people to read."""
        return self._backend.encode(caption).tokens


class ClassTokenizer(Tokenizer):
    """The tokenizer of a detector with a table of classes: one token per class.

    The id of a token is the place of the class in the caption. No word is read, so names may be
    anything. Only a name of several lines takes several rows.
    """

    separator = "\n"  # no name has it, while many have periods or commas
    reads_words = False

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def save(self, folder: str | Path) -> None:
        """Write nothing: ``config.json`` has the number of rows."""

    def __len__(self) -> int:
        return self._rows

    def _ids(self, caption: str, most: int) -> list[int]:
        return list(range(self.count(caption)))

    def offsets(self, caption: str) -> list[Span]:
        """Return the span of every class in the caption, its prefix and suffix included.

        Raises:
            GLIPError: there are more classes than rows (code ``too-many-classes``).
        """
        spans = []
        start = 0
        for text in self.tokens(caption):
            spans.append((start, start + len(text)))
            start += len(text) + len(self.separator)
        return spans

    def count(self, caption: str) -> int:
        """Return the number of classes in the caption."""
        return len(self.tokens(caption))

    def tokens(self, caption: str) -> list[str]:
        """Return the text of each class in the caption.

        Raises:
            GLIPError: there are more classes than rows (code ``too-many-classes``).
        """
        texts = caption.split(self.separator)
        if len(texts) > self._rows:
            rows = count_with_noun(self._rows, "row")
            message = f"{len(texts)} classes, but this detector's table has {rows}, one per class: "
            message += (
                f"train on at most {count_with_noun(self._rows, 'class')}, or take a detector "
            )
            message += "that reads names (glip-tiny, glip-nano)"
            raise GLIPError(message, code="too-many-classes")
        return texts


def _read_vocab(path: Path) -> dict[str, int]:
    """Return the line number of each token, from 0."""
    if not path.is_file():
        message = f"{path}: no such vocabulary; a model's folder holds it as {VOCAB_NAME}"
        raise MissingFile(message, code="missing-file")
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        message = f"{path}: not a text file, so no vocabulary ({error}); use {VOCAB_NAME}"
        raise GLIPError(message, code="bad-vocabulary") from error
    vocab: dict[str, int] = {}
    for number, token in enumerate(lines):
        if vocab.setdefault(token, number) != number:
            message = f"{path}: line {number + 1} repeats {token!r} of line {vocab[token] + 1}"
            raise GLIPError(message, code="bad-vocabulary")
    missing = [token for token in SPECIAL if token not in vocab]
    if missing:
        message = f"{path}: no WordPiece vocabulary, {missing[0]} is missing; "
        message += f"expected one token per line, {', '.join(SPECIAL)} among them"
        raise GLIPError(message, code="bad-vocabulary")
    return vocab


def _write_vocab(tokens: Iterable[str], path: Path) -> None:
    path.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8", newline="\n")


def read_words(path: Path = NANO_WORDS) -> list[str]:
    """Return the lines of a word list; ``#`` starts a comment line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def train_vocabulary(words: Iterable[str], size: int = NANO_SIZE) -> list[str]:
    """Return a WordPiece vocabulary of at most ``size`` tokens; equal words give equal tokens.

    It has, in this order: special tokens; placeholders; every ASCII mark; every ASCII letter and
        digit
    and all other letters of ``words``; the same as continuation (``##a``); the words themselves,
    frequent ones first; pieces learned from them, for other words. So ASCII words of up to 100
    letters never become [UNK].
    """
    from tokenizers import trainers

    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in words:
        counts.update(_split(text, backend))
    whole = sorted(sorted(counts), key=counts.__getitem__, reverse=True)
    letters = set(string.ascii_lowercase + string.digits).union(*counts)
    letters = sorted(letters - set(string.punctuation))
    continuations = [f"##{letter}" for letter in letters]
    fixed = [*SPECIAL, *PLACEHOLDERS, *string.punctuation, *letters, *continuations]
    # The trainer gets all letters: it would number others in random order, and it breaks ties by
    # number.
    trainer = trainers.WordPieceTrainer(vocab_size=size, show_progress=False, special_tokens=fixed)
    backend.train_from_iterator(sorted(counts.elements()), trainer)
    vocab = backend.get_vocab()
    learned = sorted(vocab, key=vocab.__getitem__)
    return list(dict.fromkeys(fixed + whole + learned))[:size]


def _split(text: str, backend: tokenizers.Tokenizer) -> list[str]:
    """Return the words and marks of ``text`` as the tokenizer sees them before it finds pieces."""
    normalized = backend.normalizer.normalize_str(text)
    words = backend.pre_tokenizer.pre_tokenize_str(normalized)
    return [word for word, _ in words]


if __name__ == "__main__":
    _write_vocab(train_vocabulary(read_words()), NANO_VOCAB)
    print(f"{NANO_VOCAB}: {len(Tokenizer.nano())} tokens")
