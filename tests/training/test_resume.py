"""Killed runs go on bit for bit; signals end a run between two steps."""

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from glip_lightning.common import files
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.signals import SIGNALS
from glip_lightning.shapes.data_modules import Shapes
from glip_lightning.shapes.task_pictures import write_task
from glip_lightning.training.callbacks import resume
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from glip_lightning.training.callbacks.ema import EMA
from glip_lightning.training.callbacks.global_batch import GlobalBatch
from glip_lightning.training.callbacks.last_validation import LastValidation
from glip_lightning.training.callbacks.resume import Resumable
from glip_lightning.training.checkpoint_files import damage
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.schedules import Plateau
from glip_lightning.tuning.weight_tunings import FullTuning
from glip_lightning.weights.run_files import LAST

EPOCHS = 3  # of 5 images / (1 image x 2 accumulated) = 3 steps, the last of one image only
TRAINERS = (
    {"max_steps": 8, "max_epochs": -1},
    {"limit_train_batches": 4, "check_val_every_n_epoch": 2},
    {"val_check_interval": 2},
)
COUNTS = {"train": 5, "valid": 2, "test": 2}
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["test_resume"])  # the imports once, not once per kill


class Run(NamedTuple):
    """One process of a run. ``kill`` is a hook, and which of its calls kills the process."""

    folder: Path
    data: Path
    workers: int = 0
    kill: tuple[str, int] | None = None
    send: tuple[str, int, signal.Signals] | None = None
    minutes: float = 0
    trainer: dict[str, Any] = {}  # noqa: RUF012
    ready: Connection | None = None


class Signals(Callback):
    """Sends a signal to its own process at the n-th call of a hook."""

    def __init__(self, hook: str, count: int, number: signal.Signals) -> None:
        self.left, self.number = count, number
        setattr(self, hook, self._count)

    def _count(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self.left -= not trainer.sanity_checking
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def stochastic(module: GLIPModule) -> GLIPModule:
    """Every kind of dropout that the larger detectors train with."""
    for part in module.model.modules():
        for name in ("p", "drop_prob"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.1)
    return module


def die_while_writing(count: int) -> None:
    """Kill this process with half a checkpoint on the disk, at the n-th one."""
    left = [count]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    files.os = type("os", (), {"fsync": staticmethod(fsync)})  # type: ignore[assignment]


def train(run: Run, *more: Callback) -> GLIPModule:
    """Start the run, or go on from its last checkpoint."""
    if run.ready:  # children of a fork server would not notice that this process was killed
        multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    views: dict[str, Any] = {
        "min_sizes": (64, 96),
        "max_size": 128,
        "test_size": 64,
        "augment": "strong",
    }
    data = Shapes(str(run.data), batch_size=2, workers=run.workers, **views)
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    data.images_per_device = 1
    schedule = Plateau(patience=0, factor=0.5)  # moves after the last hook of an epoch's training
    module = stochastic(
        GLIPModule("glip-nano", "random", FullTuning(lr=1e-3, freeze_at=-1), schedule)
    )
    callbacks: list[Callback] = [*more, EMA(decay=0.9), GlobalBatch(), BestCheckpoint(run.folder)]
    callbacks.append(Resumable(run.folder, run.minutes))
    if run.kill and run.kill[0] == "write":
        die_while_writing(run.kill[1])
    elif run.kill:
        callbacks.append(Signals(*run.kill, signal.SIGKILL))
    if run.send:
        callbacks.append(Signals(*run.send))
    trainer = Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        logger=CSVLogger(run.folder, version="logs"),
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **{"max_epochs": EPOCHS, **run.trainer},
    )
    if run.ready:
        run.ready.send("ready")
    last = run.folder / LAST
    trainer.fit(
        module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True
    )
    return module


def start(run: Run) -> Any:
    """A process of its own that is about to train."""
    receive, send = multiprocessing.Pipe()
    process = FORKS.Process(target=train, args=(run._replace(ready=send),))
    process.start()
    receive.recv()
    return process


def live(run: Run, seconds: float | None = None) -> int:
    """Exit code of one life, killed after ``seconds`` of training if it still lives."""
    process = start(run)
    process.join(seconds)
    if process.is_alive() and seconds is not None:
        os.kill(process.pid, signal.SIGKILL)
    process.join(240)
    return process.exitcode


def last(folder: Path) -> dict[str, Any]:
    return torch.load(folder / LAST, weights_only=True)


def assert_equal(a: Any, b: Any, place: str = "") -> None:
    """Bit for bit, through dictionaries and lists."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_equal(a[key], b[key], f"{place}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{place}/{i}")
    else:
        assert a == b, f"{place}: {a} {b}"


STATES = (
    "state_dict",
    "current_model_state",
    "averaging_state",
    "optimizer_states",
    "lr_schedulers",
    "global_step",
)


def assert_same_end(a: Path, b: Path) -> None:
    one, two = last(a), last(b)
    for name in STATES:
        assert_equal(one[name], two[name], name)
    assert_equal(
        one["loops"]["fit_loop"]["epoch_progress"], two["loops"]["fit_loop"]["epoch_progress"]
    )
    names = [sorted(path.name for path in folder.glob("*.ckpt")) for folder in (a, b)]
    assert names == [["best.ckpt", "last.ckpt"]] * 2
    best = [torch.load(folder / "best.ckpt", weights_only=True) for folder in (a, b)]
    for name in ("state_dict", "global_step", "epoch"):
        assert_equal(best[0][name], best[1][name], f"best/{name}")
    assert not list(b.glob(".glip-*"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("data") / "Blocks", counts=COUNTS, size=96).parent


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The folder of the run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    assert live(Run(folder, data)) == 0
    assert last(folder)["global_step"] == EPOCHS * 3
    assert last(folder)["epoch"] == EPOCHS - 1  # saved while the last epoch ends
    return folder


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_killed_runs_end_in_the_same_bits(
    tmp_path: Path, data: Path, whole: Path, workers: int
) -> None:
    """Killed between two batches of a step, in a validation, and while it writes a checkpoint."""
    kills = [("on_train_batch_start", 4), ("on_validation_batch_start", 2), ("write", 3)]
    for kill in kills:
        assert live(Run(tmp_path, data, workers, kill)) == -signal.SIGKILL
    assert live(Run(tmp_path, data, workers)) == 0
    assert_same_end(whole, tmp_path)


EACH = [
    pytest.param(each, marks=[] if each is signal.SIGINT else pytest.mark.slow) for each in SIGNALS
]


@pytest.mark.parametrize("number", EACH)
def test_a_signal_ends_the_run_after_the_step(
    tmp_path: Path, data: Path, whole: Path, number: signal.Signals
) -> None:
    """Sent in the first of two accumulated batches; nothing was saved before."""
    assert live(Run(tmp_path, data, send=("on_train_batch_start", 3, number), minutes=60)) == 1
    stopped = last(tmp_path)
    assert stopped["global_step"] == 2
    assert (stopped["Shapes"]["epoch"], stopped["Shapes"]["batches"]) == (0, 4)
    assert live(Run(tmp_path, data)) == 0
    assert_same_end(whole, tmp_path)


def test_a_signal_in_a_validation_ends_it_with_the_checkpoint_that_is_there(
    tmp_path: Path, data: Path, whole: Path
) -> None:
    """Averaged weights stand in the model then, and must not be saved as the trained ones."""
    send = ("on_validation_batch_start", 3, signal.SIGINT)
    assert live(Run(tmp_path, data, send=send, minutes=60)) == 1
    assert last(tmp_path)["global_step"] == 3  # of the end of the first epoch
    assert live(Run(tmp_path, data)) == 0
    assert_same_end(whole, tmp_path)


def test_the_second_signal_ends_at_once_and_handlers_come_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    callback = Resumable(tmp_path)
    callback._listen()
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    callback._unlisten()
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_best_checkpoints_of_the_future_are_forgotten(tmp_path: Path) -> None:
    """Files that are newer than the point that the run goes on from, unknown to it, or cut off."""
    best = ModelCheckpoint(tmp_path, filename="best", monitor="val/AP")
    steps = {"best.ckpt": 3, "best-v1.ckpt": 9, "best-v2.ckpt": 2, "last.ckpt": 9, "other.ckpt": 9}
    for name, step in steps.items():
        torch.save({"state_dict": {}, "epoch": 0, "global_step": step}, tmp_path / name)
    (tmp_path / "best-v3.ckpt").write_bytes((tmp_path / "best.ckpt").read_bytes()[:100])
    known = ("best.ckpt", "best-v1.ckpt", "best-v3.ckpt")
    best.best_k_models = {str(tmp_path / name): torch.tensor(0.5) for name in known}
    stale = {Path(path).name: why for path, why in resume._stale_files(best, step=5).items()}
    assert stale.keys() == {"best-v1.ckpt", "best-v2.ckpt", "best-v3.ckpt"}
    # which is damaged
    assert stale["best-v1.ckpt"] == stale["best-v2.ckpt"] != stale["best-v3.ckpt"]
    assert stale["best-v3.ckpt"] == damage(tmp_path / "best-v3.ckpt")


def test_a_signal_in_the_last_step_of_an_epoch_ends_its_validation(
    tmp_path: Path, data: Path, whole: Path
) -> None:
    """A validation follows, which a restart would leave out: that step is trained again."""
    assert (
        live(Run(tmp_path, data, send=("on_train_batch_start", 10, signal.SIGTERM), minutes=60))
        == 1
    )
    assert last(tmp_path)["global_step"] == 3
    assert live(Run(tmp_path, data)) == 0
    assert_same_end(whole, tmp_path)


class Saves(Callback):
    """Notes the steps at which a checkpoint is written, and where a validation follows a batch."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.due: list[tuple[bool, bool]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loop = trainer.fit_loop
        assert loop._data_fetcher is not None
        due = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
        self.due.append((due, resume.batches_to_validation(trainer, batch_idx) == 0))

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        if "optimizer_states" in checkpoint:  # else the best weights
            self.steps.append(trainer.global_step)


class Validated(Callback):
    """Notes the steps after which a validation comes."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.steps.append(trainer.global_step)


@pytest.mark.parametrize(
    "trainer, steps, due",
    [
        ({"max_epochs": 2}, [1, 2, 3, 4, 5, 6], [5, 10]),
        ({"max_epochs": 2, "val_check_interval": 2}, [3, 6], [2, 4, 7, 9]),
        ({"max_epochs": 2, "check_val_every_n_epoch": 2}, [1, 2, 3, 4, 5, 6], [10]),
        (
            {"max_epochs": 2, "check_val_every_n_epoch": None, "val_check_interval": 7},
            [1, 2, 3, 5, 6],
            [7],
        ),
        ({"max_epochs": 2, "limit_val_batches": 0}, [1, 2, 3, 4, 5, 6], []),
        ({"max_steps": 5, "max_epochs": -1}, [1, 2, 3, 4, 5], [5]),
    ],
    ids=str,
)
def test_saved_only_where_no_validation_follows(
    tmp_path: Path, data: Path, trainer: dict[str, Any], steps: list[int], due: list[int]
) -> None:
    saves = Saves()
    train(Run(tmp_path, data, trainer=trainer), saves)
    assert list(dict.fromkeys(saves.steps)) == steps
    assert [k for k, (lightning, _) in enumerate(saves.due, 1) if lightning] == due
    assert all(ours for lightning, ours in saves.due if lightning)


@pytest.mark.parametrize(
    ("interval", "steps", "due"), [(4, 5, [4, 8, 9]), (100, 5, [9]), (3, 3, [3, 5]), (5, 3, [5])]
)
def test_the_last_step_is_validated_once(
    tmp_path: Path, data: Path, interval: int, steps: int, due: list[int]
) -> None:
    """Five batches are an epoch of three steps, the last of one batch."""
    trainer = {
        "max_steps": steps,
        "max_epochs": -1,
        "check_val_every_n_epoch": None,
        "val_check_interval": interval,
    }
    saves, validated = Saves(), Validated()
    module = train(Run(tmp_path, data, trainer=trainer), LastValidation(), validated, saves)
    assert [k for k, (lightning, _) in enumerate(saves.due, 1) if lightning] == due
    assert all(ours for lightning, ours in saves.due if lightning)
    assert validated.steps[-1] == module.trainer.global_step == steps
    assert len(validated.steps) == len(due)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] in validated.steps
    assert module.trainer.val_check_batch == interval


def test_nothing_is_saved_before_its_time(tmp_path: Path, data: Path) -> None:
    saves = Saves()
    train(Run(tmp_path, data, trainer={"max_epochs": 2}, minutes=60), saves)
    assert saves.steps == [3, 6]


def test_what_an_old_version_wrote_in_front_of_a_validation_is_refused(
    tmp_path: Path, data: Path
) -> None:
    train(Run(tmp_path, data, trainer={"max_epochs": 1}))
    checkpoint = last(tmp_path)
    checkpoint["callbacks"]["Resumable"] = {"place": "step", "done": False}
    torch.save(checkpoint, tmp_path / LAST)
    with pytest.raises(GLIPError) as caught:
        train(Run(tmp_path, data))
    assert caught.value.code == "old-checkpoint"


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS, ids=str)
def test_killed_runs_of_other_lengths(tmp_path: Path, data: Path, trainer: dict[str, Any]) -> None:
    """Where Lightning's counters go wrong: max_steps, fewer batches, other validation intervals."""
    one, two = tmp_path / "one", tmp_path / "two"
    assert live(Run(one, data, trainer=trainer)) == 0
    for kill in (
        ("on_train_batch_start", 4),
        ("on_validation_batch_start", 2),
        ("on_train_batch_start", 4),
    ):
        assert live(Run(two, data, kill=kill, trainer=trainer)) == -signal.SIGKILL
    assert live(Run(two, data, trainer=trainer)) == 0
    assert_same_end(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_twenty_kills_at_random_times(
    tmp_path: Path, data: Path, whole: Path, workers: int
) -> None:
    process, began = start(Run(tmp_path / "timed", data, workers)), time.monotonic()
    process.join()
    length = time.monotonic() - began
    rng, killed, folder, steps = random.Random(workers), 0, tmp_path / "run", []
    while killed < 20:
        code = live(Run(folder, data, workers), rng.uniform(0, 0.6 * length))
        if code == 0:  # came to its end: kill another run
            assert_same_end(whole, folder)
            folder = tmp_path / f"run{killed}"
        else:
            assert code == -signal.SIGKILL
            killed += 1
            steps.append(last(folder)["global_step"] if (folder / LAST).exists() else 0)
    print("optimizer steps saved at each kill:", steps)
    assert live(Run(folder, data, workers)) == 0
    assert_same_end(whole, folder)
