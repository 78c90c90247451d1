"""Frozen features are computed once, bit for bit: in memory, on disk, resumed, in bfloat16."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import save_file
from torch import Tensor, nn

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import ABANDONED
from glip_lightning.models.build import build_detector
from glip_lightning.models.config import variant
from glip_lightning.models.detector import Detector, Outputs
from glip_lightning.models.feature_cache import FeatureCache
from glip_lightning.models.feature_store import FolderStore, MemoryStore, _checksum
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.shapes.data_modules import Shapes
from glip_lightning.text.captions import Prompt
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.training.module import GLIPModule
from glip_lightning.tuning.base import ParameterGroup, Tuning, eval_where_frozen
from glip_lightning.tuning.lora import LoRATuning
from glip_lightning.tuning.prompt import PromptTuning
from glip_lightning.tuning.weight_tunings import (
    FullTuning,
    LanguageTuning,
    LinearProbe,
    PartialTuning,
)
from printed import numbers
from small_runs import go, make_shapes
from tiny import same, tiny_data, tiny_trainer, weights

CUTS: list[tuple[str, Tuning, str]] = [
    ("glip-nano", FullTuning(freeze_at=5), "nothing"),  # the norms of the outputs learn
    ("glip-nano", PromptTuning(), "pyramid"),
    ("glip-nano-a", PromptTuning(), "tower"),
    ("glip-nano", LinearProbe(), "tower"),
    ("glip-nano-a", LinearProbe(), "tower"),
    ("glip-nano", LanguageTuning(), "pyramid"),
    ("glip-nano-a", LanguageTuning(), "tower"),
    ("glip-nano", LoRATuning(["fusion"]), "pyramid"),
    ("glip-nano", LoRATuning(["text"]), "pyramid"),
    ("glip-nano-a", LoRATuning(["text"]), "tower"),
    ("glip-nano", LoRATuning(["vision"]), "nothing"),
    ("glip-nano", PartialTuning({"^fpn": 1e-4}), "nothing"),
    ("glip-nano", PartialTuning({"^dyhead": 1e-4}), "pyramid"),
    ("glip-nano-a", PartialTuning({"^language": 1e-4}), "tower"),
    ("dyhead-nano", LinearProbe(), "tower"),
    ("dyhead-nano", LoRATuning(["head"]), "pyramid"),
]
PROMPT = Prompt("red circle", ((1, 2),), (0,))
SHAPES = [(3, 2, 4), (5,)]
KEYS = [f"{i:064x}" for i in range(8)]


def prepared(detector: str, tuning: Tuning, tokenizer: Tokenizer | None = None) -> Detector:
    torch.manual_seed(0)
    model = build_detector(variant(detector))
    tuning.setup(model, PROMPT, tokenizer)  # type: ignore[arg-type]
    eval_where_frozen(model.train())
    return model


def last_stage(model: Detector, tuning: Tuning) -> str:
    stages = tuning.frozen_stages(model)
    return stages[-1].name if stages else "nothing"


def detect(
    model: Detector,
    tuning: Tuning,
    features: FeatureCache,
    images: Sequence[Tensor],
    text: TextFeatures,
) -> Outputs:
    return model.encode_images(images, tuning.frozen_stages(model), features).detect(text)


@pytest.mark.parametrize(
    "detector, tuning, expected", CUTS, ids=lambda x: x if isinstance(x, str) else type(x).__name__
)
def test_frozen_stages_end_before_the_first_that_learns(
    detector: str, tuning: Tuning, expected: str
) -> None:
    model = prepared(detector, tuning)
    assert last_stage(model, tuning) == expected
    assert last_stage(model.eval(), tuning) == expected  # in a validation


def test_features_with_random_numbers_are_not_kept() -> None:
    tuning, features = PromptTuning(), FeatureCache()
    model = prepared("glip-nano", tuning).train()
    text = TextFeatures(torch.randn(1, 5, 128), torch.ones(1, 5, dtype=torch.bool))
    with pytest.raises(RuntimeError, match="eval_where_frozen"):
        detect(model, tuning, features, [torch.zeros(3, 64, 64, dtype=torch.uint8)], text)
    assert features.store.used() == 0


class Numbers(Callback):
    """Losses and, of each validated image, the scores."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.scores: list[list[float]] = []

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        self.losses.append(loss.item())

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        self.scores.append(outputs["detections"][0]["scores"].tolist())


def shapes(folder: Path, **given: Any) -> Shapes:
    """Two sizes, mirrored or not, two of four images at once in an order that changes."""
    return tiny_data(folder, **{"min_sizes": (64, 96), "flip": 0.5, **given})


def fit(
    folder: Path,
    tuning: Tuning,
    features: FeatureCache,
    detector: str = "glip-nano",
    **options: Any,
) -> tuple[GLIPModule, Numbers]:
    seed_everything(0, verbose=False)
    module, numbers = GLIPModule(detector, "random", tuning, features=features), Numbers()
    torch.nn.init.zeros_(module.model.grounding.token_bias)  # scores above those that are dropped
    data, checkpoint = options.pop("data", None), options.pop("ckpt_path", None)
    trainer = tiny_trainer(
        folder, numbers, *options.pop("callbacks", ()), **{"max_epochs": 3, **options}
    )
    trainer.fit(module, datamodule=data or shapes(folder / "data"), ckpt_path=checkpoint)
    return module, numbers


def test_features_of_augmented_images_are_not_kept(tmp_path: Path) -> None:
    """They never come again; those of the two images that are evaluated do."""
    stores = [FeatureCache(0), FeatureCache()]
    data = [shapes(tmp_path / "data", augment="strong") for _ in stores]
    runs = [
        fit(tmp_path, LinearProbe(), kept, data=given)
        for kept, given in zip(stores, data, strict=True)
    ]
    (plain, plain_numbers), (cached, cached_numbers) = runs
    assert same(weights(plain), weights(cached))
    assert plain_numbers.losses == cached_numbers.losses
    assert plain_numbers.scores == cached_numbers.scores
    assert stores[1].hits == 2 * 2  # in the second and third validation
    assert stores[1].misses == 2


@pytest.mark.parametrize(
    "detector, tuning, expected, precision",
    [
        ("glip-nano", PromptTuning, "pyramid", "32-true"),
        ("glip-nano", PromptTuning, "pyramid", "bf16-mixed"),
        ("glip-nano", LinearProbe, "tower", "32-true"),
        ("glip-nano", LinearProbe, "tower", "bf16-mixed"),
        ("glip-nano-a", PromptTuning, "tower", "32-true"),
        ("glip-nano", LoRATuning, "pyramid", "32-true"),
        ("dyhead-nano", LinearProbe, "tower", "32-true"),
    ],
)
def test_a_run_is_bit_for_bit_the_same(
    tmp_path: Path, detector: str, tuning: type[Tuning], expected: str, precision: str
) -> None:
    """With other neighbours in every batch, in memory, on the disk and without a cache."""
    stores = [FeatureCache(0), FeatureCache(), FeatureCache(folder=str(tmp_path / "store"))]
    rate: dict[str, Any] = {"lr": 0.05}
    runs = [
        fit(tmp_path, tuning(**rate), features, detector, precision=precision)
        for features in stores
    ]
    plain, numbers = runs[0]
    assert (len(numbers.losses), len(numbers.scores)) == (2 * 3, 2 * 3)
    assert any(numbers.scores)
    for module, found in runs[1:]:
        assert found.losses == numbers.losses
        assert found.scores == numbers.scores
        assert same(weights(module), weights(plain))
        assert last_stage(module.model, module.tuning) == expected
        # the later validations, and what comes again in training
        assert module.features.hits >= 2 * 2
        assert module.features.hits + module.features.misses == stores[0].misses == 3 * (4 + 2)


@pytest.mark.parametrize("images, tolerance", [(1, 0), (3, 1e-5)])
@pytest.mark.parametrize(
    "detector, tuning",
    [("glip-nano", PromptTuning()), ("glip-nano", LinearProbe()), ("glip-nano-a", LinearProbe())],
)
def test_equals_the_detector_itself(
    detector: str, tuning: Tuning, images: int, tolerance: float
) -> None:
    """Bit for bit where its frozen part sees the same batch: one image."""
    model = prepared(detector, tuning)
    torch.manual_seed(1)
    batch = [torch.randint(256, (3, 64 + 8 * i, 96), dtype=torch.uint8) for i in range(images)]
    hidden = torch.randn(images, 5, 128)
    text = TextFeatures(hidden, torch.ones(images, 5, dtype=torch.bool))
    features = FeatureCache()
    with torch.no_grad():
        expected = model(model.preprocess(batch), text)
        for _ in range(2):
            found = detect(model, tuning, features, batch, text)
            for mine, theirs in zip(found[:4], expected[:4], strict=True):
                torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
            assert found.level_sizes == expected.level_sizes
    assert (features.hits, features.misses) == (images, images)


def test_a_key_holds_all_that_decides_the_numbers() -> None:
    """Pixels, view, padding, text, weights and precision, and nothing else."""
    tuning = LinearProbe()
    model, features = prepared("glip-nano", tuning), FeatureCache()
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    text = TextFeatures(torch.randn(1, 5, 128), torch.ones(1, 5, dtype=torch.bool))

    def misses(*images: Tensor, text: TextFeatures = text) -> int:
        before = features.misses
        rows = torch.zeros(len(images), dtype=torch.long)
        detect(model, tuning, features, images, text.select(rows))
        return features.misses - before

    assert misses(image) == 1
    assert misses(image.clone()) == 0
    changed = image.clone()
    changed[2, 63, 63] ^= 1
    assert misses(changed) == 1
    assert misses(image.flip(-1)) == 1
    assert misses(image, torch.zeros(3, 96, 64, dtype=torch.uint8)) == 2  # padded to another size
    assert misses(image, text=replace(text, hidden=text.hidden + 1e-3)) == 1
    assert misses(image, text=replace(text, mask=torch.tensor([[True] * 4 + [False]]))) == 1
    with torch.autocast("cpu", torch.bfloat16):
        assert misses(image) == 1
    assert misses(image) == 0
    state = {key: x.clone() for key, x in model.state_dict().items()}
    state["fpn.p6.bias"] += 1e-3
    model.load_state_dict(state)
    assert misses(image) == 1
    model.grounding.load_state_dict({key: x + 1 for key, x in model.grounding.state_dict().items()})
    assert misses(image) == 0  # comes later


def test_without_fusion_the_text_decides_nothing() -> None:
    tuning, features = PromptTuning(), FeatureCache()
    model, image = (
        prepared("glip-nano-a", tuning),
        torch.randint(256, (3, 64, 64), dtype=torch.uint8),
    )
    for _ in range(2):
        text = TextFeatures(
            torch.randn(1, 5, 128, requires_grad=True), torch.ones(1, 5, dtype=torch.bool)
        )
        found = detect(model, tuning, features, [image], text)
        found.logits.sum().backward()
        assert text.hidden.grad is not None
    assert (features.hits, features.misses) == (1, 1)


def test_features_of_an_evaluation_serve_training() -> None:
    tuning, features = LinearProbe(), FeatureCache()
    model, image = prepared("glip-nano", tuning), torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    text = TextFeatures(torch.randn(1, 5, 128), torch.ones(1, 5, dtype=torch.bool))
    with torch.inference_mode():
        evaluated = detect(model, tuning, features, [image + 0], text)
    found = detect(model, tuning, features, [image], text)
    found.logits.sum().backward()
    assert features.hits == 1
    assert torch.equal(found.logits, evaluated.logits)
    assert all(p.grad is not None for p in model.grounding.text_projection.parameters())


class Hidden(Tuning):
    """Learns in the middle of the frozen part, where no parameter of the detector shows it."""

    def setup(
        self, model: Detector, prompt: Prompt | None, tokenizer: Tokenizer
    ) -> list[ParameterGroup]:
        model.requires_grad_(False)
        self.shift = nn.Parameter(torch.zeros(1))
        model.fpn.register_forward_hook(
            lambda module, given, levels: [x + self.shift for x in levels]
        )
        return [ParameterGroup(name="shift", params=[self.shift], lr=1.0, weight_decay=0.0)]


def test_a_tuning_that_hides_what_it_learns_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"\btrains\(\).*\blearns_text\b"):
        fit(tmp_path, Hidden(), FeatureCache())


@pytest.mark.parametrize("tuning", [PromptTuning, LinearProbe])
def test_a_resumed_run_is_bit_equal(tmp_path: Path, tuning: type[Tuning]) -> None:
    """Its cache is empty, and the first images that it sees are others together."""
    every = ModelCheckpoint(
        tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True
    )
    whole, numbers = fit(
        tmp_path, tuning(), FeatureCache(), callbacks=[every], enable_checkpointing=True
    )
    half, later = fit(tmp_path, tuning(), FeatureCache(), ckpt_path=str(tmp_path / "epoch=1.ckpt"))
    assert later.losses == numbers.losses[4:]
    assert same(weights(half), weights(whole))


def summaries(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log lines that say how many GB of features are kept."""
    return [line for line in caplog.messages if re.search(r"\d GB\b", line)]


def test_a_second_run_finds_what_the_first_has_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other shots, another seed: half of the training images are known, all of the validation."""
    folder, data = str(tmp_path / "store"), tmp_path / "data"
    one = {"min_sizes": (96,), "flip": 0}
    first, _ = fit(
        tmp_path, LinearProbe(), FeatureCache(folder=folder), data=shapes(data, **one), max_epochs=1
    )
    assert (first.features.hits, first.features.misses) == (0, 4 + 2)
    with caplog.at_level("INFO", logger="glip_lightning"):
        second, _ = fit(
            tmp_path,
            LinearProbe(),
            FeatureCache(folder=folder),
            data=shapes(data, shots=1, seed=5, **one),
        )
    assert second.features.misses == 0
    used = sum(x.stat().st_size for x in Path(folder).iterdir()) / 1e9
    assert numbers(summaries(caplog)[-1]) == [str(second.features.hits), "0", f"{used:.2f}", "2"]


def test_a_full_cache_warns_once_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, numbers = fit(tmp_path, PromptTuning(), FeatureCache(0))
    with caplog.at_level("INFO", logger="glip_lightning"):
        # 65 kB at most each
        module, found = fit(tmp_path, PromptTuning(), FeatureCache(gigabytes=2e-4))
    assert found.losses == numbers.losses
    assert same(weights(module), weights(plain))
    assert module.features.hits > 0
    assert 1e5 < module.features.store.used() <= 2e5
    assert len([line for line in caplog.messages if "model.features.gigabytes" in line]) == 1


def test_no_features_are_kept_where_all_is_trained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="glip_lightning"):
        module, _ = fit(tmp_path, FullTuning(), FeatureCache(), max_epochs=1)
    assert summaries(caplog) == []
    assert module.features.store.used() == 0


def test_a_recipe_and_the_command_line_choose_it(tmp_path: Path) -> None:
    """Also as two lines of a recipe; a finished run's recipe holds it in full."""
    data, store = make_shapes(tmp_path), tmp_path / "store"
    tuning = ["--model.tuning", "LinearProbe"]
    where = ["--model.features.folder", str(store), "--model.features.gigabytes=0.5"]
    go("fit", data, tmp_path / "run", *tuning, *where)
    assert len(list(store.iterdir())) >= 4 + 2 + 2
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe["model"]["features"] == {
        "class_path": "glip_lightning.FeatureCache",
        "init_args": {"gigabytes": 0.5, "folder": str(store)},
    }


def test_wrong_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(GLIPError) as error:
        FeatureCache(-1)
    assert error.value.code == "bad-value"
    assert "features.gigabytes=-1" in str(error.value)
    (tmp_path / "file").touch()
    with pytest.raises(GLIPError) as error:
        FeatureCache(folder=str(tmp_path / "file"))
    assert error.value.code == "no-folder"


def tensors(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(1, *SHAPES[0], generator=generator).to(memory_format=torch.channels_last)[0]
    return [maps, torch.randn(SHAPES[1], generator=generator).bfloat16()]


def assert_kept(found: list[Tensor] | None, seed: int) -> None:
    assert found is not None
    for mine, theirs in zip(found, tensors(seed), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.dtype == theirs.dtype
        assert mine.stride() == theirs.stride()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "get", "tear", "foreign", "swap", "reopen"]),
            st.integers(0, 7),
            st.integers(0, 2**31),
        ),
        max_size=12,
    )
)
def test_folder_store__returns_what_was_put_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int, int]]
) -> None:
    """Whatever happens to its files in between; a process that opens them first checks them."""
    folder = tmp_path_factory.mktemp("store")
    store = FolderStore(folder, 10**6)
    kept: set[int] = set()
    for action, number, position in actions:
        path = folder / f"{KEYS[number]}.safetensors"
        if action == "put":
            assert store.put(KEYS[number], tensors(number))
            kept.add(number)
        elif action == "get":
            found = store.get(KEYS[number])
            assert (found is not None) == (number in kept)
            if found is not None:
                assert_kept(found, number)
        elif action == "reopen":
            store = FolderStore(folder, 10**6)
        elif number in kept:
            content = bytearray(path.read_bytes())
            if action == "tear":
                path.write_bytes(content[: position % len(content)])
            elif action == "foreign":
                path.write_bytes(position.to_bytes(4, "little") * 20)
            else:
                content[position % len(content)] ^= 1 + position % 255
                path.write_bytes(content)
            store = FolderStore(folder, 10**6)  # what has been checked is not checked again
            kept.discard(number)
            assert store.get(KEYS[number]) is None
            assert not path.exists()
    for number in kept:
        assert_kept(store.get(KEYS[number]), number)


def test_a_file_under_the_name_of_another_is_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FolderStore(tmp_path, 10**6)
    store.put(KEYS[0], tensors(0))
    os.link(tmp_path / f"{KEYS[0]}.safetensors", tmp_path / f"{KEYS[1]}.safetensors")
    assert store.get(KEYS[1]) is None
    assert len([line for line in caplog.messages if f"{KEYS[1]}.safetensors" in line]) == 1
    assert [path.stem for path in tmp_path.iterdir()] == [KEYS[0]]


@pytest.mark.parametrize("layout", [[[[6, 2], [2, 1]], [[5], [1]]], [[[10**12], [0]], [[5], [1]]]])
def test_folder_store__file_with_another_layout_is_refused(tmp_path: Path, layout: Any) -> None:
    """Strides of 0 repeat numbers: such a view may outgrow any memory."""
    store, text = FolderStore(tmp_path, 10**6), json.dumps(layout)
    flat = [x.flatten() for x in tensors(0)]
    about = {"key": KEYS[0], "layout": text, "sha256": _checksum(flat, text)}
    save_file({str(i): x for i, x in enumerate(flat)}, tmp_path / f"{KEYS[0]}.safetensors", about)
    assert store.get(KEYS[0]) is None


def test_a_full_folder_takes_no_more_and_loses_nothing(tmp_path: Path) -> None:
    FolderStore(tmp_path, 10**6).put(KEYS[0], tensors(0))
    (tmp_path / "notes.txt").write_text("x" * 10_000)  # does not count
    size = (tmp_path / f"{KEYS[0]}.safetensors").stat().st_size
    store = FolderStore(tmp_path, 2 * size + 1100)
    assert store.put(KEYS[1], tensors(1))
    assert not store.put(KEYS[2], tensors(2))
    assert_kept(store.get(KEYS[0]), 0)
    assert_kept(store.get(KEYS[1]), 1)
    assert store.used() == 2 * size


def test_parts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, 10**6)
    store.put(KEYS[0], tensors(0))
    fresh, old = (tmp_path / f".glip-{x * 8}-{KEYS[1]}.safetensors" for x in "ab")
    fresh.touch()
    old.touch()
    os.utime(old, (0, 0))
    assert FolderStore(tmp_path, 10**6).get(KEYS[0]) is not None
    assert fresh.exists()
    assert not old.exists()
    assert ABANDONED > 60


def test_a_full_disk_warns_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FolderStore(tmp_path / "store", 10**6)
    (tmp_path / "store").rmdir()
    (tmp_path / "store").touch()  # nothing can be written there any more
    assert not store.put(KEYS[0], tensors(0))
    assert len([line for line in caplog.messages if str(tmp_path / "store") in line]) == 1


def test_memory_keeps_copies_up_to_its_bound() -> None:
    store, given = MemoryStore(150), tensors(0)
    assert store.put(KEYS[0], given)
    given[0].zero_()
    assert_kept(store.get(KEYS[0]), 0)
    assert not store.put(KEYS[1], tensors(1))
    assert store.used() == 24 * 4 + 5 * 2
