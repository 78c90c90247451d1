"""A tuned prompt as a file: what is in it, who may use it, and that it finds what its run found."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.inference.predictor import Predictor
from glip_lightning.models.config import variant
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.query import Query, encode_query
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.text.captions import build_prompts
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.weights.base_model import Base, check_base, weights_hash
from glip_lightning.weights.conversion import convert_weights
from glip_lightning.weights.load import load_detector, save
from glip_lightning.weights.prompt_file import (
    KEY,
    PROMPT_NAME,
    TunedPrompt,
    load_prompt,
    save_prompt,
)
from printed import words
from refusals import refusal
from small_runs import go, make_shapes, options, result

PHOTO = 96  # pixels


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector in a folder."""
    torch.manual_seed(0)
    model = GLIP(variant("glip-nano"))
    with torch.no_grad():
        model.grounding.token_bias.fill_(1.0)  # sure of itself, so that there are boxes
    return save(model, Tokenizer.nano(), tmp_path_factory.mktemp("base") / "detector")


@pytest.fixture(scope="module", params=["offset", "features", "context"])
def run(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    shapes: Path,
    base: Path,
) -> Path:
    """A finished run that tuned a prompt for it."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    tuning = [
        "--model.tuning=PromptTuning",
        f"--model.tuning.form={request.param}",
        "--model.tuning.lr=0.3",
    ]
    go("fit", shapes, folder, f"--model.detector={base}", "--model.weights=pretrained", *tuning)
    return folder


def made(names: list[str], model: GLIP, seed: int = 0) -> TunedPrompt:
    """A prompt whose features were moved a little."""
    query = encode_query(model, Tokenizer.nano(), [Phrase(name) for name in names])
    noise = torch.Generator().manual_seed(seed)
    texts = tuple(
        replace(x, hidden=x.hidden + torch.randn(x.hidden.shape, generator=noise))
        for x in query.texts
    )
    return TunedPrompt(
        replace(query, texts=texts),
        "made",
        Base("glip-nano", weights_hash(model, text=False), (PHOTO, 128)),
    )


def same_query(one: Query, other: Query) -> bool:
    same_texts = [
        torch.equal(a.hidden, b.hidden) and torch.equal(a.mask, b.mask)
        for a, b in zip(one.texts, other.texts, strict=True)
    ]
    return (one.phrases, one.prompts) == (other.phrases, other.prompts) and all(same_texts)


def test_the_run_leaves_a_small_file_and_no_copy_of_the_detector(run: Path, base: Path) -> None:
    assert not (run / "detector").exists()
    assert (run / PROMPT_NAME).stat().st_size < 100_000
    prompt = load_prompt(run / PROMPT_NAME)
    assert prompt.base == Base(
        str(base), weights_hash(load_detector(str(base)).model, text=False), (96, 128)
    )
    assert prompt.tuning.startswith(f"PromptTuning(form={run.name}, lr=0.3, weight_decay=")
    # not the recipe's
    assert result(run)["groups"][0]["weight_decay"] == 0
    assert [phrase.name for phrase in prompt.query.phrases] == result(run)["classes"]
    assert result(run)["parts"]["vision"]["trainable"] == 0
    assert (
        result(run)["parts"]["tuning"]["trainable"] == result(run)["parts"]["all"]["trainable"] > 0
    )


def test_a_new_process_without_the_text_encoder_finds_what_the_run_found(
    run: Path, base: Path, shapes: Path, tmp_path: Path
) -> None:
    """Predict the run's test split from the file and a folder without text encoder."""
    bare = convert_weights(base, tmp_path / "bare", without_text=True)
    with safe_open(bare / "model.safetensors", framework="pt") as file:
        assert not [key for key in file.keys() if key.startswith("language.")]  # noqa: SIM118
    moved = shutil.copy(run / PROMPT_NAME, tmp_path)
    command = [
        sys.executable,
        "-m",
        "glip_lightning.app.cli",
        "predict",
        str(shapes / "test"),
        "--prompt",
        str(moved),
    ]
    command += [
        "--detector",
        str(bare),
        "--threshold",
        "0.06",
        "--out",
        str(tmp_path / "out"),
        "--device",
        "cpu",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    photos = json.loads((tmp_path / "out" / "predictions.json").read_text())["photos"]
    found = json.loads((run / "detections.json").read_text())
    assert found
    ids = sorted({row["image_id"] for row in found})
    for photo, image in zip(sorted(photos, key=lambda x: x["photo"]), ids, strict=True):
        ours = [(row["score"], row["box"]) for row in photo["detections"]]
        theirs = sorted(
            (r for r in found if r["image_id"] == image and r["score"] >= 0.06),
            key=lambda r: -r["score"],
        )
        assert len(ours) == len(theirs) > 0
        for (score, box), row in zip(ours, theirs, strict=True):
            x, y, w, h = row["bbox"]
            assert score == pytest.approx(row["score"], abs=1e-5)
            assert box == pytest.approx([x, y, x + w, y + h], abs=0.02)


def test_predict_takes_the_prompt_of_a_run(run: Path, shapes: Path) -> None:
    photo = next((shapes / "test").glob("*.jpg"))
    by_run, by_file = (
        Predictor(str(run), threshold=0.06),
        Predictor(prompts=[run / PROMPT_NAME], threshold=0.06),
    )
    assert torch.equal(by_run(photo).scores, by_file(photo).scores)
    assert not by_run.model.config.text_encoder


def test_the_recipe_of_the_run_tests_its_prompt(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["test", "--config", str(run / "recipe.yaml"), "--run", str(tmp_path / "again")]
    assert main(again) == 0
    assert result(tmp_path / "again")["metrics"]["test"] == result(run)["metrics"]["test"]
    assert str(run) in words(capsys.readouterr().err)  # the run whose prompt is tested
    tuning = result(tmp_path / "again")["recipe"]["model"]["tuning"]
    assert tuning == {
        "class_path": "glip_lightning.SavedPrompt",
        "init_args": {"file": str(run / PROMPT_NAME)},
    }


def test_random_weights_are_kept_with_the_prompt(shapes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    go("fit", shapes, folder, "--model.tuning=PromptTuning", "--trainer.max_steps=1")
    assert (folder / "detector" / "model.safetensors").is_file()
    predictor = Predictor(str(folder), threshold=0.06)
    assert predictor.tuned
    assert load_prompt(folder / PROMPT_NAME).base.name == str(folder)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), min_size=1, max_size=6
    ),
    prefix=st.text(st.characters(codec="utf-8"), max_size=4),
)
def test_any_query_comes_back_as_it_was(names: list[str], prefix: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.nano()
    phrases = tuple(Phrase(name, prefix) for name in names)
    prompts = tuple(build_prompts(phrases, tokenizer))
    masks = [tokenizer.encode([prompt.caption])[1].bool() for prompt in prompts]
    texts = tuple(TextFeatures(torch.randn(*mask.shape, 8), mask) for mask in masks)
    written = TunedPrompt(
        Query(phrases, prompts, texts), "made", Base("glip-nano", "0" * 64, (800, 1333))
    )
    save_prompt(tmp_path / "p.safetensors", written)
    read = load_prompt(tmp_path / "p.safetensors")
    assert same_query(read.query, written.query)
    assert (read.tuning, read.base) == (written.tuning, written.base)


def test_several_prompts_find_what_each_finds_alone(
    base: Path, shapes: Path, tmp_path: Path
) -> None:
    model = load_detector(str(base)).model
    files = []
    for k, names in enumerate([["red circle"], ["blue square", "star"]]):
        files.append(tmp_path / f"{k}.safetensors")
        save_prompt(files[-1], made(names, model, seed=k))
    photo = next((shapes / "test").glob("*.jpg"))
    alone = [Predictor(str(base), prompts=[file], threshold=0.06)(photo) for file in files]
    both = Predictor(str(base), prompts=files, threshold=0.06)(photo)
    assert {"red circle", "blue square", "star"} >= set(both.names)
    for k, (names, one) in enumerate(
        zip([["red circle"], ["blue square", "star"]], alone, strict=True)
    ):
        keep = torch.tensor([name in names for name in both.names])
        assert torch.equal(both.boxes[keep], one.boxes)
        assert torch.equal(both.scores[keep], one.scores)
        assert torch.equal(both.labels[keep], one.labels + k)
    assert both.scores.tolist() == sorted(both.scores.tolist(), reverse=True)
    command = [
        "predict",
        str(photo),
        "--prompt",
        str(files[0]),
        "--prompt",
        str(files[1]),
        "--detector",
        str(base),
    ]
    assert main([*command, "--threshold", "0.06", "--out", str(tmp_path / "out")]) == 0
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert content["classes"] == ["red circle", "blue square", "star"]
    assert len(content["photos"][0]["detections"]) == len(both.scores)


def test_each_prompt_sees_the_size_that_it_was_tuned_at(
    base: Path, shapes: Path, tmp_path: Path
) -> None:
    model = load_detector(str(base)).model
    small, large = made(["star"], model), made(["star"], model)
    small = replace(small, base=replace(small.base, input_size=(64, 128)))
    for name, prompt in (("small", small), ("large", large)):
        save_prompt(tmp_path / name, prompt)
    photo = next((shapes / "test").glob("*.jpg"))
    alone = [
        Predictor(str(base), prompts=[tmp_path / n], threshold=0.06)(photo)
        for n in ("small", "large")
    ]
    both = Predictor(str(base), prompts=[tmp_path / "small", tmp_path / "large"], threshold=0.06)(
        photo
    )
    assert not torch.equal(alone[0].scores[:3], alone[1].scores[:3])
    for k, one in enumerate(alone):
        assert torch.equal(both.scores[both.labels == k], one.scores)


def test_rounded_weights_do_not_change_the_base(base: Path, shapes: Path, tmp_path: Path) -> None:
    tuning = [
        "--model.tuning=PromptTuning",
        "--trainer.precision=bf16-true",
        "--trainer.max_steps=1",
    ]
    go(
        "fit",
        shapes,
        tmp_path / "run",
        f"--model.detector={base}",
        "--model.weights=pretrained",
        *tuning,
    )
    assert Predictor(str(tmp_path / "run")).tuned


def test_zero_shots_are_the_untuned_detector(base: Path, shapes: Path, tmp_path: Path) -> None:
    detector = [f"--model.detector={base}", "--model.weights=pretrained", "--data.shots=0"]
    plain = go("fit", shapes, tmp_path / "plain", *detector)
    words = go(
        "fit",
        shapes,
        tmp_path / "words",
        *detector,
        "--model.tuning=PromptTuning",
        "--model.tuning.form=context",
    )
    assert words["metrics"] == plain["metrics"]


def test_a_saved_prompt_is_not_trained(base: Path, shapes: Path, tmp_path: Path) -> None:
    save_prompt(tmp_path / "p.safetensors", made(["star"], load_detector(str(base)).model))
    saved = ["--model.tuning=SavedPrompt", f"--model.tuning.file={tmp_path / 'p.safetensors'}"]
    refused = refusal("fit", *options(shapes, tmp_path / "run"), *saved)
    assert refused.code == "trains-nothing"
    assert str(tmp_path / "p.safetensors") in str(refused)


def test_another_base_is_refused_with_both_hashes(base: Path, tmp_path: Path) -> None:
    prompt = made(["star"], load_detector(str(base)).model)
    torch.manual_seed(1)
    other = GLIP(variant("glip-nano"))
    with pytest.raises(GLIPError, match=prompt.base.sha256) as refused:
        check_base("star.safetensors", prompt.base, other, "glip-nano", text=False)
    assert refused.value.code == "other-base"
    assert weights_hash(other, text=False) in str(refused.value)
    assert "star.safetensors" in str(refused.value)


def test_the_hash_is_of_the_numbers_without_the_text_encoder(base: Path) -> None:
    model = load_detector(str(base)).model
    before = weights_hash(model, text=False)
    with torch.no_grad():
        next(model.language.parameters()).add_(1)
    without_text = load_detector(str(base), text=False).model
    assert weights_hash(model, text=False) == before == weights_hash(without_text, text=False)
    half = load_detector(str(base)).model.half()
    assert weights_hash(half, text=False) != before  # rounded
    assert weights_hash(half.float(), text=False) == weights_hash(
        load_detector(str(base)).model.half(), text=False
    )
    with torch.no_grad():
        model.grounding.log_scale.add_(1e-3)
    assert weights_hash(model, text=False) != before


HARMS = {
    "torn": "unreadable-tensors",
    "foreign": "missing-key",
    "nan": "not-finite",
    "format": "other-format",
    "tokens": "bad-value",
    "text": "unreadable-tensors",
}
"""What is done to a file -> the code of the error."""


@pytest.mark.parametrize("harm, code", HARMS.items())
def test_a_file_that_is_no_prompt_is_named(
    harm: str, code: str, base: Path, tmp_path: Path
) -> None:
    path = tmp_path / "p.safetensors"
    save_prompt(path, made(["star"], load_detector(str(base)).model))
    with safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()[KEY])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if harm == "torn":
        path.write_bytes(path.read_bytes()[:-40])
    elif harm == "text":
        path.write_text("prompt")
    else:
        tensors["features.0"][0, 0] = torch.nan if harm == "nan" else 0.0
        content |= {"format": {"format": 2}} if harm == "format" else {}
        content["captions"][0]["tokens"] = (
            [[99]] if harm == "tokens" else content["captions"][0]["tokens"]
        )
        save_file(
            tensors, path, {"other": "x"} if harm == "foreign" else {KEY: json.dumps(content)}
        )
    with pytest.raises(GLIPError) as caught:
        load_prompt(path)
    assert caught.value.code == code
    assert str(path) in str(caught.value)
    with pytest.raises(MissingFile) as missing:
        load_prompt(tmp_path / "absent.safetensors")
    assert missing.value.code == "missing-file"
    assert "absent.safetensors" in str(missing.value)
    assert PROMPT_NAME in str(missing.value)


def test_phrases_and_prompts_exclude_each_other(base: Path, tmp_path: Path, shapes: Path) -> None:
    save_prompt(tmp_path / "p.safetensors", made(["star"], load_detector(str(base)).model))
    predictor = Predictor(str(base), prompts=[tmp_path / "p.safetensors"])
    with pytest.raises(GLIPError) as caught:
        predictor(next((shapes / "test").glob("*.jpg")), "star")
    assert caught.value.code == "bad-phrases"
    assert main(["predict", "x.jpg", "--phrases", "star", "--prompt", "p.safetensors"]) == 2


def test_without_text_encoder_only_tuned_prompts_work(
    base: Path, tmp_path: Path, shapes: Path
) -> None:
    bare = convert_weights(base, tmp_path / "bare", without_text=True)
    photo = next((shapes / "test").glob("*.jpg"))
    with pytest.raises(GLIPError) as caught:
        Predictor(str(bare))(photo, "star")
    assert caught.value.code == "no-text-encoder"
    with pytest.raises(GLIPError) as caught:
        convert_weights(bare, tmp_path / "official.pth")
    assert caught.value.code == "no-official-layout"
    assert str(bare) in str(caught.value)


def test_a_saved_prompt_needs_its_classes(base: Path, shapes: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.safetensors"
    save_prompt(file, made(["star"], load_detector(str(base)).model))
    tuning = ["--model.tuning=SavedPrompt", f"--model.tuning.file={file}"]
    detector = [f"--model.detector={base}", "--model.weights=pretrained"]
    refused = refusal("test", *options(shapes, tmp_path / "run"), *detector, *tuning)
    assert refused.code == "other-classes"
    assert str(file) in str(refused)
    assert "star" in str(refused)
    assert "red circle" in str(refused)
