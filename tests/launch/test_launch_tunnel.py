"""Tunnels, both ways, through a real sshd."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import wait_until

from parpool.errors import EngineStartError
from parpool.launch.launcher import Site
from parpool.launch.ssh import SshLauncher
from parpool.launch.tunnel import Tunnel, rewritten

pytestmark = pytest.mark.usefixtures("sshd")

SLEEP = ["{python}", "-c", "import time; time.sleep(300)"]
CONNECT = """
import json, socket, sys
address = json.load(open(sys.argv[1]))["address"]
host, port = address.split("//")[1].split(":")
with socket.create_connection((host, int(port))) as there:
    print(address, there.recv(100).decode())
"""

Ssh = Callable[..., SshLauncher]


@pytest.fixture
def greeter() -> Iterator[str]:
    """A server that greets whoever connects; gives its address."""

    class Greeting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"good day")

    with socketserver.TCPServer(("127.0.0.1", 0), Greeting) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def greeting(address: str) -> str:
    """What a server says; empty: there is none."""
    host, _, port = address.partition(":")
    try:
        with socket.create_connection((host, int(port)), 10) as there:
            return there.recv(100).decode()
    except OSError:
        return ""


# From the machines that processes are started on -----------------------------------------------------------


@pytest.fixture(params=["own", "master"])
def through(request: pytest.FixtureRequest, sshd: Path) -> Iterator[dict[str, object]]:
    """The launcher's options for tunnels through connections of its own, and through one that is there."""
    options: tuple[str, ...] = ("-F", str(sshd))
    if request.param == "own":
        yield {"options": options}
        return
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the path of a socket has to be short
        options += ("-S", f"{folder}/socket")
        master = subprocess.Popen(["ssh", *options, "-M", "-N", "node1"], start_new_session=True)
        wait_until(lambda: Path(folder, "socket").exists(), "the master connection")
        yield {"options": options, "master": True}
        master.terminate()
        master.wait()


def test_from_there_to_here(ssh: Ssh, site: Site, greeter: str, through: dict[str, object]) -> None:
    site.files["connection_file"].write_text(json.dumps({"address": f"tcp://{greeter}"}))
    launcher = ssh("node1:2", tunnels=[greeter], **through)
    names = launcher.start(["{python}", "-c", CONNECT, "{connection_file}"], 2)
    wait_until(lambda: all(state.ended for state in launcher.poll().values()), "ended")
    entrance = launcher._posts[0]._tunnels.entrances[greeter]
    assert entrance != greeter
    for name in names:
        assert site.log(name).read_text() == f"tcp://{entrance} good day\n"
    launcher.stop(patience=5)
    assert not greeting(entrance) and greeting(greeter)
    (name,) = launcher.start(["{python}", "-c", CONNECT, "{connection_file}"], 1)  # and once more
    wait_until(lambda: launcher.poll()[name].ended, "ended")
    assert "good day" in site.log(name).read_text()


def test_tunnels_come_back_as_they_were(ssh: Ssh, greeter: str) -> None:
    launcher = ssh("node1", tunnels=[greeter])
    (name,) = launcher.start(SLEEP, 1)
    post = launcher._posts[0]
    entrance = post._tunnels.entrances[greeter]  # which is what the processes know
    assert greeting(entrance) == "good day"
    assert post._line is not None
    os.kill(post._line._process.pid, signal.SIGKILL)
    wait_until(lambda: not greeting(entrance), "the tunnel is cut")
    assert str(launcher.poll()[name]) == "running"
    assert post._tunnels.entrances[greeter] == entrance and greeting(entrance) == "good day"


def test_no_tunnel(ssh: Ssh, greeter: str) -> None:
    # The port is in use there.
    launcher = ssh("node1", tunnels=["127.0.0.1:1"])
    launcher._posts[0]._tunnels.ports["127.0.0.1:1"] = int(greeter.partition(":")[2])
    with pytest.raises(EngineStartError, match="cannot reach node1: .*remote port forwarding failed.*AllowTcpForward"):
        launcher.start(SLEEP, 1)
    with pytest.raises(EngineStartError, match="the master connection of ssh opens no tunnel: .*; is it open"):
        ssh("node1", tunnels=["127.0.0.1:1"], master=True).start(SLEEP, 1)


@pytest.mark.parametrize("wrong", ["127.0.0.1", "tcp://x", ":5"])
def test_what_is_no_address(wrong: str) -> None:
    with pytest.raises(ValueError, match="a tunnel leads to host:port, not to"):
        SshLauncher(Site(Path("log")), "node1", tunnels=[wrong])


# From here to what another machine reaches -----------------------------------------------------------------


def test_from_here_to_there(sshd: Path, tmp_path: Path, greeter: str) -> None:
    with Tunnel("node1", [greeter], tmp_path / "log", options=("-F", str(sshd))) as tunnel:
        entrance = tunnel.entrances[greeter]
        assert entrance != greeter and greeting(entrance) == "good day"
    assert not greeting(entrance)


def test_a_port_that_somebody_else_takes(
    sshd: Path, tmp_path: Path, greeter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parpool.launch import tunnel as module

    free, offered = module._free, [[greeter]]  # the first is in use
    monkeypatch.setattr(module, "_free", lambda n: offered.pop() if offered else free(n))
    with Tunnel("node1", ["127.0.0.1:9"], tmp_path / "log", options=("-F", str(sshd))) as tunnel:
        assert not offered and tunnel.entrances["127.0.0.1:9"] != greeter


def test_a_gateway_that_cannot_be_reached(sshd: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineStartError, match="no tunnel through closed: .*refused.*; does ssh closed work?"):
        Tunnel("closed", ["127.0.0.1:1"], tmp_path / "log", options=("-F", str(sshd)))
    with pytest.raises(ValueError, match="'-oProxyCommand=true' is no host"):
        Tunnel("-oProxyCommand=true", ["127.0.0.1:1"], tmp_path / "log")


# In files -------------------------------------------------------------------------------------------------


def test_rewritten() -> None:
    text = "tcp://10.0.0.1:55 10.0.0.1:555 110.0.0.1:55 x10.0.0.1:55, 10.0.0.1:55"
    known = {"10.0.0.1:55": "127.0.0.1:7"}
    assert rewritten(text, known) == "tcp://127.0.0.1:7 10.0.0.1:555 110.0.0.1:55 x10.0.0.1:55, 127.0.0.1:7"
    assert rewritten(re.escape(text), {}) == re.escape(text)
