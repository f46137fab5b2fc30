"""A client's way to a controller in another process: it is found, it is waited for, and it is left."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_cluster import FakeController
from real_cluster import RealCluster, at_gate, fail, real_cluster, until

from parpool import Client, ConnectionFileError, ControllerLost, EngineLost, ForkedError, ProtocolError, TaskTimeout
from parpool.client.standalone import RemoteLink
from parpool.net.sockets import have_ipc
from parpool.wire.messages import encode
from parpool.wire.requests import SHIFT, ClientHello, Refused

REFUSED = encode(Refused("enough"))

pytestmark = pytest.mark.skipif(not have_ipc(), reason="a cluster on local sockets")


@pytest.fixture
def rc(cluster: RealCluster) -> Iterator[Client]:
    client = cluster.client()
    assert client.wait_for_engines(2, 20), [engine.poll() for engine in cluster.engines]
    yield client
    client.close()


# Calls -----------------------------------------------------------------------------------------------------


def test_calls_of_every_kind(rc: Client) -> None:
    view = rc.load_balanced_view()
    assert view.apply_sync(divmod, 17, 5) == (3, 2)
    assert len(set(rc[:].apply_sync(os.getpid))) == 2
    assert view.map_sync(abs, range(-500, 0)) == list(range(500, 0, -1))
    assert list(view.imap(abs, range(-50, 0))) == list(range(50, 0, -1))
    with pytest.raises(LookupError, match="over there"):
        view.apply_sync(fail, "over there")
    large = os.urandom(500_000)
    assert view.apply_sync(bytes.upper, large) == large.upper()


def test_names_of_tasks_hold_everywhere(rc: Client, cluster: RealCluster) -> None:
    result = rc[0].apply_async(abs, -1)
    result.get(20)
    (name,) = result.msg_ids
    assert name.startswith(rc.link.name + "_")
    number = rc.link.task_id(name)
    other = cluster.client()
    assert number is not None and number >> SHIFT and other.link.task_id(name) == number
    assert other.link.name != rc.link.name
    assert rc.link.task_id("nobody_1") is None
    other.close()


def test_what_engines_are_called(rc: Client) -> None:
    assert rc.link.engine_uuid(0) != rc.link.engine_uuid(1)
    assert rc.link.engine_uuid(77) == "engine-77"


def test_a_time_limit(rc: Client, tmp_path: Path) -> None:
    with rc.pool(task_timeout=0.1) as pool, pytest.raises(TaskTimeout):
        pool.apply(at_gate, (str(tmp_path / "gate"),))


def test_threads_that_call_at_once(rc: Client) -> None:
    found: list[int] = []

    def call(number: int) -> None:
        found.extend(rc.load_balanced_view().apply_sync(abs, -number) for _ in range(50))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted([1, 2, 3, 4] * 50)


def test_callbacks_come_without_anybody_waiting(rc: Client) -> None:
    called = threading.Event()
    rc[0].apply_async(abs, -1).add_done_callback(lambda result: called.set())
    assert called.wait(20)


def test_waiting_for_engines(rc: Client) -> None:
    assert rc.wait_for_engines(1, 0) and rc.wait_for_engines(2, 0)
    assert not rc.wait_for_engines(3, 0.05)


# Coming in ---------------------------------------------------------------------------------------------------


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFileError, match="nowhere"):
        RemoteLink(tmp_path / "nowhere.json")


def test_an_engine_s_file(cluster: RealCluster) -> None:
    with pytest.raises(ConnectionFileError, match="engine"):
        RemoteLink(cluster.folder / "engine.json")


def test_nobody_listens() -> None:
    controller = FakeController()
    connection = controller.connection
    controller.close()
    with pytest.raises(ControllerLost, match=r"0\.1 s"):
        RemoteLink(connection, timeout=0.1)


def test_somebody_listens_and_does_not_answer() -> None:
    """A controller that was stopped, or something else at its address."""
    controller = FakeController()
    raised: list[BaseException] = []

    def connect() -> None:
        try:
            RemoteLink(controller.connection, timeout=0.2)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join(5)
    try:
        assert not thread.is_alive() and isinstance(raised[0], ControllerLost)
    finally:
        while thread.is_alive():  # not for ever
            message = controller.clients.receive()
            if message is not None:
                controller.clients.send(message[0], REFUSED)
        controller.close()


def test_it_is_refused() -> None:
    controller = FakeController()
    controller.hears(ClientHello)
    over = threading.Event()

    def refuse() -> None:
        while not over.is_set():
            message = controller.clients.receive()
            if message is not None:
                controller.clients.send(message[0], REFUSED)
            over.wait(0.005)

    thread = threading.Thread(target=refuse)
    thread.start()
    with pytest.raises(ProtocolError, match="enough"):
        RemoteLink(controller.connection, timeout=5)
    over.set()
    thread.join()
    controller.close()


# Going -------------------------------------------------------------------------------------------------------


def test_what_has_not_ended_when_it_is_closed(rc: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    runs = rc[0].apply_async(at_gate, str(gate))
    until(lambda: Path(f"{gate}.begun").exists())
    rc.close()
    with pytest.raises(ControllerLost, match="closed"):
        runs.get(20)
    with pytest.raises(ControllerLost, match="closed"):
        rc[0].apply_sync(abs, -1)
    rc.close()
    gate.touch()


def test_in_a_child(rc: Client) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("no fork")
    pid = os.fork()
    if not pid:
        try:
            rc.queue_status()
        except ForkedError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert rc[0].apply_sync(abs, -1) == 1


# The controller is killed ---------------------------------------------------------------------------------------


def test_it_is_killed_and_followed() -> None:
    """What runs, what waits, and what is submitted while nobody is there: each once."""
    with real_cluster(1) as cluster:
        rc = cluster.client()
        assert rc.wait_for_engines(1, 20)
        gate = cluster.folder / "gate"
        view = rc.load_balanced_view()
        done = view.apply_async(abs, -1)
        done.get(20)
        runs = view.apply_async(at_gate, str(gate))
        waits = [view.apply_async(abs, -n) for n in range(20)]
        until(lambda: Path(f"{gate}.begun").exists())
        cluster.kill_controller()
        late = view.apply_async(abs, -99)
        gate.touch()
        cluster.start_controller()
        assert runs.get(20) == str(gate) and late.get(20) == 99
        assert [result.get(20) for result in waits] == list(range(20))
        assert done.get() == 1 and rc.ids == [0]
        rc.close()


def test_it_is_killed_for_good() -> None:
    with real_cluster(1) as cluster:
        rc = cluster.client(patience=0.2)
        assert rc.wait_for_engines(1, 20)
        gate = cluster.folder / "gate"
        runs = rc[0].apply_async(at_gate, str(gate))
        until(lambda: Path(f"{gate}.begun").exists())
        cluster.kill_controller()
        with pytest.raises(ControllerLost, match=r"0\.2 s"):
            runs.get(20)
        with pytest.raises(ControllerLost):
            rc.queue_status()
        with pytest.raises(ControllerLost):
            rc[0].apply_sync(abs, -1)
        rc.close()
        cluster.engines[0].kill()
        cluster.start_controller()


def test_its_engine_is_killed() -> None:
    with real_cluster(1) as cluster:
        rc = cluster.client()
        assert rc.wait_for_engines(1, 20)
        runs = rc[0].apply_async(at_gate, str(cluster.folder / "gate"))
        until(lambda: Path(cluster.folder, "gate.begun").exists())
        cluster.engines[0].send_signal(signal.SIGKILL)
        with pytest.raises(EngineLost, match="engine"):
            runs.get(20)
        until(lambda: rc.ids == [])
        cluster.add_engines(1)
        assert rc.wait_for_engines(1, 20) and rc.ids == [1]
        assert rc[1].apply_sync(abs, -1) == 1
        rc.close()


def test_it_ends_for_good() -> None:
    with real_cluster(1) as cluster:
        rc, other = cluster.client(), cluster.client()
        assert rc.wait_for_engines(1, 20)
        rc.shutdown(hub=True)
        until(lambda: other.link.failure)
        with pytest.raises(ControllerLost, match="ended"):
            other.queue_status()
        other.close()
        assert cluster.controller.wait(20) == 0
        assert not cluster.file.exists()
