"""``glip download`` against a local server: whole tasks or nothing, the same files for good."""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from glip_lightning.app.cli import main
from glip_lightning.data.benchmarks import download as module
from glip_lightning.data.benchmarks.download import download
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS, find_task, get_task, split_files, tasks
from zip_server import Server, running_server, zip_of


def task_files(*names: str) -> dict[str, bytes]:
    """All splits of these tasks, without images, and some noise so that the file is larger than a socket's buffers."""
    found = {}
    for task in map(get_task, names):
        for split, file in task.splits.items():
            found[f"{task.dir}/{file}"] = json.dumps({"split": split}).encode()
        found[f"{task.dir}/train/noise"] = np.random.default_rng(0).bytes(200_000)
    return found


RACCOON = zip_of(task_files("Raccoon"))
OTHER_RACCOON = zip_of({**task_files("Raccoon"), "Raccoon/README": b"changed"})


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLIP_ODINW_MIRROR", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        running.files["/odinw/Raccoon.zip"] = RACCOON
        running.files["/odinw/EgoHands.zip"] = zip_of(task_files("EgoHands_generic", "EgoHands_specific"))
        yield running


def get(server: Server, root: Path, *names: str) -> list[Path]:
    return download(names, root, f"{server.url}/odinw", pause=0.0)


def record_of(root: Path, archive: str = "Raccoon.zip") -> Path:
    return root / "odinw" / ".downloads" / f"{archive}.json"


def leftovers(root: Path) -> set[str]:
    """What does not belong to a task, a record or a lock."""
    names = {str(path.relative_to(root)) for path in root.glob("odinw/.*") if path.name != ".downloads"}
    control = (root / "odinw" / ".downloads").glob("*")
    return names | {path.name for path in control if not path.name.endswith((".zip.json", ".lock"))}


def test_a_task_is_found_after_its_download(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path, "Raccoon") == [tmp_path / "odinw/Raccoon/Raccoon.v2-raw.coco"]
    for split in ("train", "valid", "test"):
        assert json.loads(split_files(tmp_path, "Raccoon", split).annotation_file.read_text()) == {"split": split}
    assert leftovers(tmp_path) == set()
    record = json.loads(record_of(tmp_path).read_text())
    assert record["url"] == f"{server.url}/odinw/Raccoon.zip"
    assert record["bytes"] == len(RACCOON)
    assert len(record["sha256"]) == 64


def test_variants_share_a_zip_file(server: Server, tmp_path: Path) -> None:
    folders = get(server, tmp_path, "EgoHands", "EgoHands_specific", "EgoHands_generic")
    assert folders == [tmp_path / "odinw/EgoHands/generic", tmp_path / "odinw/EgoHands/specific"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("benchmark, count", [("odinw13", 13), ("odinw35", 35)])
def test_whole_benchmarks(server: Server, tmp_path: Path, benchmark: str, count: int) -> None:
    for archive in {task.zip for task in tasks().values()}:
        names = [task.name for task in tasks().values() if task.zip == archive]
        server.files[f"/odinw/{archive}"] = zip_of(
            {name: content for name, content in task_files(*names).items() if "noise" not in name}
        )
    folders = get(server, tmp_path, benchmark, "Raccoon")
    assert len(set(folders)) == count
    paths = [request.path for request in server.requests]
    assert len(paths) == len(set(paths)) == (13 if count == 13 else 32)


def test_again_it_is_there_and_verified(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = get(server, tmp_path, "Raccoon")
    assert get(server, tmp_path, "Raccoon") == folder
    assert "there already" in caplog.text
    assert "all 4 files are as downloaded" in caplog.text
    assert len(server.requests) == 1
    (folder[0] / "train/noise").write_bytes(b"changed")
    (folder[0] / "valid" / ANNOTATIONS).unlink()
    with pytest.raises(OSError, match=r"2 of 4 files are missing or not as downloaded: .*move the folder away"):
        get(server, tmp_path, "Raccoon")


def test_a_task_that_was_put_there_by_hand(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "Raccoon" / "train").mkdir(parents=True)
    (tmp_path / "Raccoon" / "train" / ANNOTATIONS).touch()
    assert get(server, tmp_path, "Raccoon") == [tmp_path / "Raccoon"]
    assert "nothing to verify" in caplog.text
    assert server.requests == []


def test_a_folder_that_is_in_the_way_is_not_touched(server: Server, tmp_path: Path) -> None:
    mine = tmp_path / "odinw" / "Raccoon" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    with pytest.raises(OSError, match=r"exists, but without the annotations of Raccoon_Raccoon\.v2-raw\.coco; move it"):
        get(server, tmp_path, "Raccoon")
    assert mine.read_text() == "precious"
    assert server.requests == []


def test_another_file_under_the_same_name_is_refused(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path, "Raccoon")
    first = json.loads(record_of(tmp_path).read_text())["sha256"]
    (tmp_path / "odinw" / "Raccoon").rename(tmp_path / "away")
    server.files["/odinw/Raccoon.zip"] = OTHER_RACCOON
    with pytest.raises(
        OSError, match=rf"its SHA-256 is [0-9a-f]{{64}}, but that of the first .* was {first}; .*delete"
    ):
        get(server, tmp_path, "Raccoon")
    assert not (tmp_path / "odinw" / "Raccoon").exists()
    assert leftovers(tmp_path) == set()
    server.files["/odinw/Raccoon.zip"] = RACCOON
    get(server, tmp_path, "Raccoon")
    (tmp_path / "odinw" / "Raccoon").rename(tmp_path / "away again")
    record_of(tmp_path).unlink()
    server.files["/odinw/Raccoon.zip"] = OTHER_RACCOON
    get(server, tmp_path, "Raccoon")
    assert json.loads(record_of(tmp_path).read_text())["sha256"] != first


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[]", "[" * 100_000, '{"url": ""}', '{"url": "", "sha256": "", "files": []}'),
        '{"url": "", "sha256": "", "files": {"a": 3}}',
    ],
)
def test_a_broken_record_is_named(server: Server, tmp_path: Path, content: str) -> None:
    get(server, tmp_path, "Raccoon")
    record_of(tmp_path).write_text(content)
    with pytest.raises(OSError, match=r"Raccoon\.zip\.json: not a record of a download .*delete it"):
        get(server, tmp_path, "Raccoon")


@pytest.mark.parametrize(
    "content, message",
    [
        (RACCOON[:-5000], "a broken zip file"),
        (RACCOON.replace(b'"train"', b'"trains', 1), "a broken zip file"),
        (zip_of({"Raccoon/../../evil": b"x"}), "leads out of its folder"),
        (zip_of({"Raccoon/" + "x" * 300: b"x"}), r"Raccoon/xxx.* a name of 300 bytes"),
        (zip_of({"Raccoon/" + "d/" * 2000 + "f": b"x"}), r"Raccoon/d/d.* 2001 folders"),
        (zip_of({"Aquarium/x": b"x"}), "no files in a folder 'Raccoon'; it holds 'Aquarium'"),
        (zip_of({"Raccoon/x": b"x"}), "not the zip file of Raccoon_Raccoon"),
    ],
)
def test_what_is_wrong_leaves_nothing_and_is_fetched_anew(
    server: Server, tmp_path: Path, content: bytes, message: str
) -> None:
    server.files["/odinw/Raccoon.zip"] = content
    with pytest.raises(OSError, match=rf"{server.url}/odinw/Raccoon\.zip: .*{message}"):
        get(server, tmp_path, "Raccoon")
    assert {path.name for path in (tmp_path / "odinw").iterdir()} == {".downloads"}
    assert leftovers(tmp_path) == set()
    assert not record_of(tmp_path).exists()
    server.files["/odinw/Raccoon.zip"] = RACCOON
    get(server, tmp_path, "Raccoon")


def test_less_declared_than_there_is(server: Server, tmp_path: Path) -> None:
    server.declare = -5000
    with pytest.raises(OSError, match="a broken zip file"):
        get(server, tmp_path, "Raccoon")
    assert leftovers(tmp_path) == set()


def test_the_others_are_fetched_when_one_fails(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^1 of 3 zip files failed:\n.*Aquarium\.zip: the server answers 404"):
        get(server, tmp_path, "Raccoon", "Aquarium", "EgoHands")
    assert find_task(tmp_path, "Raccoon").is_dir()
    assert find_task(tmp_path, "EgoHands").is_dir()


def test_an_interrupted_unpacking_leaves_nothing_half(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_check_tasks", interrupted)  # all files are unpacked by then
        with pytest.raises(KeyboardInterrupt):
            get(server, tmp_path, "Raccoon")
    assert not (tmp_path / "odinw" / "Raccoon").exists()
    (tmp_path / "odinw" / ".glip-0123abcd-Raccoon").mkdir()  # what a kill leaves
    get(server, tmp_path, "Raccoon")
    assert len(server.requests) == 1  # what had arrived was complete
    assert leftovers(tmp_path) == set()


def start(server: Server, root: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "glip_lightning.app.cli", "download", "Raccoon", "--root", str(root)]
    return subprocess.Popen([*command, "--mirror", f"{server.url}/odinw"], stderr=subprocess.PIPE)


def test_killed_in_the_middle_and_resumed(server: Server, tmp_path: Path) -> None:
    server.hold_after = 150_000
    process = start(server, tmp_path)
    assert server.held.wait(120)
    part = tmp_path / "odinw" / ".downloads" / "Raccoon.zip.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size == 150_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not (tmp_path / "odinw" / "Raccoon").exists()
    server.hold_after = None
    server.go_on.set()
    get(server, tmp_path, "Raccoon")
    assert [request.range for request in server.requests] == [None, "bytes=150000-"]
    assert leftovers(tmp_path) == set()


def test_two_at_once(server: Server, tmp_path: Path) -> None:
    """One process waits for the other; the file is fetched once."""
    server.hold_after = 100_000
    results: list[list[Path]] = []
    process = start(server, tmp_path)
    assert server.held.wait(120)
    second = threading.Thread(target=lambda: results.append(get(server, tmp_path, "Raccoon")))
    second.start()
    second.join(0.5)
    assert second.is_alive()
    server.go_on.set()
    second.join(60)
    assert results == [[tmp_path / "odinw/Raccoon/Raccoon.v2-raw.coco"]]
    assert process.wait(60) == 0
    process.communicate()
    assert len(server.requests) == 1
    assert leftovers(tmp_path) == set()


def test_where_it_comes_from(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror of the command line before that of the environment before the Hub, which alone gets the token."""
    monkeypatch.setattr(module, "get_token", lambda: "secret")
    official = "/GLIPModel/GLIP/resolve/main/odinw_35/Raccoon.zip"
    server.files |= {"/env/Raccoon.zip": RACCOON, official: RACCOON}
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/")
    download(["Raccoon"], tmp_path / "1")
    monkeypatch.setenv("GLIP_ODINW_MIRROR", f"{server.url}/env/")
    download(["Raccoon"], tmp_path / "2")
    get(server, tmp_path / "3", "Raccoon")
    asked = [(request.path, request.authorization) for request in server.requests]
    assert asked == [(official, "Bearer secret"), ("/env/Raccoon.zip", None), ("/odinw/Raccoon.zip", None)]
    monkeypatch.delenv("HF_ENDPOINT")
    monkeypatch.delenv("GLIP_ODINW_MIRROR")
    assert module._source(None)[0] == "https://huggingface.co/GLIPModel/GLIP/resolve/main/odinw_35"


@pytest.mark.parametrize("mirror", ["ftp://host/x", "/data/zips", "http://a b"])
def test_a_mirror_that_is_no_address(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(ValueError, match="give the http or https address"):
        download(["Raccoon"], tmp_path, mirror)


def test_the_command(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--root", str(tmp_path), "--mirror", f"{server.url}/odinw"]
    assert main(["download", "Raccoon", *options]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'odinw/Raccoon/Raccoon.v2-raw.coco'}\n"
    assert main(["download", "Raccoon", "racoon", *options]) == 1
    assert "did you mean 'Raccoon" in capsys.readouterr().err
    assert main(["download", "Raccoon", "Aquarium", *options]) == 1
    assert "Aquarium.zip: the server answers 404" in capsys.readouterr().err
