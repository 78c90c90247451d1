"""Samples to a batch: shared captions are encoded once, every box knows its tokens."""

import pickle

import pytest
import torch

from glip_lightning.data.collate import Collate
from glip_lightning.data.sampler import KeyedSample
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.captions import build_prompt
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer

NAMES = ["raccoon", "traffic light", "dog"]
MANY = [f"{first}{second} thing" for first in "abcdefghijkl" for second in "mnopqrstuvwx"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.nano()


def sample(labels: list[int], index: int = 0, epoch: int = 0, width: int = 20) -> KeyedSample:
    return KeyedSample(
        image=torch.zeros(3, 10, width, dtype=torch.uint8),
        boxes=torch.arange(4.0 * len(labels)).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        image_id=100 + index,
        original_size=(20, 2 * width),
        name=f"{index}.jpg",
        epoch=epoch,
        index=index,
    )


def named(tokenizer: Tokenizer, caption: str, row: torch.Tensor) -> str:
    """The pieces of ``caption`` that a row of the positive map marks."""
    pieces = tokenizer.tokens(caption)
    return " ".join(pieces[t] for t in row.nonzero().flatten().tolist()).replace(" ##", "")


def test_one_caption_for_all_images(tokenizer: Tokenizer) -> None:
    collate = Collate(tokenizer, [Phrase(name) for name in NAMES])
    batch = collate([sample([1, 0], 0, width=20), sample([], 1, width=30), sample([2, 2, 1], 2)])
    caption = "raccoon. traffic light. dog"
    assert torch.equal(batch["input_ids"], tokenizer.encode([caption])[0])
    assert torch.equal(batch["attention_mask"], tokenizer.encode([caption])[1])
    assert batch["caption_index"].tolist() == [0, 0, 0]
    assert [image.shape for image in batch["images"]] == [(3, 10, 20), (3, 10, 30), (3, 10, 20)]
    assert [labels.tolist() for labels in batch["labels"]] == [[1, 0], [], [2, 2, 1]]
    assert [boxes.shape for boxes in batch["boxes"]] == [(2, 4), (0, 4), (3, 4)]
    assert batch["image_ids"] == [100, 101, 102]
    assert batch["original_sizes"] == [(20, 40), (20, 60), (20, 40)]
    assert batch["names"] == ["0.jpg", "1.jpg", "2.jpg"]
    tokens = batch["input_ids"].shape[1]
    assert [rows.shape for rows in batch["positive_maps"]] == [
        (2, tokens),
        (0, tokens),
        (3, tokens),
    ]
    assert named(tokenizer, caption, batch["positive_maps"][0][0]) == "traffic light"
    assert named(tokenizer, caption, batch["positive_maps"][2][1]) == "dog"


def test_prefix_and_suffix_are_not_scored(tokenizer: Tokenizer) -> None:
    batch = Collate(tokenizer, [Phrase("holes", "there are some ", " on the road")])([sample([0])])
    caption = "there are some holes on the road"
    assert torch.equal(batch["input_ids"], tokenizer.encode([caption])[0])
    assert named(tokenizer, caption, batch["positive_maps"][0][0]) == "holes"


def test_a_long_list_gives_each_image_its_own_caption(tokenizer: Tokenizer) -> None:
    phrases = [Phrase(name) for name in MANY]
    collate = Collate(tokenizer, phrases, seed=3)
    samples = [sample([5, 70, 5], 0), sample([140], 1), sample([], 2)]
    batch = collate(samples)
    assert batch["input_ids"].shape[0] == 3
    assert batch["input_ids"].shape[1] <= MAX_TOKENS
    assert batch["caption_index"].tolist() == [0, 1, 2]
    assert [labels.tolist() for labels in batch["labels"]] == [[5, 70, 5], [140], []]
    for i in range(3):
        # alone the caption is the same: no other image, no order matters
        single = collate([samples[i]])
        ids, mask = batch["input_ids"][i], batch["attention_mask"][i].bool()
        assert torch.equal(ids[mask], single["input_ids"][0])
        rows = batch["positive_maps"][i]
        assert not rows[:, ~mask].any()
        for label, row in zip(batch["labels"][i].tolist(), rows, strict=True):
            assert ids[row].tolist() == tokenizer.encode([MANY[label]])[0][0, 1:-1].tolist()


def test_sampled_captions_change_with_epoch_and_index_and_seed(tokenizer: Tokenizer) -> None:
    phrases = [Phrase(name) for name in MANY]

    def ids(seed: int, epoch: int, index: int) -> tuple[int, ...]:
        batch = Collate(tokenizer, phrases, seed)([sample([5], index, epoch)])
        return tuple(batch["input_ids"][0].tolist())

    drawn = [ids(0, 0, 0), ids(0, 1, 0), ids(0, 0, 1), ids(1, 0, 0)]
    assert len(set(drawn)) == 4
    assert ids(0, 1, 0) == drawn[1]


def test_boxes_whose_classes_do_not_fit_are_left_out(tokenizer: Tokenizer) -> None:
    """No caption holds all classes; a box without its words must not be taught as background."""
    collate = Collate(tokenizer, [Phrase(name) for name in MANY])
    batch = collate([sample(list(range(len(MANY))))])
    kept = batch["labels"][0].tolist()
    assert 0 < len(kept) < len(MANY)
    assert batch["boxes"][0][:, 0].tolist() == [4.0 * label for label in kept]
    assert batch["positive_maps"][0].any(1).all()


def test_a_class_without_tokens_has_an_empty_row(tokenizer: Tokenizer) -> None:
    batch = Collate(tokenizer, [Phrase(" "), Phrase("dog")])([sample([0, 1])])
    assert batch["positive_maps"][0].any(1).tolist() == [False, True]


def test_it_goes_to_worker_processes(tokenizer: Tokenizer) -> None:
    collate = pickle.loads(pickle.dumps(Collate(tokenizer, [Phrase(name) for name in NAMES])))
    expected = build_prompt([Phrase(name) for name in NAMES], tokenizer)
    batch = collate([sample([0])])
    assert batch["positive_maps"][0][0].nonzero().flatten().tolist() == list(expected.tokens[0])
