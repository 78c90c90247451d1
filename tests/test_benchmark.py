"""The straightforward formulation of the benchmark is held to the reference tensors, too."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from parity import Reference, Stages, assert_stage, load_reference_model

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from straightforward import make_straightforward

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("name", ["model_fusion", "model_mini"])
def test_straightforward_formulation_equals_the_reference(golden: Path, name: str) -> None:
    """Every stage of the tower and the head, padded to 256 tokens, against the official tensors."""
    if not (golden / name).is_dir():
        pytest.skip(f"{golden.name} has no {name}")
    reference = Reference(golden / name)
    model = make_straightforward(load_reference_model(golden / name)).eval()
    stages = Stages(model)
    with torch.no_grad():
        model(reference.inputs["images"], model.encode_text(*reference.text("eval", 256)))
    theirs = load_file(golden / name / "eval_stages.safetensors")
    compared = [
        key for key in theirs if key.startswith(("tower", "head.")) and "cls_logits" not in key
    ]
    assert len(compared) > 40
    for key in compared:
        noise = reference.noise["eval_stage_fp32_vs_fp64"][key]["max_abs"]
        assert_stage(
            stages.tensors[key], theirs[key], noise, reference.inputs["eval.attention_mask"], key
        )
