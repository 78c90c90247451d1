"""README, CONTRIBUTING and docs/: what they link to exists, and their commands work exactly as
written.
"""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from _pytest.mark import ParameterSet

from documents import (
    DOCS,
    FENCE,
    GOLDEN,
    PAGES,
    ROOT,
    Block,
    archives,
    blocks,
    commands,
    generated_pages,
    hub_files,
    not_run,
    prose,
    write_checkout,
    write_inputs,
    write_made,
)
from glip_lightning.app.cli import TRAINING, VERBS, main
from hub_server import running_hub
from test_layout import LAYERS

LINKED = [
    *PAGES,
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "tests" / "golden" / "README.md",
]
ONLY_PARSED = not_run()
"""Commands that no test runs, each with its reason."""

PARITY = "pytest -m parity --golden=DIR tests"

LEAVES = {
    "predict": "**/predictions.json",
    "pseudo-label": "*labels.json",
    "convert": "*/model.safetensors|out.pth",
    "download": "DATA/odinw/.downloads/*.json",
    "fit": "runs/*/result.json",
    "test": "runs/*/result.json",
    "report": "**/report.html",
}
"""What a verb leaves, below the folder in which it was typed; one of several patterns."""

Shell = Callable[[Path, str], subprocess.CompletedProcess[str]]


def verb_of(command: str) -> str:
    """Return the verb of a command of ours, an empty text for other commands."""
    program, *rest = command.split()
    return rest[0] if program == "glip" else ""


RUN = [command for command in commands() if command not in ONLY_PARSED]
SINGLE = [command for command in RUN if command != PARITY and verb_of(command) not in TRAINING]
TRAININGS = [
    block
    for block in blocks("bash")
    if any(verb_of(c) in TRAINING for c in block.commands() if c in RUN)
]


def single_commands() -> Iterator[ParameterSet]:
    """Yield what is no training; a verb is in the fast tests once, since each command is a process
    of seconds.
    """
    seen: set[str] = {"sweep"}  # its plan takes longer
    for command in SINGLE:
        verb = verb_of(command)
        yield pytest.param(command, marks=[pytest.mark.slow] if verb in seen else [])
        seen.add(verb)


def slug(heading: str) -> str:
    """Return the anchor of a heading as GitHub and MkDocs make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_every_page_is_in_the_navigation_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = re.findall(r"'([^']+\.md)'", str(site["nav"]))
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert sorted(listed) == sorted([*pages, *generated_pages().PAGES])
    assert site["docs_dir"] == "docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_is_empty(page: Path) -> None:
    title, _, text = page.read_text(encoding="utf-8").partition("\n")
    assert title.startswith("# ")
    assert len(text.split()) > 30


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_point_to_something(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    for target in targets:
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if page.is_relative_to(DOCS) and _in_site(file) in generated_pages().PAGES:
            continue  # the site's build looks whether the anchor is there
        assert file.exists(), target
        if page.is_relative_to(DOCS):
            assert file.resolve().is_relative_to(DOCS), f"{target}: the site holds docs/ only"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose(file), re.MULTILINE)
            assert anchor in map(slug, headings), target


def _in_site(file: Path) -> str:
    return os.path.relpath(file, DOCS).replace(os.sep, "/")


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_modules_in_the_text_exist(page: Path) -> None:
    for span in re.findall(r"`([^`\n]+)`", prose(page)):
        for path in re.findall(
            r"(?:^|\s)((?:src|recipes|tests|benchmarks|notebooks|docs)/[\w./-]*)", span
        ):
            assert (ROOT / path).exists(), path
        for path in re.findall(rf"^(?:{'|'.join(LAYERS)})/[\w./-]*\.py$", span):
            assert (ROOT / "src" / "glip_lightning" / path).exists(), path
        for name in re.findall(r"\bglip_lightning(?:\.\w+)+", span):
            assert _exists(name), name


def _exists(name: str) -> bool:
    """Return whether a dotted name is a module or something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part, None)
        return found is not None
    return False


@pytest.mark.parametrize("command", commands())
def test_commands_exist(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = [word for word in shlex.split(command) if not re.match(r"[A-Z_]+=", word)]
    if words[0] == "make":
        assert re.search(
            rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
        )
    elif words[0] != "glip":
        # pip is that of the reader's environment
        assert shutil.which(words[0]) or words[0] in ("for", "pip")
    elif words[1] in TRAINING:
        with pytest.raises(SystemExit) as ended:  # of a wrong option, with another code
            main([*words[1:], "--print_config"])
        assert ended.value.code in (None, 0)
    else:
        VERBS[words[1]].make_context(words[1], words[2:])  # raises an error for a wrong option
    for word in words:
        if word.startswith(("recipes/", "benchmarks/", "tests/")):
            assert list(ROOT.glob(word.rstrip(";"))), word


def test_the_layers_stand_in_their_order() -> None:
    text = (
        (ROOT / "CONTRIBUTING.md")
        .read_text(encoding="utf-8")
        .partition("## The layout")[2]
        .partition("\n## ")[0]
    )
    assert tuple(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == LAYERS


def test_what_is_only_parsed_stands_in_the_documents() -> None:
    assert set(commands()) >= ONLY_PARSED.keys()
    marked = re.findall(
        r"^<!--.*?-->$", "\n".join(page.read_text(encoding="utf-8") for page in PAGES), re.MULTILINE
    )
    made = re.compile(r"<!-- (pictures|table: \w+) -->")  # what is put in below
    marked = [comment for comment in marked if not made.fullmatch(comment)]
    assert all(re.fullmatch(r"<!-- not run: \w.* -->", comment) for comment in marked)
    fences = [fence for page in PAGES for fence in FENCE.finditer(page.read_text(encoding="utf-8"))]
    # each stands above a block
    assert len(marked) == sum(fence["reason"] is not None for fence in fences)


def test_all_others_run() -> None:
    in_blocks = {command for block in TRAININGS for command in block.commands()}
    assert set(RUN) - in_blocks - set(SINGLE) == {PARITY}


@pytest.mark.parametrize(
    "block", [each for each in blocks("yaml") if not each.title], ids=lambda block: block.page
)
def test_parts_of_recipes_are_understood(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "part.yaml").write_text(block.text, encoding="utf-8")
    given = [
        "--data.root",
        "DATA",
        "--data.task",
        "Aquarium",
        "--config",
        str(tmp_path / "part.yaml"),
    ]
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", "recipes/few_shot.yaml", *given, "--print_config"])
    assert ended.value.code in (None, 0)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in which glip is installed, the official detectors are tiny and all servers are on
    this machine.
    """
    with running_hub() as hub:
        hub.files |= hub_files() | archives()
        support = ROOT / "tests" / "support"
        paths = [
            str(support / "tiny_official"),
            str(support),
            *filter(None, [os.environ.get("PYTHONPATH")]),
        ]
        variables = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path_factory.mktemp("hub")),
            "HF_HUB_OFFLINE": "0",
            "WANDB_MODE": "disabled",
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join(paths),
        }

        def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["bash", "-c", command],
                cwd=folder,
                env=os.environ | variables,
                capture_output=True,
                text=True,
            )

        yield run


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the repository: a light copy of the checkout, and all that commands read."""
    folder = tmp_path_factory.mktemp("a folder")
    write_checkout(folder)
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, inputs: Path) -> Path:
    """The same with what earlier commands leave for later ones."""
    folder = tmp_path_factory.mktemp("later") / "a folder"
    shutil.copytree(inputs, folder, symlinks=True)
    write_made(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, made: Path) -> Path:
    """A fresh copy of it."""
    return Path(shutil.copytree(made, tmp_path / "a folder", symlinks=True))


def check_runs(shell: Shell, folder: Path, command: str) -> None:
    """Run a command as written; it ends well and leaves what it is for."""
    leaves = LEAVES.get(verb_of(command), "")
    before = _found(folder, leaves)
    done = shell(folder, command)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    if leaves:
        assert _found(folder, leaves) - before, f"{command}\n{done.stdout}\n{done.stderr}"


def _found(folder: Path, patterns: str) -> set[Path]:
    """Return what fits one of the patterns, which a bar divides."""
    return {path for pattern in patterns.split("|") if pattern for path in folder.glob(pattern)}


@pytest.mark.parametrize("command", list(single_commands()))
def test_commands_run_as_written(command: str, shell: Shell, folder: Path) -> None:
    if verb_of(command) == "download":
        shutil.rmtree(folder / "DATA")
    check_runs(shell, folder, command)


@pytest.mark.slow
@pytest.mark.parametrize("block", TRAININGS, ids=lambda block: block.page)
def test_blocks_with_trainings_run_as_written(block: Block, shell: Shell, folder: Path) -> None:
    """One after the other, so that the later commands read what the earlier ones left."""
    shutil.rmtree(folder / "runs")
    if any(verb_of(command) == "download" for command in block.commands()):
        shutil.rmtree(folder / "DATA")
    for command in block.commands():
        if command in RUN:
            check_runs(shell, folder, command)


@pytest.mark.slow
def test_reference_tensors_of_another_folder_are_compared_as_written(folder: Path) -> None:
    """The detectors have their own sizes here, unlike in ``shell``: the tests compare the official
    ones.
    """
    elsewhere = folder.parent / "elsewhere"
    shutil.copytree(
        GOLDEN, elsewhere, ignore=shutil.ignore_patterns("model_mini", "runs_0_1", "unchanged")
    )
    (folder / "DIR").symlink_to(elsewhere)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", PARITY], cwd=folder, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout), done.stdout


@pytest.fixture(scope="module")
def failed(shell: Shell, made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What went wrong in the code of the pages, by program: all in one process, which imports the
    libraries once.
    """
    place = tmp_path_factory.mktemp("programs")
    for number, block in enumerate(blocks("python")):
        if not block.reason:
            folder = Path(shutil.copytree(made, place / str(number), symlinks=True))
            (folder / "program.py").write_text(block.text, encoding="utf-8")
    done = shell(place, f"python {ROOT / 'tests' / 'support' / 'run_programs.py'}")
    assert done.returncode == 0, done.stderr
    return json.loads((place / "failed.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "number, block",
    list(enumerate(blocks("python"))),
    ids=lambda each: each.page if isinstance(each, Block) else "",
)
def test_code_runs(number: int, block: Block, failed: dict[str, str]) -> None:
    compile(block.text, block.page, "exec")
    if not block.reason:
        assert failed[str(number)] == ""
