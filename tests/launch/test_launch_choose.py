"""Launchers by name, ours and those of other packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parpool.errors import EngineStartError
from parpool.launch.batch import BatchLauncher
from parpool.launch.choose import known, launcher
from parpool.launch.launcher import Site
from parpool.launch.mpi import Mpi
from parpool.launch.process import ProcessLauncher
from parpool.launch.ssh import SshLauncher
from parpool.launch.systems import SYSTEMS

SITE = Site(Path("log"))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that brings launchers along, as pip would install it."""
    (tmp_path / "their_launchers.py").write_text(
        "from parpool.launch.fake import FakeLauncher\n"
        "def moon(site, rocket='big'):\n"
        "    return FakeLauncher(slots=len(rocket), label=site.label)\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[parpool.launchers]\nmoon = their_launchers:moon\nbroken = their_launchers:mars\nlocal = their_launchers:moon\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("their_launchers", None)


def test_ours() -> None:
    assert known() == sorted(["local", "mpi", "ssh", *SYSTEMS])
    assert type(launcher("local", SITE)) is ProcessLauncher
    made = launcher("mpi", SITE, oversubscribe=True)
    assert isinstance(made, ProcessLauncher) and made.many == Mpi(oversubscribe=True)
    made = launcher("ssh", SITE, hosts="one:4, two:2")
    assert isinstance(made, SshLauncher) and made.slots == 6
    for name, row in SYSTEMS.items():
        made = launcher(name, SITE, directives=["x"])
        assert isinstance(made, BatchLauncher) and made.system is row


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="there is no launcher 'moon'; there are: htcondor, local, lsf, mpi, pbs, sge"):
        launcher("moon", SITE)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "local",
            {"hosts": "x"},
            "the launcher 'local': .*unexpected keyword argument 'hosts'; its options: many=None",
        ),
        ("ssh", {}, "the launcher 'ssh': missing a required argument: 'hosts'; its options: hosts, python='python3', "),
        (
            "slurm",
            {"partition": "x"},
            "unexpected keyword argument 'partition'; its options: directives=.., prelude='', template",
        ),
        (
            "mpi",
            {"hosts": "x"},
            "the launcher 'mpi': .*unexpected keyword argument 'hosts'; its options: program='mpiexec'",
        ),
    ],
)
def test_unknown_options(name: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        launcher(name, SITE, **options)


def test_those_of_other_packages(installed: None) -> None:
    assert {"moon", "broken"} < set(known())
    made = launcher("moon", SITE, rocket="small")
    assert made.slots == 5 and made.start(["x"], 1) == ["engine-0"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'wings'; its options: rocket='big'"):
        launcher("moon", SITE, wings=2)
    with pytest.raises(
        EngineStartError, match="'broken' .their_launchers:mars. cannot be loaded: AttributeError.*look at"
    ):
        launcher("broken", SITE)
    assert type(launcher("local", SITE)) is ProcessLauncher  # nobody takes our names
