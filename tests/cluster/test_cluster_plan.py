"""The command lines of a cluster's processes, and the launchers for them."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from parpool import cli
from parpool.cluster import plan as module
from parpool.cluster.plan import Plan
from parpool.launch.fake import FakeLauncher
from parpool.launch.launcher import Site
from parpool.launch.process import ProcessLauncher
from parpool.net import address
from parpool.net.address import Connection
from parpool.options import EngineSettings


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path, "prof", "one")


def with_(plan: Plan, **changes: Any) -> Plan:
    return dataclasses.replace(plan, **changes)


def understood(line: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command line's own parser makes of it."""
    assert line[:3] == [sys.executable, "-m", "parpool"]
    found: dict[str, Any] = {}
    command = cli.commands.commands[line[3]]
    monkeypatch.setattr(command, "callback", lambda **options: found.update(options))
    done = CliRunner().invoke(cli.commands, line[3:])
    assert done.exit_code == 0, done.output
    return found


def test_a_controller_understands_its_command_line(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    found = understood(plan.controller_line(), monkeypatch)
    assert (found["heartbeat"], found["misses"], found["on_client_lost"]) == (1.0, 10, "drop")
    assert found.get("owner_pid", 0) == (os.getpid() if module.OWNER else 0)
    assert understood(with_(plan, keep=True).controller_line(), monkeypatch).get("owner_pid", 0) == 0
    assert found.items() >= {"profile": "prof", "cluster_id": "one", "ip": "", "db": "memory"}.items()
    more = with_(
        plan,
        ip="127.0.0.1",
        location="here",
        ports={"client": 4711, "work": 4712},
        db="sqlite:////x/y.db",
        log_level="debug",
        misses=3,
        on_client_lost="keep",
        heartbeat=7,
        controller_arguments=["--heartbeat", "0.5"],
    )
    assert (
        understood(more.controller_line(), monkeypatch).items()
        >= {
            "ip": "127.0.0.1",
            "location": "here",
            "ports": {"client": 4711, "work": 4712},
            "db": "sqlite:////x/y.db",
            "log_level": "debug",
            "heartbeat": 0.5,
            "misses": 3,
            "on_client_lost": "keep",
        }.items()
    )


def test_an_engine_understands_its_command_line(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(plan.folder, files={"engine.json": plan.folder / "engine.json"})
    found = understood(site.fill(plan.engine_line()), monkeypatch)
    assert found["patience"] == EngineSettings.patience
    assert understood(site.fill(with_(plan, patience=1e6).engine_line()), monkeypatch)["patience"] == 1e6
    assert found.items() >= {"file": plan.folder / "engine.json", "mpi": False, "log_level": "info"}.items()
    line = with_(plan, engines="mpi", engine_arguments=["--patience", "7"]).engine_line()
    found = understood(site.fill(line), monkeypatch)
    assert found["mpi"] and found["patience"] == 7
    assert (
        understood(with_(plan, engines=FakeLauncher()).engine_line(), monkeypatch)["file"]
        == plan.folder / "engine.json"
    )


def test_several_schedulers(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--schedulers" not in plan.controller_line() and "--number" not in plan.engine_line()
    several = with_(plan, schedulers=3)
    assert understood(several.controller_line(), monkeypatch)["schedulers"] == 3
    assert "--ipython" not in plan.engine_line() and "--ipython" in with_(plan, ipython=True).engine_line()
    assert several.engine_line()[-2:] == ["--number", "{number}"], "so that they are shared out evenly"
    assert "--number" not in with_(several, engines="mpi").engine_line(), "ranks know who they are"
    with pytest.raises(ValueError, match="schedulers"):
        with_(plan, schedulers=0).check()


def test_another_interpreter(plan: Plan) -> None:
    plan.python = "/opt/python"
    assert plan.controller_line()[0] == plan.engine_line()[0] == "/opt/python"


def test_what_no_cluster_can_be(plan: Plan) -> None:
    for changes, words in (
        ({"n": -1}, "n must be 0 or more"),
        ({"restarts": -1}, "restarts must be 0 or more"),
        ({"heartbeat": 0}, "heartbeat is a number of seconds above 0, and not 0"),
        ({"patience": float("nan")}, "patience is a number of seconds above 0, and not nan"),
        ({"misses": 0}, "misses must be 1 or more, not 0"),
        ({"on_client_lost": "cry"}, "on_client_lost is 'drop' or 'keep', and not 'cry'"),
        ({"db": "tasks.db"}, "db may be memory, sqlite:///PATH, or"),
        ({"db": "postgresql://ann:secret@host/name"}, "password in db.*pgpass"),
        ({"db": "postgresql://ann@host/name?password=secret"}, "password in db.*pgpass"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            with_(plan, **changes).check()
        assert "secret" not in str(caught.value)
    with_(plan, n=0, db="postgresql://ann@host/name").check()


def test_the_launcher(plan: Plan) -> None:
    launcher = plan.launcher()
    assert isinstance(launcher, ProcessLauncher) and launcher.site.files == {"engine.json": plan.folder / "engine.json"}
    with pytest.raises(ValueError, match="no launcher 'nobody'"):
        with_(plan, engines="nobody").launcher()
    fake = FakeLauncher()
    assert with_(plan, engines=fake).launcher() is fake
    with pytest.raises(TypeError, match="engine_options are for a launcher that is made here"):
        with_(plan, engines=fake, engine_options={"slots": 3}).launcher()

    def factory(site: Site, slots: int) -> FakeLauncher:
        assert site.environment == {"A": "B"} and site.log_folder == plan.folder / "log"
        return FakeLauncher(slots)

    made = with_(plan, engines=factory, engine_options={"slots": 3}, environment={"A": "B"}).launcher()
    assert made.slots == 3


def test_tunnels_lead_to_the_controller(plan: Plan) -> None:
    addresses = {name: f"tcp://10.0.0.1:{port}" for port, name in enumerate(("work", "control", "heart"), 4711)}
    key = "0" * 40
    address.write(Connection("engine", "one", "prof", addresses, key, key, key), plan.folder / "engine.json")
    seen: list[Any] = []

    def factory(site: Site, tunnels: Any) -> FakeLauncher:
        seen.append(tunnels)
        return FakeLauncher()

    with_(plan, engines=factory, engine_options={"tunnels": True}).launcher()
    with_(plan, engines=factory, engine_options={"tunnels": ["x:1"]}).launcher()
    assert seen == [["10.0.0.1:4711", "10.0.0.1:4712", "10.0.0.1:4713"], ["x:1"]]


def test_engines_here_import_what_we_can(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "path", ["", str(tmp_path), "/no/such/folder", f"{sys.prefix}/lib", f"{sys.base_prefix}/lib"]
    )
    assert plan.launcher().site.environment == {"PYTHONPATH": str(tmp_path)}
    assert with_(plan, environment={"PYTHONPATH": "x", "A": "B"}).launcher().site.environment == {
        "PYTHONPATH": "x",
        "A": "B",
    }
    assert with_(plan, python="/another").launcher().site.environment == {}
    assert with_(plan, engines=lambda site: site).launcher().environment == {}
    monkeypatch.setattr(sys, "path", [""])
    assert plan.launcher().site.environment == {}


def test_threads_of_engines(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(plan: Plan, **changes: Any) -> tuple[str, str]:
        site = Site(plan.folder, files={"engine.json": plan.folder / "engine.json"})
        found = understood(site.fill(with_(plan, **changes).engine_line()), monkeypatch)
        return found["threads"], found["together"]

    assert said(plan) == said(plan, engines="ssh") == ("auto", "{together}"), "the launcher fills it in where it can"
    assert said(plan, threads=5, engines="mpi") == ("5", "")
    assert said(plan, threads=None) == ("0", "")
    assert said(plan, engines=FakeLauncher()) == ("auto", ""), "it may know of no braces"
    for threads in (7, None, "auto"):
        other = with_(plan)
        other.learn(json.loads(json.dumps(with_(plan, threads=threads).how())))
        assert other.threads == threads


def test_how_many(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_count", lambda: 6)
    assert plan.number(None, FakeLauncher()) == 6
    assert plan.number(None, FakeLauncher(slots=4)) == 4
    assert with_(plan, n=3).number(None, FakeLauncher(slots=4)) == 3
    assert with_(plan, n=3).number(2, FakeLauncher(slots=4)) == 2
    assert with_(plan, n=0).number(None, FakeLauncher(slots=4)) == 4


def test_what_others_can_make_again(plan: Plan) -> None:
    plan = with_(plan, engines="ssh", engine_options={"hosts": "one:2"}, environment={"A": "B"})
    other = Plan(plan.folder, "prof", "one")
    other.learn(json.loads(json.dumps(plan.how())))
    assert (other.engines, other.engine_options, other.environment) == ("ssh", {"hosts": "one:2"}, {"A": "B"})
    assert with_(plan, engines=FakeLauncher(), engine_options={}).how() is None
    assert with_(plan, engines="local", engine_options={"many": lambda argv, n: argv}).how() is None
