"""Tables of rows by name, and the plugins that fill them."""

import functools
from importlib.metadata import EntryPoint
from pathlib import PurePosixPath

import pytest

from glip_lightning.common import registry
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.registry import GROUP, Later, Table
from printed import words


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """The plugins that are installed, none at first."""
    found: list[EntryPoint] = []
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [each for each in found if each.group == group]
    )
    monkeypatch.setattr(
        registry, "load_plugins", functools.cache(registry.load_plugins.__wrapped__)
    )
    return found


@pytest.mark.usefixtures("plugins")
def test_rows_are_found_by_name() -> None:
    table = Table[object]("detector")
    table.add("glip-a", 1)
    table.add("glip-b", Later("pathlib:PurePosixPath.name"))
    assert table.names() == ["glip-a", "glip-b"]
    assert table.find("glip-a") == 1
    assert table.get("glip-c") is None
    assert table.rows()["glip-b"].__doc__ == PurePosixPath.name.__doc__


@pytest.mark.usefixtures("plugins")
def test_an_unknown_name_lists_close_ones() -> None:
    table = Table[int]("data module")
    with pytest.raises(GLIPError) as nothing:
        table.find("x")
    table.add("Shapes", 1)
    with pytest.raises(GLIPError) as close:
        table.find("Shape")
    assert nothing.value.code == close.value.code == "unknown-data-module"
    assert {"Shape", "Shapes"} <= words(str(close.value))


@pytest.mark.usefixtures("plugins")
def test_a_name_is_given_once() -> None:
    table = Table[int]("task")
    table.add("Reef", 1)
    with pytest.raises(GLIPError) as taken:
        table.add("Reef", 2)
    assert taken.value.code == "name-taken"
    assert table.find("Reef") == 1


def test_plugins_wait_until_a_name_is_missing(
    plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = Table[int]("task")
    table.add("first", 1)
    monkeypatch.setattr(registry, "added", lambda: table.add("second", 2), raising=False)
    plugins.append(EntryPoint("good", "glip_lightning.common.registry:added", GROUP))
    plugins.append(EntryPoint("broken", "glip_lightning.nowhere:added", GROUP))
    assert table.find("first") == 1
    assert not caplog.records
    assert table.find("second") == 2
    assert table.names() == ["first", "second"]
    (warned,) = caplog.records
    assert {"broken", "glip_lightning.nowhere:added"} <= words(warned.getMessage())
