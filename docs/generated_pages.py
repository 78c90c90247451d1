"""Pages of the site that are made when it is built (a hook of MkDocs): nothing is written twice.

Pages of the repository (CONTRIBUTING.md, CHANGELOG.md, benchmarks/README.md, cards of detectors)
are taken as they are. Verbs and options come from the programs, findings and recipes from their
files.
"""

import contextlib
import io
import os
import posixpath
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(
    0, str(ROOT / "src")
)  # the checkout that the site is built from, whatever is installed

from mkdocs.structure.files import File, Files  # noqa: E402

TAKEN = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "results/benchmarks.md",
}
"""Pages of the repository and where they stand in the site."""

PHOTOS = "results/own_photos.md"
OWN_PICTURES = ROOT / "runs" / "own_photos" / "pictures"
"""What benchmarks/own_photos.py has drawn; photos of data sets are not in the repository."""

COINS = ROOT / "runs" / "demo" / "coins" / "before_after.jpg"
"""What `make coins` draws, which needs no data set."""

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made, and the pictures that are there."""
    for page, make in PAGES.items():
        files.append(File.generated(config, page, content=make()))
    for picture in pictures():
        place = posixpath.join(posixpath.dirname(PHOTOS), picture.name)
        files.append(File.generated(config, place, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Show the pictures on their page."""
    if page.file.src_uri != PHOTOS:
        return markdown
    shown = "\n\n".join(f"![{_said_of(picture)}]({picture.name})" for picture in pictures())
    return markdown.replace("<!-- pictures -->", shown)


def pictures() -> list[Path]:
    """Return the pictures of results on photos: of three data sets, else of the coins."""
    found = sorted(OWN_PICTURES.glob("*.jpg"))
    return found or [path for path in (COINS,) if path.is_file()]


def _said_of(picture: Path) -> str:
    if picture == COINS:
        return "Coins, before and after a training on half of one photo"
    return f"Test photos of {picture.stem} with what the detector finds; magenta is the truth"


def taken(source: str) -> str:
    """Return a page of the repository.

    Its links lead to pages of the site; a link to anything else becomes plain text.
    """
    place = posixpath.dirname(TAKEN[source])

    def moved(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        if "://" in target:
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        page = TAKEN.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        return f"[{text}]({posixpath.relpath(page, place or '.')}{anchor})" if page else text

    text = (ROOT / source).read_text(encoding="utf-8")
    parts = FENCE.split(text)  # blocks stay as they are
    blocks = [*FENCE.findall(text), ""]
    return "".join(LINK.sub(moved, part) + block for part, block in zip(parts, blocks, strict=True))


def cards() -> str:
    """Return the cards of the shipped detectors on one page."""
    folder = ROOT / "src" / "glip_lightning" / "shapes" / "nano"
    page = [
        "# Cards of the shipped detectors",
        "",
        "Each lies beside the weights, in the folder of its detector.",
    ]
    for card in sorted(folder.glob("*/README.md")):
        text = card.read_text(encoding="utf-8").split("---\n", 2)[2]  # after the front matter
        page += ["", re.sub(r"^#", "##", text.strip(), flags=re.MULTILINE)]
    return "\n".join(page) + "\n"


def recipes() -> str:
    """Return the recipes that have a name, each with its header and its values."""
    page = [
        "# Recipes",
        "",
        "A recipe is one complete run. `glip recipes` lists those that come with the package,",
        "`glip recipes NAME --copy FILE` writes one to change. Names work in any folder.",
        "",
    ]
    for folder, title in {
        "": "Photos",
        "shapes": "The generated world",
        "shapes/pretrain": "Pre-training",
    }.items():
        page += [f"## {title}", ""]
        for path in sorted((ROOT / "recipes" / folder).glob("*.yaml")):
            page += [f"### {path.relative_to(ROOT / 'recipes').with_suffix('')}", ""]
            page += ["```yaml", path.read_text(encoding="utf-8").rstrip(), "```", ""]
    page += ["## Sweeps", "", "`glip sweep sweeps/NAME` runs one.", ""]
    for path in sorted((ROOT / "recipes").glob("**/sweeps/*.yaml")):
        name = path.relative_to(ROOT / "recipes").with_suffix("")
        page += [f"### {name}", "", "```yaml", path.read_text(encoding="utf-8").rstrip(), "```", ""]
    return "\n".join(page)


def findings() -> str:
    """Return what ``glip doctor`` and ``glip fit`` can find in data, by code."""
    from glip_lightning.data.checks.problems import PROBLEMS

    page = [
        "# Findings",
        "",
        "What `glip doctor` and `glip fit` can find in a folder of labelled images. An *error*",
        "must be mended before training. A *warning* says that data are used in part, or changed.",
        "A *note* needs nothing. `glip doctor FOLDER --json` prints code, level, place and text.",
        "Words in braces are filled in.",
        "",
    ]
    page += ["| code | level | what it says | what to do |", "|---|---|---|---|"]
    for code, problem in PROBLEMS.items():
        level = problem.level.replace("info", "note")
        page.append(_row(f"`{code}`", level, _message(problem.text), _message(problem.cure)))
    return "\n".join(page) + "\n"


def _message(template: str) -> str:
    """Return the text of a finding, with the names of what is filled in between braces."""
    shown = template.replace("!r}", "}").replace("{{", "{").replace("}}", "}")
    return _escaped(shown).replace(
        "{", "&#123;"
    )  # else the end of a cell may be taken for attributes


def verbs() -> str:
    """Return all verbs but those of training, with their arguments and options."""
    from glip_lightning.app.cli import TRAINING, VERBS

    page = ["# The command `glip`", "", "| verb | |", "|---|---|"]
    for verb, command in VERBS.items():
        link = f"training_options.md#{verb}" if verb in TRAINING else f"#glip-{verb}"
        page.append(_row(f"[`{verb}`]({link})", _first_line(command).split(" (glip ")[0]))
    page += [
        "",
        "Exit codes: 0 is success, 1 a failure that was explained, 2 a wrong command line; 128",
        "plus the number of the signal that ended it (130: Ctrl-C).",
        "`glip --version` shows the version.",
        "",
    ]
    for verb, command in VERBS.items():
        if verb not in TRAINING:
            page += [*_verb(verb, command), ""]
    return "\n".join(page)


def _first_line(command: Any) -> str:
    return _escaped((command.help or "").partition("\n")[0])


def _verb(verb: str, command: Any) -> Iterator[str]:
    """Yield the section of a verb: what it does, how it is called, a table of its options."""
    arguments = [parameter for parameter in command.params if not parameter.opts[0].startswith("-")]
    words = [f"[{_metavar(each)}]" if not each.required else _metavar(each) for each in arguments]
    yield from (
        f"## `glip {verb}` {{#glip-{verb}}}",
        "",
        _escaped(" ".join((command.help or "").split())),
        "",
    )
    yield from ("```text", " ".join(["glip", verb, *words, "[OPTIONS]"]), "```", "")
    yield from ("| | | default |", "|---|---|---|")
    for parameter in command.params:
        name = parameter.opts[0]
        if name.startswith("-"):
            shown = name if isinstance(parameter.default, bool) else f"{name} {_metavar(parameter)}"
        else:
            shown = _metavar(parameter)
        default = "required" if parameter.required else _default(parameter.default)
        yield _row(f"`{shown}`", _escaped(parameter.help or ""), default)


def _metavar(parameter: Any) -> str:
    """Return what stands for the value of an option or argument."""
    return parameter.metavar or parameter.opts[0].lstrip("-").replace("-", "_").upper()


def _default(value: Any) -> str:
    return "" if value in (None, False, [], ()) else f"`{value}`"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _escaped(text: str) -> str:
    """Return a plain text as Markdown shows it; paths and names of options stay readable."""
    return re.sub(r"([<*_\[\]])", r"\\\1", text)


def training_options() -> str:
    """Return the options of ``fit``, ``validate`` and ``test`` as their help lists them."""
    page = [
        "# Options of training",
        "",
        "`glip fit`, `validate` and `test` take a recipe and any of its keys as an option:",
        "`--data.batch_size 8`. The command line counts more than the recipe. Classes are named by",
        "their short name, and their arguments follow: `--model.tuning PromptTuning",
        "--model.tuning.lr 0.3`. The reference has the arguments of classes: [data](data.md),",
        "[tunings](tunings.md), [training](training.md).",
        "",
    ]
    for verb in ("fit", "validate", "test"):
        page += [f"## `glip {verb}` {{#{verb}}}", ""]
        for title, text in _groups(_help_of(verb)):
            if verb == "fit" or title not in SHARED:
                page += [
                    f'??? note "{title}"' if title.startswith("Customize") else f"**{title}**",
                    "",
                ]
                block = ["```text", *text, "```"]
                page += [f"    {line}" if title.startswith("Customize") else line for line in block]
                page.append("")
        if verb != "fit":
            page += ["All other options are those of `glip fit`.", ""]
    return "\n".join(page)


SHARED = (
    "Customize every aspect of training via flags",
    "Trains and evaluates a detector",
    "Splits of one data set; a subclass says how they are read and may say how classes are named",
    "Options",
)


def _help_of(verb: str) -> str:
    """Return what ``glip VERB --help`` prints."""
    from glip_lightning.config.recipe import run

    printed = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "84"
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            run([verb, "--help"])
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    without_colours = re.sub(r"\x1b\[[\d;]*m", "", printed.getvalue())
    return re.sub(r"[^\n -~]", "", without_colours)  # marks where a line may break


def _groups(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the groups of a help: their titles and their lines."""
    for part in re.split(r"\n(?=\w[^\n]*:\n)", text)[1:]:
        title, *lines = part.rstrip().splitlines()
        yield title.rstrip(":").capitalize(), lines


PAGES: dict[str, Callable[[], str]] = {
    **{page: lambda source=source: taken(source) for source, page in TAKEN.items()},
    "results/cards.md": cards,
    "reference/recipes.md": recipes,
    "reference/findings.md": findings,
    "reference/cli.md": verbs,
    "reference/training_options.md": training_options,
}
"""What makes each page, by its place in the site."""
