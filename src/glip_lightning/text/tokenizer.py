"""Captions to token ids: one class around BERT's uncased WordPiece, and the vocabulary of the nano models.

    python -m glip_lightning.text.tokenizer    # trains nano_vocab.txt anew from nano_words.txt

The vocabulary belongs to the model: an exchange folder holds it as ``vocab.txt``, the official models use
that of bert-base-uncased, the nano models the small one shipped here.
"""

import string
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.token_spans import Span

if TYPE_CHECKING:
    from torch import Tensor

SEPARATOR = ". "
"""Between two phrases, never behind the last (DATASETS.SEPARATION_TOKENS); a tokenizer may have its own."""

VOCAB_NAME = "vocab.txt"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PLACEHOLDERS = tuple(f"[unused{i}]" for i in range(16))
"""Tokens without meaning of their own that a caption may hold where prompt tuning learns the embedding."""

ASSETS = Path(__file__).parent
NANO_WORDS = ASSETS / "nano_words.txt"
NANO_VOCAB = ASSETS / "nano_vocab.txt"
NANO_SIZE = 2800  # every word of the list whole and about 600 pieces


class Tokenizer:
    """Lower-cases, strips accents, splits into word pieces, exactly as transformers' BertTokenizer does.

    It is put together from the same parts of `tokenizers`, since transformers takes 1.5 s to import. A literal
    ``[SEP]``, ``[MASK]``, ... in a caption becomes that special token, as it does with the tokenizer on the Hub; other
    than there, ``[unused0]`` to ``[unused15]`` are one token each, too.
    """

    separator = SEPARATOR
    """Stands between the phrases of a caption."""

    padding = 0
    """Id behind the end of a shorter caption."""

    def __init__(self, vocab_file: str | Path) -> None:
        self._vocab = _read_vocab(Path(vocab_file))
        self.padding = self._vocab["[PAD]"]
        self._backend = tokenizers.Tokenizer(models.WordPiece(self._vocab, unk_token="[UNK]"))
        self._backend.normalizer = normalizers.BertNormalizer(lowercase=True)
        self._backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        ends = [(token, self._vocab[token]) for token in ("[CLS]", "[SEP]")]
        self._backend.post_processor = processors.TemplateProcessing(
            "[CLS] $A [SEP]", special_tokens=ends
        )
        self._backend.add_special_tokens(
            [token for token in (*SPECIAL, *PLACEHOLDERS) if token in self._vocab]
        )

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Tokenizer":
        """The tokenizer of an exchange folder (``vocab.txt``)."""
        return cls(Path(folder) / VOCAB_NAME)

    @classmethod
    def nano(cls) -> "Tokenizer":
        """The shipped vocabulary of the nano models."""
        return cls(NANO_VOCAB)

    def save(self, folder: str | Path) -> None:
        """Write ``vocab.txt`` into an existing ``folder``."""
        _write_vocab(self._vocab, Path(folder) / VOCAB_NAME)

    def __len__(self) -> int:
        return len(self._vocab)

    def encode(self, captions: Sequence[str], length: int | None = None) -> "tuple[Tensor, Tensor]":
        """Ids and attention mask, int64 [U, T], of U captions, each cut to at most 256 tokens.

        T is the longest caption's length, or ``length``: the official code pads to 256 always.
        """
        import torch  # counting tokens needs none

        if length is not None and not 3 <= length <= MAX_TOKENS:
            message = f"length={length}: captions take 3 to {MAX_TOKENS} tokens; leave length out"
            raise GLIPError(message, code="bad-value")
        rows = [self._ids(caption, length or MAX_TOKENS) for caption in captions]
        width = length or max(map(len, rows), default=0)
        input_ids = torch.full((len(rows), width), self.padding, dtype=torch.int64)
        mask = torch.zeros_like(input_ids)
        for i, row in enumerate(rows):
            input_ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        return input_ids, mask

    def _ids(self, caption: str, most: int) -> list[int]:
        ids = self._backend.encode(caption).ids
        return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]  # [SEP] stays the last

    def offsets(self, caption: str) -> list[Span]:
        """Characters ``(start, end)`` of every token, nothing cut; ``(0, 0)`` for [CLS] and [SEP]."""
        return self._backend.encode(caption).offsets

    def count(self, caption: str) -> int:
        """Tokens of the whole caption, [CLS] and [SEP] included."""
        return len(self._backend.encode(caption))

    def tokens(self, caption: str) -> list[str]:
        """The word pieces themselves, for people to read."""
        return self._backend.encode(caption).tokens


class ClassTokenizer(Tokenizer):
    """One token per class, whose id is the place of the class in the caption: for a detector with a table of classes.

    No word is read, so names may be anything. Only a name of several lines takes as many rows.
    """

    separator = "\n"  # no name has it; periods and commas stand in many

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def save(self, folder: str | Path) -> None:
        """Nothing: ``config.json`` says how many rows there are."""

    def __len__(self) -> int:
        return self._rows

    def _ids(self, caption: str, most: int) -> list[int]:
        return list(range(self.count(caption)))

    def offsets(self, caption: str) -> list[Span]:
        """Characters of every class with all that stands around its name; more classes than rows are an error."""
        spans, start = [], 0
        for text in self.tokens(caption):
            spans.append((start, start + len(text)))
            start += len(text) + len(self.separator)
        return spans

    def count(self, caption: str) -> int:
        return len(self.tokens(caption))

    def tokens(self, caption: str) -> list[str]:
        """What stands in the caption for each class."""
        texts = caption.split(self.separator)
        if len(texts) > self._rows:
            message = f"{len(texts)} classes, but this detector's table has {self._rows} rows, one per class: train on "
            message += f"at most {self._rows} classes, or take a detector that reads names (glip-tiny, glip-nano)"
            raise GLIPError(message, code="too-many-classes")
        return texts


def _read_vocab(path: Path) -> dict[str, int]:
    """Token -> line number; anything but a WordPiece vocabulary is an error that says why."""
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
    if missing := [token for token in SPECIAL if token not in vocab]:
        message = f"{path}: no WordPiece vocabulary, {missing[0]} is missing; "
        message += f"expected one token per line, {', '.join(SPECIAL)} among them"
        raise GLIPError(message, code="bad-vocabulary")
    return vocab


def _write_vocab(tokens: Iterable[str], path: Path) -> None:
    path.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8", newline="\n")


def read_words(path: Path = NANO_WORDS) -> list[str]:
    """Names and words of a word list: one per line, ``#`` starts a comment line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def train_vocabulary(words: Iterable[str], size: int = NANO_SIZE) -> list[str]:
    """A WordPiece vocabulary of at most ``size`` tokens; the same words give the same tokens.

    In order: special tokens, placeholders, every ASCII mark, every ASCII letter and digit (and any other
    of ``words``), these also as continuation (``##a``), so that ASCII words of up to 100 letters never
    yield [UNK]; the words themselves, frequent ones first; pieces learned from them for words unseen.
    """
    from tokenizers import trainers

    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts = Counter(word for text in words for word in _split(text, backend))
    whole = sorted(counts, key=lambda word: (-counts[word], word))
    letters = sorted(
        set(string.ascii_lowercase + string.digits).union(*counts) - set(string.punctuation)
    )
    fixed = [*SPECIAL, *PLACEHOLDERS, *string.punctuation, *letters, *(f"##{c}" for c in letters)]
    # the trainer numbers letters that it is not given in random order, and breaks ties by number
    trainer = trainers.WordPieceTrainer(vocab_size=size, show_progress=False, special_tokens=fixed)
    backend.train_from_iterator(sorted(counts.elements()), trainer)
    vocab = backend.get_vocab()
    learned = sorted(vocab, key=vocab.__getitem__)
    return list(dict.fromkeys(fixed + whole + learned))[:size]


def _split(text: str, backend: tokenizers.Tokenizer) -> list[str]:
    """Words and marks of ``text`` as the tokenizer sees them before it looks for pieces."""
    words = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))
    return [word for word, _ in words]


if __name__ == "__main__":
    _write_vocab(train_vocabulary(read_words()), NANO_VOCAB)
    print(f"{NANO_VOCAB}: {len(Tokenizer.nano())} tokens")
