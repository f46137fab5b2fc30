"""What strange and broken peers may send to a living host: it is counted, and harms nobody."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import parpool.engine.engine
from parpool import EngineStartError, Pool, ProtocolError, __version__
from parpool import status as codes
from parpool.core.state import Task
from parpool.errors import ParpoolError
from parpool.host.blobs import KEPT as FUNCTIONS
from parpool.host.host import Host
from parpool.net.sockets import Context, Dealer, Poller, have_ipc
from parpool.options import EngineSettings
from parpool.wire import messages
from parpool.wire.failure import pack_failure
from parpool.wire.functions import Function
from parpool.wire.messages import (
    EACH,
    Done,
    Farewell,
    GivenBack,
    Hello,
    Need,
    Outcome,
    Refused,
    Revoke,
    Stop,
    Work,
    encode,
)

pytestmark = pytest.mark.skipif(not have_ipc(), reason="the peers of these tests come by local sockets")


# Strangers to a Pool ------------------------------------------------------------------------------------


@pytest.fixture
def context() -> Iterator[Context]:
    made = Context()
    yield made
    made.close()


@pytest.fixture
def keep(context: Context) -> Iterator[list[Dealer]]:
    """Sockets that are to live until the test is over."""
    kept: list[Dealer] = []
    yield kept
    context.close()


JUNK = [
    b"",
    b"\xc1",
    b"\0" * 100,
    b"\x91" * 50_000,
    b"\x93\x0d\xc4\x00" + b"\x91" * 200_000,
    os.urandom(500),
    encode(Hello(messages.PROTOCOL, __version__, 1)),
    encode(Done([Outcome(0, 0, 0, 0.0, 0.0, b"x", 0)])),
    encode(Need(b"key")),
    encode(Farewell(b"junk")),
    encode(GivenBack([1, 2, 3], [4])),
    encode(Stop()),
    encode(Revoke([1])),
]


def test_strangers_at_a_pool(context: Context, keep: list[Dealer]) -> None:
    with Pool(2) as pool:
        deadline = time.monotonic() + 10
        while len(pool.client) < 2 and time.monotonic() < deadline:  # else the impostors may have the names first
            assert pool.map(abs, [-1, -2]) == [1, 2]
        host = pool.client.link.host
        before = host.malformed
        for address in ("work", "control"):
            for name in ("stranger", "engine-0", "engine-1", "engine-99", "engine-\xe9"):
                dealer = context.dealer("ipc://" + host.session.path(address), name)
                keep.append(dealer)
                for junk in JUNK:
                    dealer.send(junk)
                    dealer.send(junk, [b"body", b""])
        deadline = time.monotonic() + 10
        while host.malformed < before + 3 * 2 * len(JUNK) and time.monotonic() < deadline:
            assert pool.map(abs, range(-50, 0)) == list(range(50, 0, -1))
        assert host.malformed >= before + 3 * 2 * len(JUNK)
        assert pool.apply_async(abs, (-5,)).get(5) == 5
        assert sorted(pool.client.ids) == [0, 1]
    pool.join()


# A host whose engines are this test ------------------------------------------------------------------------


class SleepingCrew:
    """Starts processes that do nothing: what they would say, a test says."""

    forks = False

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.settings: list[EngineSettings] = []

    def start(self, settings: EngineSettings) -> int:
        self.settings.append(settings)
        process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        self.processes[settings.uid] = process
        return process.pid

    def lives(self, uid: str) -> bool:
        return self.processes[uid].poll() is None

    def ended(self, uid: str) -> str:
        process = self.processes[uid]
        process.communicate()
        return f"pid {process.pid} is gone"

    def kill(self, uid: str) -> None:
        self.processes[uid].kill()

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            if process.returncode is None:
                process.communicate()


class Door:
    """Where outcomes go."""

    def __init__(self) -> None:
        self.delivered: list[tuple[int, int, int]] = []
        self.outcomes: list[Any] = []

    def deliver(self, task: Any, outcome: Any, engine: int | None) -> None:
        self.delivered.append((task.id, outcome.item, outcome.status))
        self.outcomes.append(outcome)


class Stage:
    """A host, its crew, and the engines' ends of the sockets."""

    def __init__(self, places: int = 1) -> None:
        self.crew = SleepingCrew()
        self.host = Host(self.crew, places)
        self.door = Door()
        self.broken: list[Any] = []
        self.host.on_broken = self.broken.append
        self._context = Context()
        self.host.start()
        self.ends: dict[str, tuple[Dealer, Dealer]] = {}

    def engine(self, uid: str = "engine-0", *, hello: bool = True) -> Dealer:
        settings = next(each for each in self.crew.settings if each.uid == uid)
        work, control = self._context.dealer(settings.work, uid), self._context.dealer(settings.control, uid)
        self.ends[uid] = work, control
        control.send(encode(GivenBack([], [])))  # makes it known there
        if hello:
            work.send(encode(Hello(messages.PROTOCOL, __version__, 1)))
            self.steps_until(lambda: self.host.scheduler.engines)
        return work

    def steps_until(self, condition: Any, seconds: float = 5) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            self.host.step(0.05)

    def steps(self) -> None:
        """Until nothing comes any more."""
        quiet = 0
        while quiet < 3:
            before = (self.host.malformed, len(self.door.delivered))
            self.host.step(0.02)
            quiet = quiet + 1 if before == (self.host.malformed, len(self.door.delivered)) else 0

    def submit(self, id: int, **more: Any) -> None:
        self.host.define(Function(b"function", b"blob", "function"))
        self.host.submit(Task(id, b"function", pickle.dumps(((), {})), self.door, **more))
        self.host.step(0)

    def received(self, dealer: Dealer, seconds: float = 5) -> Any:
        poller = Poller()
        poller.add(dealer)
        assert poller.poll(seconds), "nothing came"
        frames = dealer.receive()
        assert frames is not None
        return messages.to_engine(frames[0])

    def close(self) -> None:
        self.crew.end()
        self.host.close()
        self._context.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def outcome(id: int, status: int = codes.OK, item: int = 0, payload: bytes = b"x", frames: int = 0) -> Outcome:
    return Outcome(id, status, item, time.time(), time.time(), payload, frames)


def test_a_task_there_and_back(stage: Stage) -> None:
    engine = stage.engine()
    stage.submit(5)
    work = stage.received(engine)
    assert [call.id for call in work.calls] == [5] and work.functions == {b"function": b"blob"}
    engine.send(encode(Done([outcome(5)])))
    stage.steps_until(lambda: stage.door.delivered)
    assert stage.door.delivered == [(5, 0, codes.OK)]
    stage.submit(6)
    assert stage.received(engine).functions == {}  # it has it


def test_another_version_is_refused(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    engine = stage.engine(hello=False)
    with caplog.at_level(logging.ERROR, "parpool"):
        engine.send(encode(Hello(messages.PROTOCOL + 1, "99.0", 1)))
        stage.steps_until(lambda: caplog.records)
    answer = stage.received(engine)
    assert isinstance(answer, Refused)
    for text in (answer.reason, caplog.text):
        assert f"protocol {messages.PROTOCOL + 1} (parpool 99.0)" in text
        assert f"{messages.PROTOCOL} (parpool {__version__})" in text
    assert not stage.host.scheduler.engines
    stage.submit(1)
    stage.steps()
    assert engine.receive(wait=False) is None  # no work for it


def test_a_hello_of_the_far_future_is_refused_too(stage: Stage) -> None:
    engine = stage.engine(hello=False)
    engine.send(msgspec.msgpack.encode([10, 77, "99.0", {"all": "else"}]))
    stage.steps()
    answer = stage.received(engine, 2)
    assert isinstance(answer, Refused) and "protocol 77 (parpool 99.0)" in answer.reason


def test_hello_twice(stage: Stage) -> None:
    engine = stage.engine()
    engine.send(encode(Hello(messages.PROTOCOL, __version__, 1)))
    stage.steps()
    assert list(stage.host.scheduler.engines) == [0]


def test_work_before_hello(stage: Stage) -> None:
    engine = stage.engine(hello=False)
    stage.submit(1)
    engine.send(encode(Done([outcome(1)])))
    stage.steps()
    assert stage.door.delivered == []
    engine.send(encode(Hello(messages.PROTOCOL, __version__, 1)))
    stage.steps()
    assert [call.id for call in stage.received(engine).calls] == [1]


def test_outcomes_that_cannot_be(stage: Stage) -> None:
    """Of unknown tasks, with states that only a scheduler gives, of items that there are not, without their frames."""
    engine = stage.engine()
    stage.submit(1, kind=EACH, count=3)
    stage.submit(2)
    stage.received(engine)
    odd = [
        outcome(99),
        outcome(2**62),
        outcome(-1),
        outcome(1, codes.LOST),
        outcome(1, codes.KILLED),
        outcome(1, -77),
        outcome(1, 12345),
        outcome(1, item=2**40),
        outcome(1, item=-5),
        outcome(1, item=3),
        outcome(2, item=7),
    ]
    for each in odd:
        engine.send(encode(Done([each])))
    engine.send(encode(Done(odd)))
    engine.send(encode(Done([])))
    engine.send(encode(Done([outcome(99)])), [b"frame", b"frame"])
    stage.steps()
    for id, item, status in stage.door.delivered:  # whatever it made of them
        assert id in (1, 2) and 0 <= item < 3, (id, item, status)
    for item in range(3):
        engine.send(encode(Done([outcome(1, item=item)])))
    engine.send(encode(Done([outcome(2)])))
    stage.steps()
    ended = [(id, item) for id, item, _ in stage.door.delivered]
    assert len(ended) == len(set(ended))
    assert not stage.host.scheduler.tasks or stage.host.scheduler.tasks.keys() <= {1, 2}


def test_frames_that_are_not_there(stage: Stage) -> None:
    engine = stage.engine()
    stage.submit(1)
    stage.received(engine)
    engine.send(encode(Done([outcome(1, payload=b"", frames=1)])))
    stage.steps()
    engine.send(encode(Done([outcome(1, payload=b"whole")])))
    stage.steps()
    assert [each.payload for each in stage.door.outcomes] in ([b"whole"], [b""])
    assert stage.host.malformed or stage.door.outcomes


def test_answers_to_questions_that_nobody_asked(stage: Stage) -> None:
    engine = stage.engine()
    stage.submit(1)
    stage.received(engine)
    control = stage.ends["engine-0"][1]
    for answer in (GivenBack([99], [98]), GivenBack([], [1]), GivenBack([2**62], [-1]), GivenBack([7, 7, 7], [7])):
        control.send(encode(answer))
    stage.steps()
    engine.send(encode(Done([outcome(1)])))
    stage.steps()
    assert stage.door.delivered == [(1, 0, codes.OK)]


def test_needs_of_what_there_is_not(stage: Stage) -> None:
    engine = stage.engine()
    stage.host.on_need = lambda key: b"E" + key
    for key in (b"", b"k" * 16, os.urandom(5000)):
        engine.send(encode(Need(key)))
        stage.steps()
        assert stage.received(engine).functions == {key: b"E" + key}


def test_a_farewell_of_nonsense(stage: Stage) -> None:
    engine = stage.engine()
    engine.send(encode(Farewell(os.urandom(50))))
    stage.steps()
    stage.crew.kill("engine-0")
    stage.steps_until(lambda: stage.broken or len(stage.crew.settings) > 1)


def test_a_farewell_of_nonsense_reaches_the_pool_as_an_error(context: Context) -> None:
    """As far as the user: an error like any other."""
    with Pool(1, die_in_the_initializer) as pool:
        with pytest.raises((EngineStartError, ParpoolError)):
            pool.apply_async(abs, (-1,)).get(20)
    pool.join()


def die_in_the_initializer() -> None:
    parpool.engine.engine.pack_failure = lambda error: b"\xc1nonsense"  # type: ignore[assignment]
    raise ValueError


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(st.binary(max_size=60), min_size=1, max_size=3), control=st.booleans())
def test_random_messages_of_a_known_engine(stage: Stage, data: list[bytes], control: bool) -> None:
    if not stage.ends:
        stage.engine()
    stage.ends["engine-0"][control].send(data[0], data[1:])
    stage.host.step(0.05)


words = st.one_of(
    st.builds(
        lambda id, status, item, frames: encode(Done([Outcome(id, status, item, 0.0, 0.0, b"", frames)])),
        st.integers(-2, 6),
        st.integers(-7, 6),
        st.integers(-2, 5),
        st.integers(0, 1),
    ),
    st.builds(
        lambda back, kept: encode(GivenBack(back, kept)), st.lists(st.integers(-2, 6)), st.lists(st.integers(-2, 6))
    ),
    st.just(encode(Hello(messages.PROTOCOL, __version__, 1))),
    st.just(encode(Need(b"x"))),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lies=st.lists(words, min_size=1, max_size=20))
def test_a_lying_engine(lies: list[bytes]) -> None:
    """Well-formed messages in any order and of any content: no task ends twice, and no step fails."""
    stage = Stage()
    try:
        stage.engine()
        for id in range(3):
            stage.submit(id, kind=EACH, count=2)
        for id in range(3, 5):
            stage.submit(id)
        for lie in lies:
            for socket in stage.ends["engine-0"]:
                socket.send(lie)
        stage.steps()
        ended = [(id, item) for id, item, _ in stage.door.delivered]
        assert len(ended) == len(set(ended))
        assert all(0 <= item < (2 if id < 3 else 1) for id, item in ended)
    finally:
        stage.close()


# Functions, deaths -----------------------------------------------------------------------------------------


def test_the_table_of_functions_is_bounded(stage: Stage) -> None:
    engine = stage.engine()
    stage.submit(1)
    stage.received(engine)
    for number in range(3 * FUNCTIONS):
        stage.host.define(Function(b"%d" % number, b"blob", "f"))
        stage.host.step(0) if number % 100 == 0 else None
    stage.host.step(0)
    assert len(stage.host.blobs.known) <= FUNCTIONS
    assert b"function" in stage.host.blobs.known  # a task needs it
    engine.send(encode(Done([outcome(1)])))
    stage.steps()


def test_engines_forget_what_the_host_forgets(stage: Stage) -> None:
    engine = stage.engine()
    stage.submit(1)
    assert b"function" in stage.received(engine).functions
    engine.send(encode(Done([outcome(1)])))
    stage.steps()
    for number in range(FUNCTIONS + 10):
        stage.host.define(Function(b"%d" % number, b"blob", "f"))
    stage.host.step(0)
    assert b"function" not in stage.host.blobs.known
    stage.submit(2)  # defines it again
    work = stage.received(engine)
    assert b"function" in work.functions
    assert isinstance(work, Work)
    assert work.forget in ([], [b"function"])


def test_a_door_that_raises_harms_no_other(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    class Locked(Door):
        def deliver(self, task: Any, outcome: Any, engine: int | None) -> None:
            raise ValueError("nobody is in")

    stage.host.submit(Task(1, b"function", pickle.dumps(((), {})), Locked()))
    stage.submit(2)
    with caplog.at_level(logging.ERROR, "parpool"):
        stage.host.order(lambda: stage.host.abort([1, 2]))
        stage.host.step(0)
    assert stage.door.delivered == [(2, 0, codes.ABORTED)] and "nobody is in" in caplog.text


def test_a_function_that_was_forgotten_as_its_task_came(stage: Stage) -> None:
    """The engine asks for it, and is told what there is to tell."""
    engine = stage.engine()
    stage.host.submit(Task(1, b"forgotten", pickle.dumps(((), {})), stage.door))
    stage.host.step(0)
    work = stage.received(engine)
    assert [call.function for call in work.calls] == [b"forgotten"] and work.functions == {}


def test_the_dead_are_replaced(stage: Stage) -> None:
    engine = stage.engine()
    stage.submit(1)
    stage.received(engine)
    stage.crew.kill("engine-0")
    stage.steps_until(lambda: len(stage.crew.settings) == 2)
    assert stage.door.delivered == [(1, 0, codes.LOST)]
    assert "is gone" in str(stage.door.outcomes[0].detail)
    assert stage.crew.settings[1].uid == "engine-1"
    engine.send(encode(Done([outcome(1)])))  # from beyond
    stage.steps()
    assert stage.door.delivered == [(1, 0, codes.LOST)] and stage.host.malformed


def test_a_task_with_retries_runs_elsewhere(stage: Stage) -> None:
    engine = stage.engine()
    stage.submit(1, retries=1)
    stage.received(engine)
    stage.crew.kill("engine-0")
    stage.steps_until(lambda: len(stage.crew.settings) == 2)
    second = stage.engine("engine-1")
    assert [call.id for call in stage.received(second).calls] == [1]
    second.send(encode(Done([outcome(1)])))
    stage.steps()
    assert stage.door.delivered == [(1, 0, codes.OK)]


def test_an_initializer_that_fails_breaks_the_staff(stage: Stage) -> None:
    engine = stage.engine(hello=False)
    failure = pack_failure(ValueError("set-up"))
    engine.send(encode(Farewell(failure)))
    stage.steps()
    stage.crew.kill("engine-0")
    stage.steps_until(lambda: stage.broken)
    assert stage.broken == [failure]


def test_why_an_initializer_failed_comes_after_its_engine_s_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a busy machine, where ZeroMQ's thread does not run while the system tells of the end."""
    engine, wires = stage.engine(hello=False), stage.host._wires
    waited: list[float] = []
    work, wait = wires.work, wires.wait_for_work
    monkeypatch.setattr(wires, "work", lambda: work() if waited else None)
    monkeypatch.setattr(wires, "wait_for_work", lambda seconds: [waited.append(seconds), wait(seconds)][1])
    failure = pack_failure(ValueError("set-up"))
    engine.send(encode(Farewell(failure)))
    stage.crew.kill("engine-0")
    stage.steps_until(lambda: stage.broken)
    assert stage.broken == [failure]


def test_close_without_start() -> None:
    host = Host(SleepingCrew(), 1)
    host.close()
    host.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the engines inherit the other version by fork")
def test_a_pool_of_engines_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear error on this side too, and no endless round of new engines."""
    import multiprocessing

    monkeypatch.setattr(parpool.engine.engine, "PROTOCOL", 77)
    with Pool(1, context=multiprocessing.get_context("fork")) as pool:
        with pytest.raises(ProtocolError, match="protocol 77"):
            pool.apply_async(abs, (-1,)).get(30)
    pool.join()
