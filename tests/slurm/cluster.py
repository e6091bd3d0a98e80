"""A Slurm of one node in a temporary folder: munge, a controller and a node daemon of its own."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
CONFIGURATION = """\
ClusterName=hideseek
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=batch_sched_delay=1,sched_interval=2
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=15
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """Starts the daemons as the present user and ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        host = socket.gethostname().partition(".")[0]
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        configuration = self.folder / "slurm.conf"
        configuration.write_text(
            CONFIGURATION.format(
                host=host, folder=self.folder, user=getpass.getuser(), ports=free_ports(2)
            )
        )
        os.environ["SLURM_CONF"] = str(configuration)
        files = [f"--{name}={self.folder}/munge.{name.partition('-')[0]}" for name in
                 ("socket", "key-file", "pid-file", "log-file", "seed-file")]  # fmt: skip
        self._run("munged", "--foreground", "--force", *files)
        wait_for(lambda: (self.folder / "munge.socket").exists(), "munged")
        self._run("slurmctld", "-D")
        wait_for(lambda: command("scontrol", "ping").returncode == 0, "slurmctld")
        self._run("slurmd", "-D", "-N", host)
        wait_for(lambda: "idle" in command("sinfo", "-h", "-o", "%T").stdout, "slurmd")

    def _run(self, *words: str) -> None:
        with (self.folder / f"{words[0]}.out").open("wb") as output:
            self.daemons.append(
                subprocess.Popen(words, stdout=output, stderr=output, start_new_session=True)
            )

    def stop(self) -> None:
        command("scancel", "--signal=KILL", f"--user={getpass.getuser()}")
        command("scancel", f"--user={getpass.getuser()}")
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def wait_for(condition, what: str = "it", seconds: float = 30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"nothing happened: {what}")


def free_ports(number: int) -> list[int]:
    opened = [socket.socket() for _ in range(number)]
    try:
        for one in opened:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in opened]
    finally:
        for one in opened:
            one.close()
