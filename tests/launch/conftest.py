"""The servers of this folder's tests, each started once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import servers

from parpool.launch.launcher import Site
from parpool.launch.ssh import SshLauncher

pytest.register_assert_rewrite("launch_contract")


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of ssh for an sshd on this machine."""
    servers.need("sshd", "ssh", "ssh-keygen")
    with servers.sshd(tmp_path_factory.mktemp("sshd")) as config:
        yield config


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of a Slurm on this machine."""
    servers.need("slurmctld", "slurmd", "sbatch", "munged", root=True)
    with servers.slurm(tmp_path_factory.mktemp("slurm")) as config:
        yield config


@pytest.fixture(scope="session")
def openmpi() -> None:
    """Its mpiexec is there."""
    servers.need("mpiexec")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Surroundings with a bit of everything."""
    (tmp_path / "work here").mkdir()
    secret = tmp_path / "engine.json"
    secret.touch(0o600)
    secret.write_text('{"key": "a secret of the cluster", "address": "tcp://127.0.0.1:1"}')
    environment = {"PARPOOL_WORD": 'it\'s "so"  $HOME `id` \\ é', "PARPOOL_SECRET": "a secret of the user"}
    return Site(tmp_path / "the log", environment, tmp_path / "work here", {"connection_file": secret})


Ssh = Callable[..., SshLauncher]


@pytest.fixture
def ssh(sshd: Path, site: Site) -> Iterator[Ssh]:
    """Makes launchers for hosts, which leave nothing behind: not on the machines either."""
    made: list[SshLauncher] = []

    def make(hosts: Any, **options: Any) -> SshLauncher:
        options = {"python": sys.executable, "options": ("-F", str(sshd)), **options}
        made.append(SshLauncher(options.pop("site", site), hosts, **options))
        return made[-1]

    yield make
    for launcher in made:
        launcher.stop(patience=0)
    servers.wait_until(lambda: not servers.remote_folders(sshd), "the folders on the machines are gone")
