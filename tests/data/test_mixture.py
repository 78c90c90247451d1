"""Mixtures: samples of all parts with captions, in the shares and the order of each epoch."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.collate import Collate, sampled_classes
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.grounding import GroundingDataset, Spans
from glip_lightning.data.images import Names
from glip_lightning.data.mixture import (
    ABSENT,
    DetectionPart,
    GroundingPart,
    Mixture,
    MixtureSampler,
    NounPart,
    _words_not_said,
    portions,
)
from glip_lightning.data.sampler import Key
from glip_lightning.data.transforms import Transform
from glip_lightning.shapes.pretraining_pictures import write_pretraining
from glip_lightning.text.noun_phrases import WORD, noun
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer

RAW = Transform((64,), 64)
SEED = 5
DETECTION = 7  # images


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.nano()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"detection/train": DETECTION, "grounding": 3}
    return write_pretraining(tmp_path_factory.mktemp("data") / "world", counts=counts, size=64)


@pytest.fixture(scope="module")
def detection(world: Path) -> DetectionDataset:
    folder = world / "detection" / "train"
    return DetectionDataset(read_coco(folder / ANNOTATIONS, folder, Findings()), RAW)


@pytest.fixture(scope="module")
def sentences(world: Path) -> list[GroundingDataset]:
    folder = world / "grounding"
    return [GroundingDataset(folder / f"{kind}.json", folder, RAW) for kind in ("words", "phrases")]


@pytest.fixture(scope="module")
def mixture(
    detection: DetectionDataset, sentences: list[GroundingDataset], tokenizer: Tokenizer
) -> Mixture:
    phrases = [Phrase(name) for name in detection.class_names]
    words, sentence = (GroundingPart(data.index, data.captions, data.phrases) for data in sentences)
    return Mixture([words, DetectionPart(detection.index, phrases, tokenizer, SEED), sentence], RAW)


def test_grounding_samples_are_the_parts_own(
    mixture: Mixture, sentences: list[GroundingDataset]
) -> None:
    assert len(mixture) == 9 + DETECTION + 9
    for start, data in ((0, sentences[0]), (9 + DETECTION, sentences[1])):
        for image in range(len(data)):
            mixed, own = mixture[(2, start + image)], data[(2, image)]
            assert torch.equal(mixed["image"], own["image"])
            assert torch.equal(mixed["boxes"], own["boxes"])
            assert len(own["boxes"]) == len(mixed["labels"]) == len(mixed["spans"])
            assert (mixed["caption"], mixed["spans"], mixed["name"]) == (
                own["caption"],
                own["spans"],
                own["name"],
            )
            assert (mixed["epoch"], mixed["index"], mixed["image_id"]) == (
                2,
                start + image,
                start + image + 1,
            )
            assert not mixed["labels"].any()


def test_nouns_ask_for_the_nouns_of_the_phrases_alone(sentences: list[GroundingDataset]) -> None:
    data = sentences[1]
    mixture = Mixture([NounPart(data.index, data.captions, data.phrases, SEED)], RAW)
    known = {
        word for caption in data.captions for part in caption.split(". ") if (word := noun(part))
    }
    for image in range(len(data)):
        whole, cut = data[(0, image)], mixture[(0, image)]
        phrases = [[whole["caption"][a:b] for a, b in spans] for spans in whole["spans"]]
        nouns = [{word for phrase in named if (word := noun(phrase))} for named in phrases]
        kept = [k for k, words in enumerate(nouns) if words]
        assert torch.equal(cut["boxes"], whole["boxes"][kept])
        assert [{cut["caption"][a:b] for a, b in spans} for spans in cut["spans"]] == [
            nouns[k] for k in kept
        ]
        asked = cut["caption"].split(". ")
        absent = {*asked} - set().union(*nouns)
        assert len(asked) == len({*asked}) == len(set().union(*nouns)) + len(absent)
        assert absent <= known
        assert len(absent) <= ABSENT
        assert not [word for word in absent if word in whole["caption"]]
    assert len({mixture[(epoch, 0)]["caption"] for epoch in range(6)}) > 3
    assert mixture[(1, 0)]["caption"] == mixture[(1, 0)]["caption"]


def of_captions(data: GroundingDataset, captions: Sequence[str], spans: Sequence[Spans]) -> Mixture:
    """With these captions in turn, and these spans for the labels in turn."""
    said = [captions[k % len(captions)] for k in range(len(data))]
    return Mixture(
        [
            NounPart(
                data.index,
                Names(said),
                [spans[k % len(spans)] for k in range(len(data.phrases))],
                SEED,
            )
        ],
        RAW,
    )


def test_a_box_whose_phrase_has_no_noun_is_left_out(sentences: list[GroundingDataset]) -> None:
    mixture = of_captions(sentences[0], ["red star. red thing"], [((10, 19),), ((0, 8),)])
    for image in range(len(mixture)):
        labels = mixture.parts[0].index.target(image)[1].tolist()
        sample = mixture[(0, image)]
        assert len(sample["boxes"]) == sum(label % 2 for label in labels)
        assert sample["caption"] == "star"
        assert sample["spans"] == [((0, 4),)] * len(sample["boxes"])


def test_no_noun_of_the_caption_is_asked_for_as_absent(sentences: list[GroundingDataset]) -> None:
    """Neither one without a box nor the plural of one."""
    mixture = of_captions(sentences[0], ["a star, a moon", "two stars, a cat"], [((2, 9),)])
    for image in range(len(mixture)):
        assert mixture[(0, image)]["caption"] == ("star" if image % 2 == 0 else "stars")


def test_capitals_make_no_other_noun(sentences: list[GroundingDataset]) -> None:
    """Short words are found in the caption, too."""
    captions = ["Dog on a tv", "dog or a TV", "cat on a tv"]
    mixture = of_captions(sentences[0], captions, [((0, 3),), ((9, 11),)])
    for image in range(len(mixture)):
        asked = mixture[(0, image)]["caption"].split(". ")
        said = {word.lower() for word in (captions[image % 3][:3], "tv")}
        assert len(asked) == len({*asked})
        assert {*asked} <= said | ({"cat"} if image % 3 != 2 else {"dog"})


WRITTEN = st.text("adogs -'", max_size=5)


@given(st.lists(WRITTEN), st.lists(WRITTEN.filter(bool)))
def test_what_a_caption_does_not_say(said: list[str], words: list[str]) -> None:
    """As the docstring of the function says it, word by word."""
    caption = " ".join(said)
    heard = [word.lower() for word in WORD.findall(caption)]

    def is_said(word: str) -> bool:
        longer = [other for other in heard if len(other) > 2]
        return word in heard or any(
            word.startswith(other) or other.startswith(word) for other in longer
        )

    assert _words_not_said(words, caption) == [word for word in words if not is_said(word)]


def test_captions_without_a_noun_stay_whole(sentences: list[GroundingDataset]) -> None:
    sample = of_captions(sentences[0], ["red. blue"], [((0, 3),)])[(0, 0)]
    assert sample["caption"] == "red. blue"
    assert sample["spans"] == [((0, 3),)] * len(sentences[0][(0, 0)]["boxes"])


def test_detection_captions_are_sampled_classes_with_negatives(
    mixture: Mixture, detection: DetectionDataset, tokenizer: Tokenizer
) -> None:
    names = detection.class_names
    absent = 0
    for epoch in range(4):
        for image in range(DETECTION):
            mixed, own = mixture[(epoch, 9 + image)], detection[(epoch, image)]
            own["index"] += 9
            chosen = [
                names[k] for k in sampled_classes([Phrase(n) for n in names], own, tokenizer, SEED)
            ]
            assert mixed["caption"] == ". ".join(chosen)
            assert torch.equal(mixed["image"], own["image"])
            assert torch.equal(mixed["boxes"], own["boxes"])
            labels = [names[k] for k in own["labels"].tolist()]
            assert [[mixed["caption"][a:b] for a, b in spans] for spans in mixed["spans"]] == [
                [n] for n in labels
            ]
            absent += len({*chosen} - {*labels})
    assert absent > 4 * DETECTION  # of 14 names
    captions = {mixture[(epoch, 9)]["caption"] for epoch in range(6)}
    assert len(captions) > 3  # drawn anew in each epoch
    assert mixture[(1, 9)]["caption"] == mixture[(1, 9)]["caption"]


def test_boxes_whose_class_does_not_fit_into_the_caption_are_left_out(
    detection: DetectionDataset, tokenizer: Tokenizer
) -> None:
    # two of them are too much
    long = [Phrase(" ".join([name] * 90)) for name in detection.class_names]
    mixture = Mixture([DetectionPart(detection.index, long, tokenizer, SEED)], RAW)
    images = [i for i in range(DETECTION) if len(set(detection[i]["labels"].tolist())) > 2]
    assert images
    for image in images:
        sample = mixture[image]
        assert (
            0
            < len(sample["boxes"])
            == len(sample["labels"])
            == len(sample["spans"])
            < len(detection[image]["boxes"])
        )
        named = {sample["caption"][a:b] for ((a, b),) in sample["spans"]}
        assert named <= {phrase.name for phrase in long}


def test_an_image_that_comes_again_has_another_view_and_caption(
    detection: DetectionDataset, tokenizer: Tokenizer
) -> None:
    phrases = [Phrase(name) for name in detection.class_names]
    mixture = Mixture(
        [DetectionPart(detection.index, phrases, tokenizer, SEED)], Transform((64,), 64, 0.5, SEED)
    )
    sampler = MixtureSampler([len(mixture)], lambda _: [8 * len(mixture)], SEED)
    samples = [mixture[key] for key in sampler if key[1] % len(mixture) == 0]
    assert len(samples) == 8
    assert len({sample["image_id"] for sample in samples}) == 1
    assert len({sample["caption"] for sample in samples}) > 1
    assert len({sample["image"].numpy().tobytes() for sample in samples}) == 2  # mirrored or not


def test_the_parts_stand_in_one_index(mixture: Mixture, detection: DetectionDataset) -> None:
    assert mixture.image_ids == list(range(1, len(mixture) + 1))
    index = mixture.index
    assert len(index.boxes.labels) == sum(len(part.index.boxes.labels) for part in mixture.parts)
    assert index.dropped() == {}
    assert (index.starts[0], index.starts[-1]) == (0, len(index.boxes.labels))
    assert "words.json" in str(index.where)
    for image in range(DETECTION):
        assert index.name(9 + image) == detection.index.name(image)
        assert np.array_equal(index.boxes_of(9 + image).xywh, detection.index.boxes_of(image).xywh)
        assert set(index.boxes_of(9 + image).images.tolist()) == {9 + image}
    assert len(index.source) == 9 + DETECTION + 9
    assert index.source.header(9) == detection.index.source.header(0)


def test_a_batch_of_all_parts(mixture: Mixture, tokenizer: Tokenizer) -> None:
    """The classes of the collation are those of evaluation and do not matter here."""
    samples = [mixture[(1, i)] for i in (0, 9, 9 + DETECTION, len(mixture) - 1)]
    batch = Collate(tokenizer, [Phrase("cat")])(samples)
    assert torch.equal(
        batch["input_ids"], tokenizer.encode([sample["caption"] for sample in samples])[0]
    )
    for sample, rows in zip(samples, batch["positive_maps"], strict=True):
        offsets = tokenizer.offsets(sample["caption"])
        for spans, row in zip(sample["spans"], rows, strict=True):
            inside = [any(a <= start < end <= b for a, b in spans) for start, end in offsets]
            assert row.nonzero().flatten().tolist() == [t for t, x in enumerate(inside) if x]


sizes_and_counts = st.lists(
    st.tuples(st.integers(1, 12), st.integers(0, 40)), min_size=1, max_size=4
).filter(lambda pairs: any(count for _, count in pairs))


def part_of(sizes: Sequence[int], keys: Sequence[Key]) -> list[list[int]]:
    """Image numbers of each part, in the order of the keys."""
    starts, images = np.cumsum([0, *sizes]), [i % sum(sizes) for _, i in keys]
    return [
        [i - start for i in images if start <= i < start + n]
        for start, n in zip(starts, sizes, strict=False)
    ]


@given(sizes_and_counts, st.integers(0, 2**40), st.integers(0, 1000))
def test_an_epoch_has_the_counts_and_all_of_a_part_before_one_again(
    pairs: list[tuple[int, int]], seed: int, epoch: int
) -> None:
    sizes, counts = [n for n, _ in pairs], [k for _, k in pairs]
    sampler = MixtureSampler(sizes, lambda _: counts, seed)
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert len(keys) == len(sampler) == sum(counts)
    assert {e for e, _ in keys} == {epoch}
    # an image that comes again is another item, with a view of its own
    assert len({*keys}) == len(keys)
    for size, count, images in zip(sizes, counts, part_of(sizes, keys), strict=True):
        assert len(images) == count
        assert set(images) <= set(range(size))
        times = Counter(images)
        assert all(times[i] in (count // size, -(-count // size)) for i in range(size))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int, before: Sequence[int] = ()) -> list[Key]:
        sampler = MixtureSampler([30, 50], lambda _: [20, 30], seed)
        for earlier in before:
            sampler.set_epoch(earlier)
            list(sampler)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 3) == order(1, 3, before=[0, 7, 2])
    indexes = [[i for _, i in order(*key)] for key in ((1, 3), (1, 4), (2, 3))]
    assert len({tuple(x) for x in indexes}) == 3
    parts = [i < 30 for i in indexes[0]]
    assert sum(a != b for a, b in itertools.pairwise(parts)) > 4  # shuffled together
    assert part_of([30, 50], order(1, 3))[0] != sorted(part_of([30, 50], order(1, 3))[0])


@given(st.integers(0, 50), st.integers(0, 3))
def test_a_resumed_epoch_goes_on_where_it_was(seen: int, epoch: int) -> None:
    sampler = MixtureSampler([30, 50], lambda _: [20, 30], 1)
    sampler.set_epoch(epoch)
    whole = list(sampler)
    sampler.skip(seen)
    assert list(sampler) == whole[seen:]
    assert list(sampler) == whole


@given(sizes_and_counts, st.integers(1, 5))
def test_processes_share_an_epoch(pairs: list[tuple[int, int]], world: int) -> None:
    sizes, counts = [n for n, _ in pairs], [k for _, k in pairs]
    whole = list(MixtureSampler(sizes, lambda _: counts, 2))
    ranks = [list(MixtureSampler(sizes, lambda _: counts, 2, rank, world)) for rank in range(world)]
    assert len({len(keys) for keys in ranks}) == 1
    together = [key for keys in zip(*ranks, strict=True) for key in keys]
    # the rest repeats some, so that all have the same number of steps
    assert together[: len(whole)] == whole
    assert len(together) - len(whole) < world


def test_counts_may_change_with_the_epoch() -> None:
    sampler = MixtureSampler([10, 10], lambda epoch: [6, 0] if epoch < 2 else [2, 4], 0)
    found = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        found.append([len(images) for images in part_of([10, 10], list(sampler))])
    assert found == [[6, 0], [6, 0], [2, 4], [2, 4]]


def test_a_part_without_images_is_refused() -> None:
    """It would be drawn from for ever."""
    with pytest.raises(GLIPError) as caught:
        MixtureSampler([3, 0], lambda _: [1, 1], 0)
    assert caught.value.code == "bad-value"
    assert "sizes=[3, 0]" in str(caught.value)


shares = st.lists(st.floats(0, 1e3), min_size=1, max_size=6).filter(lambda xs: sum(xs) > 1e-3)


@given(shares, st.integers(1, 10**6))
def test_portions_are_exact(shares: list[float], total: int) -> None:
    counts = portions(shares, total)
    assert sum(counts) == total
    assert all(
        abs(n - total * share / sum(shares)) < 1 + 1e-6
        for n, share in zip(counts, shares, strict=True)
    )
    assert all(n == 0 for n, share in zip(counts, shares, strict=True) if share == 0)


def test_the_largest_remainder_gets_what_rounding_left() -> None:
    assert portions([0.25, 0.15, 0.6], 8000) == [2000, 1200, 4800]
    assert portions([1, 1, 1], 8) == [3, 3, 2]
    assert portions([0, 2, 1], 1) == [0, 1, 0]
