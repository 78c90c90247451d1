"""Sentences with boxes for their phrases: samples, and batches that mix them with detection."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from formats import HEIGHT, WIDTH, picture
from glip_lightning.data.checks.findings import DataError
from glip_lightning.data.collate import Collate
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.grounding import GroundingDataset
from glip_lightning.data.transforms import Transform
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.token_spans import positive_map
from glip_lightning.text.tokenizer import Tokenizer

RAW = Transform((HEIGHT,), WIDTH)
CAPTION = "a red dog and two cats"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.nano()


def entry(
    number: int, image: int, bbox: list[float], tokens_positive: object, **more: object
) -> dict[str, Any]:
    known = {
        "id": number,
        "image_id": image,
        "bbox": bbox,
        "category_id": 1,
        "area": bbox[2] * bbox[3],
        "iscrowd": 0,
    }
    return {**known, "tokens_positive": tokens_positive, **more}


def content() -> dict[str, Any]:
    """One photo with two sentences; boxes that training drops stand between the others."""
    image = {"file_name": "a.png", "width": WIDTH, "height": HEIGHT}
    return {
        "images": [
            {"id": 9, **image, "caption": CAPTION},
            {"id": 4, **image, "caption": "something else"},
        ],
        "annotations": [
            entry(1, 9, [4, 6, 20, 10], [[2, 9]]),
            entry(2, 9, [9, 9, 0, 0], [[18, 22]]),
            entry(3, 9, [30, 12, 16, 24], [[14, 17], [18, 22]]),
            entry(4, 9, [1, 1, 9, 9], [[0, 1]], iscrowd=1),
            entry(5, 9, [2, 2, 9, 9], [[1, 2]]),
        ],
        "categories": [{"supercategory": "object", "id": 1, "name": "object"}],
    }


def read(folder: Path, file: dict[str, Any]) -> GroundingDataset:
    picture(folder, "a.png")
    (folder / "grounding.json").write_text(json.dumps(file))
    return GroundingDataset(folder / "grounding.json", folder, RAW)


def test_a_sample_is_an_image_with_one_of_its_sentences(tmp_path: Path) -> None:
    data = read(tmp_path, content())
    first, second = data[0], data[(3, 1)]
    assert (first["image_id"], first["caption"], first["spans"]) == (4, "something else", [])
    assert (second["image_id"], second["caption"], second["epoch"]) == (9, CAPTION, 3)
    assert second["boxes"].tolist() == [[4, 6, 23, 15], [30, 12, 45, 35], [2, 2, 10, 10]]
    assert second["spans"] == [((2, 9),), ((14, 17), (18, 22)), ((1, 2),)]
    assert second["labels"].tolist() == [0, 0, 0]
    assert data.image_ids == [4, 9]


def test_spans_that_name_nothing_are_counted(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert read(tmp_path, content()).unnamed(tokenizer) == 1  # a blank


def words(tokenizer: Tokenizer, caption: str, row: torch.Tensor) -> str:
    pieces = tokenizer.tokens(caption)
    return " ".join(pieces[t] for t in row.nonzero().flatten().tolist()).replace(" ##", "")


def test_a_batch_holds_sentences_and_detection(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = read(tmp_path, content())
    plain = DetectionDataset(data.index, RAW)[1]
    plain["labels"] = torch.tensor([1, 0, 1])
    collate = Collate(tokenizer, [Phrase("bird"), Phrase("dog")])
    batch = collate([data[1], plain, data[0], data[1]])
    captions = [CAPTION, "bird. dog", "something else"]
    assert torch.equal(batch["input_ids"], tokenizer.encode(captions)[0])
    assert batch["caption_index"].tolist() == [0, 1, 2, 0]
    assert batch["labels"][1].tolist() == [1, 0, 1]
    tokens = batch["input_ids"].shape[1]
    assert [rows.shape for rows in batch["positive_maps"]] == [
        (3, tokens),
        (3, tokens),
        (0, tokens),
        (3, tokens),
    ]
    assert [words(tokenizer, CAPTION, row) for row in batch["positive_maps"][0]] == [
        "red dog",
        "two cats",
        "",
    ]
    assert [words(tokenizer, "bird. dog", row) for row in batch["positive_maps"][1]] == [
        "dog",
        "bird",
        "dog",
    ]


def test_sentences_alone_need_no_phrases(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = read(tmp_path, content())
    batch = Collate(tokenizer, [])([data[1]])
    assert torch.equal(batch["input_ids"], tokenizer.encode([CAPTION])[0])


def test_tokens_beyond_the_limit_are_left_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    file = content()
    caption = "dog " * 300 + "cat"
    file["images"][0]["caption"] = caption
    file["annotations"] = [
        entry(1, 9, [4, 6, 20, 10], [[0, 3], [1200, 1203]]),
        entry(2, 9, [4, 6, 20, 10], [[1200, 1203]]),
    ]
    batch = Collate(tokenizer, [])([read(tmp_path, file)[1]])
    assert batch["input_ids"].shape == (1, MAX_TOKENS)
    assert batch["positive_maps"][0].nonzero().tolist() == [[0, 1]]


@pytest.mark.parametrize("sentence", ["sentence_0", "sentence_1"])
def test_reference_sentences(tmp_path: Path, golden: Path, sentence: str) -> None:
    """From file to positive map as the official data set makes it."""
    file, vocabulary = golden / "posmap" / "posmap.json", golden / "bert-base-uncased-vocab.txt"
    if not file.exists() or not vocabulary.exists():
        pytest.skip("golden: no posmap")
    expected = json.loads(file.read_text(encoding="utf-8"))[sentence]
    made = content()
    made["images"] = [{**made["images"][0], "caption": expected["caption"]}]
    made["annotations"] = [
        entry(i, 9, [4, 6, 20, 10], s) for i, s in enumerate(expected["tokens_positive"], start=1)
    ]
    data, tokenizer = read(tmp_path, made), Tokenizer(vocabulary)
    batch = Collate(tokenizer, [])([data[0]])
    assert batch["input_ids"][0].tolist() == expected["input_ids_full"]
    tokens = expected["positive_map_nonzero"]
    assert torch.equal(
        batch["positive_maps"][0], positive_map(tokens, len(expected["input_ids_full"]))
    )
    assert data.unnamed(tokenizer) == sum(not row for row in tokens)


@pytest.mark.parametrize(
    "part, key, value, code, named",
    [
        ("images", "caption", None, "no-caption", ["1", "id 9", "caption None"]),
        ("images", "caption", "  ", "no-caption", ["1", "id 9", "caption '  '"]),
        ("images", "caption", "\ud800", "no-caption", ["1", "id 9", "caption '\\ud800'"]),
        ("images", "id", "x", "no-caption", ["1", "id 'x'"]),
        ("annotations", "tokens_positive", None, "bad-span", ["1"]),
        ("annotations", "tokens_positive", [], "bad-span", ["1"]),
        ("annotations", "tokens_positive", [2, 9], "bad-span", ["1"]),
        ("annotations", "tokens_positive", [[9, 2]], "bad-span", ["1"]),
        ("annotations", "tokens_positive", [[-1, 2]], "bad-span", ["1"]),
        ("annotations", "tokens_positive", [[0, 10**400]], "bad-span", ["1"]),
        ("annotations", "tokens_positive", "ab", "bad-span", ["1"]),
        ("annotations", "bbox", [1, 2], "bad-box", ["1", "[1, 2]"]),
    ],
)
def test_faults_are_named(
    tmp_path: Path, part: str, key: str, value: object, code: str, named: list[str]
) -> None:
    file = content()
    file[part][0][key] = value
    with pytest.raises(DataError) as caught:
        read(tmp_path, file)
    assert caught.value.code == code
    message = str(caught.value).replace(str(tmp_path), "")  # whose name has numbers
    assert all(each in message for each in named), message


def test_no_annotations(tmp_path: Path) -> None:
    assert len(read(tmp_path, {**content(), "annotations": []})[0]["boxes"]) == 0
