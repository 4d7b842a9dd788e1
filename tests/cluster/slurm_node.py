"""A Slurm cluster that consists of this machine, for as long as a test lasts.

Debian's packages are downloaded and unpacked into a folder of the test's own, which is laid over /usr in a mount
namespace, as is the configuration over /etc: the machine gets no package, no service and no file. Two GPUs are
pretended: device nodes that nothing opens. Run inside ``unshare --mount --pid --fork --mount-proc --kill-child``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PACKAGES = ("slurm-wlm", "munge")

# The job step that Snakemake starts is stripped of SLURM_CONF, so that the file must lie where Slurm looks for it.
SLURM_CONF = """\
ClusterName=pretended
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/note_gpus
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=1
MinJobAge=7200
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=3-00:00:00 State=UP
PartitionName=gpu Nodes={host} MaxTime=3-00:00:00 State=UP
"""


class SlurmNode:
    """munged, slurmctld and slurmd on this machine, with two pretended GPUs; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen] = []

    def __enter__(self) -> SlurmNode:
        unpacked = self.folder / "unpacked"
        unpack(unpacked)
        self._configure(unpacked / "etc/slurm")
        for name in ("usr", "etc"):
            lower = f"lowerdir={unpacked / name}:/{name}"
            run("mount", "-t", "overlay", "overlay", "-o", lower, f"/{name}")
        try:
            self._start_daemons()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def assigned_gpus(self) -> dict[str, str]:
        """Return the GPUs that the step of each job so far was given ('' for none), by the job's comment."""
        steps = (line.split("|") for line in (self.folder / "gpus.txt").read_text().splitlines())
        comments = dict(
            line.split("|") for line in output("squeue", "-h", "--states=all", "--format=%i|%k").splitlines()
        )
        return {comments[job]: gpus for job, step, gpus in steps if step.isdigit() and job in comments}

    def fail(self) -> None:
        """Let this node fail, and come back once its jobs have been taken from it."""
        name = node_name()
        run("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=pretended")
        wait_for_steps()
        run("scontrol", "update", f"NodeName={name}", "State=RESUME")

    def told(self) -> str:
        """Return the last that the controller and the node wrote to their logs, and every job's state."""
        logs = (self.folder / f"{name}.log" for name in ("slurmctld", "slurmd"))
        tails = [path.read_text()[-3000:] for path in logs if path.exists()]
        return "\n".join([*tails, output("squeue", "--states=all", "--format=%i %k %T %r")])

    def _configure(self, etc: Path) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o400)
        etc.mkdir(parents=True, exist_ok=True)
        names = {"host": node_name(), "folder": self.folder, "ports": free_ports(2)}
        (etc / "slurm.conf").write_text(SLURM_CONF.format(**names))
        # Runs in every task before the program does: what a job was given can be seen there alone.
        note = self.folder / "note_gpus"
        note.write_text(
            f'#!/bin/sh\necho "$SLURM_JOB_ID|$SLURM_STEP_ID|$CUDA_VISIBLE_DEVICES" >> {self.folder}/gpus.txt\n'
        )
        note.chmod(0o755)
        lines = []
        for i in range(2):
            device = self.folder / f"gpu{i}"
            # A plain file is refused; /dev/null under another name is not.
            os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
            lines.append(f"Name=gpu File={device}\n")
        (etc / "gres.conf").write_text("".join(lines))

    def _start_daemons(self) -> None:
        munge = ("--key-file", "munge.key"), ("--socket", "munge.socket"), ("--pid-file", "munge.pid")
        munge = (*munge, ("--log-file", "munge.log"), ("--seed-file", "munge.seed"))
        options = [f"{option}={self.folder / name}" for option, name in munge]
        # Its folder lies under /tmp, which everybody may write to: --force.
        self._start("munged", "--foreground", "--force", *options)
        wait_for(lambda: (self.folder / "munge.socket").exists(), "munged's socket")
        self._start(program("slurmctld"), "-D")
        self._start(program("slurmd"), "-D")
        wait_for(lambda: output("sinfo", "-h", "-o", "%T").strip() == "idle", "an idle node")

    def _start(self, *command: str) -> None:
        with (self.folder / f"{Path(command[0]).name}.out").open("w") as log:
            self.daemons.append(subprocess.Popen(command, stdout=log, stderr=log))


def unpack(folder: Path) -> None:
    """Download Debian's Slurm and what it needs beyond this machine's packages, and unpack it into ``folder``."""
    archives = folder / "archives"
    (archives / "partial").mkdir(parents=True)
    download = ["apt-get", "install", "--yes", "--no-install-recommends", "--download-only"]
    download += ["-o", f"Dir::Cache::archives={archives}", *PACKAGES]
    if subprocess.run(download, capture_output=True, check=False).returncode:
        run("apt-get", "update")
        run(*download)
    for name in ("usr", "etc"):
        (folder / name).mkdir()
    for package in archives.glob("*.deb"):
        run("dpkg", "-x", str(package), str(folder))
    # What installing the package would have linked.
    for name in ("slurmctld", "slurmd", "slurmstepd"):
        if (folder / f"usr/sbin/{name}-wlm").exists():
            (folder / f"usr/sbin/{name}").symlink_to(f"{name}-wlm")


def node_name() -> str:
    return socket.gethostname().split(".")[0]


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is neither in {PACKAGES} nor on this machine"
    return found


def wait_for_steps() -> None:
    """Return when the node has ended every step: a job that starts beside what is left of it has the node drained."""
    wait_for(lambda: not output("pgrep", "--runstates", "R,S,D", "slurmstepd"), "steps to end on the node")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def output(*command: str) -> str:
    """Return what ``command`` prints, or nothing where it fails: a controller that starts does not answer yet."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Return when ``condition`` holds; fail, naming ``what``, when it has not for ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)
