"""Dynamic Head, the baseline without text: one token and one learned row per class."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import seed_everything

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.inference.predictor import Predictor
from glip_lightning.models.config import GLIPConfig, variant
from glip_lightning.models.dynamic_head import DynamicHead
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.layers.class_table import TABLE, ClassTable
from glip_lightning.models.query import encode_query
from glip_lightning.ops.losses import build_targets, detection_losses
from glip_lightning.text.captions import build_prompt, build_prompts
from glip_lightning.text.phrases import Phrase, clean_name
from glip_lightning.text.token_spans import positive_map
from glip_lightning.text.tokenizer import ClassTokenizer, Tokenizer
from glip_lightning.training.data_sources import CustomData
from glip_lightning.training.module import GLIPModule
from glip_lightning.tuning.base import Tuning
from glip_lightning.tuning.lora import LoRATuning
from glip_lightning.tuning.prompt import PromptTuning
from glip_lightning.tuning.weight_tunings import (
    FullTuning,
    LanguageTuning,
    LinearProbe,
    PartialTuning,
)
from glip_lightning.weights.adapter import load_adapter
from glip_lightning.weights.conversion import convert_weights
from glip_lightning.weights.detector_files import load_tokenizer
from glip_lightning.weights.load import Task, load_detector, save
from glip_lightning.weights.run_files import RUN_ADAPTER
from printed import line_with, words
from refusals import refusal
from small_runs import go, make_shapes, options
from tiny import tiny_trainer

ROWS = variant("dyhead-nano").classes
NAMES = st.lists(
    st.text(max_size=12).filter(lambda name: "\n" not in name), min_size=1, max_size=40
)
AROUND = st.text(alphabet=" .,;ab[]", max_size=6)


def build() -> DynamicHead:
    torch.manual_seed(0)
    return DynamicHead(variant("dyhead-nano"))


def named(*names: str) -> tuple[Phrase, ...]:
    return tuple(map(Phrase, names))


# -- the tokenizer


@given(names=NAMES, prefix=AROUND, suffix=AROUND)
def test_token_k_is_class_k(names: list[str], prefix: str, suffix: str) -> None:
    """Whatever stands in the names (periods, commas, blanks, any script) and around them."""
    tokenizer = ClassTokenizer(40)
    (prompt,) = build_prompts([Phrase(name, prefix, suffix) for name in names], tokenizer)
    for k, name in enumerate(names):
        assert prompt.tokens[k] == (k,) or (not name and prompt.tokens[k] == ())
    ids, mask = tokenizer.encode([prompt.caption])
    assert ids.tolist() == [list(range(len(names)))]
    assert mask.all()
    assert [prompt.caption[start:end] for start, end in tokenizer.offsets(prompt.caption)] == [
        f"{prefix}{name}{suffix}" for name in names
    ]


@pytest.mark.parametrize(
    "name", ["St. Bernard", "salt, pepper", "2.5 mm. screw", "  ", "wine_glass(red. big)", "[SEP]"]
)
def test_odd_names_are_one_token(name: str) -> None:
    prompt = build_prompt(named(clean_name(name), "dog"), ClassTokenizer(2))
    assert prompt.tokens == ((0,), (1,))


def test_captions_of_one_batch_are_padded_behind_their_classes() -> None:
    ids, mask = ClassTokenizer(9).encode(["cat", "dog\ncow\ncat"])
    assert ids.tolist() == [[0, 0, 0], [0, 1, 2]]
    assert mask.tolist() == [[1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("many", [ROWS + 1, 300])
def test_more_classes_than_rows_are_an_error_with_both_numbers(many: int) -> None:
    phrases, tokenizer = named(*(f"class {k}" for k in range(many))), load_tokenizer("dyhead-nano")
    assert len(build_prompt(phrases[:ROWS], tokenizer).tokens) == ROWS
    with pytest.raises(GLIPError) as caught:
        build_prompts(phrases, tokenizer)
    assert caught.value.code == "too-many-classes"
    assert {str(many), str(ROWS), "glip-tiny"} <= words(str(caught.value))


def test_a_table_is_no_longer_than_a_caption() -> None:
    """Of 256 tokens the last one would be the official target of negatives."""
    with pytest.raises(GLIPError) as caught:
        GLIPConfig(classes=255)
    assert caught.value.code == "bad-value"
    assert {"classes", "255", "0", "254"} <= words(str(caught.value))


# -- the detector


def test_it_is_glip_without_fusion_on_other_text_features() -> None:
    """Equal predictions from equal weights and the same text features."""
    table, glip = build().eval(), GLIP(variant("glip-nano-a")).eval()
    state = {key: x for key, x in table.state_dict().items() if key != TABLE}
    left = glip.load_state_dict(state, strict=False)
    assert left.unexpected_keys == []
    assert all(key.startswith("language.bert.") for key in left.missing_keys)
    tokenizer = ClassTokenizer(ROWS)
    text = encode_query(table, tokenizer, named("cat", "dog", "cow")).texts[0]
    assert torch.equal(text.hidden[0], table.get_parameter(TABLE)[:3])
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        ours, theirs = table(images, text), glip(images, text)
    assert ours.logits.shape[2] == 3
    for name in ("logits", "deltas", "centerness"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_one_batch_is_learned() -> None:
    model, tokenizer = build().train(), ClassTokenizer(ROWS)
    prompt = build_prompt(named("cat", "dog"), tokenizer)
    ids, mask = tokenizer.encode([prompt.caption])
    images, boxes = (
        torch.randn(1, 3, 96, 96),
        [torch.tensor([[10.0, 10, 60, 60], [50, 40, 90, 90]])],
    )
    maps = [positive_map(prompt.tokens, ids.shape[1])]
    before = model.get_parameter(TABLE).detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0)
    losses = []
    for _ in range(25):
        text = model.encode_text(ids, mask)
        outputs = model(images, text)
        loss = detection_losses(outputs, text.mask, build_targets(outputs, boxes, maps)).total
        optimizer.zero_grad()
        loss.backward()
        # DDP fails on a parameter without
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]  # what is left is mostly the entropy of the centerness
    moved = (model.get_parameter(TABLE) != before).any(dim=1)
    assert moved[:2].all()
    assert not moved[2:].any()


# -- files


def test_a_folder_needs_no_vocabulary(tmp_path: Path) -> None:
    model, task = build(), Task(named("cat", "St. Bernard"), (96, 128))
    folder = save(model, ClassTokenizer(ROWS), tmp_path / "detector", task)
    assert {file.name for file in folder.iterdir()} - {"README.md"} == {
        "config.json",
        "model.safetensors",
        "task.json",
    }
    loaded = load_detector(str(folder))
    assert loaded.task == task
    assert loaded.model.config == model.config
    assert all(
        torch.equal(x, loaded.model.state_dict()[key]) for key, x in model.state_dict().items()
    )
    assert isinstance(load_tokenizer(str(folder)), ClassTokenizer)
    assert len(load_tokenizer(str(folder))) == ROWS
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingFile) as caught:
        load_detector(str(folder))
    assert caught.value.code == "missing-file"
    files = Counter(re.findall(r"config\.json|model\.safetensors|vocab\.txt", str(caught.value)))
    # as missing, and in the list of what a folder holds
    assert files.most_common(1) == [("model.safetensors", 2)]


def test_the_tokenizer_of_another_detector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GLIPError) as caught:
        save(build(), Tokenizer.nano(), tmp_path / "detector")
    assert caught.value.code == "other-vocabulary"
    assert {str(len(Tokenizer.nano())), str(ROWS)} <= words(str(caught.value))


@pytest.mark.parametrize(
    "without_text, code", [(True, "no-text-encoder"), (False, "no-official-layout")]
)
def test_what_cannot_be_converted_says_why(tmp_path: Path, without_text: bool, code: str) -> None:
    folder = save(build(), ClassTokenizer(ROWS), tmp_path / "detector")
    with pytest.raises(GLIPError, match=re.escape(str(folder))) as caught:
        convert_weights(
            folder, tmp_path / ("out" if without_text else "out.pth"), without_text=without_text
        )
    assert caught.value.code == code
    assert [path.name for path in tmp_path.iterdir()] == ["detector"]


# -- tunings


def groups(tuning: Tuning) -> dict[str, dict[str, float]]:
    """Name of every trained parameter -> its rate and decay."""
    model = build()
    found = tuning.setup(model, None, ClassTokenizer(ROWS))
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names.get(id(p), "update"): {"lr": group["lr"], "decay": group["weight_decay"]}
        for group in found
        for p in group["params"]
    }


def test_the_table_learns_at_the_rate_of_the_head() -> None:
    assert groups(FullTuning(lr=0.1, text_lr=0.2, weight_decay=0.3))[TABLE] == {
        "lr": 0.1,
        "decay": 0.3,
    }
    probe = groups(LinearProbe(lr=0.1))
    assert probe[TABLE]["lr"] == 0.1
    assert all(name == TABLE or name.startswith("grounding.") for name in probe)
    assert groups(LoRATuning(parts=["head"], lr=0.1)).keys() == {"update", TABLE}
    assert groups(PartialTuning(rates={"^language": 0.1})).keys() == {TABLE}


@pytest.mark.parametrize("tuning", [PromptTuning(), PromptTuning(form="context"), LanguageTuning()])
def test_tunings_of_text_are_refused(tuning: Tuning) -> None:
    with pytest.raises(GLIPError) as error:
        tuning.setup(build(), None, ClassTokenizer(ROWS))
    assert error.value.code == "no-text-encoder"


def test_no_layer_of_text_takes_low_rank_updates() -> None:
    with pytest.raises(GLIPError) as error:
        LoRATuning(parts=["text"]).setup(build(), None, ClassTokenizer(ROWS))
    assert error.value.code == "empty-part"


# -- class lists


def classes_of(folder: Path) -> list[str]:
    content = json.loads((folder / "train" / ANNOTATIONS).read_text())
    return [category["name"] for category in content["categories"]]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Path:
    """The same pictures; their classes have other names."""
    folder = tmp_path_factory.mktemp("renamed") / "shapes"
    shutil.copytree(shapes, folder)
    for file in folder.glob(f"*/{ANNOTATIONS}"):
        content = json.loads(file.read_text())
        for category in content["categories"]:
            category["name"] = f"St. {category['name']}, new"
        file.write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Path:
    """A finished run from random weights."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    found = go("fit", shapes, folder, "--model.detector=dyhead-nano", "--model.weights=random")
    assert found["metrics"]["test"]["images"] == 2
    return folder


def met(
    detector: str,
    data: Path,
    verb: str = "fit",
    seed: int = 0,
    weights: Literal["pretrained", "random"] = "pretrained",
) -> GLIPModule:
    """The module as it is when training or testing begins."""
    seed_everything(seed, verbose=False)
    module = GLIPModule(detector, weights, LinearProbe())
    trainer = tiny_trainer(data.parent, max_epochs=0)
    folder = CustomData(
        str(data), batch_size=2, min_sizes=(96,), max_size=128, test_size=96, flip=0
    )
    getattr(trainer, verb)(module, datamodule=folder)
    return module


def of_other_classes(detector: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the levels of the log lines that name the classes of a trained ``detector``."""
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    return [level for level, line in said if detector in line and "red circle" in line]


def test_a_run_learns_its_rows_and_keeps_them(
    run: Path, shapes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not (run / "detector" / "vocab.txt").exists()
    kept = load_detector(str(run))
    assert kept.task is not None
    assert [phrase.name for phrase in kept.task.phrases] == classes_of(shapes)
    with caplog.at_level("INFO", logger="glip_lightning"):
        again = met(str(run), shapes)
    assert torch.equal(again.model.get_parameter(TABLE), kept.model.get_parameter(TABLE))
    assert of_other_classes(str(run), caplog) == []


def test_a_new_class_list_starts_the_table_anew_and_nothing_else(
    run: Path, renamed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = load_detector(str(run)).model.state_dict()
    with caplog.at_level("INFO", logger="glip_lightning"):
        ours = met(str(run), renamed).model.state_dict()
    assert [key for key, x in ours.items() if not torch.equal(x, kept[key])] == [TABLE]
    assert of_other_classes(str(run), caplog) == ["INFO"]
    assert 0.9 < float(ours[TABLE].std()) < 1.1
    assert torch.equal(met(str(run), renamed).model.get_parameter(TABLE), ours[TABLE])
    assert not torch.equal(met(str(run), renamed, seed=1).model.get_parameter(TABLE), ours[TABLE])


def test_zero_shot_on_another_list_is_a_warning(
    run: Path, renamed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="glip_lightning"):
        met(str(run), renamed, "test")
    assert of_other_classes(str(run), caplog) == ["WARNING"]


def test_an_initial_table_belongs_to_no_list(shapes: Path) -> None:
    module = met("dyhead-nano", shapes, weights="random")
    seed_everything(0, verbose=False)
    first = GLIPModule("dyhead-nano", "random", LinearProbe()).model
    assert torch.equal(module.model.get_parameter(TABLE), first.get_parameter(TABLE))


@pytest.mark.parametrize(
    "tuning",
    [
        ["--model.tuning=LinearProbe", "--model.tuning.lr=0.01"],
        ["--model.tuning=LoRATuning", "--model.tuning.parts=[head]"],
        ["--model.tuning=PartialTuning", '--model.tuning.rates={"^fpn.p6": 0.001}'],
    ],
    ids=lambda arguments: arguments[0].rpartition("=")[2],
)
def test_an_adapter_holds_the_rows_of_its_classes(
    run: Path, renamed: Path, tmp_path: Path, tuning: list[str]
) -> None:
    """Untrained random rows are kept, too: the base has the rows of other classes."""
    pretrained = [f"--model.detector={run}", "--model.weights=pretrained"]
    go("fit", renamed, tmp_path / "run", *pretrained, *tuning)
    rows = load_adapter(tmp_path / "run" / RUN_ADAPTER).tensors[f"new.{TABLE}"]
    loaded = load_detector(str(tmp_path / "run"))
    assert torch.equal(loaded.model.get_parameter(TABLE), rows)
    assert isinstance(loaded.tokenizer, ClassTokenizer)
    assert loaded.task is not None
    assert [phrase.name for phrase in loaded.task.phrases] == classes_of(renamed)
    # seed_everything of the recipe
    started = torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rows, started) == ("PartialTuning" in tuning[0])
    adapted = [f"--model.detector={tmp_path / 'run'}", "--model.weights=pretrained"]
    assert go("test", renamed, tmp_path / "test", *adapted)["metrics"]["test"]["images"] == 2


# -- prediction


def test_a_run_finds_its_own_classes(
    run: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = next((shapes / "test").glob("*.jpg"))
    assert (
        main(
            ["predict", str(photo), "--detector", str(run), "--threshold=0", "--out", str(tmp_path)]
        )
        == 0
    )
    assert line_with(capsys.readouterr().out, ", ".join(classes_of(shapes)))
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert content["classes"] == classes_of(shapes)
    same = Predictor(str(run)).queries(
        [Phrase(name, "a ", " thing") for name in classes_of(shapes)]
    )
    assert same[0].class_tokens(0) == [(k,) for k in range(len(classes_of(shapes)))]


def test_other_phrases_are_an_error_that_names_its_own(
    run: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = next((shapes / "test").glob("*.jpg"))
    arguments = ["--detector", str(run), "--phrases", "raccoon. dog", "--out", str(tmp_path)]
    assert main(["predict", str(photo), *arguments]) == 1
    told = capsys.readouterr().err
    assert ", ".join(classes_of(shapes)) in told
    assert "Traceback" not in told
    with pytest.raises(GLIPError) as caught:
        Predictor(str(run)).queries("raccoon. dog")
    assert caught.value.code == "unknown-class"


@pytest.mark.parametrize("phrases", [None, "raccoon. dog"])
def test_an_untrained_table_knows_no_classes(phrases: str | None, tmp_path: Path) -> None:
    untrained = load_detector("dyhead-nano", "random")
    folder = save(untrained.model, untrained.tokenizer, tmp_path / "untrained")
    with pytest.raises(GLIPError, match=re.escape(str(folder))) as caught:
        Predictor(str(folder)).queries(phrases)
    assert caught.value.code == "no-classes"


def test_doctor_shows_one_token_per_class(
    renamed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(renamed), "--detector", "dyhead-nano"]) == 0
    said = capsys.readouterr().out
    assert "dyhead-nano" in words(said)
    assert "St. red circle," in said  # the table breaks the line before "new"


# -- what else has to know


def test_retention_probes_the_same_classes_only(
    run: Path, shapes: Path, renamed: Path, tmp_path: Path
) -> None:
    arguments = [
        *options(shapes, tmp_path / "run"),
        f"--model.detector={run}",
        "--model.weights=pretrained",
    ]
    probe = ["--retention.data=CustomData", "--retention.data.min_sizes=[96]"]
    probe += ["--retention.data.test_size=96", "--retention.data.max_size=128"]
    refused = refusal("fit", *arguments, *probe, f"--retention.data.root={renamed}")
    assert refused.code == "other-classes"
    assert str(run) in str(refused)
    assert "retention.data" in words(str(refused))
    assert main(["fit", *arguments, *probe, f"--retention.data.root={shapes}"]) == 0


def test_tables_are_built_where_the_configuration_says_so() -> None:
    assert isinstance(build().language, ClassTable)
    assert all(
        not isinstance(GLIP(variant(name)).language, ClassTable)
        for name in ("glip-nano", "glip-nano-a")
    )


def test_rows_that_start_anew_are_the_same_whatever_the_device() -> None:
    here, there = ClassTable(3, 4), ClassTable(3, 4)
    here.start_anew(5)
    with torch.device("meta"):  # as Lightning sets the accelerator's while a model is configured
        there.start_anew(5)
    assert torch.equal(here.rows, there.rows)
    assert not torch.equal(here.rows, ClassTable(3, 4).rows)
