"""What a controller finds of tasks that were lost to the one before it, and what becomes of those of clients that go."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from paper import Paper, on_paper
from test_host_found_words import taken

from parpool import status as codes
from parpool.host.members import Death
from parpool.host.station import SLICE
from parpool.wire.messages import EACH, encode
from parpool.wire.requests import Leave


@pytest.fixture
def paper() -> Iterator[Paper]:
    with on_paper() as made:
        yield made


def test_what_was_lost_before_its_client_heard_of_it(paper: Paper) -> None:
    """The engine comes back, the controller is killed, the client submits it again: it has begun, all the same."""
    engine, client = paper.add_engine(), paper.add_client()
    id = paper.submit(client)
    client.step(0)
    paper.step(3)
    taken(engine)
    engine.begin()
    client.peer.cut()
    engine.cut()
    paper.casualties = True
    for _ in range(4):
        paper.beat()
    engine.finish()
    engine.flush()
    engine.connect()
    for _ in range(6):
        taken(engine)
        while engine.obey():
            pass
        paper.step(3)
        paper.beat()
    paper.kill_controller()
    paper.settle()
    assert paper.begun[id, 0] == 1


def test_items_that_were_lost_before_their_client_heard_of_it(paper: Paper) -> None:
    """The rest of them is queued again, the controller is killed: those that had begun do not run again."""
    engine, client = paper.add_engine(), paper.add_client()
    id = paper.submit(client, kind=EACH, count=6, weight=6)
    client.step(0)
    paper.step(3)
    taken(engine)
    for _ in range(3):
        engine.begin()
        engine.finish()
        engine.flush()
    paper.step(3)
    engine.begin()
    client.peer.cut()
    paper.casualties = True
    member = paper.station.members.by_address[engine.address]
    lost = Death(member, "it is dead", [], (id, 3), True)
    with patch.object(paper.station.members, "bury", lambda gone, silent: [lost]):
        paper.station._lose([member.uid])
    engine.die()
    del paper.station.members.by_address[member.address], paper.station.members.by_id[member.id]
    paper.kill_controller()
    paper.add_engine()
    paper.settle()
    assert paper.statuses(id) == [codes.LOST] * 4 + [codes.OK] * 2
    assert all(paper.begun[id, item] == 1 for item in range(6))


def test_a_client_that_leaves_with_very_many(paper: Paper) -> None:
    """Others do not wait until all of them are dropped, and none of them begins meanwhile."""
    engine, client, other = paper.add_engine(), paper.add_client(), paper.add_client()
    paper.step(3)
    for _ in range(20 * SLICE):
        paper.submit(client)
    client.step(0)
    paper.step(50)

    def run() -> None:
        taken(engine)
        while engine.waiting or engine.current:
            engine.begin()
            engine.finish()
        engine.flush()

    client.line.send(encode(Leave(False)))
    mine = paper.submit(other)
    other.step(0)
    paper.step()
    assert paper.station.scheduler.condemned
    before = len(taken(engine))
    for _ in range(4):
        run()
        paper.step(2)
    assert paper.station.scheduler.condemned
    assert len(paper.begun) == before + 1 and paper.begun[mine, 0] == 1
    paper.clients.remove(client)
    for id in [each for each in paper.tasks if each != mine]:
        del paper.tasks[id]
    paper.settle()
    paper.step(25)
    assert not paper.station.scheduler.tasks and len(paper.begun) == before + 1
