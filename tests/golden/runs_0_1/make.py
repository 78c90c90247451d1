"""Write the files of version 0.1 that lie beside this script: `python make.py` in an empty folder, one thread.

It ran once, with the code of commit 7a6b2ea. Later versions read what it wrote, see tests/test_old_files.py; they need
not be able to run it. The detector is random, too small to find anything, and sure of itself, so that there are boxes.
"""

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import torch

import glip_lightning.module as module
from glip_lightning.cli import main
from glip_lightning.data.shapes.task_pictures import write_task
from glip_lightning.models.config import GLIPConfig, TextConfig
from glip_lightning.models.glip import GLIP
from glip_lightning.pretrained import save
from glip_lightning.text import Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *LETTERS, *(f"##{x}" for x in LETTERS)]
STOPPED_AT = 5  # of eight steps, in the middle of an epoch
RECIPE = """\
seed_everything: 0
model:
  detector: detector
  tuning:
    class_path: glip_lightning.tuning.LoRATuning
    init_args: {lr: 0.01}
data:
  class_path: glip_lightning.datamodules.CustomData
  init_args: {root: pictures, batch_size: 2, min_sizes: [160], max_size: 160, test_size: 160, workers: 0}
trainer: {max_epochs: 4, accelerator: cpu, log_every_n_steps: 1}
"""
RUNS = {
    "lora": [],
    "probe": ["--model.tuning", "LinearProbe", "--model.tuning.lr=0.01"],
    "prompt": ["--model.tuning", "PromptTuning", "--model.tuning.lr=0.3"],
    "interrupted": [],
}
CAPTIONS = ("a red circle near a blue square", "one square")
MIXTURE = """\
model: {detector: detector}
data:
  class_path: Pretraining
  init_args:
    root: .
    sources: {labels: {file: labels.json, images: photos}}
    epoch_images: 2
    valid: pictures/valid/annotations_without_background.json
    batch_size: 2
    min_sizes: [160]
    max_size: 160
    test_size: 160
    workers: 0
trainer: {max_epochs: 1, accelerator: cpu, log_every_n_steps: 1}
"""


def make_detector() -> None:
    text = TextConfig(
        vocab_size=len(VOCABULARY), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        dropout=0.0,
    )  # fmt: skip
    config = GLIPConfig(
        swin_dim=2, swin_depths=(1, 1, 1, 1), swin_heads=(1, 1, 1, 1), swin_window=2, drop_path=0.0, drop_block=0.0,
        channels=16, rounds=1, fusion_dim=16, fusion_heads=2, fusion_dropout=0.0, small_start=True, text=text,
    )  # fmt: skip
    torch.manual_seed(0)
    model = GLIP(config)
    with torch.no_grad():
        model.grounding.token_bias.fill_(1.0)
    Path("vocab.txt").write_text("".join(f"{token}\n" for token in VOCABULARY), encoding="utf-8")
    save(model, Tokenizer("vocab.txt"), "detector")
    Path("vocab.txt").unlink()


def glip(*arguments: str, stopped: bool = False) -> None:
    code = main(arguments)
    assert code == (130 if stopped else 0), (code, arguments)


def fit(run: str, *more: str, stopped: bool = False) -> None:
    glip("fit", "--config", "recipe.yaml", "--run", run, *more, stopped=stopped)


def interrupted(run: str, *more: str) -> None:
    """A run that Ctrl-C stops while it takes its last step but three."""
    start = module.GLIPModule.on_train_batch_start

    def stop(self: module.GLIPModule, batch: object, batch_idx: int) -> None:
        start(self, batch, batch_idx)  # pyrefly: ignore
        if self.global_step == STOPPED_AT - 1:
            os.kill(os.getpid(), signal.SIGINT)

    module.GLIPModule.on_train_batch_start = stop  # pyrefly: ignore
    try:
        fit(run, *more, stopped=True)
    finally:
        module.GLIPModule.on_train_batch_start = start


def numbers(run: str) -> dict[str, object]:
    """What a run reached: losses by step, metrics, the detections in their order."""
    result = json.loads((Path(run) / "result.json").read_text())
    return {
        "losses": losses_of(run),
        "test": scalars(result["metrics"]["test"]),
        "steps": result["steps"],
        **found(run),
    }


def losses_of(run: str) -> list[float]:
    with (Path(run) / "logs" / "metrics.csv").open(newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def scalars(metrics: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}


def found(run: str) -> dict[str, object]:
    rows = json.loads((Path(run) / "detections.json").read_text())
    best = sorted(rows, key=lambda row: -row["score"])[:5]
    return {"detections": len(rows), "scores": [row["score"] for row in best], "boxes": [row["bbox"] for row in best]}


def predictions(*options: str) -> list[list[object]]:
    """The surest boxes of each photo: class, score, corners."""
    glip("predict", "pictures/test", *options, "--threshold", "0.05", "--out", "out", "--device", "cpu")
    photos = json.loads(Path("out/predictions.json").read_text())["photos"]
    shutil.rmtree("out")
    return [[[x["name"], x["score"], x["box"]] for x in photo["detections"][:5]] for photo in photos]


def best() -> dict[str, object]:
    """The best checkpoint of the interrupted run, tested."""
    checkpoint = "interrupted/checkpoints/best.ckpt"
    glip("test", "--config", "interrupted/recipe.yaml", "--ckpt_path", checkpoint, "--run", "out")
    result = json.loads(Path("out/result.json").read_text())
    expected = {"epoch": result["best_epoch"], "test": scalars(result["metrics"]["test"]), **found("out")}
    shutil.rmtree("out")
    return expected


def mixture() -> list[float]:
    """Losses of an epoch on the pseudo-labels."""
    Path("mixture.yaml").write_text(MIXTURE, encoding="utf-8")
    glip("fit", "--config", "mixture.yaml", "--run", "out")
    losses = losses_of("out")
    shutil.rmtree("out")
    return losses


def labels() -> dict[str, object]:
    """How many boxes a threshold keeps; the last one's file stays."""
    photos = sorted(Path("pictures/valid").glob("*.jpg"))
    Path("photos").mkdir()
    rows = []
    for photo, caption in zip(photos, CAPTIONS, strict=True):
        shutil.copy(photo, "photos")
        rows.append(json.dumps({"file_name": photo.name, "caption": caption}) + "\n")
    Path("captions.jsonl").write_text("".join(rows), encoding="utf-8")
    expected = {threshold: len(pseudo_labels(threshold)["annotations"]) for threshold in ("0.65", "0.6")}
    journal = Path("labels.scores.jsonl")  # the only file that has to hold a full path
    journal.write_text(journal.read_text().replace(str(Path("photos").resolve()), "PHOTOS"))
    Path("labels.scores.jsonl.lock").unlink(missing_ok=True)
    return expected


def pseudo_labels(threshold: str) -> dict[str, list[object]]:
    what = ["--images", "photos", "--captions", "captions.jsonl", "--detector", "detector", "--device", "cpu"]
    glip("pseudo-label", *what, "--out", "labels.json", "--threshold", threshold)
    return json.loads(Path("labels.json").read_text())


def make() -> None:
    os.environ["WANDB_MODE"] = "disabled"
    torch.set_num_threads(1)
    module.absolute = str  # pyrefly: ignore - the files are read from another folder than this one
    Path("recipe.yaml").write_text(RECIPE, encoding="utf-8")
    write_task("pictures", counts={"train": 4, "valid": 2, "test": 2}, size=64)
    make_detector()
    expected: dict[str, object] = {}
    for name, options in RUNS.items():
        fit(name, *options)
        expected[name] = numbers(name)
        if name == "interrupted":  # the uninterrupted run says what the other one has to reach
            shutil.rmtree(name)
            interrupted(name, *options)
        else:
            shutil.rmtree(Path(name) / "checkpoints")
            shutil.rmtree(Path(name) / "predictions")
    expected["predict"] = {
        "lora": predictions("--detector", "lora"),
        "probe": predictions("--detector", "probe"),
        "prompt": predictions("--detector", "detector", "--prompt", "prompt/prompt.safetensors"),
    }
    expected["best"] = best()
    expected["labels"] = labels()
    expected["mixture"] = mixture()
    Path("recipe.yaml").unlink()
    Path("expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make()
