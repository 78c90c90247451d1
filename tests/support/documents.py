"""What the documents say: their commands, code and links, and a folder in which the commands can be
typed.
"""

import importlib.util
import io
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image

from formats import write_parts
from glip_lightning.data.benchmarks.download import FOLDER, REPOSITORY
from glip_lightning.data.benchmarks.odinw import odinw_names, odinw_task
from glip_lightning.evaluation.best_threshold import BestThreshold
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.query import encode_query
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import NANO_VOCAB, Tokenizer
from glip_lightning.weights.base_model import Base, weights_hash
from glip_lightning.weights.hub_files import OFFICIAL, OFFICIAL_VOCAB
from glip_lightning.weights.load import RUN_DETECTOR, Task, save
from glip_lightning.weights.official_checkpoint import to_official
from glip_lightning.weights.prompt_file import PROMPT_NAME, TunedPrompt, save_prompt
from glip_lightning.weights.run_files import RESULT_NAME
from glip_lightning.weights.threshold_file import write_thresholds
from hub_server import zip_of
from report_sweep import write_sweep
from tiny_sizes import SIZES

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
GOLDEN = ROOT / "tests" / "golden"
CHECKOUT = (  # what a copy of the checkout links to
    *("src", "tests", "docs", "notebooks", "benchmarks"),
    *(
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "mkdocs.yml",
        "pyproject.toml",
        "constraints.txt",
        "Makefile",
    ),
)

FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?"
    r"```(?P<language>\w*)(?: title=\"(?P<title>[^\"\n]+)\")?\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
INLINE_COMMAND = re.compile(r"`(glip env|glip convert [^`]+)`")
SIZE = (64, 48)  # pixels of the generated photos: width, height
IMAGES = 12  # of each split, with one box of every class


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str
    title: str = ""  # of a file that later commands read: its name
    reason: str = ""  # why it is not run, from the comment above it

    def commands(self) -> list[str]:
        """Return the commands as one types them: one per line, without its comment."""
        lines = re.sub(r" *\\\n *", " ", self.text).splitlines()
        commands = [re.split(r"(?:^| +)#", line)[0].strip() for line in lines]
        return [command for command in commands if command]


def blocks(language: str) -> list[Block]:
    """Return the blocks of all pages in a language, each once where pages share it."""
    found: dict[str, Block] = {}
    for page in PAGES:
        for fence in FENCE.finditer(page.read_text(encoding="utf-8")):
            if fence["language"] == language:
                where, text = str(page.relative_to(ROOT)), fence["text"]
                found.setdefault(
                    text, Block(where, language, text, fence["title"] or "", fence["reason"] or "")
                )
    return list(found.values())


@cache
def generated_pages() -> ModuleType:
    """Return the hook that makes pages when the site is built; ``PAGES`` has them by place."""
    spec = importlib.util.spec_from_file_location("generated_pages", DOCS / "generated_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def commands() -> list[str]:
    """Return every command of the documents once: those of blocks, complete ones in the text."""
    written = [command for block in blocks("bash") for command in block.commands()]
    inline = [command for page in PAGES for command in INLINE_COMMAND.findall(prose(page))]
    return list(dict.fromkeys(written + inline))


def write_checkout(folder: Path) -> None:
    """Write a light copy of the checkout; its recipes end their trainings after an epoch or two
    steps.
    """
    for name in CHECKOUT:
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    short = {
        "max_epochs": "1",
        "max_steps": "2",
        "val_check_interval": "2",
        "check_val_every_n_epoch": "1",
    }
    for recipe in folder.glob("recipes/**/*.yaml"):
        text = recipe.read_text(encoding="utf-8")
        for key, value in short.items():
            text = re.sub(rf"^(  {key}:) \d+", rf"\1 {value}", text, flags=re.MULTILINE)
        recipe.write_text(text, encoding="utf-8")
        # which wins over the recipe of that name
        name = folder / recipe.relative_to(folder / "recipes").with_suffix("")
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_text(text, encoding="utf-8")


def not_run() -> dict[str, str]:
    """Return the commands of blocks that a comment takes out, each with the reason."""
    return {
        command: block.reason
        for block in blocks("bash")
        if block.reason
        for command in block.commands()
    }


def _picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, "JPEG")
    return memory.getvalue()


def task_files(name: str) -> dict[str, bytes]:
    """Return the files of an ODinW task by their paths in its zip file."""
    task, files = odinw_task(name), {}
    width, height = SIZE
    for k, (split, file) in enumerate(task.splits.items()):
        annotations = [
            {
                "id": 1 + i * len(task.categories) + c,
                "image_id": i + 1,
                "category_id": c + 1,
                "iscrowd": 0,
            }
            | {"bbox": [2 + 3 * (c % 8), 2 + 2 * (c % 8), 20, 16], "area": 320}
            for i in range(IMAGES)
            for c in range(len(task.categories))
        ]
        images = [
            {"id": i + 1, "file_name": f"{split}{i}.jpg", "width": width, "height": height}
            for i in range(IMAGES)
        ]
        categories = [{"id": c + 1, "name": category} for c, category in enumerate(task.categories)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        files[f"{task.dir}/{file}"] = json.dumps(content).encode()
        for i, image in enumerate(images):
            files[f"{task.dir}/{Path(file).parent}/{image['file_name']}"] = _picture(1000 * k + i)
    return files


def archives() -> dict[str, bytes]:
    """Return the zip files of ODinW-13, by repository and name."""
    tasks = map(odinw_task, odinw_names("odinw13"))
    return {f"{REPOSITORY}/{FOLDER}/{task.zip}": zip_of(task_files(task.name)) for task in tasks}


def _official(name: str) -> GLIP:
    """Return a tiny detector with random weights and high scores, so that there are boxes."""
    torch.manual_seed(0)
    model = GLIP(SIZES[name]).eval()
    with torch.no_grad():
        model.grounding.token_bias.fill_(1.0)
    return model


def hub_files() -> dict[str, bytes]:
    """Return what the Hub has of the official detectors, by repository and name."""
    files = {f"{OFFICIAL_VOCAB.repo}/{OFFICIAL_VOCAB.name}": NANO_VOCAB.read_bytes()}
    for name, config in SIZES.items():
        memory = io.BytesIO()
        torch.save({"model": to_official(_official(name).state_dict(), config)}, memory)
        files[f"{OFFICIAL[name].repo}/{OFFICIAL[name].name}"] = memory.getvalue()
    return files


def write_inputs(folder: Path) -> None:
    """Write what the commands read, under the names by which they call it; what they make is not
    there.
    """
    (folder / "photos").mkdir()
    for k in range(2):
        (folder / "photos" / f"{k}.jpg").write_bytes(_picture(k))
    for name in ("photo.jpg", "PHOTO", "things.jpg"):
        (folder / name).write_bytes(_picture(2))
    shutil.copytree(folder / "photos", folder / "OTHER_PHOTOS")
    captions = [{"file_name": f"{k}.jpg", "caption": "a dog beside a raccoon"} for k in range(2)]
    (folder / "captions.json").write_text(json.dumps(captions))
    (folder / "phrases.yaml").write_text(
        '- {name: holes, prefix: "there are some ", suffix: " on the road"}\n- dog\n'
    )
    write_parts(folder / "PHOTOS")
    model = _official("glip-tiny")
    for name in ("in.pth", OFFICIAL["glip-tiny-c"].name):
        torch.save({"model": to_official(model.state_dict(), model.config)}, folder / name)
    _write_prompt(folder / "potholes.safetensors", model, "pothole")
    _write_prompt(folder / "cracks.safetensors", model, "crack")
    for block in blocks("yaml"):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
    write_sweep(
        folder / "SWEEP",
        ["Raccoon", "Aquarium"],
        [0, 3, "all"],
        [3, 30],
        ["FullTuning", "PromptTuning"],
    )


def write_made(folder: Path) -> None:
    """Write what earlier commands leave for later ones: a download, runs, sweeps."""
    for name in odinw_names("odinw13"):
        for path, content in task_files(name).items():
            file = folder / "DATA" / "odinw" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    model = _official("glip-tiny")
    for run, names in {"raccoon-001": ["raccoon"], "photos-001": ["cat", "dog"]}.items():
        task = Task(tuple(Phrase(name) for name in names))
        (folder / "runs" / run).mkdir(parents=True)
        save(model, Tokenizer.nano(), folder / "runs" / run / RUN_DETECTOR, task)
        shutil.copy(GOLDEN / "runs_0_1" / "lora" / RESULT_NAME, folder / "runs" / run)
    found = BestThreshold(threshold=0.3, precision=0.5, recall=0.5, boxes=12)
    write_thresholds(folder / "runs" / "photos-001", {"cat": found, "dog": found})
    for run in ("pothole-001", "potholes"):
        (folder / "runs" / run).mkdir()
        _write_prompt(folder / "runs" / run / PROMPT_NAME, model, "pothole")
    (folder / "runs" / "kites-001").mkdir()
    _write_prompt(folder / "runs" / "kites-001" / PROMPT_NAME, model, "kite")
    kites = folder / "runs" / ".shapes" / "Kites" / "test"
    kites.mkdir(parents=True)
    shutil.copy(folder / "photo.jpg", kites / "00002.jpg")
    for name in ("SWEEP", "claims", "claims_shapes13", "own_photos"):
        shutil.copytree(folder / "SWEEP", folder / "runs" / name)


def _write_prompt(file: Path, model: GLIP, *names: str) -> None:
    phrases: Sequence[Phrase] = [Phrase(name) for name in names]
    base = Base("glip-tiny", weights_hash(model, text=False), (800, 1333))
    with torch.no_grad():
        query = encode_query(model, Tokenizer.nano(), phrases)
    save_prompt(file, TunedPrompt(query, "PromptTuning", base))
