"""One valid example of everything that the product reads: each function writes folders into a
folder, one per seed.
"""

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image, features

import formats
from fuzz_product import (
    GLIP,
    RUN_ADAPTER,
    Adapter,
    Base,
    Findings,
    GLIPConfig,
    Journal,
    Phrase,
    Task,
    TextConfig,
    Tokenizer,
    TunedPrompt,
    encode_query,
    read_folder,
    save,
    save_adapter,
    save_prompt,
    to_hub,
    to_official,
    weights_hash,
)
from report_sweep import recipe_of, result_of, write_sweep

RECIPES = Path(__file__).parent.parent.parent / "recipes"
PHRASES = (Phrase("cat"), Phrase("dog", prefix="a big "))
INPUT_SIZE = (32, 64)
JOURNAL_HEADER = {
    "pseudo-labels": 1,
    "teacher": "a",
    "weights": "0123",
    "input size": [32, 64],
    "images": "photos",
}
TASK, TOP = "Raccoon", "Raccoon"
PARTS = (
    "Raccoon/Raccoon.v2-raw.coco/train",
    "Raccoon/Raccoon.v2-raw.coco/valid",
    "Raccoon/Raccoon.v2-raw.coco/test",
)


# Data sets


def data_sets(folder: Path) -> None:
    """Write all layouts; the file names and boxes are those of ``formats``."""
    formats.write_parts(folder / "odinw", "annotations_without_background.json")
    formats.write_parts(folder / "roboflow")
    for split, names in formats.SPLITS.items():
        formats.write_coco(
            folder / "coco/annotations" / f"instances_{split}.json", folder / "coco" / split, names
        )
    formats.write_coco(folder / "single/annotations.json", folder / "single/images")
    _lvis(folder / "lvis")
    described = "names: [cat, dog]\ntrain: images/train\nval: images/valid\ntest: images/test\n"
    formats.write_yolo(folder / "yolo", described)
    _yolo_lists(folder / "yolo-lists")
    formats.write_labels(
        folder / "yolo-classes/images", folder / "yolo-classes/labels", tuple(formats.BOXES)
    )
    (folder / "yolo-classes/classes.txt").write_text("cat\ndog\n")
    lists = {"train": ["a", "b 1"], "val": ["c"], "test": ["d"]}
    formats.write_voc(folder / "voc", lists)
    formats.write_voc(folder / "voc-flat")
    _saved(folder / "saved", folder / "roboflow")


def _lvis(folder: Path) -> None:
    """Write COCO with the further keys of LVIS."""
    for split, names in formats.SPLITS.items():
        content = formats.coco(names)
        for image in content["images"]:
            image |= {
                "neg_category_ids": [2],
                "not_exhaustive_category_ids": [1],
                "coco_url": "http://x/train/1.jpg",
            }
        for entry in content["annotations"]:
            entry["segmentation"] = [[1, 1, 9, 1, 9, 9]]
        for category in content["categories"]:
            category |= {
                "synset": "cat.n.01",
                "frequency": "f",
                "synonyms": ["cat"],
                "def": "a cat",
                "image_count": 1,
            }
        formats.write_coco(folder / "annotations" / f"lvis_v1_{split}.json", folder / split, names)
        (folder / "annotations" / f"lvis_v1_{split}.json").write_text(json.dumps(content))


def _yolo_lists(folder: Path) -> None:
    """Write splits as lists of files, numbered names, a polygon."""
    formats.write_labels(folder / "images", folder / "labels", tuple(formats.BOXES))
    (folder / "labels/d.txt").write_text("1 0.1 0.1 0.5 0.1 0.5 0.5\n0 0.5 0.5 0.2 0.2\n")
    for split, names in {
        "train": ("a.png", "b 1.png"),
        "val": ("c.png",),
        "test": ("d.png",),
    }.items():
        (folder / f"{split}.txt").write_text("".join(f"./images/{name}\n" for name in names))
    content = {"path": ".", "train": "train.txt", "val": "val.txt", "test": "test.txt", "nc": 2}
    (folder / "data.yaml").write_text(yaml.safe_dump({**content, "names": {0: "cat", 1: "dog"}}))


def _saved(folder: Path, source: Path) -> None:
    """Save a data set as ``datasets`` does."""
    import datasets

    datasets.disable_progress_bars()
    to_hub(read_folder(source, Findings()).splits).save_to_disk(str(folder))


def pictures(folder: Path) -> None:
    """Write each format and each mode of pixels, one picture a folder."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray(rng.integers(0, 65536, (24, 32), dtype=np.uint16))
    palette = image.quantize(16)
    alpha = image.copy()
    alpha.putalpha(128)
    plain = [
        "jpg",
        "png",
        "bmp",
        "dib",
        "webp",
        "tif",
        "gif",
        "ppm",
        "tga",
        *["jp2"] * features.check("jpg_2000"),
    ]
    files: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        f"plain.{suffix}": (image, {}) for suffix in plain
    }
    files |= {"plain.avif": (image, {})} if features.check("avif") else {}
    files |= {
        "turned.jpg": (image, {"exif": exif}),
        "progressive.jpg": (image, {"progressive": True}),
        "cmyk.jpg": (image.convert("CMYK"), {}),
        "grey.jpg": (image.convert("L"), {}),
        "wide.png": (wide, {}),
        "palette.png": (palette, {"transparency": 3}),
        "alpha.png": (alpha, {}),
        "moving.png": (image, {"save_all": True, "append_images": [image.rotate(90)]}),
        "turned.png": (image, {"exif": exif}),
        "bits.png": (image.convert("1"), {}),
        "packed.tif": (image, {"compression": "tiff_lzw"}),
        "jpeg.tif": (image, {"compression": "jpeg"}),
        "wide.tif": (wide, {}),
        "moving.gif": (palette, {"save_all": True, "append_images": [palette.rotate(90)]}),
        "lossless.webp": (alpha, {"lossless": True, "exif": exif}),
        "grey.pgm": (image.convert("L"), {}),
        "bits.pbm": (image.convert("1"), {}),
        "packed.tga": (image, {"compression": "tga_rle"}),
    }
    for name, (picture, options) in files.items():
        place = folder / name.replace(".", "-")
        place.mkdir()
        picture.save(place / name, **options)


# Texts


def captions(folder: Path) -> None:
    names = list(formats.BOXES)
    texts = ["a cat beside a dog", "two dogs", "nothing", "one dog on the street"]
    images = [
        {"id": i, "file_name": name, "width": 64, "height": 48} for i, name in enumerate(names)
    ]
    notes = [{"id": i, "image_id": i, "caption": text} for i, text in enumerate(texts)]
    phrases = [{**notes[0], "phrases": [[2, 5], [15, 18]]}, *notes[1:]]
    mdetr = [{**image, "caption": text} for image, text in zip(images, texts, strict=True)]
    rows = [{"file_name": name, "caption": text} for name, text in zip(names, texts, strict=True)]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, ["file_name", "caption"])
    writer.writeheader()
    writer.writerows(rows)
    _texts(
        folder,
        {
            "coco.json": json.dumps({"images": images, "annotations": notes}),
            "phrases.json": json.dumps({"images": images, "annotations": phrases}),
            "mdetr.json": json.dumps({"images": mdetr, "annotations": []}),
            "list.json": json.dumps(rows),
            "lines.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            "table.csv": table.getvalue(),
        },
    )


def grounding(folder: Path) -> None:
    """Write MDETR's annotation files, also as ``glip pseudo-label`` writes them."""
    place = folder / "grounding"
    names = formats.SPLITS["train"]
    content = formats.coco(names)
    for image in content["images"]:
        image["caption"] = "a cat beside a big dog"
    for entry, spans in zip(
        content["annotations"], ([[2, 5]], [[15, 22]], [[2, 5], [15, 22]]), strict=True
    ):
        entry |= {"tokens_positive": spans, "score": 0.7, "category_id": 1}
    formats.write_coco(place / "file.json", place / "images", names)
    (place / "file.json").write_text(json.dumps(content))


def phrases(folder: Path) -> None:
    full = [{"name": "cat", "prefix": "a ", "suffix": " on grass"}, "dog", {"name": "wine glass"}]
    _texts(
        folder,
        {
            "phrases.txt": "# what to look for\ncat\nbig dog\nwine glass\n",
            "phrases.json": json.dumps(full),
            "phrases.yaml": yaml.safe_dump(full),
        },
    )


def thresholds(folder: Path) -> None:
    scores = {"cat": 0.4, "big dog": 0.25, "wine glass": 1}
    _texts(
        folder, {"thresholds.yaml": yaml.safe_dump(scores), "thresholds.json": json.dumps(scores)}
    )


def journal(folder: Path) -> None:
    place = folder / "journal"
    with Journal(place / "labels.scores.jsonl", JOURNAL_HEADER) as written:
        for name in formats.BOXES:
            found = [[[0, 0.7, 1.0, 2.0, 10.0, 12.0], [1, 0.3, 4.0, 5.0, 6.0, 7.0]]]
            written.append([{"file_name": name, "height": 48, "width": 64, "found": found}])
        written.append([{"file_name": "broken.png", "error": "broken.png: not a readable image"}])
    (place / "labels.scores.jsonl.lock").unlink(missing_ok=True)


def recipes(folder: Path) -> None:
    for file in sorted(RECIPES.glob("*.yaml")):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        # whose task is given on the command line
        if content["data"]["class_path"].endswith("ODinW"):
            content["data"]["init_args"] |= {"task": "Aquarium", "root": "DATA"}
        (folder / file.stem).mkdir()
        (folder / file.stem / file.name).write_text(yaml.safe_dump(content, sort_keys=False))


def sweeps(folder: Path) -> None:
    for file in sorted((RECIPES / "sweeps").glob("*.yaml")):
        if not file.name.endswith(".wandb.yaml"):
            place = folder / file.stem
            (place / "sweeps").mkdir(parents=True)
            shutil.copy(file, place / "sweeps" / "sweep.yaml")
            for recipe in RECIPES.glob("*.yaml"):
                shutil.copy(recipe, place)


def _texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        place = folder / name.replace(".", "-")
        place.mkdir()
        (place / name).write_text(text, encoding="utf-8")


# Archives


def archives(folder: Path) -> None:
    """Write zip files of a task: stored, packed, with folders, with a file beside the task."""
    for name, method in (("stored", zipfile.ZIP_STORED), ("packed", zipfile.ZIP_DEFLATED)):
        (folder / name).mkdir()
        write_archive(folder / name / f"{TOP}.zip", task_files(), method)


def write_archive(
    file: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED
) -> None:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)


def task_files() -> dict[str, bytes]:
    """Return what the official archive of Raccoon holds, with other pictures."""
    memory = io.BytesIO()
    Image.new("RGB", (formats.WIDTH, formats.HEIGHT), (200, 90, 10)).save(memory, "PNG")
    files: dict[str, bytes] = {}
    for place, names in zip(PARTS, formats.SPLITS.values(), strict=True):
        files[f"{place}/annotations_without_background.json"] = json.dumps(
            formats.coco(names)
        ).encode()
        files |= {f"{place}/{name}": memory.getvalue() for name in names}
    return files


# Detectors and what belongs to them


def small_detector(text_width: int = 8) -> GLIP:
    """Return a detector of a few thousand numbers, sure of itself, so that there are boxes."""
    torch.manual_seed(0)
    text = TextConfig(
        vocab_size=len(Tokenizer.nano()),
        hidden_size=text_width,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=256,
        dropout=0.0,
    )
    config = GLIPConfig(
        swin_dim=8,
        swin_depths=(1, 1, 1, 1),
        swin_heads=(1, 1, 1, 1),
        swin_window=2,
        channels=32,  # the least that its group norm takes on a map of one pixel
        rounds=1,
        fusion_dim=8,
        fusion_heads=1,
        text=text,
    )
    model = GLIP(config).eval()
    with torch.no_grad():
        model.grounding.token_bias.fill_(1.0)
    return model


def write_detector(folder: Path) -> GLIP:
    model = small_detector()
    save(model, Tokenizer.nano(), folder, Task(PHRASES, INPUT_SIZE))
    (folder / "README.md").unlink(missing_ok=True)
    return model


def _base(model: GLIP, name: str, text: bool) -> Base:
    return Base(name, weights_hash(model, text), INPUT_SIZE)


def detectors(folder: Path) -> None:
    write_detector(folder / "plain")
    write_detector(folder / "run/detector")
    (folder / "run/result.json").write_text("{}")


def write_prompt(folder: Path, base: str = "detector") -> None:
    """Write a detector and a prompt for it; the detector is found from the working directory."""
    model = write_detector(folder / "detector")
    with torch.inference_mode():
        query = encode_query(model, Tokenizer.nano(), PHRASES)
    save_prompt(
        folder / "prompt.safetensors",
        TunedPrompt(query, "PromptTuning()", _base(model, base, text=False)),
    )


def prompts(folder: Path) -> None:
    write_prompt(folder / "prompt", "case/detector")


def adapters(folder: Path) -> None:
    place = folder / "adapter"
    model = write_detector(place / "detector")
    state = model.state_dict()
    name = next(key for key, tensor in state.items() if tensor.ndim == 2)
    bias = next(key for key, tensor in state.items() if tensor.ndim == 1)
    rows, columns = state[name].shape
    tensors = {
        f"up.{name}": torch.ones(rows, 2),
        f"down.{name}": torch.ones(2, columns),
        f"scale.{name}": torch.tensor(0.5),
        f"new.{bias}": torch.zeros_like(state[bias]),
    }
    base = _base(model, "case/detector", text=True)
    save_adapter(
        place / "run" / RUN_ADAPTER,
        Adapter(tensors, PHRASES, ("cat. a big dog",), "LoRATuning()", base),
    )


def official_file(folder: Path) -> None:
    model = small_detector(text_width=64)  # the least that official files can have
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": to_official(model.state_dict(), model.config)}, folder / "official.pth")
    Tokenizer.nano().save(folder)


# Runs


def runs(folder: Path) -> None:
    """Write a small sweep, a folder of runs, and one run."""
    write_sweep(
        folder / "sweep", ["Aquarium", "pothole"], (0, 10), (3,), ("FullTuning", "PromptTuning")
    )
    for shots in (1, "all"):
        recipe = recipe_of("Raccoon", shots, 3, "FullTuning")
        place = folder / "runs" / f"run-{shots}"
        place.mkdir(parents=True)
        (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        (place / "result.json").write_text(json.dumps(result_of(recipe, 0.4)))
        (place / "logs").mkdir()
        (place / "logs/metrics.csv").write_text(
            "epoch,step,train/loss,val/AP\n0,1,2.5,\n0,2,,0.1\n"
        )
    shutil.copytree(folder / "runs/run-1", folder / "one")
    (folder / "runs/stopped").mkdir()
    shutil.copy(folder / "runs/run-1/recipe.yaml", folder / "runs/stopped")
    (folder / "runs/failed").mkdir()
    shutil.copy(folder / "runs/run-1/recipe.yaml", folder / "runs/failed")
    (folder / "runs/failed/failed.json").write_text(
        json.dumps({"error": "out of memory", "log": "trial.log"})
    )


# Commands


def command(folder: Path) -> None:
    """Write all that a command line may name, in one folder."""
    place = folder / "all"
    formats.write_parts(place / "data")
    for name in formats.BOXES:
        formats.picture(place / "photos", name)
    write_prompt(place)
    official_file(place / "official")
    write_archive(place / f"{TOP}.zip", task_files())
    shutil.copy(RECIPES / "custom.yaml", place / "recipe.yaml")
    _texts_of(captions, place, "coco.json")
    _texts_of(phrases, place, "phrases.yaml")
    _texts_of(thresholds, place, "thresholds.yaml")
    shutil.copy(RECIPES / "shapes/nano_few_shot.yaml", place)
    axes = {"shots": [1, "all"], "seed": [3], "model.weights": ["pretrained"]}
    sweep = {"name": "small", "recipe": "recipe.yaml", "axes": axes}
    (place / "sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    recipe = recipe_of("Raccoon", 1, 3, "FullTuning")
    (place / "runs/one").mkdir(parents=True)
    (place / "runs/one/recipe.yaml").write_text(yaml.safe_dump(recipe))
    (place / "runs/one/result.json").write_text(json.dumps(result_of(recipe, 0.4)))


def _texts_of(write: Any, place: Path, name: str) -> None:
    """Write one file of a group of texts."""
    spare = place / "spare"
    spare.mkdir()
    write(spare)
    shutil.copy(spare / name.replace(".", "-") / name, place / name)
    shutil.rmtree(spare)
