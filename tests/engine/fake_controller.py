"""The sockets of a controller, and an engine in a process of its own that serves it."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from parpool.net.sockets import Context, Poller, Router
from parpool.wire import messages
from parpool.wire.messages import CALL, EACH, Begin, Call, Done, GivenBack, Hello, Look, Who, Work, encode

ENGINE = """
import os, sys, time
from parpool.engine.engine import main
from parpool.options import EngineSettings
address, patience = sys.argv[1:3]
host_key, public, secret = (each.encode() for each in (sys.argv[3:] or ("", "", "")))
def at_gate(path):
    open(path + ".begun", "w").close()
    while not os.path.exists(path):
        time.sleep(0.002)
    return path
main(EngineSettings("engine-a", f"{address}work", f"{address}control", host_key, heart=f"{address}heart",
                    keys=(public, secret), patience=float(patience)))
"""


class FakeController:
    """The sockets of a controller, and one engine, which outlives them."""

    def __init__(self, patience: float = 60.0) -> None:
        self.folder = tempfile.mkdtemp(prefix="s-", dir="/tmp")
        self.number = 0
        self.open()
        command = [sys.executable, "-c", ENGINE, f"ipc://{self.folder}/", str(patience)]
        self.engine = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.known: set[bytes] = set()

    def open(self, domain: str = "engines") -> None:
        self._context = Context()
        names = ("work", "control", "heart")
        self.sockets = {name: self._context.router(f"ipc://{self.folder}/{name}", domain=domain) for name in names}

    def restart(self) -> None:
        """Another controller takes the place of this one, which was killed."""
        self._context.close()
        self.open()
        hello = self.answer(Hello)
        assert hello.held is None and hello.pid == self.engine.pid
        self.number = 0

    def welcome(self) -> Hello:
        hello: Hello = self.hears(Hello)
        assert (hello.held, hello.first, hello.pid) == (None, 1, self.engine.pid) and hello.hostname
        return hello

    def _receive(self, socket: Router, decode: Callable[[bytes], Any], kind: type, seconds: float = 10) -> Any:
        poller = Poller()
        poller.add(socket)
        deadline = time.monotonic() + seconds
        while poller.poll(max(0.0, deadline - time.monotonic())):
            message = socket.receive()
            assert message is not None and message[0] == b"engine-a"
            content = decode(message[1][0])
            self.frames = message[1][1:]
            if isinstance(content, kind):
                return content
        raise AssertionError(f"the engine says no {kind}")

    def hears(self, kind: type = Done, seconds: float = 10) -> Any:
        return self._receive(self.sockets["work"], messages.from_engine, kind, seconds)

    def answer(self, kind: type = GivenBack) -> Any:
        return self._receive(self.sockets["control"], messages.from_control, kind)

    def nothing(self, seconds: float = 0.1) -> None:
        poller = Poller()
        poller.add(self.sockets["work"])
        assert not poller.poll(seconds)

    def say(self, message: Any, socket: str = "work") -> None:
        deadline = time.monotonic() + 10
        while not self.sockets[socket].send(b"engine-a", encode(message)):
            assert time.monotonic() < deadline, "the engine does not connect"
            time.sleep(0.005)

    def order(self, message: Any) -> None:
        self.say(message, "control")

    def send(self, *calls: Call, number: int | None = None) -> None:
        self.number = self.number + 1 if number is None else number
        functions = {call.function: b"P" + call.function for call in calls}
        self.say(Work(list(calls), functions, [], False, self.number))

    def ask(self) -> tuple[Hello, list[Done]]:
        """Ask the engine what it holds: its answer, and what it says again."""
        self.say(Who())
        self.order(Look())
        hello = self.hears(Hello)
        return hello, [self.hears(Done) for _ in range(hello.last - hello.first + 1)]

    def begin(self, hello: Hello) -> None:
        self.number = 0
        self.say(Begin(hello.said))

    def gate(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def begun(self, name: str) -> None:
        deadline = time.monotonic() + 10
        while not os.path.exists(self.gate(name) + ".begun"):
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def let(self, name: str) -> None:
        open(self.gate(name), "w").close()

    def status(self, seconds: float = 20) -> int:
        return self.engine.wait(seconds)

    def close(self) -> None:
        if self.engine.poll() is None:
            self.engine.kill()
        self.engine.communicate()
        self._context.close()
        shutil.rmtree(self.folder)


def call(id: int, function: Callable[..., Any] | str, *args: Any, kind: int = CALL) -> Call:
    pickled = f"c__main__\n{function}\n.".encode() if isinstance(function, str) else pickle.dumps(function)
    argument: Any = list(args) if kind == EACH else (args, {})
    return Call(id, pickled, pickle.dumps(argument), kind, 0, len(args) if kind == EACH else 1, 0)


def values(*messages: Done) -> dict[int, Any]:
    return {each.id: pickle.loads(each.payload) for message in messages for each in message.outcomes}
