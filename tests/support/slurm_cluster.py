"""A SLURM of one node on this machine, with files, ports and keys of its own."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=2,requeue_setup_env_fail
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory={memory}
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
MEMORY = 4000  # MB that jobs may share; the node has to have it


def what_is_missing() -> str | None:
    """Return why no SLURM can be started here, None if it can."""
    missing = [name for name in PROGRAMS if program(name) is None]
    if missing:
        return f"no {', '.join(missing)} here (Debian: apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "daemons of SLURM need root"


def program(name: str) -> str | None:
    """Return the path of a program, also of one for root."""
    return shutil.which(
        name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    )


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """Start the daemons, and end them; yield the file for SLURM_CONF. The path of ``folder`` has to
    be short.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key, configuration = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    host = socket.gethostname().split(".")[0]
    text = CONFIGURATION.format(host=host, folder=folder, ports=_free_ports(), memory=MEMORY)
    configuration.write_text(text)
    munge = [
        f"--{name}={folder}/munge.{end}"
        for name, end in (("key-file", "key"), ("socket", "socket"))
    ]
    munge += [
        f"--{name}={folder}/munge.{end}"
        for name, end in (("pid-file", "pid"), ("seed-file", "seed"))
    ]
    munge += [f"--log-file={folder}/munge.log", "--foreground", "--force"]
    commands = [
        ["munged", *munge],
        *(([name, "-D", "-f", str(configuration)]) for name in ("slurmctld", "slurmd")),
    ]
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for name, *arguments in commands:
            with (folder / f"{name}.out").open("wb") as out:
                daemon = subprocess.Popen(
                    [str(program(name)), *arguments], stdout=out, stderr=subprocess.STDOUT
                )
            daemons.append(daemon)
            time.sleep(1)
        _wait_until_idle(configuration, folder)
        yield configuration
    finally:
        environment = os.environ | {"SLURM_CONF": str(configuration)}
        subprocess.run(
            ["scancel", "--me"], env=environment, capture_output=True, timeout=30, check=False
        )
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _free_ports() -> list[int]:
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_until_idle(configuration: Path, folder: Path) -> None:
    environment = os.environ | {"SLURM_CONF": str(configuration)}
    deadline = time.monotonic() + 60
    while True:
        asked = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True
        )
        if asked.stdout.strip() == "idle":
            return
        if time.monotonic() > deadline:
            logs = "\n".join(
                path.read_text(errors="replace")[-2000:] for path in folder.glob("*.out")
            )
            raise TimeoutError(f"SLURM is not ready: {asked.stdout} {asked.stderr}\n{logs}")
        time.sleep(0.5)
