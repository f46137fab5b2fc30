"""What clients may ask of a controller."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from seat import Seat
from stage import Client, Engine

from parpool import __version__
from parpool.host.questions import TO_STORE
from parpool.net.sockets import have_ipc
from parpool.wire.messages import Break, Stop
from parpool.wire.requests import Answer, Ask, Delivery, Got

pytestmark = pytest.mark.skipif(not have_ipc(), reason="a controller on local sockets")


@pytest.fixture
def seat(tmp_path: Path) -> Iterator[Seat]:
    made = Seat(tmp_path, profile="p", cluster_id="c")
    yield made
    made.close()


class Asker(Client):
    """A client that asks."""

    def ask(self, what: str, **about: Any) -> Answer:
        self.count += 1
        self.say(Ask(self.count, what, about))
        answer: Answer = self.hears(Answer)
        assert answer.number == self.count
        return answer

    def told(self, what: str, **about: Any) -> Any:
        answer = self.ask(what, **about)
        assert answer.error == "", answer.error
        return answer.value


@pytest.fixture
def client(seat: Seat) -> Asker:
    made = Asker(seat, "a" * 32)  # type: ignore[arg-type]
    made.hello()
    return made


@pytest.fixture
def engine(seat: Seat) -> Engine:
    made = Engine(seat, "engine-a")  # type: ignore[arg-type]
    made.sockets["control"].send(b"x")  # so that it is known there
    made.hello()
    while not seat.station.fellows():
        seat.steps(1)
    return made


def test_how_the_cluster_is(seat: Seat, client: Asker, engine: Engine) -> None:
    (id,) = client.submit(1)
    engine.work()
    status = client.told("cluster_status")
    assert (status["version"], status["pid"], status["profile"], status["cluster_id"]) == (
        __version__,
        os.getpid(),
        "p",
        "c",
    )
    assert status["instance"] == seat.controller.instance and status["tasks"] == 1
    (told,) = status["engines"]
    assert (told["id"], told["uid"], told["tasks"], told["queue"], told["completed"]) == (0, "engine-a", 1, 0, 0)
    assert [(each["name"], each["here"], each["keep"]) for each in status["clients"]] == [("a" * 32, True, False)]
    assert status["hub"]["kind"] == "memory" and status["malformed"] == {"clients": 0, "engines": 1, "keys": 0}
    engine.done(1, id)
    client.hears(Delivery)
    assert client.told("cluster_status")["engines"][0]["completed"] == 1


def test_what_engines_hold(seat: Seat, client: Asker, engine: Engine) -> None:
    first, second = client.submit(1, 2)
    engine.work()
    pairs, names = client.told("queue_status")
    status = {key: value for key, value in pairs}
    assert status[0]["tasks"] == [first] and status["unassigned"] == 1 and second
    assert names == {client.number: "a" * 32}


def test_orders(seat: Seat, client: Asker, engine: Engine) -> None:
    client.told("interrupt", ids=[0, 99, "x", None])
    assert engine.told(Break)
    client.told("retire", ids=[99, [], 0])
    assert engine.work(Stop)


def test_that_all_was_heard(client: Asker, engine: Engine, seat: Seat) -> None:
    client.submit(1)
    assert client.told("sync") is None
    assert len(seat.station.scheduler.tasks) == 1


def test_what_a_client_that_leaves_has_here_goes_on(client: Asker, seat: Seat) -> None:
    client.submit(1)
    assert client.told("leaving") is None
    (door,) = seat.controller.clients
    assert door.keep and seat.controller.journal.read().kept == {door.number: (door.name, True)}


def test_the_end(seat: Seat, client: Asker) -> None:
    client.told("over")
    seat.controller.run()  # it returns


@pytest.mark.parametrize(
    ("what", "about", "words"),
    [
        ("nonsense", {}, "nonsense"),
        ("", {}, "question"),
        ("_ask_store", {}, "question"),
        ("__class__", {}, "question"),
        ("queue_status.__class__", {}, "question"),
        ("interrupt", {}, "ids"),
        ("retire", {"ids": 5}, "TypeError"),
        ("greet", {}, "key"),
        ("greet", {"key": 2**40, "blob": b"", "name": "", "payload": b"", "again": False}, "Error"),
        ("records_when_ended", {}, "ids"),
        ("records_when_ended", {"ids": ["x"]}, "Error"),
        ("query", {"query": {"nonsense": 1}}, "nonsense"),
        ("request", {"ids": ["nobody_1"]}, "nobody"),
    ],
)
def test_what_has_no_answer(client: Asker, what: str, about: dict[str, Any], words: str) -> None:
    """It says why, and the controller goes on."""
    answer = client.ask(what, **about)
    assert words in answer.error and answer.value is None
    assert client.told("sync") is None


@pytest.mark.parametrize("what", sorted(TO_STORE))
def test_the_store_is_asked(client: Asker, what: str) -> None:
    """What it says of a question without anything that it is about is an answer, too."""
    answer = client.ask(what)
    assert answer.error or answer.value is not None
    assert client.told("sync") is None


# Records -----------------------------------------------------------------------------------------------------


def test_records_when_they_have_ended(client: Asker, engine: Engine, seat: Seat) -> None:
    first, second = client.submit(1, 2)
    ids = [f"{'a' * 32}_{each}" for each in (first, second)]
    engine.work()
    client.count += 1
    client.say(Ask(client.count, "records_when_ended", {"ids": ids}))
    engine.done(1, first)
    client.hears(Delivery)
    engine.work()
    assert client.told("status", ids=ids)["pending"] == ids[1:]
    asked = client.count - 1
    engine.done(2, second)
    answer = client.hears(Answer)
    assert answer.number == asked and answer.error == ""
    assert {name: record["status"] for name, record in answer.value.items()} == dict.fromkeys(ids, "ok")
    assert [record["result"][0]["payload"] for record in answer.value.values()] == [b"%d" % first, b"%d" % second]
    assert client.told("records_when_ended", ids=ids).keys() == set(ids)  # at once
    assert client.told("records_when_ended", ids=["b" * 32 + "_77"]) == {}
    client.say(Got(2))


def test_who_asks_and_leaves(client: Asker, engine: Engine, seat: Seat) -> None:
    """The answer is for nobody, and harms nobody."""
    (id,) = client.submit(1)
    engine.work()
    client.say(Ask(1, "records_when_ended", {"ids": [f"{'a' * 32}_{id}"]}))
    seat.steps()
    client.close()
    engine.done(1, id)
    seat.steps(10)
    other = Asker(seat, "b" * 32)  # type: ignore[arg-type]
    other.hello()
    assert other.told("history") == [f"{'a' * 32}_{id}"]
