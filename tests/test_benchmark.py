"""The straightforward formulation of the benchmark is held to the reference tensors, too."""

import sys
from pathlib import Path

import pytest
import torch

from parity import Reference, load_reference_model

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from straightforward import make_straightforward

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("name", ["model_fusion", "model_mini"])
def test_straightforward_formulation_equals_the_reference(golden: Path, name: str) -> None:
    if not (golden / name).is_dir():
        pytest.skip(f"{golden.name} has no {name}")
    reference = Reference(golden / name)
    expected = reference.evaluate()[1]
    model = make_straightforward(load_reference_model(golden / name)).eval()
    with torch.no_grad():
        outputs = model(reference.inputs["images"], model.encode_text(*reference.text("eval", 256)))
    real = expected.logits.shape[2]
    torch.testing.assert_close(outputs.logits[..., :real], expected.logits, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(outputs.deltas, expected.deltas, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(outputs.centerness, expected.centerness, rtol=2e-5, atol=2e-5)
