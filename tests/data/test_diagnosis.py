"""What the doctor finds in pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from formats import write_parts
from glip_lightning.data.checks.class_words import Reader
from glip_lightning.data.checks.diagnosis import diagnose
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.layouts import read_folder
from glip_lightning.text.tokenizer import Tokenizer


@pytest.mark.parametrize("scale, start, flat", [(1, 51_241, True), (16, 0, True), (256, 0, False)])
def test_images_of_nearly_one_colour_are_reported(
    tmp_path: Path, scale: int, start: int, flat: bool
) -> None:
    """Thermal cameras use a small part of 16 bits; viewers stretch it, a detector does not."""
    write_parts(tmp_path)
    levels = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint16) * scale + start
    Image.fromarray(levels).save(tmp_path / "train" / "a.png")
    findings = Findings()
    splits = read_folder(tmp_path, findings).splits
    diagnose(splits, Reader(Tokenizer.nano()), findings, lambda steps, total: steps)
    found = [
        (finding.level, finding.count, "a.png" in finding.message)
        for finding in findings
        if finding.code == "flat-image"
    ]
    assert found == [("warning", 1, True)] * flat
