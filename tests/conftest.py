"""Where the reference tensors and the real photos are, and what happens without them."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from multiprocessing.util import Finalize
from pathlib import Path

import hypothesis
import pytest

import good_sets
from browser import Page, browser, find_browser

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one is no fault
hypothesis.settings.load_profile("any machine")

# A shell starts programs in the background with Ctrl-C ignored: then no test of Ctrl-C would mean
# anything.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
SHARED = TESTS.parent.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        metavar="DIR",
        help="folder of reference tensors (default: ../shared/golden, or else tests/golden)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Give all programs that the tests start a temporary folder, and remove it at the end.

    A program that is killed cannot clear up. The folders of pytest itself stay where they are
    looked for; those of failed tests are kept.

    Where Python is told to keep no compiled files, these programs keep theirs in the temporary
    folder: a hundred of them would compile torch and transformers anew, which triples the time of
    their start.
    """
    if hasattr(config, "workerinput"):
        return  # a worker of pytest-xdist has the folder of the process that started it
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix="glip-")  # short: paths of sockets have at most 107 characters
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ["PYTHONPYCACHEPREFIX"] = f"{folder}/compiled"
    # after multiprocessing's own temporary folder, which lies in it (exit priority -100)
    Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=-200)


def golden_dir(config: pytest.Config) -> Path:
    """The folder of reference tensors that this run compares with."""
    given = config.getoption("--golden")
    if given:
        folder = Path(given).resolve()
        if not folder.is_dir():
            raise pytest.UsageError(f"--golden {given}: no such folder")
        return folder
    shared = SHARED / "golden"
    return shared if shared.is_dir() else TESTS / "golden"


@pytest.fixture(scope="session")
def golden(pytestconfig: pytest.Config) -> Path:
    return golden_dir(pytestconfig)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos in the ODinW layout."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the real photos are not beside this checkout (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def odinw_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks in the ODinW layout and single photos: real ones, or generated pictures in the same
    folders.
    """
    folder = SHARED / "data"
    if not folder.is_dir():
        folder = tmp_path_factory.mktemp("odinw")
        good_sets.odinw(folder)
    return folder


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    """A tab of a browser for the tests of a module, which are skipped where there is no browser."""
    if find_browser() is None:
        pytest.skip("no chromium or google-chrome on PATH")
    with browser() as page:
        yield page


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B takes a second per run; the tests of the loggers turn it on."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
