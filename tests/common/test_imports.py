"""What an installation may lack is named with the command that installs it."""

import sys
from pathlib import Path

import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.imports import hide_package, import_optional


def test_a_module_that_is_there_is_returned() -> None:
    assert import_optional("json.decoder", "a test") is sys.modules["json.decoder"]


@pytest.mark.parametrize(
    "extra, command", [("slurm", "pip install 'glip-lightning[slurm]'"), (None, "pip install no")]
)
def test_a_missing_package_is_named_with_its_command(extra: str | None, command: str) -> None:
    with pytest.raises(GLIPError) as caught:
        import_optional("no.such", "--executor x", extra)
    assert caught.value.code == "not-installed"
    assert str(caught.value).startswith("--executor x: no ")
    assert str(caught.value).endswith(command)


def test_what_the_package_itself_needs_is_no_missing_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_there.py").write_text("import what_it_needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError) as caught:
        import_optional("half_there", "a test", "slurm")
    assert caught.value.name == "what_it_needs"


def test_a_library_does_without_a_package_for_a_while() -> None:
    sys.modules.pop("wave", None)
    with hide_package("wave"), pytest.raises(ModuleNotFoundError):
        import wave
    import wave

    assert wave is not None
