"""Few-shot subsets of a user's data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.few_shot import few_shot
from test_parity_few_shot import index_of


def content_of(images: list[list[int]]) -> dict:
    """Images with one box for each of the given categories, of five."""
    boxes = [
        (image, category) for image, categories in enumerate(images) for category in categories
    ]
    return {
        "images": [{"id": i, "height": 20, "width": 20} for i in range(len(images))],
        "categories": [{"id": k, "name": f"class {k}"} for k in range(5)],
        "annotations": [
            {"image_id": image, "category_id": k, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
            for image, k in boxes
        ],
    }


@given(
    st.lists(st.lists(st.integers(0, 4), max_size=4), max_size=12),
    st.integers(1, 4),
    st.none() | st.integers(0, 9),
)
def test_each_class_comes_as_often_as_wanted_or_possible(
    images: list[list[int]], shots: int, seed: int | None
) -> None:
    index = index_of(content_of(images))
    chosen = few_shot(index, shots, seed)
    assert len(set(chosen.images)) == len(chosen.images)
    for k, count in enumerate(chosen.counts):
        there = sum(k in categories for categories in images)
        assert min(shots, there) <= count <= there
    assert all(images[image] for image in chosen.images)
    assert few_shot(index, shots, seed) == chosen


def test_wrong_shots() -> None:
    with pytest.raises(GLIPError) as caught:
        few_shot(index_of(content_of([[1]])), 0, None)
    assert caught.value.code == "bad-value"
    assert "shots=0" in str(caught.value)
