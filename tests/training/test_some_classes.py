"""``data.classes``: some of the classes of a data set are trained and tested."""

from pathlib import Path

import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.training.data_sources import CustomData
from glip_lightning.training.pretraining import Pretraining
from small_runs import make_shapes


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


def test_boxes_of_others_are_left_out_and_counted(shapes: Path) -> None:
    whole = CustomData(str(shapes))
    whole.setup("fit")
    wanted = [whole.class_names[2], whole.class_names[0]]
    some = CustomData(str(shapes), classes=wanted)
    some.setup("fit")
    assert some.class_names == wanted[::-1]  # in the order of the data
    assert some.category_ids == [whole.category_ids[0], whole.category_ids[2]]
    assert [phrase.name for phrase in some.phrases()] == some.class_names
    left_out = 0
    for split, dataset in whole.datasets.items():
        before, after = dataset.index, some.datasets[split].index
        assert after.ids.tolist() == before.ids.tolist()
        for i in range(len(before)):
            all_boxes, boxes = before.boxes_of(i), after.boxes_of(i)
            named = [before.class_names[k] for k in all_boxes.labels]
            kept = [k for k, name in enumerate(named) if name in wanted]
            assert boxes.xywh.tolist() == all_boxes.xywh[kept].tolist()
            assert [after.class_names[k] for k in boxes.labels] == [named[k] for k in kept]
            left_out += len(named) - len(kept)
    assert left_out > 0
    assert some.findings.counts("class-not-chosen") == left_out


def test_a_file_of_all_phrases_or_of_the_chosen_ones(shapes: Path, tmp_path: Path) -> None:
    whole = CustomData(str(shapes))
    whole.setup("fit")
    names, chosen = whole.class_names, whole.class_names[1:2]
    for listed in (names, chosen):
        (tmp_path / "phrases.txt").write_text("".join(f"a {name}\n" for name in listed))
        data = CustomData(str(shapes), phrases_file=str(tmp_path / "phrases.txt"), classes=chosen)
        data.setup("fit")
        assert [phrase.name for phrase in data.phrases()] == [f"a {chosen[0]}"]


@pytest.mark.parametrize("classes", [["hexagon"], []])
def test_unknown_classes_are_refused_with_those_that_there_are(
    shapes: Path, classes: list[str]
) -> None:
    whole = CustomData(str(shapes))
    whole.setup("fit")
    with pytest.raises(GLIPError) as caught:
        CustomData(str(shapes), classes=classes).setup("fit")
    assert caught.value.code == "unknown-class"
    assert all(name in str(caught.value) for name in [*classes, *whole.class_names])


def test_captions_have_no_classes_to_choose(shapes: Path) -> None:
    with pytest.raises(GLIPError) as caught:
        Pretraining(str(shapes), {}, 4, "valid.json", classes=["dog"])
    assert caught.value.code == "bad-value"
