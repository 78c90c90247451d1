"""Photos that break after the check of the data: a fit ends with the same error, however
many workers read them.
"""

from pathlib import Path

import pytest
from lightning import Trainer

from glip_lightning import CustomData, GLIPError, GLIPModule
from glip_lightning.app.cli import main
from printed import line_with
from small_runs import make_shapes, options


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose training photos break as soon as they were read and checked."""
    read_splits = CustomData.read_splits

    def read_and_break(data: CustomData) -> None:
        read_splits(data)
        for photo in (tmp_path / "shapes" / "train").glob("*.jpg"):
            photo.write_bytes(b"no picture any more")

    monkeypatch.setattr(CustomData, "read_splits", read_and_break)
    return make_shapes(tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_trainer_of_lightning_raises_the_error_of_the_reader(
    workers: int, shapes: Path, tmp_path: Path
) -> None:
    trainer = Trainer(
        max_steps=1,
        logger=False,
        accelerator="cpu",
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = CustomData(str(shapes), batch_size=2, workers=workers)
    with pytest.raises(GLIPError) as caught:
        trainer.fit(GLIPModule("glip-nano", "random"), data)
    assert type(caught.value) is GLIPError
    assert caught.value.code == "unreadable-image"
    assert str(caught.value).startswith(str(shapes / "train"))


@pytest.mark.parametrize("workers", [0, 1])
def test_fit_prints_the_error_of_the_reader(
    workers: int, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["fit", *options(shapes, run), f"--data.workers={workers}"]) == 1
    printed = line_with(capsys.readouterr().err, ".jpg")
    assert printed.startswith(f"glip: {shapes / 'train'}")
