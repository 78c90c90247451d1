"""The card of a trained detector: ``README.md`` beside its weights, as the Hub shows it."""

import re
from collections.abc import Mapping
from typing import Any

from glip_lightning.common.escaping import printable
from glip_lightning.evaluation.points import in_points
from glip_lightning.weights.hub_files import OFFICIAL

LISTED = 100  # classes
CARD_NAME = "README.md"
SOMEWHERE = "FOLDER"
"""Place of a detector in the command of its card, as long as it is in no repository."""

_USE = "glip predict PHOTO --detector"


def model_card(name: str, result: Mapping[str, Any], detector: str = SOMEWHERE) -> str:
    """Return the card of a detector, in Markdown.

    Args:
        name: of the detector.
        result: the content of ``result.json`` of the run that has trained it.
        detector: where the command of the card finds it: a repository of the Hub.
    """
    data = result["data"]
    model = result["recipe"].get("model", {})
    tuning = "FullTuning"
    if model.get("tuning"):
        tuning = str(model["tuning"].get("class_path", tuning)).split(".")[-1]
    began, licence = _beginning(result)
    images = ", ".join(f"{count} {split}" for split, count in data["images"].items())
    versions = ", ".join(f"{key} {value}" for key, value in result["versions"].items())
    lines = [
        *("---", "library_name: glip-lightning", "tags: [object-detection, glip]", "---"),
        *(f"# {_line(name)}", ""),
        f"A detector of glip-lightning, trained on {_line(data['name'])} by {tuning} from {began}.",
        "",
        f"* Data: {_line(data['name'])} ({images or 'none'} images), shots: {data['shots']}",
        f"* Training: {result['steps']} steps, {result['epochs']} epochs, "
        f"{result['seconds']:.0f} seconds on {result['device']}",
        f"* Versions: {versions}",
        *("", "## What it finds", "", *_results(result)),
        *("", "## Use", "", "```bash", f"{_USE} {detector}", "```"),
        *("", "## How it was trained", "", f"    {printable(result['command'])}"),
        *("", "## Licence", ""),
        f"These weights come from {began} ({licence}) and from the data, whose licences hold for "
        "them: write them here before you give the detector to others. The code of glip-lightning "
        "is under the MIT licence.",
    ]
    return "\n".join(lines) + "\n"


def for_repository(card: str, result: Mapping[str, Any], repository: str) -> str | None:
    """Return a card that somebody has changed, with the repository in its command.

    None for a card that is as :func:`model_card` writes it: that one is written anew.
    """
    title = re.search(r"^# (.*)$", card, re.MULTILINE)
    use = re.search(rf"^{_USE} (\S+)$", card, re.MULTILINE)
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
    """Return tables, in points, of AP and AP50 by split and of AP by class in the last split."""
    measured = {split: metrics for split, metrics in result["metrics"].items() if metrics}
    rows = ["| split | images | AP | 95 % interval | AP50 |", "|---|---|---|---|---|"]
    for split, found in measured.items():
        bootstrap = found.get("bootstrap") or {}
        ends = bootstrap.get("interval95")
        interval = " to ".join(map(in_points, ends)) if ends else "none"
        ap, ap50 = in_points(found["AP"]), in_points(found["AP50"])
        rows.append(f"| {split} | {found['images']} | {ap} | {interval} | {ap50} |")
    if measured:
        rows += [
            "",
            "The interval is that of the AP of test images drawn again, with replacement: "
            "it says nothing of other seeds.",
        ]
    else:
        rows = ["Nothing was evaluated."]
    last = measured.get("test", measured.get("val", {"AP_class": {}}))
    rows += ["", "| class | in captions | AP |", "|---|---|---|"]
    classes = list(zip(result["classes"], result["phrases"], strict=True))
    for name, phrase in classes[:LISTED]:
        text = phrase["prefix"] + phrase["name"] + phrase["suffix"]
        rows.append(f"| {_line(name)} | {_line(text)} | {in_points(last['AP_class'].get(name))} |")
    if len(classes) > LISTED:
        more = len(classes) - LISTED
        rows += ["", f"and {more} more classes, which task.json lists"]
    return rows


def _line(text: object) -> str:
    """Return a text as one line of Markdown, which may be in a cell of a table."""
    return printable(" ".join(str(text).split())).replace("|", "\\|").replace("<", "&lt;")
