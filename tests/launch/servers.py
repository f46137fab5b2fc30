"""The real servers that launchers and the hub are tested with: an sshd, Open MPI, a Slurm of one node, and PostgreSQL;
and a browser, for what notebooks show.

    python tests/launch/servers.py install

installs them on Debian and its kin. A test without its server is skipped, or fails where PARPOOL_SERVERS=required is in
the environment: where they ought to be there, a test that is skipped would hide that they are not.

Each is started for the run of the tests that need it: with its own keys, ports and files in a temporary folder, on the
loopback. What the machine itself has of them is left alone.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

#: The programs, and the package that each is in.
PACKAGES = {
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "mpiexec": "openmpi-bin",
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sbatch": "slurm-wlm",
    "initdb": "postgresql",
    "chromium": "chromium",
}
#: Where a user's PATH does not lead. Of PostgreSQL there may be several: the newest.
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parts[4].zfill(3), reverse=True)
SBIN = os.pathsep.join(["/usr/local/sbin", "/usr/sbin", "/sbin", *map(str, POSTGRES)])
UP = 20.0  #: seconds that a server has to come up, and to go


def find(program: str) -> str | None:
    """The path of a program; None: it is not installed."""
    return shutil.which(program) or shutil.which(program, path=SBIN)


def need(*programs: str, root: bool = False) -> None:
    """Skip the test, or fail it, where these programs cannot be used."""
    import pytest  # not there yet where they are being installed

    if absent := sorted({PACKAGES[program] for program in programs if find(program) is None}):
        reason = f"not installed: {' '.join(absent)} (python tests/launch/servers.py install)"
        if os.environ.get("PARPOOL_SERVERS") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    if root and os.geteuid() != 0:  # no installation helps
        pytest.skip(f"{programs[0]} must be started by root")


def install() -> int:
    """Install what is not there; gives the exit status."""
    packages = sorted({package for program, package in PACKAGES.items() if find(program) is None})
    if not packages:
        return 0
    if shutil.which("apt-get") is None:
        print(f"servers: install these by hand: {' '.join(packages)}", file=sys.stderr)
        return 1
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run([*root, "apt-get", *command], env=environment)
        if done.returncode:
            return done.returncode
    return 0


def wait_until(condition: Callable[[], object], what: str, seconds: float = UP) -> None:
    """Wait for a condition; after so many seconds it is an error."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A port of the loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(folder: Path, **commands: list[str]) -> Iterator[None]:
    """Servers, one after the other, each with its output in a file of the folder; ended with all they have started."""
    processes: list[subprocess.Popen[bytes]] = []
    # A run of the tests that is killed takes them along, where the system has a way to say so.
    bound = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    try:
        for name, command in commands.items():
            with (folder / f"{name}.out").open("wb") as output:
                command = [*bound, find(command[0]) or command[0], *command[1:]]
                processes.append(
                    subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                    )
                )
        yield
    finally:
        started = [pid for process in processes for pid in descendants(process.pid)]
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            try:
                process.wait(UP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The processes that it has started, and those that they have."""
    try:
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [each for child in children for each in [child, *descendants(child)]]


# ssh --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[Path]:
    """An sshd; gives a configuration for ssh, in which it is known by several names: node1 to node9.

    ``stranger`` is it, too, with a key that nobody knows; ``closed`` a port where nobody listens; and ``nobody`` lets
    in none.
    """
    for name in ("host", "user", "other"):
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(keygen, check=True)
    (folder / "tmp").mkdir()
    port, user = free_port(), pwd.getpwuid(os.geteuid()).pw_name
    host_key = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"nodes {host_key}")
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    (folder / "sshd_config").write_text(f"""
        ListenAddress 127.0.0.1:{port}
        HostKey {folder}/host
        PidFile none
        AuthorizedKeysFile {folder}/authorized
        StrictModes no
        UsePAM no
        PasswordAuthentication no
        KbdInteractiveAuthentication no
        PermitRootLogin yes
        AllowTcpForwarding yes
        MaxStartups 100
        SetEnv TMPDIR={folder}/tmp
    """)
    config = folder / "ssh_config"
    config.write_text(f"""
        Host closed
            Port {free_port()}
        Host stranger
            HostKeyAlias stranger
        Host nobody
            IdentityFile {folder}/other
        Host closed stranger node*
            IdentityFile {folder}/user
        Host *
            HostName 127.0.0.1
            HostKeyAlias nodes
            Port {port}
            User {user}
            IdentitiesOnly yes
            UserKnownHostsFile {folder}/known
            GlobalKnownHostsFile none
            StrictHostKeyChecking yes
    """)
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)  # it will not start without it
    with running(folder, sshd=["sshd", "-D", "-e", "-f", str(folder / "sshd_config")]):
        wait_until(lambda: listens(port), f"sshd: {folder}/sshd.out")
        yield config


def remote_folders(config: Path) -> list[Path]:
    """The folders of keepers on the machines of that configuration."""
    return list((config.parent / "tmp").glob("parpool-ssh-*"))


# Slurm ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Path]:
    """A Slurm of one node; gives its configuration, which its commands find by SLURM_CONF."""
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    control, node = free_port(), free_port()
    config = folder / "slurm.conf"
    config.write_text(f"""
        ClusterName=test
        SlurmctldHost=localhost(127.0.0.1)
        SlurmctldPort={control}
        SlurmdPort={node}
        SlurmUser=root
        SlurmdUser=root
        SlurmdParameters=config_overrides
        AuthType=auth/munge
        AuthInfo=socket={folder}/munge/socket
        CredType=cred/munge
        StateSaveLocation={folder}/state
        SlurmdSpoolDir={folder}/spool
        SlurmctldPidFile={folder}/slurmctld.pid
        SlurmdPidFile={folder}/slurmd.pid
        ProctrackType=proctrack/linuxproc
        TaskPlugin=task/none
        SwitchType=switch/none
        MpiDefault=none
        JobAcctGatherType=jobacct_gather/none
        AccountingStorageType=accounting_storage/none
        SelectType=select/cons_tres
        SelectTypeParameters=CR_CPU
        SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
        KillWait=2
        ReturnToService=2
        NodeName=localhost NodeAddr=127.0.0.1 CPUs=8 RealMemory=1000 State=UNKNOWN
        PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
        PartitionName=down Nodes=ALL MaxTime=INFINITE State=DOWN
    """)
    os.environ["SLURM_CONF"] = str(config)
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munge += [f"--{name}={folder}/munge/{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
    try:
        with running(folder, munged=munge):
            wait_until((folder / "munge" / "socket").exists, f"munged: {folder}/munged.out")
            with running(folder, slurmctld=["slurmctld", "-D"], slurmd=["slurmd", "-D", "-N", "localhost"]):
                state = ["sinfo", "--noheader", "--format=%t", "--partition=main"]
                wait_until(lambda: output(state) == "idle", f"slurm: {folder}/slurmctld.out and slurmd.out")
                yield config
                subprocess.run(["scancel", "--full", "--signal=KILL", f"--user={os.geteuid()}"], capture_output=True)
    finally:
        del os.environ["SLURM_CONF"]


def output(command: list[str]) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit(__doc__)
    sys.exit(install())
