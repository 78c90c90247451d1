"""The card of a detector that a run has trained: ``README.md`` beside its weights, as the Hub shows it."""

import math
from collections.abc import Mapping
from typing import Any

from glip_lightning.common.escaping import printable

LISTED = 100  # classes
CARD_NAME = "README.md"


def model_card(name: str, result: Mapping[str, Any]) -> str:
    """Return the card of the detector of the run ``name`` with that content of ``result.json``."""
    data, model = result["data"], result["recipe"].get("model", {})
    tuning = str((model.get("tuning") or {}).get("class_path", "FullTuning")).split(".")[-1]
    began = "random weights" if result["weights"] == "random" else f"the weights of {_line(result['detector'])}"
    began += " (MIT)" if result["weights"] == "shipped" else ""
    head = ["---", "library_name: glip-lightning", "tags: [object-detection, glip]", "---"]
    lines = [
        *(*head, f"# {_line(name)}", ""),
        f"A detector of glip-lightning, trained on {_line(data['name'])} by {tuning} from {began}.",
        "",
        f"* Data: {_line(data['name'])} ({_counted(data['images'])} images), shots: {data['shots']}",
        f"* Training: {result['steps']} steps, {result['epochs']} epochs, {result['seconds']:.0f} seconds on "
        f"{result['device']}",
        f"* Versions: {', '.join(f'{key} {value}' for key, value in result['versions'].items())}",
        *("", "## What it finds", "", *_results(result)),
        *("", "## Use", "", "```bash", "glip predict PHOTO --detector FOLDER", "```"),
        *("", "## Licence", ""),
        f"These weights come from {began} and from the data, whose licences hold for them: write them here before you "
        "give the detector to others. The code of glip-lightning is under the MIT licence.",
    ]
    return "\n".join(lines) + "\n"


def _results(result: Mapping[str, Any]) -> list[str]:
    """Return AP and AP50 of the splits, and the classes with the AP of the last split, from 0 to 1."""
    measured = {split: metrics for split, metrics in result["metrics"].items() if metrics}
    rows = ["| split | images | AP | AP50 |", "|---|---|---|---|"] if measured else ["Nothing was evaluated."]
    for split, found in measured.items():
        rows.append(f"| {split} | {found['images']} | {_number(found['AP'])} | {_number(found['AP50'])} |")
    last = measured.get("test") or measured.get("val") or {"AP_class": {}}
    rows += ["", "| class | in captions | AP |", "|---|---|---|"]
    named = list(zip(result["classes"], result["phrases"], strict=True))
    for name, phrase in named[:LISTED]:
        text = "".join(phrase[part] for part in ("prefix", "name", "suffix"))
        rows.append(f"| {_line(name)} | {_line(text)} | {_number(last['AP_class'].get(name))} |")
    more = len(named) - LISTED
    return [*rows, *(["", f"and {more} more classes, which task.json lists"] if more > 0 else [])]


def _counted(images: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in images.items()) or "none"


def _number(value: float | None) -> str:
    return "no box" if value is None or math.isnan(value) else f"{value:.3f}"


def _line(text: object) -> str:
    """Return text of others as Markdown shows it in a line or a cell of a table."""
    return printable(" ".join(str(text).split())).replace("|", "\\|").replace("<", "&lt;")
