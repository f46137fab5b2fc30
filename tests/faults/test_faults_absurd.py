"""Messages that are of the schema, from peers that are let in, and that cannot be meant."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from fault_frames import fill, some_of_schema
from fault_peers import Peer, RawClient, RawEngine
from fault_rig import MakeRig, Rig, end_of, end_with_this_process, until
from fault_tasks import add

from parpool.wire import messages, requests
from parpool.wire.requests import SHIFT

FAR = (1 << 63) - 1
MEMORY = 2 << 30  #: bytes that the controller may have


def bounded() -> None:
    """Let the controller fail where it would take the machine's memory."""
    end_with_this_process()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One controller for all of it, which must live to the end."""
    rig = Rig(tmp_path_factory.mktemp("absurd") / "clusters", limit=3.0)
    try:
        rig.start_controller(preexec=bounded)
        rig.start_engines(1)
        yield rig
    finally:
        rig.end()


@pytest.fixture
def context() -> Iterator[Any]:
    with zmq.Context() as context:
        yield context
        while Peer.open:
            Peer.open.pop().close()


@pytest.fixture
def raw(rig: Rig, context: Any) -> Iterator[RawClient]:
    """A client that is let in; and after the test the controller must serve."""
    client = RawClient(context, rig.fields("client")["addresses"]["client"])
    yield client
    client.say(fill(requests.Leave, keep=False))
    until(lambda: len(rig.status()["clients"]) == 1)
    serves(rig)


def serves(rig: Rig) -> None:
    engine = [each["id"] for each in rig.status()["engines"] if each["pid"] == rig.engines[-1].pid]
    if not engine:
        rig.start_engines(1)  # for the other tests
    assert engine, "the engine is gone"
    assert end_of(rig.client[engine[0]].apply_async(add, 1, 2)) == 3


def idle(rig: Rig) -> None:
    """Has the controller nothing to do, where nobody asks for anything?"""
    assert rig.controller is not None

    def used() -> float:
        fields = Path(f"/proc/{rig.controller.pid}/stat").read_text().rpartition(")")[2].split()  # type: ignore[union-attr]
        return (int(fields[11]) + int(fields[12])) / 100

    before = used()
    time.sleep(0.25)
    assert used() - before < 0.2, "the controller is busy with nothing"


def malformed(rig: Rig, of: str = "clients") -> int:
    return int(rig.status()["malformed"][of])


# Tasks ----------------------------------------------------------------------------------------------

BAD_ORDERS: list[dict[str, Any]] = [
    {"id": 5},
    {"id": -1},
    {"id": FAR},
    {"id": 1 << SHIFT},
    {"count": 0},
    {"count": -1},
    {"count": FAR},
    {"first": 1},
    {"first": -1},
    {"first": FAR, "count": FAR},
    {"weight": 0},
    {"weight": -5},
    {"weight": FAR},
    {"kind": 99},
    {"kind": -1},
    {"frames": 3},
    {"terms": 3},
    {"terms": FAR},
]


@pytest.mark.parametrize("fields", BAD_ORDERS, ids=str)
def test_tasks_that_cannot_be(rig: Rig, raw: RawClient, fields: dict[str, Any]) -> None:
    before = malformed(rig)
    raw.submit(raw.order(1), raw.order(2, **fields))
    until(lambda: malformed(rig) == before + 1)
    assert rig.status()["tasks"] == 0, "a part of a message was taken"


ODD_TERMS: list[dict[str, Any]] = [
    {"retries": FAR},
    {"retries": -1},
    {"limit": math.nan},
    {"limit": math.inf},
    {"limit": -math.inf},
    {"limit": -1.0},
    {"limit": 0.0},
    {"limit": 1e308},
    {"targets": []},
    {"targets": [-1]},
    {"targets": [FAR] * 1000},
    {"targets": list(range(100_000))},
    {"policy": "no such policy"},
    {"policy": "__class__"},
    {"patience": math.nan, "after": [[5], True, True, False]},
    {"patience": -math.inf, "after": [[5], True, True, False]},
    {"patience": math.inf, "after": [[5], True, True, False]},
    {"after": [[5], True, True, False]},
    {"after": [[], True, True, False]},
    {"after": [[-1, FAR], False, False, True]},
    {"after": [[1], True, False, False]},
    {"follow": [list(range(50_000)), False, True, True]},
    {"follow": [[FAR], True, True, True], "targets": [FAR]},
    {"ended": [-1, FAR]},
]


@pytest.mark.parametrize("terms", ODD_TERMS, ids=lambda terms: str(terms)[:60])
def test_terms_that_nobody_would_ask_for(rig: Rig, raw: RawClient, terms: dict[str, Any]) -> None:
    """The task ends, or the message is dropped; and what comes after it is served."""
    before = malformed(rig)
    raw.submit(raw.order(1, terms=0), terms=[fill(requests.Terms, **terms)])
    until(lambda: rig.status()["tasks"] == 0 or malformed(rig) > before)
    if rig.status()["tasks"]:
        idle(rig)  # it waits
    raw.say(fill(requests.Abort, ids=[(raw.number << SHIFT) + 1]))
    until(lambda: rig.status()["tasks"] == 0)
    idle(rig)


def test_a_task_that_waits_for_itself(rig: Rig, raw: RawClient) -> None:
    own = (raw.number << SHIFT) + 1
    raw.submit(raw.order(1, terms=0), terms=[fill(requests.Terms, after=[[own], True, True, False])])
    raw.submit(raw.order(2, terms=0), terms=[fill(requests.Terms, after=[[own + 2], True, True, False])])
    raw.submit(raw.order(3, terms=0), terms=[fill(requests.Terms, after=[[own + 1], True, True, False])])
    raw.submit(raw.order(4), raw.order(4))
    until(lambda: rig.status()["tasks"] == 0)


@pytest.mark.parametrize("count", [1 << 20, 1 << 26, 1 << 32])
def test_a_task_of_more_items_than_memory_has_room_for(make_rig: MakeRig, context: Any, count: int) -> None:
    """And no engine that could run it: each item would have an end of its own."""
    rig = make_rig(0, preexec=bounded)
    raw = RawClient(context, rig.fields("client")["addresses"]["client"])
    terms = [fill(requests.Terms, targets=[12345])]
    raw.submit(raw.order(1, kind=messages.EACH, count=count, weight=count, terms=0), terms=terms)
    assert raw.ask("cluster_status", {}).value["tasks"] == 0


def test_a_task_that_is_submitted_twice(rig: Rig, raw: RawClient) -> None:
    for again in (False, True, False):
        raw.submit(raw.order(1), again=again)
    until(lambda: rig.status()["tasks"] == 0)


def test_tasks_of_others_are_not_to_be_touched(rig: Rig, raw: RawClient, tmp_path: Path) -> None:
    from fault_rig import begun, let_go
    from fault_tasks import wait_for

    view = rig.client.load_balanced_view()
    running, waiting = (view.apply_async(wait_for, str(tmp_path / "ran"), number) for number in (1, 2))
    begun(tmp_path / "ran")
    ids = [int(name.rpartition("_")[2]) for result in (running, waiting) for name in result.msg_ids]
    raw.say(fill(requests.Abort, ids=[*ids, -1, FAR]))
    raw.say(fill(requests.Got, number=FAR))
    raw.say(fill(requests.Got, number=-FAR))
    raw.say(fill(requests.Forget, keys=[b"", b"x" * 1000, *_keys_of(rig)]))
    before = malformed(rig)
    raw.submit(raw.order(1, id=ids[1]))
    until(lambda: malformed(rig) == before + 1)
    let_go(tmp_path / "ran")
    assert [end_of(running), end_of(waiting)] == [1, 2]


def _keys_of(rig: Rig) -> list[bytes]:
    return list(rig.client.link._host.known)  # type: ignore[attr-defined]


# Questions ------------------------------------------------------------------------------------------

WORDS = ["queue_status", "cluster_status", "greet", "interrupt", "retire", "records_when_ended", "history", "query"]
WORDS += ["records", "status", "purge", "request", "engines", "", "_ask_store", "__class__", "on_over", "x" * 100_000]
NESTED: Any = []
for _ in range(200):
    NESTED = [NESTED]
ABOUT: list[dict[str, Any]] = [
    {},
    {"ids": None, "query": None, "key": None, "targets": None, "keys": None},
    {"ids": 5, "query": 5, "client": 5, "targets": 5, "keys": 5, "clients": 5, "payload": 5, "blob": 5, "key": 5},
    {"ids": ["nonsense", "", "_", "_5", "a_-5", "a_" + "9" * 5000, "ü_²"], "query": {"nonsense": 1}, "targets": ["x"]},
    {"ids": [None, 1.5, [], {}, FAR, -FAR], "query": {"msg_id": {"$nonsense": [1]}}, "targets": [-1], "keys": ["x"]},
    {"ids": NESTED, "query": {"status": {"$in": NESTED}}, "client": NESTED, "targets": NESTED, "keys": NESTED},
    {"ids": [math.nan], "query": {"started": {"$gt": math.nan}}, "clients": ["x"] * 10_000},
    {"key": b"k", "blob": b"junk", "name": "n", "payload": b"junk", "again": True},
]


@pytest.mark.parametrize("what", WORDS, ids=lambda what: what[:20] or "empty")
def test_questions_that_have_no_answer(rig: Rig, raw: RawClient, what: str) -> None:
    for about in ABOUT:
        answer = raw.ask(what, about)
        assert answer.number == 7 and (
            answer.error or answer.value is not None or what in ("greet", "interrupt", "retire")
        )


@pytest.mark.parametrize("depth", [100, 500, 5_000, 500_000])
def test_a_question_as_deep_as_can_be(rig: Rig, raw: RawClient, depth: int) -> None:
    """It is answered, or dropped."""
    before = malformed(rig)
    raw.say(b"\x94\x23\x07\xa5query\x81\xa5query" + b"\x91" * depth + b"\x01")
    raw.say(fill(requests.Ask, number=8, what="queue_status", about={}))
    answer = raw.expect(requests.Answer)
    while answer.number != 8:
        assert answer.error
        answer = raw.expect(requests.Answer)
    assert depth < 1000 or malformed(rig) > before


# Hellos ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"number": -1},
        {"number": FAR},
        {"number": 1 << 21},
        {"got": FAR},
        {"got": -FAR},
        {"instance": "x" * 1_000_000},
        {"keep": True},
        {"facts": {str(number): number for number in range(10_000)}},
        {"facts": {"pid": -FAR, "hostname": "\x00\n\u202e"}},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_hellos_that_nobody_would_say(rig: Rig, context: Any, fields: dict[str, Any]) -> None:
    client = RawClient(context, rig.fields("client")["addresses"]["client"])
    for _ in range(3):
        number = client.greet(**fields).number
        assert 0 < number < 1 << 21
    instance = client.greet(**fields).instance
    client.greet(instance=instance, got=FAR)
    client.submit(client.order(1))
    until(lambda: rig.status()["tasks"] == 0)
    client.say(fill(requests.Leave, keep=False))
    client.say(fill(requests.Leave, keep=True))
    until(lambda: len(rig.status()["clients"]) == 1)
    serves(rig)


def test_the_number_of_another_client(rig: Rig, context: Any) -> None:
    address = rig.fields("client")["addresses"]["client"]
    first = RawClient(context, address, "first")
    before = malformed(rig)
    second = RawClient(context, address, "second")
    second._socket.send(fill(requests.ClientHello, protocol=messages.PROTOCOL, name="third", number=first.number))
    until(lambda: malformed(rig) > before)
    assert second.number != first.number
    for each in (first, second):
        each.say(fill(requests.Leave, keep=False))
    until(lambda: len(rig.status()["clients"]) == 1)


# Whatever the schema allows -------------------------------------------------------------------------


def test_a_client_that_says_anything(rig: Rig, raw: RawClient) -> None:
    """But for a hello, a farewell, and what it may well ask for: the end of an engine or of the cluster."""
    for header in some_of_schema(requests.FromClient, 3000):
        message = requests.from_client(header)
        if not isinstance(message, (requests.ClientHello, requests.Leave)):
            raw.say(header, b"a frame")
    raw.say(fill(requests.Ask, number=-77, what="queue_status"))
    while raw.expect(requests.Answer).number != -77:
        pass
    raw.greet()
    raw.say(fill(requests.Abort, ids=[(raw.number << SHIFT) + each for each in range(10)]))


def test_an_engine_that_says_anything(rig: Rig, context: Any) -> None:
    engine = RawEngine(context, rig.fields("engine")["addresses"])
    until(lambda: len(rig.ids()) == 2)
    for header in some_of_schema(messages.FromEngine, 1500):
        if not isinstance(messages.from_engine(header), messages.Farewell):
            engine.say(header, b"a frame")
    for header in some_of_schema(messages.FromControl, 1500):
        engine.order(header)
    engine.say(fill(messages.Farewell, failure=b"junk"))
    until(lambda: len(rig.ids()) == 1)
    serves(rig)


# Engines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 99},
        {"status": -1},
        {"status": -5},
        {"status": FAR},
        {"status": -FAR},
        {"payload": b"\x80junk"},
        {"payload": b""},
        {"frames": 5},
        {"item": 5},
        {"item": -1},
        {"started": math.nan, "completed": math.nan},
        {"started": -math.inf, "completed": math.inf},
        {"started": 1e308, "completed": -1e308},
    ],
    ids=str,
)
def test_outcomes_that_cannot_be(rig: Rig, context: Any, fields: dict[str, Any]) -> None:
    """Whatever an engine says of a task, or when it says no more: the task ends, and its function is not harmed."""
    engine = RawEngine(context, rig.fields("engine")["addresses"])
    (id,) = until(lambda: [each["id"] for each in rig.status()["engines"] if each["uid"] == "raw-engine"])
    results = [rig.client[id].apply_async(add, number) for number in range(3)]
    (call, *_) = engine.work().calls
    outcome = {"id": call.id, "status": 0, "item": 0, "started": 1.0, "completed": 2.0, "payload": b"", "frames": 0}
    decode = msgspec.msgpack.decode
    for number in range(1, 3):
        engine.say(
            fill(messages.Done, outcomes=[decode(fill(messages.Outcome, **{**outcome, **fields}))], number=number)
        )
    engine.say(fill(messages.Farewell, failure=b""))
    for result in results:
        assert isinstance(end_of(result), Exception)
    until(lambda: len(rig.ids()) == 1)
    for number in range(20):
        assert end_of(rig.client.load_balanced_view().apply_async(add, number, 1)) == number + 1
    serves(rig)


@pytest.mark.parametrize(
    "hello",
    [
        {"pid": -1},
        {"pid": 0},
        {"pid": FAR},
        {"hostname": "\n\nJ 5 evil 1 host\n"},
        {"hostname": "x" * 1_000_000},
        {"held": []},
        {"held": [-1, FAR, 5]},
        {"held": list(range(100_000))},
        {"held": [], "first": FAR, "last": -FAR, "said": FAR},
        {"held": [1], "first": -FAR, "last": FAR, "said": -FAR},
    ],
    ids=lambda hello: str(hello)[:40],
)
def test_engines_that_say_absurd_things_of_themselves(rig: Rig, context: Any, hello: dict[str, Any]) -> None:
    engine = RawEngine(context, rig.fields("engine")["addresses"], **hello)
    for _ in range(3):
        engine.say(fill(messages.Hello, **{"protocol": messages.PROTOCOL, "version": "1", "pid": 1, **hello}))
        engine.order(fill(messages.Hello, **{"protocol": messages.PROTOCOL, "version": "1", "pid": 1, **hello}))
        engine.order(fill(messages.GivenBack, ids=[5, FAR], kept=[-1], rests=[[1, FAR]]))
        engine.say(fill(messages.Need, key=b"no such key"))
        engine.say(fill(messages.Printed, id=5, stream=77, text="x" * 100_000))
    engine.say(fill(messages.Farewell, failure=b"junk"))
    until(lambda: len(rig.ids()) == 1)
    serves(rig)


@pytest.mark.leaves_processes("an engine, which ends with the controller of all these tests")
@pytest.mark.leaves_files("where such keep their shared memory")
def test_an_engine_under_the_name_of_another(rig: Rig, context: Any) -> None:
    """It has the key, so what it says is taken for the other's, and that one is not heard any more. When both are gone
    all is well."""
    (uid,) = (each["uid"] for each in rig.status()["engines"])
    before = malformed(rig, "engines")
    engine = RawEngine(context, rig.fields("engine")["addresses"], uid)
    engine.say(fill(messages.Need, key=b"no such key"))
    engine.say(b"junk")
    engine.order(b"junk")
    until(lambda: malformed(rig, "engines") == before + 2)
    engine.close()
    rig.engines.pop().kill()
    until(lambda: rig.ids() == [])
    rig.start_engines(1)
    serves(rig)


def test_that_it_lived_to_the_end(rig: Rig) -> None:
    assert (
        rig.controller is not None and rig.controller.poll() is None and [each.poll() for each in rig.engines] == [None]
    )
    assert rig.status()["tasks"] == 0 and len(rig.ids()) == 1 and not rig.status()["journal"]
    log = rig.log("controller")
    assert "could not be delivered" not in log and "MemoryError" not in log
