"""The fuzzer finds what it is there to find; and what it finds in the product."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import fuzz
import fuzz_readers as readers
import fuzz_seeds as seeds

SEED = 1
WORD = b"raccoon"


def write_seed(folder: Path) -> None:
    (folder / "one").mkdir()
    (folder / "one" / "a.bin").write_bytes(WORD * 20)


def planted(folder: Path, _: Random | None) -> str:
    """Fail where bytes were changed, as a reader does that trusts its input."""
    content = (folder / "a.bin").read_bytes()
    if content != WORD * 20:
        raise KeyError(content[:10])
    return "used"


def hang(folder: Path, _: Random | None) -> str:
    time.sleep(60)
    return "used"


def die(folder: Path, _: Random | None) -> str:
    os._exit(3)


def write_elsewhere(folder: Path, _: Random | None) -> str:
    (folder.parent / "elsewhere.txt").write_text("x")
    return "used"


def write_far_away(folder: Path, _: Random | None) -> str:
    (folder.parent.parent.parent / "far.txt").write_text("x")
    return "used"


def leave_a_process(folder: Path, _: Random | None) -> str:
    if os.fork() == 0:
        time.sleep(60)
    return "used"


def start_a_program(folder: Path, _: Random | None) -> str:
    subprocess.run(["true"], check=True)
    return "used"


def change_the_input(folder: Path, _: Random | None) -> str:
    (folder / "a.bin").write_bytes(b"")
    return "used"


def target(read: Callable[[Path, Random | None], str]) -> readers.Target:
    return readers.Target("planted", write_seed, read, (readers.change_bytes,))


def test_a_planted_fault_is_found_kept_and_made_again(tmp_path: Path) -> None:
    phrases = readers.Target(
        "phrases", seeds.phrases, readers.read_phrase_file, (readers.change_bytes,)
    )
    out = tmp_path / "out"
    campaign = fuzz.run([target(planted), phrases], SEED, 0.05, out)
    rows = campaign.rows
    assert rows["planted"].inputs > 20
    assert rows["phrases"].inputs > 20
    assert sum(rows["planted"].ends.values()) == rows["planted"].inputs
    (key,) = (key for key in campaign.finds if key[0] == "planted")
    assert key[1] == "KeyError"
    cases = campaign.finds[key]
    assert len(cases) == rows["planted"].ends["find"] > 10
    kept = sorted((out / "finds").glob("planted-KeyError-*"))
    assert len(kept) == fuzz.KEPT
    content = (kept[0] / "case" / "a.bin").read_bytes()
    assert content != WORD * 20
    again = fuzz.run([target(planted)], SEED, 0, tmp_path / "again", cases[0])
    assert again.finds == {key: [cases[0]]}
    (same,) = (tmp_path / "again" / "finds").iterdir()
    assert (same / "case" / "a.bin").read_bytes() == content
    assert "planted" in campaign.table()


def test_commands_alone_get_all_of_the_time(tmp_path: Path) -> None:
    command = readers.Target("planted", write_seed, planted, (readers.change_bytes,), command=True)
    assert fuzz.run([command], SEED, 0.1, tmp_path / "out").rows["planted"].inputs > 2


@pytest.mark.parametrize(
    "read, kind",
    [
        (hang, "Hang"),
        (die, "Died"),
        (write_elsewhere, "WrittenOutside"),
        (write_far_away, "Elsewhere"),
        (leave_a_process, "ProcessLeft"),
        (start_a_program, "Elsewhere"),
        (change_the_input, "InputChanged"),
    ],
)
def test_what_else_a_reader_must_not_do(
    read: Callable[[Path, Random | None], str], kind: str, tmp_path: Path
) -> None:
    campaign = fuzz.run([target(read)], SEED, 0, tmp_path / "out", 0)
    assert [key[1] for key in campaign.finds] == [kind]
    assert not (tmp_path / "far.txt").exists()


@pytest.mark.slow
def test_every_seed_is_used_as_it_is(tmp_path: Path) -> None:
    readers.warm_up()
    for each in readers.TARGETS:
        each.write(tmp_path)
        number = sum(path.is_dir() for path in tmp_path.iterdir())
        fuzz.remove(tmp_path)
        tmp_path.mkdir()
        for case in range(-number, 0):
            row = fuzz.run([each], SEED, 0, tmp_path / "out", case).rows[each.name]
            assert row.ends == {"used": 1}, (each.name, case)
        fuzz.remove(tmp_path)
        tmp_path.mkdir()


@pytest.mark.slow
def test_two_minutes_find_nothing(tmp_path: Path) -> None:
    command = [
        sys.executable,
        fuzz.__file__,
        "--minutes",
        "2",
        "--seed",
        str(SEED),
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "finds.json").read_text()) == []
    assert int(done.stdout.split(" inputs, ")[0].split()[-1]) > 50_000 / 30
