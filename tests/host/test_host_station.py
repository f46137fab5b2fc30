"""A station whose engines and clients are this test: what is said on the sockets, by whoever comes, goes and comes back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import ELSEWHERE, MISSES, Client, Engine, Stage

from parpool import __version__
from parpool import status as codes
from parpool.net import lane
from parpool.net.sockets import Context, have_ipc
from parpool.wire import messages, requests
from parpool.wire.messages import (
    Begin,
    Farewell,
    GivenBack,
    Hello,
    Look,
    Noted,
    Refused,
    Revoke,
    Stop,
    Who,
    encode,
)
from parpool.wire.requests import (
    SHIFT,
    Came,
    ClientHello,
    Delivery,
    Gone,
    Got,
    Leave,
)

pytestmark = pytest.mark.skipif(not have_ipc(), reason="the peers of these tests come by local sockets")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


# There and back --------------------------------------------------------------------------------------------


def test_a_task_there_and_back(stage: Stage) -> None:
    client = stage.client()
    engine = stage.engine("engine-a")
    (fellow,) = client.hears(Came).engines
    assert (fellow.uid, fellow.hostname) == ("engine-a", ELSEWHERE)
    (id,) = client.submit(1)
    work = engine.work()
    assert [call.id for call in work.calls] == [id] and work.functions == {b"function": b"blob"} and work.number == 1
    engine.done(1, id)
    delivery = client.hears(Delivery)
    assert delivery.number == 1 and [(each.id, each.payload) for each in delivery.results] == [(id, b"%d" % id)]
    stage.station.beat()
    engine.nothing("control")  # it must keep it until the client has it
    client.say(Got(1))
    stage.steps()
    stage.station.beat()
    assert engine.told(Noted) == Noted(1)


def test_what_ends_with_a_beat_is_told_before_the_loop_sleeps(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine is taken for dead. Its client need not wait for whatever ends that sleep."""
    client, engine = stage.client(), stage.engine("engine-a")
    client.submit(1)
    engine.work()
    untold: list[int] = []
    monkeypatch.setattr(stage.ports, "poll", lambda timeout: untold.append(len(stage.station.hall.dirty)) or [])
    while stage.station.members.by_address:
        stage.station.beat()
    stage.station.step(None)
    assert untold == [0]
    monkeypatch.undo()
    assert [each.status for each in client.hears(Delivery).results] == [codes.LOST]


def test_an_engine_need_not_wait_for_a_beat_when_it_has_sent_much(stage: Stage) -> None:
    client, engine = stage.client(), stage.engine("engine-a")
    for number in range(1, 70):
        (id,) = client.submit(number)
        engine.work()
        engine.done(number, id)
        client.say(Got(client.hears(Delivery).number))
    assert engine.told(Noted).number >= 20


@pytest.mark.skipif(not lane.have_lanes(), reason="no lanes")
def test_tasks_do_not_overtake_what_an_engine_has_not_read_yet(stage: Stage) -> None:
    """It was told to begin while it was in a task; the lane is read first, and what comes too early is not taken."""
    client, engine = stage.client(), Engine(stage, "engine-a")
    near = lane.join(stage.ports.lane_path, "engine-a")
    assert near is not None
    running, second, third = (client.number << SHIFT | count for count in (1, 2, 3))
    engine.hello(held=[running], said=1)
    client.hears(Came)
    assert client.submit(1, again=True) == [running]
    stage.steps()
    engine.done(1, running)
    client.hears(Delivery)
    assert client.submit(2) == [second]
    stage.steps()
    assert near.receive() is None
    begin, work = engine.work(Begin), engine.work()
    assert begin.said == 1 and [call.id for call in work.calls] == [second]
    engine.done(2, second)
    client.hears(Delivery)
    client.submit(3)
    stage.steps()
    message = near.receive()  # from here on both know where they are
    assert message is not None and [call.id for call in messages.to_engine(message).calls] == [third]
    near.close()


def test_another_version_is_refused_on_both_sides(stage: Stage) -> None:
    client, engine = Client(stage, "client"), Engine(stage, "engine-a")
    hello = ClientHello(messages.PROTOCOL + 1, "99.0", "client", 0, "", 0, 1, None, {})
    client.sockets["client"].send(encode(hello))
    refused = client.hears(requests.Refused)
    assert "99.0" in refused.reason and __version__ in refused.reason
    engine.say(Hello(messages.PROTOCOL + 1, "99.0", 0))
    assert "99.0" in engine.work(Refused).reason
    assert not stage.station.fellows() and not list(stage.clients)
    # It may think again. Whatever comes of that, the station goes on.
    engine.hello()
    engine.order(Hello(messages.PROTOCOL, __version__, 0))
    stage.steps(10)
    stage.engine("engine-b")


def test_it_is_told_to_end_when_it_has_done_what_it_holds(stage: Stage) -> None:
    client, engine = stage.client(), stage.engine("engine-a")
    (id,) = client.submit(1)
    engine.work()
    stage.station.retire([0, 7])
    engine.nothing("work")
    engine.done(1, id)
    assert engine.work(Stop)
    engine.say(Farewell(b""))
    assert client.hears(Gone).ids == [0]


# Names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/{victim}", "../{name}", "a/../../{name}", "lock", "work", ".", "x\nL 0", "\xe9"])
def test_names_are_not_paths(stage: Stage, tmp_path: Path, name: str) -> None:
    """What an engine calls itself becomes the name of a file that is read, and removed, when it is dead."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    name = name.format(victim=str(victim)[1:], name=os.path.relpath(victim, stage.session.folder)[3:])
    engine = Engine(stage, name)
    before = set(os.listdir(stage.session.folder))
    engine.hello()
    engine.say(Farewell(b"bye"))
    stage.steps(10)
    assert victim.read_text() == "precious"
    assert set(os.listdir(stage.session.folder)) == before
    stage.engine("engine-b")
    assert stage.journal.read().engines.keys() == {member.id for member in stage.station.members if member.joined}


# Engines that are cut off --------------------------------------------------------------------------------------


def reconnect(stage: Stage, engine: Engine) -> Engine:
    """The same engine with a new connection, as it says on its control socket."""
    engine.close()
    again = Engine(stage, engine.name)
    again.order(Hello(messages.PROTOCOL, __version__, 0))
    again.work(Who)
    assert again.told(Look)
    return again


def test_an_engine_that_was_cut_off(stage: Stage) -> None:
    """What was on its way to it comes again, with the code; what it has said comes again, and counts once."""
    client, engine = stage.client(), stage.engine("engine-a")
    first, second = client.submit(1, 2)
    held = [call.id for call in engine.work().calls]
    assert held == [first]
    engine.done(1, first)
    assert [call.id for call in engine.work().calls] == [second]  # and this one it never gets
    assert client.hears(Delivery).number == 1
    engine = reconnect(stage, engine)
    engine.hello([], 1, 1, 1)
    engine.done(1, first)
    assert engine.work(Begin) == Begin(1)
    work = engine.work()
    assert [call.id for call in work.calls] == [second] and work.number == 1
    assert work.functions == {b"function": b"blob"}
    engine.done(2, second)
    delivery = client.hears(Delivery)
    assert delivery.number == 2 and [each.id for each in delivery.results] == [second]


def test_what_it_holds_it_is_not_sent_again(stage: Stage) -> None:
    client, engine = stage.client(), stage.engine("engine-a")
    (id,) = client.submit(1)
    engine.work()
    engine = reconnect(stage, engine)
    engine.hello([id], 1, 0, 1)
    assert engine.work(Begin)
    engine.nothing("work")
    engine.done(1, id)
    assert [each.id for each in client.hears(Delivery).results] == [id]


def test_one_that_does_not_answer_is_asked_again(stage: Stage) -> None:
    """What it was asked may not have arrived."""
    engine = stage.engine("engine-a")
    engine.order(Hello(messages.PROTOCOL, __version__, 0))  # it has a new connection
    engine.work(Who)
    engine.nothing("work")
    stage.beats(1, engine)
    engine.work(Who)
    engine.hello([], 1, 0, 1)
    engine.work(Begin)
    stage.beats(1, engine)
    engine.nothing("work")


def test_two_questions_and_then_two_answers(stage: Stage) -> None:
    """The first answer says nothing of what was sent behind the first question."""
    client, engine = stage.client(), stage.engine("engine-a")
    engine = reconnect(stage, engine)
    (id,) = client.submit(1)
    stage.steps()
    engine.order(Hello(messages.PROTOCOL, __version__, 0))
    stage.steps()
    engine.hello([], 1, 0, 1)
    engine.hello([], 1, 0, 2)
    while True:  # what an engine does: it takes what is the next behind the answer to its last hello
        begin = engine.work(Begin)
        if begin.said == 2:
            break
    assert [call.id for call in engine.work().calls] == [id]
    engine.nothing("work")


def test_a_retired_engine_that_did_not_hear_so(stage: Stage) -> None:
    engine = stage.engine("engine-a")
    engine.close()
    stage.station.retire([0])
    stage.steps()
    again = Engine(stage, "engine-a")
    again.order(Hello(messages.PROTOCOL, __version__, 0))
    again.work(Who)
    again.hello([], 1, 0, 1)
    assert again.work(Stop)


def test_a_voice_from_nowhere(stage: Stage) -> None:
    """It is on the control socket only: the station asks for a while, and then lets it be."""
    context = Context()
    dealer = context.dealer(stage.ports.addresses["control"], "engine-x")
    dealer.send(encode(Hello(messages.PROTOCOL, __version__, 0)))
    stage.until(lambda: stage.station._to_ask)
    for _ in range(600):
        stage.station.step(0)
    assert not stage.station._to_ask
    context.close()


# Engines that do not answer ---------------------------------------------------------------------------------------


def test_an_engine_that_does_not_answer(stage: Stage) -> None:
    client, deaf, other = stage.client(), stage.engine("engine-a"), stage.engine("engine-b")
    first, second = client.submit(1, 2)
    assert [call.id for call in deaf.work().calls] == [first]
    assert [call.id for call in other.work().calls] == [second]
    stage.beats(MISSES + 1, client, other)
    assert client.hears(Gone).ids == [0]
    (lost,) = client.hears(Delivery).results
    assert (lost.id, lost.status) == (first, codes.LOST) and b"does not answer" in lost.payload
    assert ELSEWHERE.encode() in lost.payload


def test_it_comes_back_and_is_still_at_what_was_given_up(stage: Stage) -> None:
    """It gets nothing before it is through with that, and what it says of that is for nobody."""
    client, engine = stage.client(), stage.engine("engine-a")
    (first,) = client.submit(1)
    engine.work()
    stage.beats(MISSES + 1, client)
    assert client.hears(Delivery).results[0].status == codes.LOST
    (second,) = client.submit(2)
    stage.beats(1, client, engine)  # its heart is heard
    assert engine.work(Who)
    engine.hello([first], 1, 0, 1)
    assert engine.told(Revoke).ids == [first]
    engine.order(GivenBack([], [first]))
    engine.done(1, first)
    for said in range(2, 5):
        stage.beats(1, client, engine)
        stage.steps()
        if any(each.uid == "engine-a" for each in stage.station.fellows()):
            break
        engine.hello([], 1, 1, said)
        engine.done(1, first)
    assert [each.id for each in client.hears(Came).engines] == [0]
    assert [call.id for call in engine.work().calls] == [second]
    engine.done(2, second)
    (result,) = client.hears(Delivery).results
    assert (result.id, result.status) == (second, codes.OK)
    client.say(Got(2))
    stage.steps()
    stage.beats(2, client, engine)
    assert engine.told(Noted).number == 2  # it need not keep what was for nobody


# Clients --------------------------------------------------------------------------------------------------------


def test_a_client_that_was_cut_off(stage: Stage) -> None:
    client, engine = stage.client(), stage.engine("engine-a")
    ids = client.submit(1, 2, 3)
    for number, id in enumerate(ids, 1):
        engine.work()
        engine.done(number, id)
    stage.until(lambda: not stage.station.scheduler.tasks)
    client.close()
    again = Client(stage, client.name)
    again.turn, again.number = client.turn, client.number
    welcome = again.hello("instance", 1)
    assert welcome.again and welcome.number == client.number and welcome.next == 2
    assert [again.hears(Delivery).number for _ in range(2)] == [2, 3]
    again.submit(2, 3, again=True)  # it has not heard of them when it says so
    engine.nothing("work")
    again.say(Got(3))
    stage.steps()
    stage.station.beat()
    assert engine.told(Noted) == Noted(3)


def test_a_client_that_leaves(stage: Stage) -> None:
    client, engine = stage.client(), stage.engine("engine-a")
    first, second = client.submit(1, 2)
    engine.work()
    client.say(Leave(False))
    stage.until(lambda: not list(stage.clients))
    stage.until(lambda: stage.station.scheduler.tasks.keys() == {first})  # it has begun
    engine.done(1, first)
    stage.until(lambda: not stage.station.scheduler.tasks)
    stage.station.beat()
    assert engine.told(Noted) == Noted(1)
