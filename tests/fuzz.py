"""Damaged and hostile input for all that the product reads: readers in a warm process, each command
in its own.

``python tests/fuzz.py --minutes 60 --seed 1`` tries all readers in turn and spends a tenth of the
time on commands. Input K of a reader is a function of the seed, its name and K: ``--seed 1 --only
"data sets" --case 17`` makes it again.

A find is an input that ends in an error that is not the product's own, in no end at all, with a
process left, with something written elsewhere, or with a part of it neither used nor counted nor
refused. It is kept in the folder --out, with all that is needed to see it again. The exit status is
1 if there is any.
"""

import argparse
import ctypes
import faulthandler
import json
import multiprocessing
import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

# readers, seeds and changes
sys.path.insert(0, str(Path(__file__).parent / "support"))

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "WANDB_MODE": "disabled",
    "MPLBACKEND": "agg",
    "COLUMNS": "200",
}
ASLEEP = 1.5  # seconds without any work after which a reader waits for something that never comes
RETRIES = 20.0  # seconds that a command may sleep between tries
DEEP = 500  # letters of a path
SLICE = 2.0  # seconds of one reader before the next one's turn
COMMANDS_SHARE = 0.1  # of the time
KEPT = 3  # inputs of a find that are kept
MEMORY = 1 << 30  # bytes that a reader may take beyond what a warm process has
PROGRAMS = {"git", "uname"}  # which results and ``glip env`` ask for versions
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


class Outcome(NamedTuple):
    """What became of an input."""

    end: str  # used, refused or find
    kind: str = ""  # of a find: the type of the error, or what went wrong
    place: str = ""  # the last frame of ours
    text: str = ""
    changes: str = ""  # what was done to the seed


@dataclass
class Row:
    """What a reader has seen so far."""

    inputs: int = 0
    seconds: float = 0.0
    ends: Counter = field(default_factory=Counter)


@dataclass
class Campaign:
    """All rows, and the finds by (reader, kind, place) with the numbers of their inputs."""

    rows: dict[str, Row] = field(default_factory=dict)
    finds: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)

    def table(self) -> str:
        """Return the table of reader, inputs, seconds, inputs per hour, used, refused, finds."""
        head = f"{'reader':26}{'inputs':>8}{'seconds':>9}{'per hour':>10}"
        head += f"{'used':>8}{'refused':>9}{'finds':>7}"
        lines = [head, "-" * len(head)]
        for name, row in sorted(self.rows.items()):
            rate = 3600 * row.inputs / row.seconds if row.seconds else 0
            ends = f"{row.ends['used']:8}{row.ends['refused']:9}{row.ends['find']:7}"
            lines.append(f"{name:26}{row.inputs:8}{row.seconds:9.1f}{rate:10.0f}{ends}")
        inputs = sum(row.inputs for row in self.rows.values())
        finds = sum(map(len, self.finds.values()))
        lines.append(f"{inputs} inputs, {finds} finds of {len(self.finds)} kinds")
        for (name, kind, place), cases in sorted(self.finds.items()):
            lines.append(f"  {len(cases):5} x {name}: {kind} at {place} (case {cases[0]})")
        return "\n".join(lines)


class Arena:
    """The folders of a campaign: one input at a time in ``case``, and what must stay as it is
    around it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder, self.seeds, self.kept = out / "arena", out / "seeds", out / "finds"
        self.case = self.folder / "case"
        self.stack = out / "stack.txt"
        self.changes = out / "changes.txt"

    def make(self) -> None:
        """Make the folders."""
        for name in ("tmp", "home", "outside"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "outside" / "secret.txt").write_text("cat\ndog\n")
        (self.folder / "outside" / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        (self.out / "cache").mkdir(exist_ok=True)

    def enter(self) -> None:
        """Set the environment that makes the product use the folders, for this process."""
        os.environ.update(
            ENVIRONMENT | {"TMPDIR": str(self.folder / "tmp"), "HOME": str(self.folder / "home")}
        )
        os.environ.update(
            dict.fromkeys(("HF_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"), str(self.out / "cache"))
        )
        tempfile.tempdir = None

    def around(self) -> dict[str, tuple[int, ...]]:
        """Return all that lies in the arena beside the input."""
        return listing(self.folder, skip=("case",))

    def fresh(self) -> Path:
        """Return an empty folder for the next input."""
        remove(self.case)
        for path in (self.folder / "tmp").iterdir():
            remove(path)
        self.case.mkdir()
        return self.case


def remove(path: Path) -> None:
    """Remove a file or a folder, whatever it is and however its permissions are."""
    if path.is_dir() and not path.is_symlink():
        for root, folders, _ in os.walk(path):
            for name in folders:
                inner = Path(root) / name
                if not inner.is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def listing(folder: Path, skip: Sequence[str] = ()) -> dict[str, tuple[int, ...]]:
    """Return path -> kind, size and time of change of all below a folder; ``skip`` are names
    directly in it.
    """
    found: dict[str, tuple[int, ...]] = {}
    for root, folders, names in os.walk(folder):
        inside = os.path.relpath(root, folder)
        if inside == ".":
            folders[:] = [name for name in folders if name not in skip]
            names = [name for name in names if name not in skip]
        for name in (*folders, *names):
            info = os.lstat(os.path.join(root, name))  # noqa: PTH118 - names may be no text
            times = () if stat.S_ISDIR(info.st_mode) else (info.st_size, info.st_mtime_ns)
            path = os.path.normpath(os.path.join(inside, name))  # noqa: PTH118
            found[path] = (stat.S_IFMT(info.st_mode), *times)
    return found


# The process that reads


class Watch:
    """What the process does elsewhere, seen by Python's audit events: refused and noted."""

    def __init__(self, out: Path) -> None:
        own = str(out.resolve())
        self.inside = (f"{own}/", f"{sys.pycache_prefix or own}/")
        self.active = False
        self.noted: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
            if arguments[0] not in PROGRAMS:
                self._note(f"a program started: {arguments[0]!r}")
        elif event == "open":
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and arguments[0] not in (
                os.devnull,
                "/dev/tty",
            ):
                self._check(arguments[0])
        elif event in (
            "os.remove",
            "os.mkdir",
            "os.rmdir",
            "os.truncate",
            "os.chmod",
            "shutil.rmtree",
        ):
            self._check(arguments[0])
        elif event in ("os.rename", "os.link", "os.symlink"):
            self._check(arguments[1])

    def _check(self, path: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike) and "__pycache__" not in os.fsdecode(path):
            folder = os.path.dirname(os.fsdecode(path)) or "."  # noqa: PTH120
            # realpath takes far too long for each of many folders
            resolve = os.path.realpath if len(folder) < DEEP else os.path.abspath
            real = os.path.join(resolve(folder), "x")  # noqa: PTH118
            own_process = f"/proc/{os.getpid()}/"  # the estimate resets the peak of memory there
            if not real.startswith((*self.inside, own_process)):
                self._note(f"written outside: {os.fsdecode(path)!r}")

    def _note(self, text: str) -> None:
        self.active = False  # what follows is ours
        self.noted.append(text)
        self.active = True
        raise PermissionError(1, text)


def serve(pipe: Connection, targets: Sequence[Any], arena: Arena, seed: int) -> None:
    """Read (target, case) from the pipe and answer with an :class:`Outcome`, until it is closed."""
    import torch

    os.setsid()
    arena.enter()
    torch.set_num_threads(1)  # the threads of the parent do not exist here
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)  # what our children leave becomes ours
    said = os.open(arena.out / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    stack = arena.stack.open("w")
    faulthandler.register(signal.SIGUSR1, stack, all_threads=True)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    watch = Watch(arena.out)
    sys.addaudithook(watch)
    by_name = {target.name: target for target in targets}
    with suppress(EOFError):
        while True:
            name, case = pipe.recv()
            try:
                outcome = try_case(by_name[name], case, seed, arena, watch)
            except Exception:
                outcome = Outcome("find", "the fuzzer's own fault", name, traceback.format_exc())
            pipe.send(outcome)


def make_case(target: Any, case: int, seed: int, arena: Arena) -> tuple[Random | None, str]:
    """Write an input; return the generator that goes on with it, and what was done. Case -K is seed
    K as it is.
    """
    rng = Random(f"{seed}:{target.name}:{case}")
    folder = arena.fresh()
    examples = sorted((arena.seeds / target.name).iterdir())
    chosen = rng.choice(examples) if case >= 0 else examples[-case - 1]
    shutil.copytree(chosen, folder, dirs_exist_ok=True, symlinks=True)
    if case < 0:
        return None, f"{chosen.name} as it is"
    changes = [chosen.name]
    least = 0 if target.command else 1
    for _ in range(max(least, rng.choice((0, 1, 1, 1, 2, 3)))):
        change = rng.choice(target.mutations)
        changes += [change(folder, rng)]
    return rng, "; ".join(changes)


def try_case(target: Any, case: int, seed: int, arena: Arena, watch: Watch) -> Outcome:
    """Make an input, read it, and judge what happened."""
    from fuzz_product import is_explained, place_of
    from fuzz_readers import Fault

    os.chdir(arena.folder)
    arena.changes.write_text("")
    rng, changes = make_case(target, case, seed, arena)
    arena.changes.write_text(changes, encoding="utf-8", errors="backslashreplace")
    before, around = listing(arena.case, target.outputs), arena.around()
    watch.noted.clear()
    watch.active = True
    try:
        outcome = Outcome(target.read(arena.case, rng))
    except BaseException as error:
        watch.active = False
        known = (
            isinstance(error, Exception) and not isinstance(error, Fault) and is_explained(error)
        )
        text = "".join(traceback.format_exception(error)[-40:])
        place = error.place if isinstance(error, Fault) else place_of(error)
        outcome = Outcome("refused" if known else "find", type(error).__name__, place, text)
    finally:
        watch.active = False
    os.chdir(arena.folder)
    if fault := _left_behind(target, arena, before, around, watch):
        outcome = Outcome("find", *fault)
    return outcome._replace(changes=changes)


def _left_behind(
    target: Any, arena: Arena, before: dict[str, Any], around: dict[str, Any], watch: Watch
) -> tuple[str, str, str] | None:
    """Return (kind, place, text) of what a reader has done besides reading."""
    if watch.noted:
        return "Elsewhere", watch.noted[0].split(":")[0], "\n".join(watch.noted)
    if processes := _children():
        return "ProcessLeft", target.name, ", ".join(processes)
    after, now = listing(arena.case, target.outputs), arena.around()
    if not target.command:  # which may write where it is told to
        before = dict.fromkeys(after, ()) | before
    if changed := sorted(path for path in before if before[path] != after.get(path)):
        return "InputChanged", ", ".join(changed[:3]), ", ".join(changed)
    if changed := sorted(
        path for path in around.keys() | now.keys() if around.get(path) != now.get(path)
    ):
        return (
            "WrittenOutside",
            ", ".join(_kind_of(path) for path in changed[:3]),
            ", ".join(changed),
        )
    return None


def _kind_of(path: str) -> str:
    """Return a path without what changes from run to run."""
    return os.path.dirname(path) or path  # noqa: PTH120


def _children() -> list[str]:
    """Return the commands of the processes that this one has started and that live on after a
    moment.
    """
    for _ in range(20):
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        places = [thread / "children" for thread in Path("/proc/self/task").iterdir()]
        numbers = [
            number for place in places if place.exists() for number in place.read_text().split()
        ]
        if not numbers:
            return []
        time.sleep(0.05)
    found = []
    for number in numbers:
        with suppress(OSError):
            found.append(
                Path(f"/proc/{number}/cmdline")
                .read_bytes()
                .replace(b"\0", b" ")
                .decode("utf-8", "replace")
            )
            os.kill(int(number), signal.SIGKILL)
    return found


# The process that watches


class Worker:
    """A fork of the warm parent that reads inputs; killed and replaced when it hangs or dies."""

    def __init__(self, targets: Sequence[Any], arena: Arena, seed: int) -> None:
        self.targets, self.arena, self.seed = targets, arena, seed
        self.process: Any = None

    def try_case(self, target: Any, case: int) -> Outcome:
        """Return the outcome of one input, within the limit of its reader."""
        if self.process is None:
            self._start()
        self.pipe.send((target.name, case))
        try:
            if self._answers(target.limit, RETRIES if target.command else ASLEEP):
                outcome = self.pipe.recv()
            else:
                outcome = Outcome("find", "Hang", *self._stack())
                self.stop()
        except (EOFError, ConnectionError):
            self.process.join()
            code = self.process.exitcode
            text = (self.arena.out / "said.txt").read_text("utf-8", "replace")[-3000:]
            outcome = Outcome("find", "Died", f"status {code}", text)
            self.stop()
        if target.command:
            self.stop()
        if outcome.end == "find" and not outcome.changes:
            outcome = outcome._replace(changes=self.arena.changes.read_text(encoding="utf-8"))
        return outcome

    def _answers(self, limit: float, asleep: float) -> bool:
        """Return whether an answer comes in time; one that sleeps, as before a FIFO, is not waited
        for.
        """
        end = time.monotonic() + limit
        work = -1
        while time.monotonic() < end:
            if self.pipe.poll(asleep):
                return True
            before, work = work, self._work()
            if before == work:
                return False
        return False

    def _work(self) -> int:
        """Return the ticks that the process and its threads have worked, plus the times that they
        were woken up.
        """
        with suppress(OSError):
            place = Path(f"/proc/{self.process.pid}")
            numbers = (place / "stat").read_text().rpartition(")")[2].split()
            states = "\n".join((each / "status").read_text() for each in (place / "task").iterdir())
            switches = [line.split()[1] for line in states.splitlines() if "ctxt_switches" in line]
            return sum(map(int, [numbers[11], numbers[12], *switches]))
        return 0

    def _start(self) -> None:
        self.pipe, inner = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        arguments = (inner, self.targets, self.arena, self.seed)
        self.process = context.Process(
            target=_serve_alone, args=(self.pipe, *arguments), daemon=False
        )
        self.process.start()
        inner.close()

    def _stack(self) -> tuple[str, str]:
        """Return where a process is that does not answer, and its stack: the innermost frame of
        ours of any thread.
        """
        os.kill(self.process.pid, signal.SIGUSR1)
        text = ""
        for _ in range(10):  # it answers late while it is deep in a call of the system
            time.sleep(0.3)
            text = self.arena.stack.read_text("utf-8", "replace") or text
            if text:
                break
        frames = [line.strip() for line in text.splitlines() if "glip_lightning/" in line]
        if not frames:
            return "outside", text
        path, _, rest = frames[0].removeprefix('File "').partition('", line ')
        line, _, name = rest.partition(" in ")
        return f"{path.split('glip_lightning/')[-1]}:{name}:{line}", text

    def stop(self) -> None:
        """End the process and all that it has started."""
        if self.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.process = None


def _serve_alone(parents: Connection, *arguments: Any) -> None:
    parents.close()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    serve(*arguments)


def keep(arena: Arena, target: Any, case: int, seed: int, outcome: Outcome, number: int) -> None:
    """Move the input of a find to where it is looked at, with what is known of it."""
    name = f"{target.name}-{outcome.kind}-{outcome.place}-{number}"
    place = arena.kept / "".join(c if c.isalnum() or c in "-._" else "_" for c in name)[:150]
    remove(place)
    place.mkdir(parents=True)
    if arena.case.is_dir():
        arena.case.rename(place / "case")
    again = f'python tests/fuzz.py --seed {seed} --only "{target.name}" --case {case}'
    about = f"{again}\n{outcome.changes}\n{outcome.kind} at {outcome.place}\n\n{outcome.text}"
    (place / "about.txt").write_text(about, encoding="utf-8", errors="backslashreplace")


def turns(targets: Sequence[Any], rows: dict[str, Row], until: float) -> Iterator[tuple[Any, int]]:
    """Yield (target, case) until the time is over: readers in turn, a slice of time each, commands
    for their share.
    """
    readers = [target for target in targets if not target.command]
    commands = [target for target in targets if target.command]
    part = COMMANDS_SHARE if readers else 1.0
    while time.monotonic() < until:
        for reader in readers:
            end = min(time.monotonic() + SLICE, until)
            while time.monotonic() < end:
                yield reader, rows[reader.name].inputs
        while commands and time.monotonic() < until and _share(commands, rows) <= part:
            command = min(commands, key=lambda each: rows[each.name].inputs)
            yield command, rows[command.name].inputs


def _share(targets: Sequence[Any], rows: dict[str, Row]) -> float:
    """Return the part of all the time that some targets have had."""
    total = sum(row.seconds for row in rows.values())
    return sum(rows[target.name].seconds for target in targets) / total if total else 0.0


def run(
    targets: Sequence[Any], seed: int, minutes: float, out: Path, case: int | None = None
) -> Campaign:
    """Try inputs for some minutes, or one ``case`` of every target. Ctrl-C ends it early."""
    arena = Arena(out)
    arena.make()
    for target in targets:
        if not (arena.seeds / target.name).is_dir():
            (arena.seeds / target.name).mkdir(parents=True)
            target.write(arena.seeds / target.name)
    campaign = Campaign({target.name: Row() for target in targets})
    worker = Worker(targets, arena, seed)
    until = time.monotonic() + 60 * minutes
    cases = (
        turns(targets, campaign.rows, until)
        if case is None
        else iter([(target, case) for target in targets])
    )
    try:
        for target, number in cases:
            start = time.monotonic()
            outcome = worker.try_case(target, number)
            row = campaign.rows[target.name]
            row.inputs, row.seconds = row.inputs + 1, row.seconds + time.monotonic() - start
            row.ends[outcome.end] += 1
            if outcome.end == "find":
                alike = campaign.finds.setdefault((target.name, outcome.kind, outcome.place), [])
                alike.append(number)
                if len(alike) <= KEPT:
                    keep(arena, target, number, seed, outcome, len(alike))
            if case is not None:
                said = (out / "said.txt").read_text("utf-8", "replace")
                print(
                    f"{target.name}, case {number}: {outcome.changes}\n"
                    f"{outcome.end} {outcome.text}\n{said}"
                )
    except KeyboardInterrupt:
        print("interrupted")
    finally:
        worker.stop()
        for path in (
            arena.folder,
            arena.seeds,
            arena.stack,
            arena.changes,
            out / "cache",
            out / "said.txt",
        ):
            remove(path)
    return campaign


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Damaged and hostile input for all readers and commands."
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", action="append", default=[], metavar="READER", help="these readers or commands"
    )
    parser.add_argument("--case", type=int, help="this one input of the readers, made again")
    parser.add_argument(
        "--out", type=Path, help="where finds are kept (default: a new folder for temporary files)"
    )
    options = parser.parse_args(arguments)
    out = options.out or Path(tempfile.mkdtemp(prefix="glip-fuzz-"))
    out.mkdir(parents=True, exist_ok=True)
    arena = Arena(out.resolve())
    arena.make()
    arena.enter()  # before the product reads the environment
    start = time.monotonic()
    from fuzz_readers import TARGETS, warm_up

    warm_up()
    chosen = [target for target in TARGETS if not options.only or target.name in options.only]
    if unknown := set(options.only) - {target.name for target in TARGETS}:
        parser.error(
            f"--only {min(unknown)}: there are {', '.join(target.name for target in TARGETS)}"
        )
    print(
        f"warm after {time.monotonic() - start:.0f} s; finds are kept in {out / 'finds'}",
        flush=True,
    )
    campaign = run(chosen, options.seed, options.minutes, out.resolve(), options.case)
    print(campaign.table())
    (out / "finds.json").write_text(
        json.dumps([[*key, cases] for key, cases in sorted(campaign.finds.items())])
    )
    return 1 if campaign.finds else 0


if __name__ == "__main__":
    sys.exit(main())
