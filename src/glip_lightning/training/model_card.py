"""The card of a detector that a run has trained: ``README.md`` beside its weights, as the Hub shows it."""

import re
from collections.abc import Mapping
from typing import Any

from glip_lightning.common.escaping import printable
from glip_lightning.evaluation.points import in_points
from glip_lightning.weights.hub_files import OFFICIAL

LISTED = 100  # classes
CARD_NAME = "README.md"
SOMEWHERE = "FOLDER"
"""Where a detector is that is in no repository yet, in the command of its card."""

_USE = "glip predict PHOTO --detector"


def model_card(name: str, result: Mapping[str, Any], detector: str = SOMEWHERE) -> str:
    """Return the card of the detector ``name`` that a run with that content of ``result.json`` has trained.

    ``detector`` is what the command of the card gives to find it: a repository of the Hub.
    """
    data, model = result["data"], result["recipe"].get("model", {})
    tuning = str((model.get("tuning") or {}).get("class_path", "FullTuning")).split(".")[-1]
    began, licence = _beginning(result)
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
        *("", "## Use", "", "```bash", f"{_USE} {detector}", "```"),
        *("", "## How it was trained", "", f"    {printable(result['command'])}"),
        *("", "## Licence", ""),
        f"These weights come from {began} ({licence}) and from the data, whose licences hold for them: write them here "
        "before you give the detector to others. The code of glip-lightning is under the MIT licence.",
    ]
    return "\n".join(lines) + "\n"


def for_repository(card: str, result: Mapping[str, Any], repository: str) -> str | None:
    """Return a card for the repository if somebody has changed it: his text, with the repository in its command.

    None for a card that is as :func:`model_card` makes it, which is made anew then.
    """
    title, use = (
        re.search(r"^# (.*)$", card, re.MULTILINE),
        re.search(rf"^{_USE} (\S+)$", card, re.MULTILINE),
    )
    if title and use and card == model_card(title[1], result, use[1]):
        return None
    return card.replace(f"{_USE} {SOMEWHERE}\n", f"{_USE} {repository}\n")


def _beginning(result: Mapping[str, Any]) -> tuple[str, str]:
    """Return the weights that the training began with, and their licence."""
    detector, weights = _line(result["detector"]), result["weights"]
    if weights == "random":
        return "random weights", "no licence"
    if weights == "shipped":
        return f"the weights of {detector}", "MIT licence"
    official = OFFICIAL.get(detector)
    return f"the weights of {detector}", official.licence if official else "licence: see there"


def _results(result: Mapping[str, Any]) -> list[str]:
    """Return AP and AP50 of the splits, and the classes with the AP of the last split, in points."""
    measured = {split: metrics for split, metrics in result["metrics"].items() if metrics}
    rows = ["| split | images | AP | 95 % interval | AP50 |", "|---|---|---|---|---|"]
    for split, found in measured.items():
        interval = _interval((found.get("bootstrap") or {}).get("interval95"))
        rows.append(
            f"| {split} | {found['images']} | {in_points(found['AP'])} | {interval} | {in_points(found['AP50'])} |"
        )
    said = (
        "The interval is that of the AP of test images drawn again, with replacement: "
        "it says nothing of other seeds."
    )
    rows = [*rows, "", said] if measured else ["Nothing was evaluated."]
    last = measured.get("test") or measured.get("val") or {"AP_class": {}}
    rows += ["", "| class | in captions | AP |", "|---|---|---|"]
    named = list(zip(result["classes"], result["phrases"], strict=True))
    for name, phrase in named[:LISTED]:
        text = "".join(phrase[part] for part in ("prefix", "name", "suffix"))
        rows.append(f"| {_line(name)} | {_line(text)} | {in_points(last['AP_class'].get(name))} |")
    more = len(named) - LISTED
    return [*rows, *(["", f"and {more} more classes, which task.json lists"] if more > 0 else [])]


def _counted(images: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in images.items()) or "none"


def _interval(ends: list[float] | None) -> str:
    return " to ".join(map(in_points, ends)) if ends else "none"


def _line(text: object) -> str:
    """Return text of others as Markdown shows it in a line or a cell of a table."""
    return printable(" ".join(str(text).split())).replace("|", "\\|").replace("<", "&lt;")
