"""What a nano detector knows of the generated world.

AP50 on single names, on seen and held-out combinations, and on what captions alone show and say.

    python benchmarks/nano.py glip-nano-c                            # a name, a run, a folder
    python benchmarks/nano.py glip-nano-c --run RUN     # writes the card of a shipped detector

400 test pictures each, which no training has shown; 95 % intervals by redrawn pictures (200 times).
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.progress import track

from glip_lightning.common.files import write_text
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.dataset import DetectionDataset
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.transforms import Transform
from glip_lightning.evaluation.coco_ap import CocoEvaluator
from glip_lightning.models.config import variant
from glip_lightning.models.query import encode_query
from glip_lightning.shapes.image_captions import write_caption_words
from glip_lightning.shapes.plugin import WEIGHTS
from glip_lightning.shapes.pretraining_pictures import SIZE, write_pretraining
from glip_lightning.shapes.words import CAPTION_NAMES, CAPTION_SHAPES, single_names
from glip_lightning.text.phrases import Phrase
from glip_lightning.training.probing import detect_in
from glip_lightning.weights.load import Loaded, load_detector

ROOT = Path("runs/.shapes/pretraining")
CLOSED_ROOT, CLOSED_SEED = (
    Path("runs/.shapes/detection_test"),
    1,
)  # another seed: the detection data have no test split
CLOSED = CLOSED_ROOT / "detection/valid"
CAPTIONED, CAPTIONED_SEED = Path("runs/.shapes/caption_words_test"), 1
COUNT = 400  # pictures of each


class Measured(NamedTuple):
    """A row of the card: a list of classes, AP, AP50 and its interval."""

    what: str
    classes: int
    ap: float
    ap50: float
    interval: list[float]  # of AP50

    def row(self) -> str:
        """Return the row as Markdown."""
        low, high = self.interval
        scores = f"{self.ap:.3f} | {self.ap50:.3f} | {low:.3f} to {high:.3f}"
        return f"| {self.what} | {self.classes} | {scores} |"


HEAD = "| what | classes | AP | AP50 | 95 % interval of AP50 |\n|---|---|---|---|---|"


def measure(loaded: Loaded) -> list[Measured]:
    """Measure the names of the detection data; of detectors that read, words and pairs too."""
    closed = _measure(loaded, CLOSED, "names of the detection data")
    if not loaded.model.reads_text:
        return [closed]
    kinds = single_names()
    names = {**kinds, "all": tuple(word for words in kinds.values() for word in words)}
    found = [
        _measure(loaded, ROOT / "names/test", f"single names: {kind}", words)
        for kind, words in names.items()
    ]
    seen = _measure(loaded, ROOT / "combinations/seen", "combinations seen in pre-training")
    held_out = _measure(loaded, ROOT / "combinations/held_out", "combinations held out")
    shapes = _measure(loaded, CAPTIONED, "shapes that captions alone show", CAPTION_SHAPES)
    said = _measure(loaded, CAPTIONED, "names that captions alone say", (*CAPTION_NAMES,))
    return [closed, *found, seen, held_out, shapes, said]


@torch.inference_mode()
def _measure(loaded: Loaded, folder: Path, what: str, classes: Sequence[str] = ()) -> Measured:
    """With the class list of ``folder`` in the caption, or ``classes`` alone."""
    index = read_coco(folder / ANNOTATIONS, folder, Findings())
    chosen = list(classes) or list(index.class_names)
    truth = _only(index.ground_truth(), [index.class_names.index(name) + 1 for name in chosen])
    evaluator = CocoEvaluator(truth, chosen)
    query = encode_query(loaded.model, loaded.tokenizer, [Phrase(name) for name in chosen])
    data = DetectionDataset(index, Transform((SIZE,), SIZE))
    places = track(range(len(data)), description=what, transient=True)
    detect_in(data, places, loaded.model, query, evaluator)
    metrics = evaluator.compute()
    return Measured(
        what, len(chosen), metrics["AP"], metrics["AP50"], evaluator.bootstrap()["AP50_interval95"]
    )


def _only(
    truth: dict[str, list[dict[str, Any]]], kept: Sequence[int]
) -> dict[str, list[dict[str, Any]]]:
    """Return the ground truth of some categories, numbered anew in their order."""
    number = {category: k for k, category in enumerate(kept, start=1)}
    boxes = [
        a | {"category_id": number[a["category_id"]]}
        for a in truth["annotations"]
        if a["category_id"] in number
    ]
    names = {category["id"]: category["name"] for category in truth["categories"]}
    return {
        "images": truth["images"],
        "annotations": [box | {"id": k} for k, box in enumerate(boxes, start=1)],
        "categories": [{"id": number[k], "name": names[k]} for k in kept],
    }


CARD = """---
license: mit
library_name: glip-lightning
tags: [object-detection, glip]
---
# {name}

{what}

A small detector for trying things and for tests. It knows the generated world of this package
(shapes, colours, textures at 128 pixels) and nothing of photos. Licence: MIT, as the package, which
also generates the training data.

## Training

```bash
glip fit --config recipes/shapes/pretrain/{name}.yaml --run runs/pretrain/{name}
```

{steps:,} steps from {start}, {seconds:,.0f} seconds on {device};
seed {seed} of the training, {data} of the data;
the best of the validations after every {every} (epoch {best}, from 0).

* Data, generated from seed 0: {sources}
* Versions: {versions}

## What it knows

400 test pictures each that no training has shown; 95 % intervals by redrawn pictures (200 times):
`python benchmarks/nano.py {name}`.

{table}

{reading}Numbers are those of the half-precision weights.
"""
READING = """\
A single name is one word in a caption with all words of its row. A combination is a colour or
texture with a shape, in a caption with all of its row; the seen ones take two captions, since one
has too few tokens. It is harder to be right among 109 classes than among 21. Held-out
combinations are in no picture and no caption of any pre-training. The shapes and names of the
last rows are in the captions of variant T alone; like those, these pictures are of all styles. """
WHAT = {
    "glip-nano-a": "Variant A: detection data, no fusion of image and text.",
    "glip-nano-b": "Variant B: detection data, with fusion.",
    "glip-nano-c": "Variant C: detection and grounding data, with fusion.",
    "glip-nano": "Variant T: variant C's data and captions whose boxes variant C has found.",
    "dyhead-nano": "The supervised baseline: the same detector with a learned row per class. "
    "It reads no words.",
}


def card(name: str, run: Path, table: str, device: str | None) -> str:
    """Return a model card from the record of the run and the measurements."""
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    recipe = result["recipe"]
    sources = recipe["data"]["init_args"].get("sources")
    every = recipe["trainer"]["check_val_every_n_epoch"]
    files = (
        sorted({source["file"] for source in sources.values()}) if sources else ["detection/train"]
    )
    return CARD.format(
        name=name,
        what=WHAT[name],
        steps=result["steps"],
        seconds=result["seconds"],
        device=device or result["device"],
        seed=result["seed"]["training"],
        data=result["seed"]["data"],
        start="random weights"
        if recipe["model"]["weights"] == "random"
        else recipe["model"]["detector"],
        every="epoch" if every == 1 else f"{every} epochs",
        best=result["best_epoch"],
        versions=", ".join(
            f"{package} {version}" for package, version in result["versions"].items()
        ),
        sources=", ".join(files),
        table=table,
        reading=READING if not variant(name).classes else "",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detector")
    parser.add_argument(
        "--run", type=Path, help="where the detector comes from: writes the card of a shipped name"
    )
    parser.add_argument(
        "--device", help="for the card, what the run was on: one core of a virtual Xeon"
    )
    arguments = parser.parse_args()
    write_pretraining(ROOT)
    write_pretraining(CLOSED_ROOT, CLOSED_SEED, {"detection/valid": COUNT})
    write_caption_words(CAPTIONED, CAPTIONED_SEED, COUNT)
    table = "\n".join(
        [HEAD, *(found.row() for found in measure(load_detector(arguments.detector)))]
    )
    print(table)
    if arguments.run:
        text = card(arguments.detector, arguments.run, table, arguments.device)
        write_text(WEIGHTS / arguments.detector / "README.md", text)
