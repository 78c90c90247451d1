"""Whether every detector with every tuning still comes out the same, bit by bit: `make
test-unchanged`.

    python tests/support/unchanged.py              # run all cells, compare with the reference
    python tests/support/unchanged.py --write HEAD # store the reference of this machine and code

Only the command line is used and only files are read, so that modules may move. Bits depend on the
processor and on
PyTorch: where those of the stored reference are others, it is made anew, with the code of the
    commit that it names.
"""

import argparse
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
FOLDER = TESTS / "golden" / "unchanged"
CELLS, RECIPE = FOLDER / "cells.yaml", FOLDER / "recipe.yaml"
REFERENCE, NUMBERS = FOLDER / "hashes.json", FOLDER / "numbers.json"
FEW = ("FullTuning", "PromptTuning", "LoRATuning")
"""The tunings of glip-nano-c whose numbers are compared everywhere, also where bits differ."""
BEFORE = ("-m", "glip_lightning.cli")
"""How Python starts the program of the commit of the reference."""
STOPPED_AFTER = 7  # of 20 steps

Command = Sequence[str]
Cell = dict[str, Any]


def program() -> list[str]:
    """The installed `glip`."""
    return [str(Path(sys.executable).with_name("glip"))]


def environment(**more: str) -> dict[str, str]:
    """One thread; the tests' folder, in which the callback lies that stops a run."""
    paths = [more.pop("source", ""), str(TESTS / "support"), os.environ.get("PYTHONPATH", "")]
    given = {
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    return {**os.environ, **given, **more}


def call(glip: Command, *arguments: str | Path, code: int = 0, source: str = "") -> None:
    """Run a command; another exit code than ``code`` is an error that shows what it said."""
    command = [*glip, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(source=source), check=False
    )
    if done.returncode != code:
        raise RuntimeError(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        )


def sweep(
    glip: Command, folder: Path, shapes: Path, *options: str, source: str = ""
) -> dict[str, Path]:
    """Run the cells of the sweep file, one after the other; the folder of each by its name."""
    call(
        glip,
        "sweep",
        CELLS,
        "--dir",
        folder,
        "--workers",
        "1",
        "--data.root",
        shapes,
        *options,
        source=source,
    )
    return finished(folder)


def finished(folder: Path) -> dict[str, Path]:
    """The finished cells of a sweep's folder by the names of their detector and tuning."""
    runs = {}
    for file in folder.glob("trials/*/trial.json"):
        axes = json.loads(file.read_text(encoding="utf-8"))["axes"]
        if (file.parent / "result.json").is_file():
            runs[f"{axes['model.detector']} {axes['tuning']}"] = file.parent
    return runs


def sweep_few(glip: Command, folder: Path) -> dict[str, Path]:
    """Only those cells whose numbers are stored; the folder of each by its tuning."""
    only = ",".join(["model.detector=glip-nano-c", *(f"tuning={name}" for name in FEW)])
    return few(sweep(glip, folder, folder / "shapes", "--only", only))


def few(runs: Mapping[str, Path]) -> dict[str, Path]:
    return {name: runs[f"glip-nano-c {name}"] for name in FEW}


def run_all(glip: Command, folder: Path, source: str = "") -> dict[str, Cell]:
    """What every cell leaves, by its name."""
    shapes = folder / "shapes"
    cached = sweep(glip, folder / "cached", shapes, source=source)
    cells = {name: read_cell(run) for name, run in cached.items()}
    anew = sweep(glip, folder / "anew", shapes, "--model.features.gigabytes=0", source=source)
    cells |= {f"{name}, without cache": read_cell(run) for name, run in anew.items()}
    cells |= {name: read_cell(run) for name, run in single_runs(glip, folder, shapes, source)}
    return dict(sorted(cells.items()))


def single_runs(
    glip: Command, folder: Path, shapes: Path, source: str
) -> Iterator[tuple[str, Path]]:
    """Full tuning, stopped and resumed, and in two processes; a prompt for five classes, one of
    them a long phrase.
    """
    fit = ["fit", "--config", RECIPE, f"--data.root={shapes}", "--run"]
    resumed, two = folder / "resumed", folder / "two"
    if not (resumed / "result.json").is_file():
        stop = [
            "--trainer.callbacks",
            "unchanged_stop.StopIn",
            f"--trainer.callbacks.step={STOPPED_AFTER - 1}",
        ]
        call(glip, *fit, resumed, *stop, code=130, source=source)
        call(glip, "fit", "--resume", resumed, source=source)
    yield f"glip-nano-c FullTuning, resumed after {STOPPED_AFTER} steps", resumed
    if not (two / "result.json").is_file():
        call(glip, *fit, two, "--trainer.strategy=ddp", "--trainer.devices=2", source=source)
    yield "glip-nano-c FullTuning, in two processes", two
    five = folder / "five"
    if not (five / "result.json").is_file():
        what = [
            "--data.task=Harbour",
            "--data.prompts=described",
            "--model.tuning=PromptTuning",
            "--model.tuning.lr=0.3",
            "--model.tuning.weight_decay=0.25",
        ]
        call(glip, *fit, five, *what, source=source)
    yield "glip-nano-c PromptTuning, five classes", five


def read_cell(run: Path) -> Cell:
    """Hashes of a finished run: its weights, its detections, its captions with their token spans;
    its images.
    """
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    detections = json.loads((run / "detections.json").read_text(encoding="utf-8"))
    rows = sorted(json.dumps(row, sort_keys=True) for row in detections)
    return {
        "weights": weights_hash(run),
        "detections": sha256("\n".join(rows)),
        "captions": sha256(json.dumps(captions(run, result), sort_keys=True)),
        "image_ids": result["image_ids"],
    }


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def tensor_files(run: Path) -> list[Path]:
    """What a run has learned: a detector, an adapter, a prompt."""
    return sorted(path for path in run.rglob("*.safetensors") if "checkpoints" not in path.parts)


def weights(run: Path) -> dict[str, torch.Tensor]:
    """All learned tensors by file and name, in the order of their names."""
    found = {}
    for path in tensor_files(run):
        with safe_open(path, framework="pt") as file:
            keys = sorted(file.keys())
            found |= {
                f"{path.relative_to(run).as_posix()}:{key}": file.get_tensor(key) for key in keys
            }
    return found


def weights_hash(run: Path) -> str:
    digest = hashlib.sha256()
    for key, tensor in weights(run).items():
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def captions(run: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Phrases, captions and token spans as the files of a run have them, and the hash of the
    detector below them.
    """
    found: dict[str, Any] = {"phrases": result["phrases"]}
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in run.glob("*/adapter.json")]
    for path in tensor_files(run):
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        contents += [json.loads(text) for text in metadata.values() if text.startswith("{")]
    for content in contents:
        found |= {key: content[key] for key in ("captions", "classes") if key in content}
        found |= {"base": content["base"]["sha256"]} if "base" in content else {}
    return found


def numbers(run: Path) -> dict[str, Any]:
    """What is compared where bits differ: losses by step, metrics, the sizes of the tensors by
    part.
    """
    metrics = json.loads((run / "result.json").read_text(encoding="utf-8"))["metrics"]
    norms: dict[str, float] = {}
    for key, tensor in weights(run).items():
        part = ".".join(key.split(".")[:4])
        norms[part] = norms.get(part, 0.0) + tensor.double().square().sum().item()
    return {
        "losses": losses(run),
        **{
            split: {name: x for name, x in metrics[split].items() if isinstance(x, float)}
            for split in ("val", "test")
        },
        "norms": {part: square**0.5 for part, square in norms.items()},
    }


def losses(run: Path) -> list[float]:
    return [float(row["train/loss"]) for row in log_rows(run) if row["train/loss"]]


def log_rows(run: Path) -> list[dict[str, str]]:
    """Of logs/metrics.csv."""
    with (run / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def machine() -> dict[str, str]:
    """What bits depend on."""
    return {
        "torch": torch.__version__.split("+")[0],
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def reference() -> dict[str, Cell]:
    """The stored cells; where the machine is another, those of the same commit on this one, made
    once.
    """
    stored = json.loads(REFERENCE.read_text(encoding="utf-8"))
    if stored["machine"] == machine():
        return stored["cells"]
    own = (
        ROOT
        / "runs"
        / f"unchanged-{stored['commit'][:7]}-{machine()['torch']}-{machine()['cpu']}.json".replace(
            " ", "-"
        )
    )
    if not own.is_file():
        print(
            f"the reference is of {stored['machine']}, this is {machine()}: "
            f"making one with commit {stored['commit']}"
        )
        own.parent.mkdir(exist_ok=True)
        own.write_text(json.dumps(made_with(stored["commit"]), indent=1), encoding="utf-8")
    return json.loads(own.read_text(encoding="utf-8"))


def made_with(commit: str) -> dict[str, Cell]:
    """All cells with the code of another commit."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "code.tar"
        subprocess.run(
            ["git", "-C", str(ROOT), "archive", "-o", str(archive), commit, "src"], check=True
        )
        shutil.unpack_archive(archive, folder)
        return run_all(
            [sys.executable, *BEFORE], Path(folder) / "runs", source=str(Path(folder) / "src")
        )


def differences(found: Mapping[str, Cell], expected: Mapping[str, Cell]) -> list[str]:
    """A line for each thing that is not the same."""
    lines = [f"{name}: missing" for name in expected if name not in found]
    lines += [f"{name}: not in the reference" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        lines += [
            f"{name}: other {key}"
            for key, value in expected[name].items()
            if found[name].get(key) != value
        ]
    return sorted(lines)


def store(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """0 if all cells are as in the reference, else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--write",
        metavar="COMMIT",
        help="store what comes out as the reference; COMMIT is what the code is of",
    )
    parser.add_argument(
        "--keep",
        metavar="DIR",
        help="run in this folder, leave the runs there, and go on with those that are there",
    )
    options = parser.parse_args()
    expected = {} if options.write else reference()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary).resolve()
        found = run_all(program(), folder)
        if options.write:
            store(REFERENCE, {"commit": options.write, "machine": machine(), "cells": found})
            store(
                NUMBERS,
                {name: numbers(run) for name, run in few(finished(folder / "cached")).items()},
            )
            return 0
    lines = differences(found, expected)
    print(*lines, f"{len(found)} cells, {len(lines)} differences", sep="\n")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
