"""Clusters whose engines are started by others than this machine's own launcher: the real ones, where they are there."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import servers

from parpool import cpu_count
from parpool.cluster import Cluster
from parpool.options import THREAD_VARIABLES

Until = Callable[..., Any]


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has no opinion on threads, whoever runs the tests."""
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of ssh for an sshd on this machine."""
    servers.need("sshd", "ssh", "ssh-keygen")
    with servers.sshd(tmp_path_factory.mktemp("sshd")) as config:
        yield config


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Slurm on this machine."""
    servers.need("slurmctld", "slurmd", "sbatch", "munged", root=True)
    with servers.slurm(tmp_path_factory.mktemp("slurm")):
        yield


def test_engines_of_mpi_are_ranks(until: Until) -> None:
    servers.need("mpiexec")
    cluster = Cluster(
        n=2, engines="mpi", engine_options={"as_root": os.geteuid() == 0, "oversubscribe": True}, cluster_id="mine"
    )
    with cluster as rc:
        assert sorted(rc[:]["mpi_rank"]) == [0, 1] and rc[:]["mpi_size"] == [2, 2]
        assert cluster.engine_sets == {"set-1": 2}
        assert set(rc[:].apply_sync(os.getenv, "OMP_NUM_THREADS")) == {str(max(1, cpu_count() // 2))}
        before = rc.ids
        os.kill(rc[0].apply_sync(os.getpid), signal.SIGKILL)  # mpiexec ends the others, and is started again
        until(lambda: len(rc.ids) == 2 and not set(before) & set(rc.ids))
        assert sorted(rc[:]["mpi_rank"]) == [0, 1]


@pytest.mark.parametrize("tunnels", [False, True])
def test_engines_on_machines_that_ssh_reaches(sshd: Path, folder: Path, until: Until, tunnels: bool) -> None:
    options: dict[str, Any] = {
        "hosts": {"node1": 1, "node2": 1},
        "python": sys.executable,
        "options": ["-F", str(sshd)],
    }
    if tunnels:
        options["tunnels"] = True
    # Where their logs go. ssh has not brought along what we have.
    theirs = {"PARPOOL_DIR": str(folder)}
    if not tunnels:
        options["hosts"] = {"node1": 2}
    cluster = Cluster(engines="ssh", engine_options=options, environment=theirs, ip="127.0.0.1", cluster_id="mine")
    with cluster as rc:
        assert cluster.engine_sets == {"set-1": 2}
        pids = rc[:].apply_sync(os.getpid)
        assert rc[:].apply_sync(os.getenv, "PARPOOL_DIR") == [str(folder)] * 2
        share = cpu_count() if tunnels else max(1, cpu_count() // 2)  # as far as one node knows of the other
        assert rc[:].apply_sync(os.getenv, "OMP_NUM_THREADS") == [str(share)] * 2
        os.kill(pids[0], signal.SIGKILL)
        until(lambda: len(rc.ids) == 2 and max(rc.ids) == 2)
        assert rc[:].apply_sync(os.getenv, "OMP_NUM_THREADS") == [str(share)] * 2, "also of one that is started again"
        assert rc.load_balanced_view().apply_sync(pow, 2, 5) == 32
    left = lambda: [*Path("/tmp").glob("parpool-ssh-*"), *Path(tempfile.gettempdir()).glob("parpool-ssh-*")]  # noqa: E731
    until(lambda: not left())


@pytest.mark.usefixtures("slurm")
def test_engines_in_jobs_of_slurm(folder: Path, until: Until) -> None:
    cluster = Cluster(
        n=2, engines="slurm", engine_options={"every": 0.1}, python=sys.executable, ip="127.0.0.1", cluster_id="mine"
    )
    with cluster as rc:
        assert cluster.engine_sets == {"set-1": 2} and rc.wait_for_engines(2, 20)
        jobs = rc[:].apply_sync(os.getenv, "SLURM_JOB_ID")
        assert None not in jobs and len(queued()) == 2
        given, threads = (rc[:].apply_sync(os.getenv, name) for name in ("SLURM_CPUS_ON_NODE", "OMP_NUM_THREADS"))
        assert threads == [str(min(int(cpus), cpu_count())) for cpus in given]
        assert rc.load_balanced_view().map_sync(pow, range(10), [2] * 10) == [n**2 for n in range(10)]
        os.kill(rc[0].apply_sync(os.getpid), signal.SIGKILL)  # another job comes in its place
        until(lambda: len(rc.ids) == 2 and max(rc.ids) == 2, 60)
        pids = rc[:].apply_sync(os.getpid)
        assert set(rc[:].apply_sync(os.getenv, "SLURM_JOB_ID")) - set(jobs)
        more = cluster.start_engines(1)
        until(lambda: len(rc.ids) == 3, 60)
        cluster.stop_engines(more)
        until(lambda: rc.ids == [1, 2] and len(queued()) == 2, 60)
    until(lambda: not queued(), 60)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def queued() -> list[str]:
    """The jobs that Slurm has."""
    return servers.output(["squeue", "--noheader", "--format=%i", "--array"]).split()
