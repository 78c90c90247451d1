"""The help of ``glip fit`` begins with what most runs need."""

import pytest

from glip_lightning.app.cli import main
from glip_lightning.config.everyday_options import EVERYDAY
from glip_lightning.training.data_sources import CustomData, ODinW


def test_help_begins_with_the_everyday_options_and_has_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    first, rest = lines[: len(EVERYDAY) + 1], "\n".join(lines[len(EVERYDAY) + 1 :])
    names = [option.split()[0] for option in EVERYDAY]
    assert [line.split()[0] for line in first[1:]] == names
    assert max(map(len, first)) <= 120
    for name in names:
        assert name.startswith("--data.") or f"{name} " in rest, name


def test_everyday_options_of_data_exist() -> None:
    options = {f"--data.{name}" for source in (CustomData, ODinW) for name in _arguments(source)}
    assert {option.split()[0] for option in EVERYDAY if option.startswith("--data.")} <= options


def _arguments(source: type) -> set[str]:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_class_arguments(source)
    return {action.dest for action in parser._actions}
