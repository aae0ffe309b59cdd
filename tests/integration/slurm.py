"""A Slurm of one node, with a configuration, ports, folders and daemons of its own, as whoever runs the tests.

A test that needs the node to itself for a moment (a preemption) submits to the partition `urgent`, whose jobs push
those of `trials` off it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo", "srun")
ATTEMPTS = 3
"""A port that was free may be taken when a daemon comes to it."""

CONFIG = """
ClusterName=playbook
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=2
MaxArraySize=4
SchedulerParameters=defer,sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=trials Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""


def what_is_missing() -> str | None:
    """Why there can be no Slurm here; None where there can."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    return f"no {', '.join(missing)}: apt-get install slurm-wlm munge" if missing else None


class Cluster:
    """A running one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    @classmethod
    @contextmanager
    def started(cls, new_folder: Callable[[], Path]) -> Iterator[Cluster]:
        """The cluster with an idle node; nothing of it is left afterwards."""
        for _ in range(ATTEMPTS):
            cluster = cls(new_folder())
            daemons: list[subprocess.Popen[bytes]] = []
            try:
                if cluster._start(daemons):
                    try:
                        yield cluster
                    finally:
                        cluster._cancel_all()
                    return
            finally:
                for daemon in reversed(daemons):
                    daemon.terminate()
                    daemon.wait()
        said = "\n".join(f"{path.name}: {path.read_text()}" for path in cluster.folder.glob("*.log"))
        raise RuntimeError(f"Slurm does not start\n{said}")

    def _start(self, daemons: list[subprocess.Popen[bytes]]) -> bool:
        for name in ("munge", "state", "spool"):
            (self.folder / name).mkdir(mode=0o755)
        key, munge = self.folder / "munge.key", self.folder / "munge"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        host, user = socket.gethostname().partition(".")[0], pwd.getpwuid(os.getuid()).pw_name
        config = CONFIG.format(host=host, user=user, folder=self.folder, ports=free_ports(2))
        (self.folder / "slurm.conf").write_text(config)
        files = [f"--{name}={munge / name}" for name in ("socket", "pid-file", "seed-file")]
        commands = (
            # --force: the folders above this one belong to the tests, and munged would rather they did not
            ["munged", "--foreground", "--force", f"--key-file={key}", f"--log-file={munge / 'log'}", *files],
            ["slurmctld", "-D"],
            ["slurmd", "-D"],
        )
        for name, *arguments in commands:
            with (self.folder / f"{name}.log").open("wb") as log:
                command = [_program(name) or name, *arguments]
                daemons.append(
                    subprocess.Popen(
                        command, env=os.environ | self.environment, stdout=log, stderr=log, cwd=self.folder
                    )
                )
            if name == "munged":
                _wait_for(lambda: (munge / "socket").exists(), daemons)
        return _wait_for(lambda: self._ask("sinfo", "--noheader", "--format=%T").split() == ["idle"], daemons)

    def _cancel_all(self) -> None:
        self._ask("scancel", f"--user={os.getuid()}")
        _wait_for(lambda: not self.jobs(), [])

    def jobs(self) -> dict[str, str]:
        """The state of each job that has not ended, by its number (`4_0`)."""
        lines = self._ask("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def signal(self, job: str, name: str) -> None:
        """Send a signal to a job's processes."""
        self._tell("scancel", f"--signal={name}", job)

    def submit(self, command: str, *words: str) -> str:
        """A job of a shell; its number."""
        return self._tell("sbatch", "--parsable", "--output=/dev/null", f"--wrap={command}", *words).strip()

    def run_urgently(self, command: str) -> str:
        """A job on both CPUs that pushes those of `trials` off; its number."""
        return self.submit(command, "--partition=urgent", "--cpus-per-task=2")

    def suspend(self, job: str) -> None:
        """Stop a job's processes, which can be continued."""
        self._tell("scontrol", "suspend", job)

    def start_now(self, job: str) -> None:
        """A requeued job waits for two minutes, lest the node that it failed on fails it again; no other is touched."""
        self._ask("scontrol", "update", f"JobId={job}", "StartTime=now")

    def _tell(self, name: str, *arguments: str) -> str:
        command = [name, *arguments]
        return subprocess.run(
            command, env=os.environ | self.environment, check=True, capture_output=True, text=True
        ).stdout

    def _ask(self, name: str, *arguments: str) -> str:
        """As `_tell`, where no answer is an empty one."""
        command = [name, *arguments]
        done = subprocess.run(command, env=os.environ | self.environment, check=False, capture_output=True, text=True)
        return done.stdout


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _wait_for(happened: Callable[[], bool], daemons: list[subprocess.Popen[bytes]], seconds: float = 30) -> bool:
    """Whether it happened, before a daemon ended or time was up."""
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until or any(daemon.poll() is not None for daemon in daemons):
            return False
        time.sleep(0.05)
    return True


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
