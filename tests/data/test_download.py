"""``glip download`` against a local server: whole tasks or nothing, the same files for good."""

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks import download as module
from glip_lightning.data.benchmarks.download import download_tasks
from glip_lightning.data.benchmarks.odinw import (
    ANNOTATIONS,
    find_task,
    odinw_task,
    split_files,
    tasks,
)
from hub_server import Hub, running_hub, zip_of
from refusals import refusal

FOLDER = "GLIPModel/GLIP/odinw_35"


def task_files(*names: str) -> dict[str, bytes]:
    """Return all splits of these tasks, without images.

    Some noise makes the file larger than a socket's buffers.
    """
    found = {}
    for task in map(odinw_task, names):
        for split, file in task.splits.items():
            found[f"{task.dir}/{file}"] = json.dumps({"split": split}).encode()
        found[f"{task.dir}/train/noise"] = np.random.default_rng(0).bytes(200_000)
    return found


RACCOON = zip_of(task_files("Raccoon"))
OTHER_RACCOON = zip_of({**task_files("Raccoon"), "Raccoon/README": b"changed"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as running:
        # the client reads its environment when it is imported; commands get the real variable
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "secret")
        running.files[f"{FOLDER}/Raccoon.zip"] = RACCOON
        running.files[f"{FOLDER}/EgoHands.zip"] = zip_of(
            task_files("EgoHands_generic", "EgoHands_specific")
        )
        yield running


def get(root: Path, *names: str) -> list[Path]:
    return download_tasks(names, root)


def refused(root: Path, *names: str, source: Path | None = None) -> GLIPError:
    with pytest.raises(GLIPError) as caught:
        download_tasks(names, root, source)
    return caught.value


def record_of(root: Path, archive: str = "Raccoon.zip") -> Path:
    return root / "odinw" / ".downloads" / f"{archive}.json"


def leftovers(root: Path) -> set[str]:
    """Return what belongs to no task, record or lock."""
    names = {
        str(path.relative_to(root)) for path in root.glob("odinw/.*") if path.name != ".downloads"
    }
    control = (root / "odinw" / ".downloads").glob("*")
    return names | {path.name for path in control if not path.name.endswith((".zip.json", ".lock"))}


def test_a_task_is_found_after_its_download(server: Hub, tmp_path: Path) -> None:
    assert get(tmp_path, "Raccoon") == [tmp_path / "odinw/Raccoon/Raccoon.v2-raw.coco"]
    for split in ("train", "valid", "test"):
        assert json.loads(split_files(tmp_path, "Raccoon", split).annotation_file.read_text()) == {
            "split": split
        }
    assert leftovers(tmp_path) == set()
    record = json.loads(record_of(tmp_path).read_text())
    assert record["url"] == f"{server.url}/GLIPModel/GLIP/resolve/main/odinw_35/Raccoon.zip"
    assert record["bytes"] == len(RACCOON)
    assert len(record["sha256"]) == 64


def test_variants_share_a_zip_file(server: Hub, tmp_path: Path) -> None:
    folders = get(tmp_path, "EgoHands", "EgoHands_specific", "EgoHands_generic")
    assert folders == [tmp_path / "odinw/EgoHands/generic", tmp_path / "odinw/EgoHands/specific"]
    assert server.count("GET") == 1


@pytest.mark.parametrize("benchmark, count", [("odinw13", 13), ("odinw35", 35)])
def test_whole_benchmarks(server: Hub, tmp_path: Path, benchmark: str, count: int) -> None:
    for archive in {task.zip for task in tasks().values()}:
        names = [task.name for task in tasks().values() if task.zip == archive]
        server.files[f"{FOLDER}/{archive}"] = zip_of(
            {name: content for name, content in task_files(*names).items() if "noise" not in name}
        )
    folders = get(tmp_path, benchmark, "Raccoon")
    assert len(set(folders)) == count
    paths = [request.path for request in server.requests if request.method == "GET"]
    assert len(paths) == len(set(paths)) == (13 if count == 13 else 32)


def files_verified(messages: list[str], folder: Path) -> list[str]:
    """Return the numbers in the only line that was logged, which names the task's folder."""
    (line,) = messages
    assert str(folder) in line
    return re.findall(r"\b\d+\b", line.replace(str(folder), ""))


def test_a_second_download_verifies_the_files(
    server: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = get(tmp_path, "Raccoon")
    caplog.clear()
    assert get(tmp_path, "Raccoon") == folder
    assert files_verified(caplog.messages, folder[0]) == ["4"]
    assert server.count("GET") == 1
    (folder[0] / "train/noise").write_bytes(b"changed")
    (folder[0] / "valid" / ANNOTATIONS).unlink()
    error = refused(tmp_path, "Raccoon")
    assert error.code == "changed-files"
    fault = str(error).split("\n")[1]
    # files that changed, of how many
    assert re.findall(r"\b\d+\b", fault.replace(str(tmp_path), "")) == ["2", "4"]
    assert "train/noise" in fault


def test_a_task_that_was_put_there_by_hand(
    server: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "Raccoon" / "train").mkdir(parents=True)
    (tmp_path / "Raccoon" / "train" / ANNOTATIONS).touch()
    assert get(tmp_path, "Raccoon") == [tmp_path / "Raccoon"]
    assert files_verified(caplog.messages, tmp_path / "Raccoon") == []
    assert server.requests == []


def test_an_unknown_folder_in_place_of_the_task_is_kept(server: Hub, tmp_path: Path) -> None:
    mine = tmp_path / "odinw" / "Raccoon" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    error = refused(tmp_path, "Raccoon")
    assert error.code == "file-exists"
    assert str(mine.parent) in str(error)
    assert mine.read_text() == "precious"
    assert server.requests == []


def test_another_file_under_the_same_name_is_refused(server: Hub, tmp_path: Path) -> None:
    get(tmp_path, "Raccoon")
    first = json.loads(record_of(tmp_path).read_text())["sha256"]
    (tmp_path / "odinw" / "Raccoon").rename(tmp_path / "away")
    server.files[f"{FOLDER}/Raccoon.zip"] = OTHER_RACCOON
    error = refused(tmp_path, "Raccoon")
    assert error.code == "wrong-digest"
    assert first in str(error)
    assert not (tmp_path / "odinw" / "Raccoon").exists()
    assert leftovers(tmp_path) == set()
    server.files[f"{FOLDER}/Raccoon.zip"] = RACCOON
    get(tmp_path, "Raccoon")
    (tmp_path / "odinw" / "Raccoon").rename(tmp_path / "away again")
    record_of(tmp_path).unlink()
    server.files[f"{FOLDER}/Raccoon.zip"] = OTHER_RACCOON
    get(tmp_path, "Raccoon")
    assert json.loads(record_of(tmp_path).read_text())["sha256"] != first


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[]", "[" * 100_000, '{"url": ""}', '{"url": "", "sha256": "", "files": []}'),
        '{"url": "", "sha256": "", "files": {"a": 3}}',
    ],
)
def test_a_broken_record_is_named(server: Hub, tmp_path: Path, content: str) -> None:
    record_of(tmp_path).parent.mkdir(parents=True)
    record_of(tmp_path).write_text(content)
    error = refused(tmp_path, "Raccoon")
    assert error.code == "damaged-record"
    assert str(record_of(tmp_path)) in str(error)
    assert server.requests == []


BAD_ARCHIVES = [
    (RACCOON[:-5000], "broken-archive", ""),
    (RACCOON.replace(b'"train"', b'"trains', 1), "broken-archive", ""),
    (b"<!DOCTYPE html>", "broken-archive", ""),
    (zip_of({"Raccoon/../../evil": b"x"}), "unsafe-archive", "evil"),
    (zip_of({"Raccoon/" + "x" * 300: b"x"}), "path-too-long", "300"),
    (zip_of({"Raccoon/" + "d/" * 2000 + "f": b"x"}), "path-too-long", "2001"),
    (zip_of({"Aquarium/x": b"x"}), "wrong-archive", "'Aquarium'"),
    (zip_of({"Raccoon/x": b"x"}), "wrong-archive", "Raccoon_Raccoon"),
]


@pytest.mark.parametrize("content, code, named", BAD_ARCHIVES)
def test_a_bad_zip_file_leaves_nothing_and_is_fetched_anew(
    server: Hub, tmp_path: Path, content: bytes, code: str, named: str
) -> None:
    server.files[f"{FOLDER}/Raccoon.zip"] = content
    error = refused(tmp_path, "Raccoon")
    assert error.code == code
    url = f"{server.url}/GLIPModel/GLIP/resolve/main/odinw_35/Raccoon.zip"
    assert url in str(error)
    assert named in str(error).replace(url, "")
    assert {path.name for path in (tmp_path / "odinw").iterdir()} == {".downloads"}
    assert leftovers(tmp_path) == set()
    assert not record_of(tmp_path).exists()
    server.files[f"{FOLDER}/Raccoon.zip"] = RACCOON
    get(tmp_path, "Raccoon")


def test_the_others_are_fetched_when_one_fails(server: Hub, tmp_path: Path) -> None:
    error = refused(tmp_path, "Raccoon", "Aquarium", "EgoHands")
    assert error.code == "download-failed"
    first, second = str(error).split("\n")
    assert re.findall(r"\d+", first) == ["1", "3"]  # zip files that failed, of how many
    assert "Aquarium.zip" in second
    assert find_task(tmp_path, "Raccoon").is_dir()
    assert find_task(tmp_path, "EgoHands").is_dir()


def test_an_interrupted_unpacking_leaves_nothing(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_check_tasks", interrupted)  # all files are unpacked by then
        with pytest.raises(KeyboardInterrupt):
            get(tmp_path, "Raccoon")
    assert not (tmp_path / "odinw" / "Raccoon").exists()
    (tmp_path / "odinw" / ".glip-0123abcd-Raccoon").mkdir()  # what a kill leaves
    get(tmp_path, "Raccoon")
    assert server.count("GET") == 1  # what had arrived was complete
    assert leftovers(tmp_path) == set()


def start(server: Hub, root: Path) -> "subprocess.Popen[bytes]":
    command = [
        sys.executable,
        "-m",
        "glip_lightning.app.cli",
        "download",
        "Raccoon",
        "--root",
        str(root),
    ]
    variables = os.environ | {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0"}
    return subprocess.Popen(command, env=variables, stderr=subprocess.PIPE)


def test_a_killed_download_is_resumed(server: Hub, tmp_path: Path) -> None:
    """The client writes 10 MB at once."""
    files = {**task_files("Raccoon"), "Raccoon/noise": np.random.default_rng(0).bytes(24_000_000)}
    server.files[f"{FOLDER}/Raccoon.zip"] = zip_of(files)
    server.hold_after = 22_000_000
    process = start(server, tmp_path)
    assert server.held.wait(120)
    deadline = time.monotonic() + 30
    while sum(part.stat().st_size for part in tmp_path.rglob("Raccoon.zip.*.part")) < 20_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not (tmp_path / "odinw" / "Raccoon").exists()
    server.hold_after = None
    server.go_on.set()
    get(tmp_path, "Raccoon")
    first, second = server.asked()
    assert first is None
    assert second is not None
    assert 20_000_000 <= int(second.removeprefix("bytes=").removesuffix("-")) <= 22_000_000
    assert leftovers(tmp_path) == set()


def test_two_processes_download_once(server: Hub, tmp_path: Path) -> None:
    """One process waits for the other; the file is fetched once."""
    server.hold_after = 100_000
    results: list[list[Path]] = []
    process = start(server, tmp_path)
    assert server.held.wait(120)
    second = threading.Thread(target=lambda: results.append(get(tmp_path, "Raccoon")))
    second.start()
    second.join(0.5)
    assert second.is_alive()
    server.go_on.set()
    second.join(60)
    assert results == [[tmp_path / "odinw/Raccoon/Raccoon.v2-raw.coco"]]
    assert process.wait(60) == 0
    process.communicate()
    assert server.count("GET") == 1
    assert leftovers(tmp_path) == set()


def test_large_files_lie_elsewhere_and_the_token_stays_at_the_hub(
    server: Hub, tmp_path: Path
) -> None:
    with running_hub() as elsewhere:
        elsewhere.files |= server.files
        server.elsewhere = elsewhere.url.replace("127.0.0.1", "localhost")
        get(tmp_path, "Raccoon")
    assert {request.authorization for request in server.requests} == {"Bearer secret"}
    assert [(request.method, request.authorization) for request in elsewhere.requests] == [
        ("GET", None)
    ]


def test_the_digest_of_the_hub_is_compared(server: Hub, tmp_path: Path) -> None:
    """Of a large file the Hub says the SHA-256; another file of the same size arrives."""
    with running_hub() as elsewhere:
        elsewhere.files[f"{FOLDER}/Raccoon.zip"] = RACCOON[::-1]
        server.elsewhere = elsewhere.url
        assert refused(tmp_path, "Raccoon").code == "wrong-digest"
    assert leftovers(tmp_path) == set()


def test_a_hub_without_digests(server: Hub, tmp_path: Path) -> None:
    server.digests = False
    get(tmp_path, "Raccoon")
    assert (
        json.loads(record_of(tmp_path).read_text())["sha256"] == hashlib.sha256(RACCOON).hexdigest()
    )


def test_a_web_page_in_place_of_the_hub(server: Hub, tmp_path: Path) -> None:
    server.web_page = True
    assert refused(tmp_path, "Raccoon").code == "download-failed"
    assert server.count("GET") == 0


def test_no_room(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": len(RACCOON)})
    )
    assert refused(tmp_path, "Raccoon").code == "disk-too-small"
    assert server.count("GET") == 0


def test_offline(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = refused(tmp_path, "Raccoon")
    assert error.code == "download-failed"
    assert "--from" in str(error)
    assert server.requests == []


def test_from_a_folder(server: Hub, tmp_path: Path) -> None:
    """The folder's own files stay."""
    source = tmp_path / "zip files"
    source.mkdir()
    (source / "Raccoon.zip").write_bytes(RACCOON)
    assert download_tasks(["Raccoon"], tmp_path, source) == [
        tmp_path / "odinw/Raccoon/Raccoon.v2-raw.coco"
    ]
    record = json.loads(record_of(tmp_path).read_text())
    assert record["url"] == str(source / "Raccoon.zip")
    assert record["sha256"] == hashlib.sha256(RACCOON).hexdigest()
    assert leftovers(tmp_path) == set()
    assert [path.read_bytes() for path in source.iterdir()] == [RACCOON]
    assert server.requests == []


@pytest.mark.parametrize(
    "content, code, named", [*BAD_ARCHIVES, (None, "file-not-found", "Raccoon.zip")]
)
def test_a_bad_file_from_a_folder_stays(
    tmp_path: Path, content: bytes | None, code: str, named: str
) -> None:
    source = tmp_path / "zip files"
    source.mkdir()
    if content is not None:
        (source / "Raccoon.zip").write_bytes(content)
    error = refused(tmp_path, "Raccoon", source=source)
    assert error.code == code
    assert named in str(error).replace(str(tmp_path), "")
    assert [path.read_bytes() for path in source.iterdir()] == (
        [] if content is None else [content]
    )
    assert {path.name for path in (tmp_path / "odinw").iterdir()} == {".downloads"}


def test_another_file_from_a_folder_is_refused(server: Hub, tmp_path: Path) -> None:
    get(tmp_path, "Raccoon")
    (tmp_path / "odinw" / "Raccoon").rename(tmp_path / "away")
    source = tmp_path / "zip files"
    source.mkdir()
    (source / "Raccoon.zip").write_bytes(OTHER_RACCOON)
    assert refused(tmp_path, "Raccoon", source=source).code == "wrong-digest"


def test_the_command(server: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "zips").mkdir()
    (tmp_path / "zips" / "EgoHands.zip").write_bytes(server.files[f"{FOLDER}/EgoHands.zip"])
    options = ["--root", str(tmp_path)]
    assert main(["download", "Raccoon", *options]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'odinw/Raccoon/Raccoon.v2-raw.coco'}\n"
    assert main(["download", "EgoHands", *options, "--from", str(tmp_path / "zips")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'odinw/EgoHands/generic'}\n"
    error = refusal("download", "Raccoon", "racoon", *options)
    assert error.code == "unknown-task"
    assert "'Raccoon" in str(error)
    assert main(["download", "Raccoon", "Aquarium", *options]) == 1
    assert "Aquarium.zip" in capsys.readouterr().err
