"""What users rely on, as a text to compare: options of verbs, keys of recipes, files and keys of
runs, metrics.

    python tests/support/unchanged_surface.py RUNS > tests/golden/unchanged/surface.txt

RUNS is a folder that `python tests/support/unchanged.py --keep RUNS` has filled. Class paths are
left out but for their names.
"""

import io
import json
import re
import runpy
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path

import yaml
from safetensors import safe_open

from unchanged import ROOT, few, finished, log_rows, program

VERBS = (
    "predict",
    "pseudo-label",
    "convert",
    "doctor",
    "download",
    "report",
    "push",
    "sweep",
    "dashboard",
    "recipes",
    "env",
)
TRAINING = ("fit", "validate", "test")
RECIPES = ROOT / "recipes"
NEEDED = {"ODinW": {"root": "DATA", "task": "Raccoon"}, "CustomData": {"root": "DATA"}}
NAMED = {"AP_class", "findings", "dropped", "versions", "copies", "rates", "sources", "kinds"}
"""Below them stand names that the data or the recipe chooses."""
TUNINGS = (
    "FullTuning",
    "LinearProbe",
    "PromptTuning",
    "LanguageTuning",
    "LoRATuning",
    "PartialTuning",
    "SavedPrompt",
)
CLASSES = (
    *(["--model.tuning", name] for name in TUNINGS),
    *(["--model.schedule", name] for name in ("Constant", "Cosine", "MultiStep", "Plateau")),
    *(
        ["--trainer.callbacks", name]
        for name in ("EMA", "EarlyStop", "DivergenceGuard", "Alignment")
    ),
    *(
        ["--data", name]
        for name in ("ODinW", "CustomData", "HubData", "Pretraining", "ShapesDetection")
    ),
    ["--model.features", "FeatureCache"],
    ["--retention", "Retention"],
)
Classes = dict[str, set[str]]


def printed(*arguments: str) -> str:
    """What the installed program prints; run in this process, since a start takes longer than most
    answers.
    """
    main = runpy.run_path(program()[0], run_name="glip")["main"]
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        code = main(list(arguments))
        assert code == 0, (arguments, code)
    return text.getvalue()


def options(verb: str) -> list[str]:
    """The options and arguments of a verb, but for those that are keys of recipes."""
    lines = [
        line.strip() for line in printed(verb, "--help").splitlines() if re.match(r" {2,4}\S", line)
    ]
    found = set()
    for line in lines:
        head = re.split(r" {2,}", line)[0]
        if line.startswith("-"):
            found |= set(re.findall(r"(?:^|[\s,])(--?[a-zA-Z][\w.-]*)", head))
        elif (argument := re.fullmatch(r"([A-Za-z]+)(?: <.*>)?", head)) and verb not in TRAINING:
            found.add(argument[1])
    return sorted(
        name for name in found if not name.startswith(("--model.", "--data.", "--trainer."))
    )


def flat(content: object, start: str = "", classes: Classes | None = None) -> set[str]:
    """Return the dotted keys of nested mappings; of an object, its class (``classes`` has keys)."""
    if isinstance(content, list) and any(
        isinstance(each, Mapping) and "class_path" in each for each in content
    ):
        return set().union(*(flat(each, start, classes) for each in content))
    if not isinstance(content, Mapping):
        return {start}
    if "class_path" in content:
        name = content["class_path"].split(".")[-1]
        keys = flat(content.get("init_args", {}), "", classes)
        if classes is not None:
            classes.setdefault(name, set()).update(keys)
        return {f"{start} = {name}"}
    found: set[str] = set()
    for key, value in content.items():
        name = f"{start}.{key}".removeprefix(".")
        if key in NAMED:
            each = value.values() if isinstance(value, Mapping) else [value]
            found |= set().union({f"{name}.*"}, *(flat(x, f"{name}.*", classes) for x in each))
        else:
            found |= flat(value, name, classes)
    return found


def recipe_files() -> list[Path]:
    """All recipes of `fit`, wherever they lie below recipes/."""
    files = sorted(RECIPES.rglob("*.yaml"), key=lambda file: file.stem)
    return [file for file in files if "data" in yaml.safe_load(file.read_text(encoding="utf-8"))]


def recipe_keys(file: Path, classes: Classes) -> set[str]:
    """Dotted keys of the complete recipe; the few that it leaves to the command line are given."""
    data = yaml.safe_load(file.read_text(encoding="utf-8"))["data"]
    needed = NEEDED.get(data["class_path"].split(".")[-1], {})
    own = data.get("init_args", {})
    more = [f"--data.{key}={value}" for key, value in needed.items() if key not in own]
    return complete(["--config", str(file), *more], classes)


def complete(arguments: list[str], classes: Classes) -> set[str]:
    return flat(yaml.safe_load(printed("fit", *arguments, "--print_config")), "", classes)


def sections_of_recipes() -> list[str]:
    """Keys of all recipes, what is special in each, and the keys of all classes that a recipe may
    name.
    """
    classes: Classes = {}
    recipes = {file.stem: recipe_keys(file, classes) for file in recipe_files()}
    for given in CLASSES:
        complete([*([] if "--data" in given else ["--data", "Shapes"]), *given], classes)
    shared = set.intersection(*recipes.values())
    return [
        section("keys of every recipe", shared),
        *(
            section(f"further keys of recipe {name}", keys - shared)
            for name, keys in recipes.items()
        ),
        *(section(f"keys of {name}", classes[name]) for name in sorted(classes)),
    ]


def run_files(run: Path) -> set[str]:
    """Names of all files of a run; pictures are called after photos."""
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    return {re.sub(r"^predictions/.*\.jpg$", "predictions/*.jpg", name) for name in names}


def json_keys(run: Path, pattern: str) -> set[str]:
    """Dotted keys of the JSON files of that name; of a list, those of its first entry."""
    found: set[str] = set()
    for path in run.glob(pattern):
        content = json.loads(path.read_text(encoding="utf-8"))
        found |= flat(content[0] if isinstance(content, list) else content)
    return found


def prompt_keys(run: Path) -> set[str]:
    """Tensors and metadata of a tuned prompt."""
    with safe_open(run / "prompt.safetensors", framework="pt") as file:
        (text,) = file.metadata().values()
        return flat(json.loads(text)) | {f"tensor {key}" for key in file.keys()}  # noqa: SIM118 - not a mapping


def section(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"[{title}]", *sorted(lines)]) + "\n"


def surface(runs: Mapping[str, Path]) -> str:
    """The whole text; ``runs`` are finished trials by the name of their tuning."""
    sections = [section(f"options of glip {verb}", options(verb)) for verb in (*TRAINING, *VERBS)]
    sections += sections_of_recipes()
    for tuning, run in runs.items():
        sections.append(section(f"files of a run with {tuning}", run_files(run)))
    full, prompt, lora = runs["FullTuning"], runs["PromptTuning"], runs["LoRATuning"]
    result = {key for key in json_keys(full, "result.json") if not key.startswith("recipe.")}
    sections.append(section("keys of result.json, but for those of its recipe", result))
    sections.append(section("keys of a trial's trial.json", json_keys(full, "trial.json")))
    sections.append(section("keys of detections.json", json_keys(full, "detections.json")))
    sections.append(
        section("keys of a detector's config.json", json_keys(full, "detector/config.json"))
    )
    sections.append(
        section("keys of a detector's task.json", json_keys(full, "detector/task.json"))
    )
    sections.append(section("keys of adapter.json", json_keys(lora, "adapter/adapter.json")))
    sections.append(section("content of prompt.safetensors", prompt_keys(prompt)))
    columns = {re.sub(r"(AP_class)/.*", r"\1/*", name) for name in log_rows(full)[0]}
    sections.append(section("metrics and columns of logs/metrics.csv", columns))
    return "\n".join(sections)


if __name__ == "__main__":
    print(surface(few(finished(Path(sys.argv[1]) / "cached"))), end="")
