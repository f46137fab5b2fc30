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

from parpool.cluster import Cluster

Until = Callable[..., Any]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of ssh for an sshd on this machine."""
    servers.need("sshd", "ssh", "ssh-keygen")
    with servers.sshd(tmp_path_factory.mktemp("sshd")) as config:
        yield config


def test_engines_of_mpi_are_ranks(until: Until) -> None:
    servers.need("mpiexec")
    cluster = Cluster(
        n=2, engines="mpi", engine_options={"as_root": os.geteuid() == 0, "oversubscribe": True}, cluster_id="mine"
    )
    with cluster as rc:
        assert sorted(rc[:]["mpi_rank"]) == [0, 1] and rc[:]["mpi_size"] == [2, 2]
        assert cluster.engine_sets == {"set-1": 2}
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
    cluster = Cluster(engines="ssh", engine_options=options, environment=theirs, ip="127.0.0.1", cluster_id="mine")
    with cluster as rc:
        assert cluster.engine_sets == {"set-1": 2}
        pids = rc[:].apply_sync(os.getpid)
        assert rc[:].apply_sync(os.getenv, "PARPOOL_DIR") == [str(folder)] * 2
        os.kill(pids[0], signal.SIGKILL)
        until(lambda: len(rc.ids) == 2 and max(rc.ids) == 2)
        assert rc.load_balanced_view().apply_sync(pow, 2, 5) == 32
    left = lambda: [*Path("/tmp").glob("parpool-ssh-*"), *Path(tempfile.gettempdir()).glob("parpool-ssh-*")]  # noqa: E731
    until(lambda: not left())
