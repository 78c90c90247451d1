"""Readers and commands under attack: each reads what lies in a folder and says what became of it.

A reader returns ``used`` or ``refused``; every other end is judged by ``fuzz.py``. What it takes
without using or naming it is :class:`Lost`.
"""

import contextlib
import csv
import io
import json
import logging
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import yaml

import fuzz_seeds as seeds
from fuzz_mutations import (
    MAGIC,
    Mutation,
    change_bytes,
    change_options,
    change_tree,
    change_tree_within,
    change_values,
)
from fuzz_product import (
    RUN_ADAPTER,
    STORED_FROM,
    Captioned,
    DetectionDataset,
    Findings,
    GroundingDataset,
    ImageFiles,
    Journal,
    Phrase,
    Predictor,
    Reader,
    RecipeChecker,
    Sentence,
    Thresholds,
    Tokenizer,
    Transform,
    apply_adapter,
    build_prompts,
    check_recipes,
    clean_name,
    collect,
    diagnose,
    download_tasks,
    grounding_content,
    load_adapter,
    load_folder,
    main,
    phrase_scores,
    print_diagnosis,
    read_captions,
    read_folder,
    read_grid,
    read_header,
    read_image,
    read_phrases_file,
    read_thresholds,
    unpack,
    write_report,
)

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
FEW = 60  # points of a sweep that are looked at
TINY = Transform(min_sizes=(32,), max_size=64)


class Fault(Exception):
    """What a reader here finds wrong; ``place`` stands for all inputs of this kind."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(f"{place}: {text}")
        self.place = place


class Lost(Fault):
    """Something of the input was neither used nor counted nor refused."""


class Late(Fault):
    """An input passed the check that is there to refuse it, and failed afterwards."""


class BadEnd(Fault):
    """A command that ends otherwise than it should."""


@dataclass(frozen=True)
class Target:
    """Something that reads folders."""

    name: str
    write: Callable[[Path], None]  # the seeds: a folder each
    read: Callable[[Path, Random | None], str]
    mutations: tuple[Mutation, ...] = (change_bytes, change_values, change_values, change_tree)
    limit: float = 10.0  # seconds
    command: bool = False
    # what the reader writes; all else in the folder has to stay as it is
    outputs: tuple[str, ...] = ()


# Data sets

NO_LOSS = {
    *(
        "missing-split",
        "leak",
        "classes-differ",
        "untrained-class",
        "image-without-boxes",
        "duplicate-image",
    ),
    *(
        "exif-turned",
        "exif-kept",
        "zero-based",
        "extreme-image",
        "split-by-rule",
        "unknown-words",
        "long-name",
    ),
    *(
        "class-count",
        "clipped-box",
        "text-id",
        "annotation-id-zero",
        "missing-keys",
        "duplicate-name",
        "blank-name",
    ),
    *(
        "normalised-boxes",
        "corner-boxes",
        "no-tokens",
        "confidence-column",
        "difficult",
        "background-category",
    ),
    *(
        "dropped-box",
        "split-not-written",
        "no-boxes",
        "crowd",
        "missing-class",
        "names-alike",
        "names-similar",
    ),
    *("joined-phrases", "duplicate-box", "shared-label", "turned-box", "flat-image"),
}
"""Findings about what is used all the same."""
ALL_OF_IT = {
    "two-layouts",
    "unannotated-split",
    "unused-split",
    "missing-split-path",
    "empty-split",
}
"""Findings that say of a whole split or layout that it is not used."""


def read_data_set(folder: Path, _: Random | None) -> str:
    """Do what ``glip doctor`` does; of data without errors, take the first sample of each split."""
    findings = Findings()
    layout = findings.attempt(folder, lambda: read_folder(folder, findings))
    splits = layout.splits if layout else {}
    diagnosis = diagnose(splits, Reader(_tokenizer()), findings, lambda steps, total: steps)
    with _printed():
        print_diagnosis(diagnosis, str(folder), "glip-nano")
        print(json.dumps([asdict(finding) for finding in findings]))
    if findings.errors or layout is None:
        return "refused"
    if layout.name != "a folder saved by datasets":
        _check_pictures(folder, layout.name, splits, findings)
        _check_boxes(folder, layout.name, splits, findings)
    _train_on(splits)
    return "used"


_TOKENIZER: list[Any] = []


def _tokenizer() -> Any:
    if not _TOKENIZER:
        _TOKENIZER.append(Tokenizer.nano())
    return _TOKENIZER[0]


@contextlib.contextmanager
def _printed() -> Iterator[None]:
    """Make sure that what is printed is text that a terminal takes."""
    with (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8") as stream,
        contextlib.redirect_stdout(stream),
    ):
        yield


def _train_on(splits: Any) -> None:
    try:
        for index in splits.values():
            build_prompts([Phrase(clean_name(name)) for name in index.class_names], _tokenizer())
            if len(index):
                _ = DetectionDataset(index, TINY)[0]
    except (ValueError, OSError) as error:
        raise Late("data that the doctor finds no error in", f"{error}") from error


def _check_pictures(folder: Path, layout: str, splits: Any, findings: Findings) -> None:
    below = {path for path in _visible(folder) if path.suffix.lower() in PICTURES}
    # a picture at the top is one of the data set at most
    lying = {path for path in below if path.parent != folder}
    used: set[Path] = set()
    for index in splits.values():
        if isinstance(index.source, ImageFiles):
            used |= {Path(os.path.normpath(index.source.path(row))) for row in index.rows.tolist()}
    unused = lying - used
    messages = "\n".join(finding.message for finding in findings)
    unnamed = sorted(path for path in unused if path.name not in messages)
    text = f"{len(lying)} lie there, {len(used)} are used: {unnamed}"
    _check_loss(f"pictures of {layout}", len(unnamed), findings, text)


def _check_boxes(folder: Path, layout: str, splits: Any, findings: Findings) -> None:
    count = (
        _boxes_of_voc if "VOC" in layout else _boxes_of_yolo if "YOLO" in layout else _boxes_of_coco
    )
    lying = sum(map(count, _visible(folder)))
    used = sum(len(index.boxes.labels) for index in splits.values())
    _check_loss(f"boxes of {layout}", lying - used, findings, f"{lying} lie there, {used} are used")


def _check_loss(what: str, lost: int, findings: Findings, text: str) -> None:
    codes = {finding.code for finding in findings}
    counted = sum(finding.count for finding in findings if finding.code not in NO_LOSS)
    if lost > counted and not codes & ALL_OF_IT:
        raise Lost(what, f"{text}; findings count {counted} ({', '.join(sorted(codes))})")


def _visible(folder: Path) -> list[Path]:
    """Return the plain files below a folder; no hidden ones, and links are not followed."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root) / name for name in names if not name.startswith(".")]
    return [path for path in found if path.is_file() and path.name != "splits.json"]


def _boxes_of_coco(file: Path) -> int:
    """Return the number of entries of all lists of annotations, also where a key comes twice with
    other values.
    """
    if file.suffix.lower() != ".json":
        return 0
    lengths: list[int] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if "images" in dict(pairs):
            lists = [
                value for key, value in pairs if key == "annotations" and isinstance(value, list)
            ]
            lengths.extend(
                len(value) for place, value in enumerate(lists) if value not in lists[:place]
            )
        return dict(pairs)

    try:
        json.loads(file.read_bytes().decode("utf-8-sig"), object_pairs_hook=note)
    except (ValueError, RecursionError):
        return 0
    return sum(lengths)


def _boxes_of_voc(file: Path) -> int:
    if file.suffix.lower() != ".xml":
        return 0
    try:
        return len(ElementTree.fromstring(file.read_bytes()).findall("object"))
    except (ElementTree.ParseError, ValueError, LookupError):
        return 0


def _boxes_of_yolo(file: Path) -> int:
    if file.suffix != ".txt" or (
        file.parent.parts[-1] != "labels" and file.parent.parent.name != "labels"
    ):
        return 0
    lines = file.read_text("utf-8", "replace").splitlines()
    return 0 if file.name == "classes.txt" else sum(bool(line.strip()) for line in lines)


def read_grounding(folder: Path, _: Random | None) -> str:
    """Read MDETR's file and its first samples; every box is there or named."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    file = folder / "file.json" if (folder / "file.json").exists() or not files else files[0]
    findings = Findings()
    found = GroundingDataset(file, folder / "images", TINY, findings)
    samples = [found[number] for number in range(min(len(found), 2))]
    found.unnamed(_tokenizer())
    for sample in samples:
        assert len(sample["spans"]) == len(sample["labels"])
    lying = _boxes_of_coco(file)
    _check_loss(
        "boxes of grounding", lying - len(found.index.boxes.labels), findings, f"{lying} lie there"
    )
    return "used"


# Pictures


def read_picture(folder: Path, _: Random | None) -> str:
    """Read every file as a picture: its head, then its pixels, which have to agree."""
    for file in sorted(folder.iterdir()):
        header = read_header(file)
        image = read_image(file, upright=True)
        if (image.height, image.width) != header.upright:
            raise Late("size of a picture", f"{file.name}: {header} at first, then {image.size}")
        read_image(file, upright=False)
    return "used"


# Texts


@contextlib.contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect the messages of warnings and above."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("glip_lightning")
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)


def read_caption_file(folder: Path, _: Random | None) -> str:
    """Read captions: as many as there are entries, or a warning that says how many are left out."""
    file = _only(folder)
    with _logged() as said:
        found = read_captions(file)
    used = sum(len(photo.sentences) for photo in found)
    left_out = sum(int(number) for line in said for number in re.findall(r"(\d+) of \d+", line))
    lying = _captions_in(file)
    if lying > used + left_out:
        raise Lost("captions", f"{lying} lie there, {used} are used, {left_out} counted")
    return "used"


def _captions_in(file: Path) -> int:
    text = file.read_bytes().decode("utf-8-sig")
    if file.suffix.lower() == ".jsonl":
        return sum(bool(line.strip()) for line in text.split("\n"))
    if file.suffix.lower() == ".csv":
        return len(list(csv.DictReader(io.StringIO(text, newline=""))))
    content = json.loads(text)
    rows = (
        content
        if isinstance(content, list)
        else [*content["images"], *(content.get("annotations") or [])]
    )
    return sum(isinstance(row, dict) and "caption" in row for row in rows)


def read_phrase_file(folder: Path, _: Random | None) -> str:
    """Read phrases, and make the captions of them."""
    file = _only(folder)
    found = read_phrases_file(file)
    if file.suffix.lower() == ".txt":
        lines = [line.strip() for line in file.read_bytes().decode("utf-8-sig").splitlines()]
        lying = sum(bool(line) and not line.startswith("#") for line in lines)
        if lying != len(found):
            raise Lost("phrases", f"{lying} lie there, {len(found)} are used")
    build_prompts(found, _tokenizer())
    with _printed():
        print(", ".join(phrase.name for phrase in found))
    return "used"


def read_threshold_file(folder: Path, _: Random | None) -> str:
    """Read the file as predict does, and as pseudo-label does, which keeps no score below 0.1."""
    file = _only(folder)
    found = read_thresholds(file, 0.5)
    assert all(0 <= score <= 1 for score in found.phrases.values())
    stored = read_thresholds(file, 0.5, STORED_FROM)
    assert all(STORED_FROM <= score <= 1 for score in stored.phrases.values())
    return "used"


def _only(folder: Path) -> Path:
    """Return the first file; a name that nothing has where there is none."""
    return next(
        (path for path in sorted(folder.iterdir()) if not path.is_dir()), folder / "missing.json"
    )


def read_journal(folder: Path, _: Random | None) -> str:
    """Open a journal: it keeps all of its whole lines, and every photo that they name; then use its
    records.
    """
    file = folder / "labels.scores.jsonl"
    before = file.read_bytes() if file.is_file() else b""
    with Journal(file, seeds.JOURNAL_HEADER) as found:
        after = file.read_bytes()
        whole = before[: before.rfind(b"\n") + 1]
        # its writer was killed at once
        begun = json.dumps(seeds.JOURNAL_HEADER).encode().startswith(before)
        if not after.startswith(whole) or not (whole or begun):
            raise Lost("lines", f"{len(before)} bytes became {len(after)}")
        names = {json.loads(line)["file_name"] for line in whole.splitlines()[1:]}
        done = sorted(name for name in names if name in found)
        if len(done) + len(found.failed) < len(names):
            raise Lost(
                "photos", f"{len(names)} are named, {len(done)} done, {len(found.failed)} failed"
            )
        labelled = [(Captioned(name, (SENTENCE,)), found.get(name)) for name in done]
        list(phrase_scores(labelled))
        content, _ = grounding_content(labelled, Thresholds(0.2), keep_empty=True)
        if len(content["images"]) < len(done):
            raise Lost("photos", f"{len(done)} are done, {len(content['images'])} in the file")
    return "used"


SENTENCE = Sentence("a cat beside a dog", ((2, 5), (15, 18)))


# Recipes and sweeps

_CHECKER: list[Any] = []


def warm_up() -> None:
    """Make what takes seconds and is the same for all inputs."""
    _tokenizer()
    _CHECKER.append(RecipeChecker())
    with tempfile.TemporaryDirectory() as folder:
        seeds.pictures(Path(folder))
        for file in Path(folder).glob("*/*"):
            read_image(file, upright=True)  # the decoders of PIL are imported now


def read_recipe(folder: Path, _: Random | None) -> str:
    """Check a recipe as ``glip fit`` does, before any detector is built."""
    file = _only(folder)
    check_recipes(["--config", str(file)])
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    _CHECKER[0].check(file, content, [("data.root", "missing")])
    return "used"


def read_sweep(folder: Path, _: Random | None) -> str:
    """Read a sweep file and the recipes that it names, and make its first points."""
    grid = read_grid(folder / "sweeps" / "sweep.yaml")
    for point in islice(grid.points(), FEW):
        changes = grid.changes(point)
        yaml.safe_dump(dict(changes))
        assert all(isinstance(key, str) for key in changes)
    return "used"


# Archives


def read_archive(folder: Path, _: Random | None) -> str:
    """Unpack an archive; every member below the task's folder has to be a file afterwards."""
    file = folder / f"{seeds.TOP}.zip"
    target = folder / "out" / "task"
    target.parent.mkdir(exist_ok=True)
    target.mkdir()
    found = unpack(file, seeds.TOP, target)
    lying = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    if lying != set(found):
        raise Lost("members", f"{sorted(set(found) ^ lying)}")
    with zipfile.ZipFile(file) as archive:
        names = [
            info.orig_filename
            for info in archive.infolist()
            if not info.orig_filename.endswith("/")
        ]
    if len([name for name in names if name.startswith(f"{seeds.TOP}/")]) > len(found):
        raise Lost("members", f"{len(names)} are in the archive, {len(found)} are unpacked")
    return "used"


MEMBERS = (
    *(
        "../../outside/x",
        "/tmp/x",
        "a/" * 2000 + "x",
        "x" * 300,
        "C:\\x",
        "a\\b",
        "\x1b[31mx",
        "/x",
        "./x",
        "x/",
        "",
    ),
    *(
        "train",
        "/",
        "./",
        "other/x",
        "é" * 130,
        "x\0y",
        "Raccoon.v2-raw.coco",
        "Raccoon.v2-raw.coco/train/a.png",
    ),
)


def odd_members(folder: Path, rng: Random) -> str:
    """Put a member into the archive that should not be there."""
    files = seeds.task_files()
    top = seeds.TOP
    name = rng.choice((*MEMBERS, *(f"{top}/{name}" for name in MEMBERS)))
    content = rng.choice((b"", b"x", rng.choice(MAGIC), b"\0" * 3_000_000))
    entry = zipfile.ZipInfo(name)
    entry.filename = name  # as it is, which the constructor would mend
    kind = rng.choice((0o100644, 0o120777, 0o020666, 0o010666, 0o040755, 0))
    entry.external_attr = kind << 16
    file = folder / f"{top}.zip"
    seeds.write_archive(file, files)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(entry, content)
    return f"member {name[:40]!r} of kind {kind:o}"


def fetch_task(folder: Path, _: Random | None) -> str:
    """Do what ``glip download`` does, with the archive from the folder."""
    (place,) = download_tasks([seeds.TASK], folder / "out", folder)
    return read_data_set(place, None)


# Detectors and what belongs to them


def _photo(folder: Path) -> Any:
    from PIL import Image

    return Image.effect_noise((48, 40), 60).convert("RGB")


def read_detector(folder: Path, _: Random | None) -> str:
    """Load a detector's folder; what it finds is finite."""
    return _predict(folder, Predictor(str(folder), device="cpu", threshold=0.06), None)


def read_prompt(folder: Path, _: Random | None) -> str:
    predictor = Predictor(
        None, prompts=[folder / "prompt.safetensors"], device="cpu", threshold=0.06
    )
    return _predict(folder, predictor, None)


def _predict(folder: Path, predictor: Any, phrases: Any) -> str:
    found = predictor(
        _photo(folder), phrases if predictor.loaded.task or predictor.tuned else "cat. dog"
    )
    with _printed():
        print(json.dumps(found.rows()))
        print([phrase.name for query in predictor.queries(None) for phrase in query.phrases])
    if not found.scores.isfinite().all() or not found.boxes.isfinite().all():
        raise Late("scores or boxes that are not finite", f"{found.scores}")
    if not all(tensor.isfinite().all() for tensor in predictor.model.state_dict().values()):
        raise Late("weights that are not finite", "nobody says so")
    return "used"


def read_adapter(folder: Path, _: Random | None) -> str:
    """Read an adapter's folder: alone, put into its base, and as a run."""
    place = folder / "run" / RUN_ADAPTER
    adapter = load_adapter(place)
    apply_adapter(load_folder(folder / "detector").model, adapter.tensors, str(place))
    return _predict(folder, Predictor(str(folder / "run"), device="cpu", threshold=0.06), None)


# Runs


def read_runs(folder: Path, _: Random | None) -> str:
    """Do what ``glip report`` does: every run is in it, whatever became of it."""
    found = collect(folder)
    if not found.axes:
        places = (
            [folder]
            if (folder / "result.json").is_file()
            else [p for p in folder.iterdir() if p.is_dir()]
        )
        runs = [p for p in places if (p / "recipe.yaml").is_file() or (p / "result.json").is_file()]
        if len(found.runs) < len(runs):
            raise Lost("runs", f"{len(runs)} lie there, {len(found.runs)} are in the report")
    for line in write_report(folder, folder / "out"):
        file = Path(line)
        if not file.is_file():
            raise Lost("files", f"{line} is not there")
        file.read_text(encoding="utf-8")
    return "used"


# Commands

SMALL = (
    *(
        "--data.min_sizes=[32]",
        "--data.test_size=32",
        "--data.max_size=64",
        "--data.batch_size=2",
        "--data.copies=1",
    ),
    *(
        "--data.workers=0",
        "--trainer.max_steps=1",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
    ),
    *(
        "--trainer.precision=32-true",
        "--trainer.logger=false",
        "--model.detector=detector",
        "--data.root=data",
    ),
    *("--trainer.enable_progress_bar=false", "--trainer.devices=1"),
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "predict": (
        "photos",
        "--phrases=cat. dog",
        "--detector=detector",
        "--out=out",
        "--threshold=0.06",
        "--device=cpu",
    ),
    "predict prompt": (
        "photos/a.png",
        "--prompt",
        "prompt.safetensors",
        "--out=out",
        "--device",
        "cpu",
    ),
    "predict file": (
        "photos/*.png",
        "--phrases-file",
        "phrases.yaml",
        "--detector",
        "detector",
        "--out",
        "out",
    ),
    "doctor": ("data", "--detector=detector", "--json"),
    "fit": ("--config=recipe.yaml", *SMALL, "--run=out/run"),
    "validate": ("--config=recipe.yaml", *SMALL, "--run=out/run"),
    "test": ("--config=recipe.yaml", *SMALL, "--run=out/run"),
    "sweep": ("sweep.yaml", "--dry-run", "--dir=out", *SMALL[-5:-2]),
    "report": ("runs", "--out=out"),
    "convert": ("official/official.pth", "out/folder", "--half"),
    "convert back": ("detector", "out/official.pth"),
    "download": (seeds.TASK, "--root=out", "--from=."),
    "pseudo-label": (
        *(
            "--images=photos",
            "--captions=coco.json",
            "--detector=detector",
            "--out=out/labels.json",
            "--batch=2",
        ),
        *("--thresholds=thresholds.yaml", "--threshold=0.1", "--device=cpu"),
    ),
    "pseudo-label classes": (
        *(
            "--images=photos",
            "--phrases-file=phrases.yaml",
            "--detector=detector",
            "--out=out/l.json",
            "--keep-empty",
        ),
    ),
    "env": (),
}
STATUSES = {0, 1, 2, 130}


def run_command(verb: str) -> Callable[[Path, Random], str]:
    """Return a reader that runs ``glip`` in the folder with the options of the verb, some of which
    are changed.
    """

    def run(folder: Path, rng: Random | None) -> str:
        words = [verb.partition(" ")[0], *COMMANDS[verb]]
        for _ in range(rng.choice((0, 1, 1, 2)) if rng else 0):
            words, _ = change_options(words, rng)
        (folder / "command.txt").write_text(json.dumps(words))
        os.chdir(folder)
        return _end_of(words)

    return run


def _end_of(words: list[str]) -> str:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    kept = sys.argv
    sys.argv = ["glip", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status: Any = main(words)
    except SystemExit as stop:
        status = stop.code
    finally:
        sys.argv = kept
    err.seek(0)
    said = err.read()
    os.write(1, said.encode("utf-8", "replace"))  # where the fuzzer looks
    if "Traceback (most recent call last)" in said:
        raise BadEnd(f"traceback of {words[:1]}", said[-2000:])
    if status is not None and status not in STATUSES:
        raise BadEnd(f"status {status!r}", f"{words}")
    if status and not said.strip() and words[:1] != ["doctor"]:
        raise BadEnd("status without a word", f"{status}: {words}")
    return "refused" if status else "used"


ALL = (change_bytes, change_values, change_values, change_tree)
TARGETS = (
    Target("data sets", seeds.data_sets, read_data_set),
    Target("grounding", seeds.grounding, read_grounding),
    Target(
        "pictures",
        seeds.pictures,
        read_picture,
        (change_bytes, change_bytes, change_bytes, change_tree),
    ),
    Target("captions", seeds.captions, read_caption_file),
    Target("phrases", seeds.phrases, read_phrase_file),
    Target("thresholds", seeds.thresholds, read_threshold_file),
    Target(
        "journal",
        seeds.journal,
        read_journal,
        (change_bytes, change_values, change_values, change_tree_within),
        outputs=("labels.scores.jsonl", "labels.scores.jsonl.lock"),
    ),
    Target("recipes", seeds.recipes, read_recipe),
    Target("sweeps", seeds.sweeps, read_sweep),
    Target(
        "archives",
        seeds.archives,
        read_archive,
        (change_bytes, change_bytes, odd_members),
        outputs=("out",),
    ),
    Target("downloads", seeds.archives, fetch_task, (change_bytes, odd_members), outputs=("out",)),
    Target("detectors", seeds.detectors, read_detector),
    Target("prompts", seeds.prompts, read_prompt, (change_bytes, change_values, change_values)),
    Target("adapters", seeds.adapters, read_adapter),
    Target("runs", seeds.runs, read_runs, outputs=("out",)),
    *(
        Target(
            f"glip {verb}",
            seeds.command,
            run_command(verb),
            ALL,
            40.0,
            True,
            ("out", "command.txt"),
        )
        for verb in COMMANDS
    ),
)
