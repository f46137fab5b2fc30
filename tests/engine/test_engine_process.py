"""An engine as a process, and a host that is a test: what it is sent, and what it answers."""

from __future__ import annotations

import functools
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parpool import TaskTimeout, __version__
from parpool import status as codes
from parpool.engine.verbs import execute
from parpool.net.sockets import Context, Poller, Router, have_ipc
from parpool.shm.recorder import Recording
from parpool.wire import messages
from parpool.wire.failure import pack_failure, unpack_failure
from parpool.wire.functions import FunctionBook
from parpool.wire.messages import (
    CALL,
    EACH,
    EACHSTAR,
    INLINE,
    MAP,
    STARMAP,
    VIEW,
    Call,
    Done,
    Farewell,
    GivenBack,
    Hello,
    Interrupt,
    Need,
    Outcome,
    Refused,
    Revoke,
    Stop,
    Work,
    encode,
)

pytestmark = pytest.mark.skipif(not have_ipc(), reason="the host of these tests listens on local sockets")

ENGINE = """
import sys
from parpool.engine.engine import main
from parpool.options import EngineSettings
folder, host_pid = sys.argv[1:3]
settings = EngineSettings(
    "engine-0", f"ipc://{folder}/work", f"ipc://{folder}/control", host_pid=int(host_pid), recorder=f"{folder}/recorder"
)
def fail():
    raise LookupError("the initializer")
main(settings, fail if "fail" in sys.argv else None)
"""

# Every engine of these tests has these in its __main__.
FUNCTIONS = """
import os, time
def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"
def fork_and(how):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if how == "raise":
        raise ValueError
    if how == "return":
        return "child"
    raise SystemExit(3 if how == "exit" else how)
def block_until_opened(fifo):
    if fifo:
        open(fifo, "rb").close()
def spin_until_there(path):
    while not os.path.exists(path):
        spin(0.02)
def say(text):
    print(text, flush=True)
    return "said"
def swallow(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except BaseException:
            pass
    return "swallowed"
"""


class FakeHost:
    """The sockets of a host, and one engine."""

    def __init__(self, host_pid: int, *extra: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="s-", dir="/tmp")
        self._context = Context()
        self.work = self._context.router(f"ipc://{self.folder}/work")
        self.control = self._context.router(f"ipc://{self.folder}/control")
        command = [sys.executable, "-c", FUNCTIONS + ENGINE, self.folder, str(host_pid), *extra]
        self.engine = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.known: dict[str, bytes] = {}
        self.book = FunctionBook()
        self.bodies: list[bytes] = []

    def receive(self, seconds: float = 10, socket: Router | None = None) -> Any:
        socket = socket or self.work
        poller = Poller()
        poller.add(socket)
        assert poller.poll(seconds), "no answer of the engine"
        message = socket.receive()
        assert message is not None
        name, frames = message
        assert name == b"engine-0"
        self.bodies = frames[1:]
        return (messages.from_engine if socket is self.work else messages.from_control)(frames[0])

    def welcome(self) -> None:
        hello = self.receive()
        assert hello == Hello(messages.PROTOCOL, __version__, self.engine.pid)

    def send(
        self, *calls: Call, functions: dict[bytes, bytes] | None = None, bodies: list[bytes] | None = None
    ) -> None:
        assert self.work.send(b"engine-0", encode(Work(list(calls), functions or {}, [])), bodies or [])

    def order(self, order: Any) -> None:
        deadline = time.monotonic() + 5
        while not self.control.send(b"engine-0", encode(order)):  # it may be connecting
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def call(self, id: int, function: Callable[..., Any] | str, *args: Any, **kwds: Any) -> Call:
        """A call, whose function the engine is given now if it has not got it."""
        return self.task(id, function, (args, kwds), CALL)

    def task(self, id: int, function: Callable[..., Any] | str, argument: Any, kind: int, first: int = 0) -> Call:
        if isinstance(function, str):
            key, blob = function.encode(), b"Pc__main__\n" + function.encode() + b"\n."
        else:
            key, blob, _ = self.book.function(function)
        if key not in self.known:
            self.known[key] = blob  # type: ignore[index]
            self.send(functions={key: blob})
        return Call(id, key, pickle.dumps(argument), kind, first, len(argument), 0)

    def outcomes(self, count: int, seconds: float = 10) -> list[Outcome]:
        """The next outcomes, payloads opened."""
        found: list[Outcome] = []
        deadline = time.monotonic() + seconds
        while len(found) < count:
            done = self.receive(max(0.0, deadline - time.monotonic()))
            assert isinstance(done, Done), done
            bodies = iter(self.bodies)
            for outcome in done.outcomes:
                if outcome.frames:
                    outcome.payload = next(bodies)
                found.append(outcome)
        assert len(found) == count
        return found

    def values(self, count: int) -> dict[int, Any]:
        return {outcome.id: value_of(outcome) for outcome in self.outcomes(count)}

    def nothing_more(self, seconds: float = 0.15) -> None:
        poller = Poller()
        poller.add(self.work)
        assert not poller.poll(seconds), self.receive()

    def ended(self, seconds: float = 10) -> int:
        return self.engine.wait(seconds)

    def error_text(self) -> str:
        assert self.engine.stderr is not None
        return self.engine.stderr.read()

    def close(self) -> None:
        if self.engine.poll() is None:
            self.engine.kill()
        self.engine.communicate()
        self._context.close()
        shutil.rmtree(self.folder)


def value_of(outcome: Outcome) -> Any:
    if outcome.status == codes.OK:
        return pickle.loads(outcome.payload)
    return unpack_failure(outcome.payload)


@pytest.fixture
def host() -> Iterator[FakeHost]:
    made = FakeHost(os.getpid())
    try:
        made.welcome()
        yield made
    finally:
        made.close()


# Running ------------------------------------------------------------------------------------------------


def test_a_call(host: FakeHost) -> None:
    before = time.time()
    host.send(host.call(7, divmod, 17, 5))
    (outcome,) = host.outcomes(1)
    assert (outcome.id, outcome.status, outcome.item) == (7, codes.OK, 0)
    assert before - 1 < outcome.started <= outcome.completed < time.time() + 1
    assert value_of(outcome) == (3, 2)


def test_tasks_of_each_kind(host: FakeHost) -> None:
    host.send(host.task(1, abs, [-1, -2], MAP), host.task(2, divmod, [(7, 2), (9, 4)], STARMAP))
    assert host.values(2) == {1: [1, 2], 2: [(3, 1), (2, 1)]}
    host.send(host.task(3, abs, [-1, -2], EACH), host.task(4, divmod, [(7, 2), (9, 4)], EACHSTAR))
    found = host.outcomes(4)
    assert [(o.id, o.item, value_of(o)) for o in found] == [(3, 0, 1), (3, 1, 2), (4, 0, (3, 1)), (4, 1, (2, 1))]


def test_items_from_the_middle_on(host: FakeHost) -> None:
    host.send(host.task(1, abs, [-1, -2, -3, -4], EACH, first=2))
    assert [(o.item, value_of(o)) for o in host.outcomes(2)] == [(2, 3), (3, 4)]
    host.nothing_more()


def test_one_item_that_fails(host: FakeHost) -> None:
    host.send(host.task(1, int, ["1", "x", "3"], EACH))
    found = host.outcomes(3)
    assert [o.status for o in found] == [codes.OK, codes.ERROR, codes.OK]
    assert isinstance(value_of(found[1]), ValueError)


def test_in_the_order_sent_and_all_of_it(host: FakeHost) -> None:
    host.send(*(host.call(i, abs, -i) for i in range(3000)))
    assert [(o.id, value_of(o)) for o in host.outcomes(3000)] == [(i, i) for i in range(3000)]


def test_large_payloads_are_frames(host: FakeHost) -> None:
    data = os.urandom(INLINE + 1)
    call = msgspec.structs.replace(host.call(1, bytes.upper, b""), payload=b"", frames=1)
    host.send(call, host.call(2, abs, -1), bodies=[pickle.dumps(((data,), {}))])
    found = host.outcomes(2)
    assert [o.frames for o in found] == [1, 0]
    assert value_of(found[0]) == data.upper() and value_of(found[1]) == 1


def test_outcomes_larger_than_the_recorder(host: FakeHost) -> None:
    """As many and as large as one likes: those that fit are recorded, and all arrive in order."""
    sizes = [INLINE // 2, 10, INLINE * 3, 0, INLINE - 100] * 30
    host.send(*(host.call(i, bytes, size) for i, size in enumerate(sizes)))
    assert [len(value_of(o)) for o in host.outcomes(len(sizes))] == sizes


def test_a_full_page_of_the_recorder_whose_outcomes_have_left(host: FakeHost) -> None:
    """A large outcome takes along those before it: there is nothing to send when the page is full."""
    sizes = random.Random(1).choices([INLINE - 500, 20, INLINE * 2], k=300)
    host.send(host.task(1, bytes, sizes, EACH))
    assert [len(value_of(o)) for o in host.outcomes(len(sizes))] == sizes


@pytest.mark.parametrize(("how", "status"), [("exit", 3), ("raise", 1), ("return", 0), ("text", 1)])
def test_a_child_that_a_task_forks_is_no_engine(host: FakeHost, how: str, status: int) -> None:
    host.send(host.call(1, "fork_and", how), host.task(2, "fork_and", [how, how], EACH), host.call(3, abs, -3))
    assert [value_of(o) for o in host.outcomes(4)] == [status, status, status, 3]
    host.nothing_more()


def test_exceptions_of_every_kind(host: FakeHost) -> None:
    host.send(host.call(1, sys.exit, 3), host.call(2, int, "x"), host.call(3, abs, -1))
    found = host.values(3)
    assert isinstance(found[1], SystemExit) and isinstance(found[2], ValueError) and found[3] == 1


def test_what_cannot_be_opened_or_packed(host: FakeHost) -> None:
    broken = msgspec.structs.replace(host.call(1, abs, -1), payload=b"no pickle")
    host.send(broken, host.call(2, memoryview, b"x"), host.call(3, "no_such_function"), host.call(4, abs, -4))
    found = host.values(4)
    assert isinstance(found[1], pickle.UnpicklingError)
    assert type(found[2]).__name__ == "MaybeEncodingError" and "memory" in str(found[2])
    assert isinstance(found[3], AttributeError)
    assert found[4] == 4


# Functions ------------------------------------------------------------------------------------------------


def test_code_that_is_not_there_is_asked_for(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    names: dict[str, Any] = main.__dict__
    exec("def of_a_test(x):\n    return x * 3\n", {"__name__": "__main__"}, local := {})  # type: ignore[var-annotated]
    monkeypatch.setitem(names, "of_a_test", local["of_a_test"])
    book = FunctionBook()
    key, blob, _ = book.function(local["of_a_test"])
    host.send(Call(1, key, pickle.dumps(((5,), {})), CALL, 0, 1, 0), functions={key: blob})
    assert host.receive() == Need(key)
    host.send(functions={key: book.by_value(key)})
    assert host.values(1) == {1: 15}
    host.send(Call(2, key, pickle.dumps(((6,), {})), CALL, 0, 1, 0))
    assert host.values(1) == {2: 18}


def test_code_that_cannot_be_had(host: FakeHost) -> None:
    host.send(Call(1, b"nothing", pickle.dumps(((), {})), CALL, 0, 1, 0))
    assert host.receive() == Need(b"nothing")
    host.send(functions={b"nothing": b"E" + pack_failure(LookupError("gone"))})
    assert isinstance(host.values(1)[1], LookupError)
    host.send(Call(2, b"nothing", pickle.dumps(((), {})), CALL, 0, 1, 0))  # and once more
    assert host.receive() == Need(b"nothing")


def test_what_comes_while_it_asks(host: FakeHost) -> None:
    host.send(Call(1, b"nothing", pickle.dumps(((), {})), CALL, 0, 1, 0))
    assert host.receive() == Need(b"nothing")
    host.send(host.call(2, abs, -2))
    host.work.send(b"engine-0", b"nonsense")
    host.send(functions={b"nothing": b"P" + pickle.dumps(int)})
    assert host.values(2) == {1: 0, 2: 2}


def test_functions_are_forgotten(host: FakeHost) -> None:
    host.send(host.call(1, abs, -1))
    host.values(1)
    key = host.book.function(abs).key
    host.work.send(b"engine-0", encode(Work([host.call(2, abs, -2)], {}, [key])))
    assert host.receive() == Need(key)


# While a task runs ------------------------------------------------------------------------------------------


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """What block_until_opened() waits for."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def test_finished_outcomes_do_not_wait_behind_a_long_task(host: FakeHost, fifo: Path, tmp_path: Path) -> None:
    for round in range(8):
        file = tmp_path / str(round)
        long = (
            host.call(3, "spin_until_there", str(file)) if round % 2 else host.call(3, "block_until_opened", str(fifo))
        )
        host.send(host.call(1, abs, -1), host.call(2, abs, -2), long)
        assert [o.id for o in host.outcomes(2)] == [1, 2]
        file.touch() if round % 2 else fifo.open("wb").close()
        assert [o.id for o in host.outcomes(1)] == [3]


def test_nor_do_finished_items(host: FakeHost, fifo: Path) -> None:
    host.send(host.task(1, "block_until_opened", ["", "", str(fifo), ""], EACH))
    assert [o.item for o in host.outcomes(2)] == [0, 1]
    fifo.open("wb").close()
    assert [o.item for o in host.outcomes(2)] == [2, 3]


def test_revoke_gives_back_what_has_not_begun(host: FakeHost, fifo: Path) -> None:
    host.send(*(host.call(i, "block_until_opened", str(fifo) if i == 1 else "") for i in range(1, 5)))
    time.sleep(0.1)
    host.order(Revoke([2, 4, 1, 99]))
    assert host.receive(socket=host.control) == GivenBack([2, 4], [1, 99])
    fifo.open("wb").close()
    assert [o.id for o in host.outcomes(2)] == [1, 3]
    host.nothing_more()


class Gate:
    """Is opened when a file is there, and says that it waits for that."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        code = """import os, time
open(path + ".here", "w").close()
while not os.path.exists(path):
    time.sleep(0.001)"""
        return exec, (code, {"path": self.path})


def test_items_are_given_back_also_while_they_are_opened(host: FakeHost, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    host.send(host.task(1, abs, [Gate(gate), -1, -2], EACH), host.task(2, abs, [-3, -4], EACH))
    while not os.path.exists(f"{gate}.here"):
        time.sleep(0.001)
    host.order(Revoke([1]))
    assert host.receive(socket=host.control) == GivenBack([], [], rests=[(1, 0)])
    gate.touch()
    assert [(o.id, o.item) for o in host.outcomes(2)] == [(2, 0), (2, 1)]
    host.nothing_more()


def test_a_task_whose_last_items_were_given_back_prints_no_more(host: FakeHost) -> None:
    """What the next one prints is not its: it would be lost."""
    host.send(host.task(1, "spin", [0.8, 0, 0], EACH | VIEW))
    time.sleep(0.2)
    host.order(Revoke([1]))
    assert host.receive(socket=host.control).rests == [(1, 1)]
    host.outcomes(1)
    host.send(host.call(2, "say", "to the terminal"))
    assert value_of(*host.outcomes(1)) == "said"


def test_revoke_of_what_is_still_in_the_socket(host: FakeHost) -> None:
    host.send(host.call(1, time.sleep, 0.6))
    time.sleep(0.1)
    host.send(host.call(2, time.sleep, 0))
    time.sleep(0.05)
    host.order(Revoke([2]))
    assert host.receive(0.4, socket=host.control) == GivenBack([2], [])
    assert [o.id for o in host.outcomes(1)] == [1]
    host.send(host.call(2, time.sleep, 0))  # it may come back
    assert [o.id for o in host.outcomes(1)] == [2]


def test_every_task_is_given_back_or_run(host: FakeHost) -> None:
    """Whatever the moment: never both, never neither."""
    back: set[int] = set()
    ran: set[int] = set()
    kept: set[int] = set()
    host.send(*(host.call(0, abs, 0) for _ in range(1)))
    host.values(1)
    for round in range(40):
        ids = list(range(1 + round * 50, 1 + (round + 1) * 50))
        host.send(*(host.call(id, time.sleep, 0.0001) for id in ids))
        time.sleep(0.0007 * (round % 8))
        host.order(Revoke(ids[10:]))
        answer = host.receive(socket=host.control)
        back.update(answer.ids)
        kept.update(answer.kept)
        while len(ran) + len(back) < ids[-1]:
            ran.update(o.id for o in host.receive(5).outcomes)
    assert not ran & back and ran | back == set(range(1, 40 * 50 + 1))
    assert kept <= ran and back and kept


@pytest.mark.parametrize("long", ["spin", "sleep"])
def test_interrupt(host: FakeHost, long: str) -> None:
    function: Any = time.sleep if long == "sleep" else "spin"
    host.send(host.call(1, function, 1000), host.call(2, abs, -2))
    time.sleep(0.1)
    host.order(Interrupt(99, 0))
    host.order(Interrupt(1, 5))
    time.sleep(0.1)
    host.order(Interrupt(1, 0))
    first, second = host.outcomes(2)
    assert (first.id, first.status) == (1, codes.OVERTIME)
    assert isinstance(value_of(first), TaskTimeout)
    assert value_of(second) == 2


def test_interrupt_while_it_is_opened(host: FakeHost) -> None:
    """As where the function's module takes long to import: its code does not begin, and the engine goes on."""
    slow = pickle.dumps(((Slow(0.4),), {}))
    host.send(msgspec.structs.replace(host.call(1, "spin", 20), payload=slow), host.call(2, abs, -2))
    time.sleep(0.2)
    host.order(Interrupt(1, 0))
    first, second = host.outcomes(2)
    assert (first.id, first.status) == (1, codes.OVERTIME) and isinstance(value_of(first), TaskTimeout)
    assert value_of(second) == 2


class Slow:
    """Takes its time to be opened."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __reduce__(self) -> Any:
        return time.sleep, (self.seconds,)


def test_interrupt_of_an_item(host: FakeHost) -> None:
    host.send(host.task(1, time.sleep, [0, 20, 0], EACH))
    assert [o.item for o in host.outcomes(1)] == [0]
    time.sleep(0.1)
    host.order(Interrupt(1, 1))
    assert [(o.item, o.status) for o in host.outcomes(2)] == [(1, codes.OVERTIME), (2, codes.OK)]


def test_interrupts_that_come_too_late(host: FakeHost) -> None:
    """They hit neither the next task nor the engine itself."""
    for id in range(1, 200):
        host.send(host.call(id, time.sleep, 0.0003))
        host.order(Interrupt(id, 0))
        (outcome,) = host.outcomes(1)
        assert outcome.id == id and outcome.status in (codes.OK, codes.OVERTIME)
        host.order(Interrupt(id, 0))
    host.send(*(host.call(id, abs, -id) for id in range(1000, 1100)))
    assert len(host.values(100)) == 100


def test_an_interrupt_that_is_lost_is_sent_again(host: FakeHost, tmp_path: Path) -> None:
    """As by a sleep that begins when Python has just looked for signals. Here the first one does nothing."""
    code = (
        "import signal, time\n"
        "before = signal.getsignal(signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, lambda *args: signal.signal(signal.SIGINT, before))\n"
        f"open({str(tmp_path / 'deaf')!r}, 'w').close()\n"
        "time.sleep(20)\n"
    )
    host.send(host.call(1, execute, code), host.call(2, abs, -2))
    deadline = time.monotonic() + 20
    while not (tmp_path / "deaf").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    host.order(Interrupt(1, 0))
    first, second = host.outcomes(2)
    assert first.status == codes.OVERTIME and value_of(second) == 2


def test_a_task_that_swallows_the_interrupt_goes_on(host: FakeHost) -> None:
    host.send(host.call(1, "swallow", 0.5))
    time.sleep(0.1)
    host.order(Interrupt(1, 0))
    (outcome,) = host.outcomes(1)
    assert value_of(outcome) == "swallowed"


# What it does not heed ------------------------------------------------------------------------------------------


def test_ctrl_c_is_the_parent_s(host: FakeHost) -> None:
    os.kill(host.engine.pid, signal.SIGINT)
    host.send(host.call(1, time.sleep, 0.3), host.call(2, "spin", 0.3))
    for _ in range(5):
        time.sleep(0.05)
        os.kill(host.engine.pid, signal.SIGINT)
    assert [o.status for o in host.outcomes(2)] == [codes.OK, codes.OK]
    os.kill(host.engine.pid, signal.SIGINT)
    host.send(host.call(3, abs, -3))
    assert host.values(1) == {3: 3}


def test_malformed_messages(host: FakeHost) -> None:
    host.send(host.call(0, abs, 0))
    host.values(1)
    host.order(Revoke([]))
    host.receive(socket=host.control)
    whole = encode(Work([host.call(1, abs, -1)], {}, []))
    junk = [
        b"",
        b"\xc1",
        os.urandom(100),
        b"\x91" * 100_000,
        whole[:-1],
        encode(Hello(1, "1", 1)),
        encode(GivenBack([1], [])),
    ]
    for frame in junk:
        for socket in (host.work, host.control):
            assert socket.send(b"engine-0", frame)
            assert socket.send(b"engine-0", frame, [b"x", b""])
    host.send(host.call(2, abs, -2))
    assert host.values(1) == {2: 2}
    host.order(Revoke([2]))
    assert host.receive(socket=host.control) == GivenBack([], [2])


def test_frames_that_are_announced_and_not_there(host: FakeHost) -> None:
    promising = msgspec.structs.replace(host.call(1, abs, -1), payload=b"", frames=1)
    host.send(promising, host.call(2, abs, -2))
    host.send(host.call(3, abs, -3))
    found: dict[int, Outcome] = {}
    while 3 not in found:  # how many come with one message is the engine's to say
        found |= {each.id: each for each in host.receive().outcomes}
    assert value_of(found[3]) == 3 and host.engine.poll() is None


# Ends -----------------------------------------------------------------------------------------------------------


def test_stop_comes_behind_the_calls(host: FakeHost) -> None:
    host.send(host.call(1, time.sleep, 0.2), host.call(2, bytes, 3 * INLINE))
    host.work.send(b"engine-0", encode(Stop()))
    assert [o.id for o in host.outcomes(2)] == [1, 2]
    assert host.ended() == 0
    assert host.error_text() == ""


def test_it_can_be_refused() -> None:
    """An engine of another version is told so, ends, and says why."""
    host = FakeHost(os.getpid())
    try:
        host.welcome()
        host.work.send(b"engine-0", encode(Refused("it speaks protocol 0, the host speaks 9")))
        assert host.ended() == 1
        text = host.error_text()
        assert "ProtocolError" in text and "it speaks protocol 0, the host speaks 9" in text
    finally:
        host.close()


def test_an_initializer_that_fails() -> None:
    host = FakeHost(os.getpid(), "fail")
    try:
        farewell = host.receive()
        assert isinstance(farewell, Farewell)
        error = unpack_failure(farewell.failure)
        assert isinstance(error, LookupError) and error.args == ("the initializer",)
        assert host.ended() == 1
    finally:
        host.close()


@pytest.mark.parametrize("busy", ["idle", "sleep", "spin", "swallow"])
def test_it_ends_with_its_host(busy: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    host = FakeHost(parent.pid)
    try:
        host.welcome()
        host.send(host.call(1, abs, -1))
        host.values(1)
        if busy != "idle":
            host.send(host.call(2, time.sleep if busy == "sleep" else busy, 1000))
            time.sleep(0.1)
        parent.kill()
        assert host.ended() == 120
    finally:
        host.close()
        parent.kill()
        parent.communicate()


def test_a_host_that_is_gone_already() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ""])
    parent.wait()
    host = FakeHost(parent.pid)
    try:
        assert host.ended() == 120
    finally:
        host.close()


def test_the_recorder_says_what_was_lost(host: FakeHost) -> None:
    host.send(host.call(0, abs, 0))
    host.values(1)
    # All of a sudden: the two short ones are done, and their outcomes still here.
    host.send(
        host.call(1, abs, -1), host.call(2, abs, -2), host.call(3, os.kill, host.engine.pid, 9), host.call(4, abs, -4)
    )
    assert host.ended() == -9
    recording = Recording.read(os.path.join(host.folder, "recorder"))
    assert recording is not None and recording.running == (3, 0)
    reports: dict[int, Any] = {}
    for count, data in recording.pages:
        done = messages.from_engine(messages.done_header(count, data))
        assert isinstance(done, Done)
        reports |= {o.id: value_of(o) for o in done.outcomes}
    assert {1: 1, 2: 2}.items() <= reports.items() and not {3, 4} & reports.keys()


def test_the_recorder_names_the_item(host: FakeHost) -> None:
    kill = functools.partial(os.kill, host.engine.pid)
    host.send(host.task(5, kill, [0, 0, 9, 0], EACH))
    assert host.ended() == -9
    recording = Recording.read(os.path.join(host.folder, "recorder"))
    assert recording is not None and recording.running == (5, 2)


def test_nothing_is_left(host: FakeHost) -> None:
    host.work.send(b"engine-0", encode(Stop()))
    assert host.ended() == 0
    assert {path.name for path in Path(host.folder).iterdir()} <= {"work", "control", "recorder"}
