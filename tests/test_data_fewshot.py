"""The greedy choice of images: what counts, what does not, and what is refused."""

import numpy as np
import pytest

from glip_lightning.data.fewshot import ImageCategories, choose_images, usable_images


def shown(*categories: set[int]) -> list[ImageCategories]:
    """Images 10, 20, ... with these categories."""
    return [ImageCategories(10 * k, frozenset(c)) for k, c in enumerate(categories, start=1)]


def test_images_are_counted_not_boxes() -> None:
    images = shown({1}, {1, 2}, {1}, {2}, {1, 2})
    assert choose_images(images, [1, 2], 1, None).image_ids == [10, 20]
    assert choose_images(images, [1, 2], 2, None) == ([10, 20, 40], {1: 2, 2: 2})


def test_a_counter_falls_below_zero() -> None:
    """Image 20 is taken for its class 2 although class 1 has its one image."""
    images = shown({1}, {1, 2}, {1, 3})
    assert choose_images(images, [1, 2, 3], 1, None) == ([10, 20, 30], {1: 3, 2: 1, 3: 1})


def test_fewer_images_than_shots_are_told() -> None:
    images = shown({1}, {1}, {2}, {1})
    assert choose_images(images, [1, 2, 3], 3, seed=3).images_per_category == {1: 3, 2: 1, 3: 0}
    assert choose_images(images, [1, 2, 3], 10**9, seed=3).images_per_category == {1: 3, 2: 1, 3: 0}


def test_the_seed_shuffles_and_0_does_not() -> None:
    images = shown(*[{1}] * 50)
    unshuffled = choose_images(images, [1], 5, seed=None)
    assert choose_images(images, [1], 5, seed=0) == unshuffled
    assert unshuffled.image_ids == [10, 20, 30, 40, 50]
    drawn = {tuple(choose_images(images, [1], 5, seed=seed).image_ids) for seed in (3, 30, 300)}
    assert len(drawn) == 3
    assert choose_images(images, [1], 5, seed=3) == choose_images(images, [1], 5, seed=3)
    assert images == shown(*[{1}] * 50)


def test_category_0_has_the_last_counter() -> None:
    """By largest id it shares it with that category, by number of categories it has one of its own."""
    images = shown({2}, {0}, {1})
    assert choose_images(images, [0, 1, 2], 1, seed=None).image_ids == [10, 30]
    assert choose_images(images, [0, 1, 2], 1, seed=0).image_ids == [10, 20, 30]


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_nothing_to_choose_from(seed: int | None) -> None:
    assert choose_images([], [1, 2], 5, seed) == ([], {1: 0, 2: 0})
    assert choose_images([], [], 5, seed) == ([], {})


def test_what_has_no_counter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"category 7 has none of the 2 counters .* \(seed 3\)"):
        choose_images(shown({1}, {7}), [1, 7], 1, seed=3)
    assert choose_images(shown({1}, {7}), [1, 7], 1, seed=None).image_ids == [10, 20]
    with pytest.raises(ValueError, match=r"category 0 has none of the 0 counters .* \(seed null\)"):
        choose_images(shown({0}), [0], 1, seed=None)
    with pytest.raises(ValueError, match="category -1 has none"):
        choose_images(shown({-1}), [-1, 1, 2], 1, seed=3)


@pytest.mark.parametrize("shots", [0, -1])
def test_no_shots_are_refused(shots: int) -> None:
    with pytest.raises(ValueError, match=f"shots={shots}"):
        choose_images(shown({1}), [1], shots, seed=3)


def test_usable_images() -> None:
    """Image 7 has only a thin box, 9 none; the thin box of image 5 names a category all the same."""
    images = usable_images(
        image_ids=np.array([9, 7, 5, 3]),
        images=np.array([2, 1, 2, 3, 3]),
        xywh=np.array([[0, 0, 10, 10], [0, 0, 1, 10], [0, 0, 10, 0.5], [0, 0, 1.5, 1.5], [0, 0, 9, 9]]),
        categories=np.array([4, 1, 2, 1, 1]),
    )
    assert images == [(3, {1}), (5, {2, 4})]


def test_no_annotations() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert usable_images(np.array([1, 2]), nothing, np.zeros((0, 4)), nothing) == []
