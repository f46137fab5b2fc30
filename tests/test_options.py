"""Settings: those that are made of what a connection file says, and what no URL of a database may hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parpool.net.address import Connection
from parpool.options import EngineSettings, cpu_count, holds_password


def connection(**addresses: str) -> Connection:
    where = {"work": "tcp://host:1", "control": "tcp://host:2", "heart": "tcp://host:3", **addresses}
    return Connection("engine", "c", "p", where, "server", "public", "secret", 1, "host", "0", 1, 0.0)


def test_an_engine_elsewhere() -> None:
    settings = EngineSettings.from_connection(connection(), patience=7.0, timeout=3.0)
    assert (settings.work, settings.control, settings.heart) == ("tcp://host:1", "tcp://host:2", "tcp://host:3")
    assert (settings.host_key, settings.keys) == (b"server", (b"public", b"secret"))
    assert settings.lane == "" and settings.recorder is None
    assert (settings.timeout, settings.patience) == (3.0, 7.0) and settings.names == {}
    assert settings.host_pid == 0  # its controller may be on another machine, and may be followed by another


def test_every_engine_has_a_name_of_its_own() -> None:
    names = {EngineSettings.from_connection(connection()).uid for _ in range(100)}
    assert len(names) == 100
    assert EngineSettings.from_connection(connection(), "mine").uid == "mine"


def test_an_engine_on_this_machine(tmp_path: Path) -> None:
    """There is a lane, and beside it a place for its recorder."""
    lane = tmp_path / "lane"
    lane.touch()
    settings = EngineSettings.from_connection(connection(lane=str(lane)), "mine")
    assert settings.lane == str(lane) and settings.recorder == os.path.join(tmp_path, "mine")


def test_a_lane_of_another_machine(tmp_path: Path) -> None:
    settings = EngineSettings.from_connection(connection(lane=str(tmp_path / "nowhere" / "lane")))
    assert settings.lane == "" and settings.recorder is None


def test_rank_and_size() -> None:
    assert EngineSettings.from_connection(connection(), mpi=(0, 4)).names == {"mpi_rank": 0, "mpi_size": 4}


def test_there_is_a_cpu() -> None:
    assert cpu_count() >= 1


@pytest.mark.parametrize(
    ("db", "holds"),
    [
        ("memory", False),
        ("sqlite:////data/a:b@c.db", False),
        ("postgresql://ann@host:5432/name?sslmode=require&passfile=/home/ann/pass", False),
        ("postgresql:///name?host=/run/postgresql&user=ann", False),
        ("postgresql://ann:word@host/name", True),
        ("postgresql://ann:@host/name", True),
        ("postgresql://ann:wo/r?d#@host/name", True),  # which urlsplit does not see
        ("postgresql://ann@host/name?password=word", True),
        ("postgresql://ann@host/na#me?sslmode=require&PASSWORD=word", True),
        ("postgresql+psycopg:///?p%61ssword=word", True),
        ("postgres://host/name?sslpassword=", True),
        ("postgresql://host/name?oauth_client_secret=word", True),
    ],
)
def test_a_password_in_the_url_of_a_database(db: str, holds: bool) -> None:
    assert holds_password(db) is holds
