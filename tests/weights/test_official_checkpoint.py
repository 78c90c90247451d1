import json
import logging
import os
import pickle
import re
import sys
import tarfile
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from glip_lightning.common.errors import MissingFile
from glip_lightning.models.config import VARIANTS, GLIPConfig, TextConfig
from glip_lightning.weights import official_checkpoint as checkpoint
from glip_lightning.weights.official_checkpoint import (
    CheckpointError,
    expected_shapes,
    from_official,
    infer_config,
    official_names,
    read_official,
    to_official,
)

MANIFESTS = {
    "manifest_glip_A_Swin_T_O365.json": "glip-tiny-a",
    "manifest_glip_Swin_T_O365.json": "glip-tiny-b",
    "manifest_glip_Swin_T_O365_GoldG.json": "glip-tiny",
    "manifest_glip_Swin_L.json": "glip-large",
}
SMALL_TEXT = TextConfig(100, 64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=96)
SMALL = GLIPConfig(
    swin_dim=16,
    swin_depths=(2, 1, 2, 1),
    swin_heads=(1, 2, 4, 8),
    channels=32,
    rounds=2,
    text=SMALL_TEXT,
)
CONFIGS = {
    "fusion": SMALL,
    "no fusion": replace(SMALL, fusion=False),
    "window 12": replace(SMALL, swin_window=12),
}


def random_state(config: GLIPConfig) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(shape, generator=generator)
        for key, shape in expected_shapes(config).items()
    }


def assert_equal(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert state.keys() == expected.keys()
    different = [
        key
        for key, x in state.items()
        if x.dtype != expected[key].dtype or not torch.equal(x, expected[key])
    ]
    assert different == []


@pytest.fixture(scope="module")
def official() -> dict[str, torch.Tensor]:
    return to_official(random_state(SMALL), SMALL)


@pytest.fixture
def pth(tmp_path: Path, official) -> Path:
    path = tmp_path / "small.pth"
    torch.save({"model": official}, path)
    return path


# -- the table of names


@pytest.fixture(params=MANIFESTS)
def manifest(request: pytest.FixtureRequest, golden: Path) -> tuple[str, dict[str, torch.Tensor]]:
    path = golden / request.param
    if not path.is_file():
        pytest.skip(f"{request.param} is not in {golden.name}")
    entries = json.loads(path.read_text())["state_dict"]
    tensors = {
        e["name"]: torch.empty(
            e["shape"], dtype=getattr(torch, e["dtype"].removeprefix("torch.")), device="meta"
        )
        for e in entries
    }
    return MANIFESTS[request.param], tensors


@pytest.mark.parity
def test_every_tensor_of_the_official_models_has_its_place_and_comes_back(manifest):
    name, tensors = manifest
    ours = from_official(tensors, VARIANTS[name])  # raises on any leftover
    assert ours.keys() == expected_shapes(VARIANTS[name]).keys()
    back = to_official(ours, VARIANTS[name])
    assert {key: (x.shape, x.dtype) for key, x in back.items()} == {
        key: (x.shape, x.dtype) for key, x in tensors.items()
    }


@pytest.mark.parity
def test_sizes_are_found_in_the_official_models(manifest, caplog):
    name, tensors = manifest
    with caplog.at_level(logging.INFO):
        assert infer_config(tensors) == VARIANTS[name]
    assert name in caplog.text


@pytest.mark.parity
@pytest.mark.parametrize("folder", ["model_mini", "model_fusion", "model_shallow", "model_large"])
def test_tensors_made_anew_equal_the_official_ones(golden, folder):
    path = golden / folder / "weights.safetensors"
    if not path.is_file():
        pytest.skip(f"{folder} is not in {golden.name}")
    stored = {key: x.float() if x.is_floating_point() else x for key, x in load_file(path).items()}
    heads = json.loads((path.parent / "config.json").read_text())["dims"]["bert"][
        "num_attention_heads"
    ]
    config = infer_config(stored, text_heads=heads)
    back = to_official(from_official(stored, config), config)
    # unused, 80 columns in ours
    columns = [key for key in stored if key.startswith("rpn.head.cls_logits.")]
    for state in (stored, back):
        for key in columns:
            del state[key]
    assert_equal(back, stored)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "dyhead-nano"])
def test_names_are_one_to_one(name):
    config = VARIANTS[name]
    names = official_names(config)
    assert len(set(names.values())) == len(names)
    assert not any("{" in official for official in names.values())
    meta = {
        key: torch.empty(shape, device="meta") for key, shape in expected_shapes(config).items()
    }
    back = from_official(to_official(meta, config), config)
    assert all(back[key] is tensor for key, tensor in meta.items())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_there_and_back_is_bit_equal(config):
    state = random_state(config)
    assert_equal(from_official(to_official(state, config), config), state)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_sizes_without_a_variant_are_found(config):
    assert infer_config(to_official(random_state(config), config)) == config


@pytest.mark.parametrize("name", ["glip-nano", "glip-nano-a"])
def test_nano_is_recognised_with_its_own_head_counts(name):
    config = VARIANTS[name]
    meta = {
        key: torch.empty(shape, device="meta") for key, shape in expected_shapes(config).items()
    }
    assert infer_config(to_official(meta, config)) == config


def test_a_narrow_text_encoder_needs_its_number_of_heads():
    config = replace(SMALL, text=replace(SMALL.text, hidden_size=48, num_attention_heads=3))
    state = to_official(random_state(config), config)
    with pytest.raises(CheckpointError) as caught:
        infer_config(state)
    assert caught.value.code == "missing-text-heads"
    assert "48" in str(caught.value)
    assert infer_config(state, text_heads=3) == config


def test_sizes_of_something_else_name_what_is_missing():
    with pytest.raises(CheckpointError) as caught:
        infer_config({"conv1.weight": torch.zeros(64, 3, 7, 7)})
    assert caught.value.code == "no-detector"
    assert tensors_named(caught.value) == ["backbone.body.patch_embed.proj.weight"]


# -- what does not fit


def tensors_named(error: CheckpointError) -> list[str]:
    """Return the names of tensors in the message, in order."""
    return re.findall(r"\w+(?:\.\w+)+", str(error))


def test_a_missing_tensor_is_named(official):
    state = dict(official)
    del state["rpn.head.bias0"]
    with pytest.raises(CheckpointError) as caught:
        from_official(state, SMALL)
    assert caught.value.code == "other-tensors"
    assert tensors_named(caught.value) == ["rpn.head.bias0"]


@pytest.mark.parametrize(
    "key, size, numbers",
    [
        ("rpn.head.extra", 1, [1]),  # so many are unknown
        ("rpn.head.bias0", 2, [1, 2, 1]),  # so many are of another shape, found, expected
    ],
)
def test_an_unknown_or_wrong_tensor_is_named(official, key, size, numbers):
    with pytest.raises(CheckpointError) as caught:
        from_official(official | {key: torch.zeros(size)}, SMALL)
    assert caught.value.code == "other-tensors"
    assert tensors_named(caught.value) == [key]
    assert list(map(int, re.findall(r"\b\d+\b", str(caught.value)))) == numbers


def test_everything_is_listed_at_once_and_ten_by_name():
    with pytest.raises(CheckpointError) as caught:
        from_official({"x": torch.zeros(1)}, SMALL)
    assert caught.value.code == "other-tensors"
    assert tensors_named(caught.value) == sorted(official_names(SMALL).values())[:10]
    assert re.search(r"\bx\b", str(caught.value))  # the unknown one
    assert re.findall(r"(?<![\w.])\d+(?![\w.])", str(caught.value)) == [
        str(len(official_names(SMALL))),
        "1",
    ]


def test_to_official__wrong_tensors_are_refused():
    state = random_state(SMALL)
    del state["grounding.token_bias"]
    with pytest.raises(CheckpointError) as caught:
        to_official(state, SMALL)
    assert caught.value.code == "other-tensors"
    assert tensors_named(caught.value) == ["grounding.token_bias"]


# -- what is left out


def test_module_prefix_is_taken_off_only_if_all_have_it(official):
    wrapped = {f"module.{key}": x for key, x in official.items()}
    assert_equal(from_official(wrapped, SMALL), from_official(official, SMALL))
    assert infer_config(wrapped) == SMALL
    with pytest.raises(CheckpointError) as caught:
        from_official(wrapped | {"rpn.head.bias0": torch.zeros(1)}, SMALL)
    assert caught.value.code == "other-tensors"
    assert any(name.startswith("module.") for name in tensors_named(caught.value))


UNUSED = (
    "language_backbone.body.model.pooler.dense.weight",
    "rpn.head.mlm_head.bias",
    "rpn.resizer.weight",
    "resizer.x",
)


@pytest.mark.parametrize("key", UNUSED)
def test_unused_layers_are_left_out_with_a_log_line(official, key, caplog):
    with caplog.at_level(logging.INFO):
        state = from_official(official | {key: torch.ones(3)}, SMALL)
    counts = {pattern: counts_of(pattern, caplog.messages) for pattern in checkpoint.LEFT_OUT}
    assert_equal(state, from_official(official, SMALL))
    assert [pattern for pattern, found in counts.items() if found == [1]] == [
        "*.embeddings.position_ids",
        *(pattern for pattern in checkpoint.LEFT_OUT if fnmatchcase(key, pattern)),
    ]


def counts_of(pattern: str, lines: list[str]) -> list[int]:
    """Return how many tensors each line about ``pattern`` says were left out."""
    return [
        int(count) for line in lines if pattern in line for count in re.findall(r"\b\d+\b", line)
    ]


def test_files_without_unused_tensors_load(official):
    used = {key: official[key] for key in official_names(SMALL).values()}
    assert_equal(from_official(used, SMALL), from_official(official, SMALL))


@pytest.mark.parametrize("value, warns", [(0.0, False), (0.5, True)])
def test_a_tuned_prompt_is_not_dropped_silently(official, caplog, value, warns):
    prompt = {checkpoint.TUNED_PROMPT: torch.full((1000, 64), value)}
    assert_equal(from_official(official | prompt, SMALL), from_official(official, SMALL))
    warnings = [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]
    assert [checkpoint.TUNED_PROMPT in line for line in warnings] == ([True] if warns else [])


# -- reading files


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("key", ["model", "state_dict", None])
def test_weights_are_found_in_the_file(tmp_path, official, key, legacy):
    content = (
        official
        if key is None
        else {key: official, "model_ema": {"x": torch.zeros(1)}, "iteration": 7}
    )
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    assert_equal(read_official(tmp_path / "x.pth"), official)


def test_half_precision_becomes_float32(tmp_path, official):
    half = {key: x.half() if x.is_floating_point() else x for key, x in official.items()}
    torch.save({"model": half}, tmp_path / "x.pth")
    state = read_official(tmp_path / "x.pth")
    assert_equal(state, {key: x.float() if x.is_floating_point() else x for key, x in half.items()})
    assert_equal(from_official(state, SMALL), from_official(state, infer_config(state)))


@pytest.fixture
def cfg_node(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class that pickles as yacs' CfgNode, which official files may hold beside weights."""
    module = ModuleType("yacs.config")
    module.CfgNode = type("CfgNode", (dict,), {"__module__": "yacs.config"})
    monkeypatch.setitem(sys.modules, "yacs", ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    return module.CfgNode


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before torch 1.6"])
def test_known_objects_beside_the_weights_are_harmless(
    tmp_path, official, legacy, cfg_node, monkeypatch
):
    config = cfg_node(MODEL=cfg_node(NAME="GLIP"))
    config.__dict__["__immutable__"] = True
    extras = {
        "config": config,
        "arguments": Namespace(local_rank=0),
        "scheduler": {
            "best": np.float64(0.5),
            "history": np.arange(3),
            "milestones": Counter([1, 2]),
        },
        "optimizer": {
            "state": {0: {"exp_avg": torch.zeros(3)}},
            "param_groups": [OrderedDict(lr=1e-4)],
        },
    }
    path = tmp_path / "x.pth"
    torch.save({"model": official, **extras}, path, _use_new_zipfile_serialization=not legacy)
    monkeypatch.undo()  # read where yacs is not installed
    assert_equal(read_official(path), official)


class Exploit:
    def __init__(self, function: object, argument: str) -> None:
        self.call = function, (argument,)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("kind", ["system", "exec", "eval", "getattr"])
def test_hostile_pickles_are_refused_and_never_run(tmp_path, official, kind, legacy):
    trace, path = tmp_path / "trace", tmp_path / "x.pth"
    write = f"open({str(trace)!r}, 'w').close()"
    hostile = {
        "system": Exploit(os.system, f"touch {trace}"),
        "exec": Exploit(exec, write),
        "eval": Exploit(eval, write),
        "getattr": Exploit(getattr, "x"),
    }[kind]
    torch.save(
        {"model": official, "optimizer": hostile}, path, _use_new_zipfile_serialization=not legacy
    )
    with pytest.raises(CheckpointError) as caught:
        read_official(path)
    assert caught.value.code == "unsafe-checkpoint"
    assert re.search(rf"\b{kind}\b", str(caught.value))
    assert not trace.exists()


def test_the_oldest_format_is_refused_unread(tmp_path):
    """Before torch 0.1.10: a tar archive of several pickles."""
    trace, path = tmp_path / "trace", tmp_path / "x.pth"
    (tmp_path / "pickle").write_bytes(
        pickle.dumps(Exploit(os.system, f"touch {trace}"), protocol=2)
    )
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.add(tmp_path / "pickle", arcname=name)
    with pytest.raises(CheckpointError) as caught:
        read_official(path)
    assert caught.value.code == "no-checkpoint"
    assert not trace.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
def test_a_newer_pickle_protocol_hides_nothing(tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "x.pth"
    # protocol 4 builds the name of the function on its stack
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "x/data.pkl", pickle.dumps({"model": Exploit(os.system, f"touch {trace}")}, protocol=4)
        )
        archive.writestr("x/version", "3\n")
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        read_official(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content, code",
    [
        (b"<!DOCTYPE html>\n<html>", "web-page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "lfs-pointer"),
        (b"", "no-checkpoint"),
        (b"PK\x03\x04 broken", "no-checkpoint"),
        (bytes(range(256)), "no-checkpoint"),
        (pickle.dumps([1, 2], protocol=2), "no-checkpoint"),
    ],
)
def test_files_that_are_no_checkpoint_say_so(tmp_path, content, code):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_official(path)
    assert caught.value.code == code
    assert str(path) in str(caught.value)
    assert ("/resolve/" in str(caught.value)) == (code == "web-page")


def test_a_cut_file_is_no_checkpoint(pth):
    pth.write_bytes(pth.read_bytes()[:-1000])
    with pytest.raises(CheckpointError) as caught:
        read_official(pth)
    assert caught.value.code == "no-checkpoint"


@pytest.mark.parametrize("content", [{}, [1], {"model": {"x": 1}}, {"model": None}])
def test_files_without_tensors_say_so(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError) as caught:
        read_official(tmp_path / "x.pth")
    assert caught.value.code == "no-tensors"
    assert "x.pth" in str(caught.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(MissingFile) as caught:
        read_official(tmp_path / "x.pth")
    assert caught.value.code == "missing-file"
    assert "x.pth" in str(caught.value)


def test_stand_ins_do_not_outlive_the_reading(pth):
    before = set(torch.serialization.get_safe_globals())  # its list has no order
    read_official(pth)
    assert set(torch.serialization.get_safe_globals()) == before
    assert all(
        issubclass(stand_in, checkpoint.Inert | OrderedDict)
        for stand_in in checkpoint.STAND_INS.values()
    )


@pytest.mark.parametrize("name", ["a.onnx", "a.pt"])
def test_files_of_other_programs_get_no_advice_to_run_their_code(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x08\x07\x12\x07pytorch")
    with pytest.raises(CheckpointError) as error:
        read_official(path)
    assert "weights_only" not in str(error.value)
    assert ("ONNX" in str(error.value)) == (name == "a.onnx")
