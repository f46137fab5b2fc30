"""Controllers that do not come back, end in peace, or are two; and clocks that jump."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_rig import PARPOOL, PATIENCE, MakeRig, Rig, begun, end_of, ends_of, lines, until
from fault_tasks import add, hold_the_lock, noted, wait_for

from parpool import Client, ConnectionFileError, ControllerLost, TaskTimeout
from parpool.engine.warden import ORPHANED, TOLD_TO_DIE
from parpool.net.address import find

Wait = Callable[[Client, Path], Callable[[], Any]]


def of_a_call(client: Client, path: Path) -> Callable[[], Any]:
    result = client.load_balanced_view().apply_async(wait_for, str(path))
    begun(path)
    return result.get


def of_a_call_that_has_not_begun(client: Client, path: Path) -> Callable[[], Any]:
    for _ in client.ids:
        client.load_balanced_view().apply_async(wait_for, str(path))
    begun(path, len(client.ids))
    return client.load_balanced_view().apply_async(add, 1).get


def of_several_engines(client: Client, path: Path) -> Callable[[], Any]:
    result = client[:].apply_async(wait_for, str(path))
    begun(path, len(client.ids))
    return result.get


def of_a_map(client: Client, path: Path) -> Callable[[], Any]:
    result = client.load_balanced_view().map_async(wait_for, [str(path)] * 10)
    begun(path, len(client.ids))
    return lambda: list(result.get())


def of_a_stream(client: Client, path: Path) -> Callable[[], Any]:
    stream = client.load_balanced_view().imap(wait_for, [str(path)] * 10)
    begun(path, len(client.ids))
    return lambda: list(stream)


def of_engines(client: Client, path: Path) -> Callable[[], Any]:
    begun_by(client, path)
    return lambda: client.wait_for_engines(99)


def of_the_hub(client: Client, path: Path) -> Callable[[], Any]:
    begun_by(client, path)

    def ask_on() -> None:
        while True:  # one that was asked just before may be answered
            client.hub_history()

    return ask_on


def of_another_client(client: Client, path: Path) -> Callable[[], Any]:
    name = of_other(client, path)
    return client.get_result(name).get


def begun_by(client: Client, path: Path) -> None:
    of_a_call(client, path)


def of_other(client: Client, path: Path) -> str:
    """A task of another client, which is closed with this test's."""
    other = Client(client.link.connection.path, on_client_lost="keep")
    result = other.load_balanced_view().apply_async(wait_for, str(path))
    begun(path)
    other.link.leave(True)
    name: str = result.msg_ids[0]
    return name


waits = pytest.mark.parametrize(
    "wait",
    [
        of_a_call,
        of_a_call_that_has_not_begun,
        of_several_engines,
        of_a_map,
        of_a_stream,
        of_engines,
        of_the_hub,
        of_another_client,
    ],
)


class Waiting:
    """A thread that waits, and what comes of it."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait = wait
        self.end: Any = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.end = self._wait()
        except BaseException as error:
            self.end = error

    def ended(self) -> Any:
        """What has come of it."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "it waits for ever"
        return self.end


def lost(end: Any) -> bool:
    """Does every part of this error say that the controller is lost?"""
    if isinstance(end, BaseException) and hasattr(end, "exceptions"):
        return all(lost(each) for each in end.exceptions)
    return isinstance(end, ControllerLost)


# It does not come back ------------------------------------------------------------------------------


@waits
def test_a_wait_for_a_controller_that_does_not_come_back(make_rig: MakeRig, tmp_path: Path, wait: Wait) -> None:
    rig = make_rig(0)
    rig.engine_options = ["--patience=1"]
    rig.start_engines(2)
    client, folder = rig.connect(patience=1.0), rig.sockets
    waiting = Waiting(wait(client, tmp_path / "ran"))
    rig.kill_controller()
    assert lost(waiting.ended()), repr(waiting.end)
    with pytest.raises(ControllerLost, match="client.json.* was lost and has not come back within 1 s"):
        client.load_balanced_view().apply_sync(add, 1)
    with pytest.raises(ControllerLost):
        client.queue_status()
    assert client.ids == []
    assert [process.wait(PATIENCE) for process in rig.engines] == [ORPHANED] * 2
    until(lambda: not folder.exists(), "the engines leave the sockets' folder behind")


def test_callbacks_when_the_controller_does_not_come_back(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    rig = make_rig(1, tcp=tcp)
    client, came = rig.connect(patience=1.0), []
    result = client.load_balanced_view().apply_async(wait_for, str(tmp_path / "ran"))
    result.add_done_callback(came.append)
    begun(tmp_path / "ran")
    rig.kill_controller()
    assert until(lambda: came) == [result] and isinstance(end_of(result), ControllerLost)


def test_a_patient_client_beside_an_impatient_one(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(1)
    patient, impatient, path = rig.client, rig.connect(patience=0.5), tmp_path / "ran"
    results = [each.load_balanced_view().apply_async(wait_for, str(path), n) for n, each in enumerate(rig.clients)]
    begun(path)
    until(lambda: rig.status()["tasks"] == 2)
    rig.kill_controller()
    assert isinstance(end_of(results[1]), ControllerLost) and not results[0].ready()
    rig.start_controller()
    Path(f"{path}.go").touch()
    assert end_of(results[0]) == 0
    with pytest.raises(ControllerLost):
        impatient.load_balanced_view().apply_sync(add, 1)
    assert end_of(patient.load_balanced_view().apply_async(add, 1, 2)) == 3


def test_no_controller_is_there_for_a_new_client(make_rig: MakeRig) -> None:
    rig = make_rig(0, tcp=True)
    fields = rig.fields("client")
    rig.kill_controller()
    with pytest.raises(ConnectionFileError, match="client.json .* is gone"):
        rig.connect()
    with pytest.raises(ControllerLost, match="does not answer within 0.5 s"):
        rig.connect(fields, timeout=0.5)


# It ends in peace -----------------------------------------------------------------------------------


@waits
def test_a_wait_for_a_controller_that_ends(make_rig: MakeRig, tmp_path: Path, wait: Wait) -> None:
    rig = make_rig(2)
    client, folder = rig.connect(), rig.sockets
    waits = wait(client, tmp_path / "ran")
    assert rig.controller is not None
    rig.controller.send_signal(signal.SIGSTOP)  # so that nothing is answered before it ends
    waiting = Waiting(waits)
    rig.controller.terminate()
    rig.controller.send_signal(signal.SIGCONT)
    end = waiting.ended()  # though it would have patience for a minute
    assert lost(end), repr(end)
    with pytest.raises(ControllerLost, match="the cluster was ended: SIGTERM"):
        client.load_balanced_view().apply_sync(add, 1)
    assert rig.controller.wait(PATIENCE) == 0
    assert all(process.wait(PATIENCE) in (TOLD_TO_DIE, 0) for process in rig.engines)
    assert not folder.exists() and {each.name for each in rig.folder.iterdir()} == {"controller.lock", "log"}


def test_engines_that_hold_the_interpreter_end_with_the_controller(make_rig: MakeRig, tcp: bool) -> None:
    rig = make_rig(1, tcp=tcp)
    result = rig.client.load_balanced_view().apply_async(hold_the_lock, 3)
    until(lambda: rig.status()["engines"][0]["tasks"])
    assert rig.controller is not None
    rig.controller.terminate()
    assert isinstance(end_of(result), ControllerLost)
    (engine,) = rig.engines
    assert engine.wait(PATIENCE) in (TOLD_TO_DIE, 0)  # as soon as it can: by its second thread, or by its first


def test_a_controller_that_is_told_to_end_over_and_over(make_rig: MakeRig) -> None:
    """Also while it waits for its last words to leave, which nobody takes."""
    rig = make_rig(1, tcp=True)
    os.kill(rig.engines[0].pid, signal.SIGSTOP)
    assert rig.controller is not None
    rig.controller.terminate()
    until(lambda: "the controller ends" in rig.log("controller"))
    while rig.controller.poll() is None:
        rig.controller.terminate()
    assert rig.controller.returncode == 0 and "Traceback" not in rig.said.read_text()


def test_a_client_ends_the_cluster(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(2)
    other = rig.connect()
    result = other.load_balanced_view().apply_async(wait_for, str(tmp_path / "ran"))
    begun(tmp_path / "ran")
    rig.client.shutdown(hub=True)
    assert isinstance(end_of(result), ControllerLost) and rig.controller is not None
    assert rig.controller.wait(PATIENCE) == 0
    assert [process.wait(PATIENCE) for process in rig.engines] == [TOLD_TO_DIE] * 2


def test_a_stopped_engine_is_ended_when_it_goes_on(make_rig: MakeRig) -> None:
    rig = make_rig(2)
    pid = rig.pid_of(rig.client.ids[0])
    os.kill(pid, signal.SIGSTOP)
    assert rig.controller is not None
    rig.controller.terminate()
    assert rig.controller.wait(PATIENCE) == 0
    (stopped,) = (each for each in rig.engines if each.pid == pid)
    assert [each.wait(PATIENCE) for each in rig.engines if each is not stopped] == [TOLD_TO_DIE]
    os.kill(pid, signal.SIGCONT)
    assert stopped.wait(PATIENCE) in (TOLD_TO_DIE, ORPHANED)


# Two ------------------------------------------------------------------------------------------------


def test_a_second_controller_of_a_cluster_is_refused(make_rig: MakeRig, tcp: bool) -> None:
    rig = make_rig(1, tcp=tcp)
    assert rig.controller is not None
    for _ in range(3):
        second = rig.spawn([*PARPOOL, "controller", *rig.controller_options], stderr=subprocess.PIPE)
        assert second.stderr is not None
        said = second.stderr.read().decode()
        assert second.wait() == 1 and "Traceback" not in said
        assert f"a controller serves this cluster already (pid {rig.controller.pid} on" in said.splitlines()[-1]
        assert f"{rig.folder}" in said and "parpool stop" in said
        assert end_of(rig.client.load_balanced_view().apply_async(add, 1, 2)) == 3
        assert end_of(rig.connect().load_balanced_view().apply_async(add, 1, 2)) == 3


def test_many_controllers_at_once(make_rig: MakeRig) -> None:
    """Of those that would follow one that was killed, one does."""
    rig = make_rig(1)
    rig.kill_controller()
    started = [rig.spawn([*PARPOOL, "controller", *rig.controller_options]) for _ in range(4)]
    losers = until(lambda: [each for each in started if each.poll() is not None][2:] and started)
    (rig.controller,) = (each for each in losers if each.poll() is None)
    assert {each.poll() for each in started} == {None, 1}
    assert end_of(rig.client.load_balanced_view().apply_async(add, 1, 2)) == 3
    assert json.loads((rig.folder / "client.json").read_bytes())["pid"] == rig.controller.pid


def test_a_port_that_is_taken(make_rig: MakeRig) -> None:
    rig = make_rig(0, tcp=True)
    port = rig.fields("client")["addresses"]["client"].rpartition(":")[2]
    other = Rig(rig.folder.parents[2].with_name("other"), tcp=True)
    argv = [*PARPOOL, "controller", *other.controller_options, f"--port=client={port}"]
    process = other.spawn(argv, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    assert process.wait() == 1 and port in said.splitlines()[-1] and "Traceback" not in said
    assert not (other.folder / "client.json").exists() and not (other.folder / "engine.json").exists()
    other.end()


# Clocks ---------------------------------------------------------------------------------------------

JUMPING = """
import random, time
_time, _random = time.time, random.Random(1)
time.time = lambda: _time() + _random.choice((-1e9, -3600.0, -1.0, 0.0, 1.0, 3600.0, 1e8))
"""


def test_clocks_that_jump(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    """Those of the controller and of the engines. Nobody is taken for dead, and no task for late."""
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    rig = Rig(tmp_path / "jumping", tcp=tcp, limit=5.0)
    rig.environment["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
    try:
        rig.start_controller()
        ids = rig.start_engines(2)
        path, view, count = tmp_path / "ran", rig.client.load_balanced_view(), 1000
        results = [view.apply_async(noted, str(path), number) for number in range(count)]
        view.set_flags(task_timeout=20.0, timeout=20.0)
        results += [view.apply_async(noted, str(path), number, 0.01) for number in range(count, count + 20)]
        view.set_flags(after=results)
        results.append(view.apply_async(noted, str(path), count + 20))
        assert ends_of(results) == list(range(count + 21)) and len(lines(path)) == count + 21
        view.set_flags(after=None, task_timeout=0.5)
        assert isinstance(end_of(view.apply_async(wait_for, str(path))), TaskTimeout)
        rig.restart_controller()
        assert ends_of([view.apply_async(add, 1, 2)]) == [3] and until(lambda: rig.client.ids == ids)
        assert "does not answer" not in rig.log("controller")
        record = rig.client.db_query({"msg_id": view.apply_async(add, 1).msg_ids[0]})
        assert isinstance(record, list)
    finally:
        rig.end()


def test_the_client_whose_clock_jumps(make_rig: MakeRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    rig = make_rig(1)
    script = """
import sys, parpool
with parpool.Client(sys.argv[1]) as client:
    view = client.load_balanced_view()
    results = [view.apply_async(divmod, number, 7) for number in range(500)]
    assert [result.get(30) for result in results] == [divmod(number, 7) for number in range(500)]
    assert view.map_sync(abs, range(-100, 0)) == list(range(100, 0, -1))
    assert results[0].metadata["status"] == "ok" and client.queue_status()
print("well")
"""
    environment = {**rig.environment, "PYTHONPATH": f"{rig.environment['PYTHONPATH']}{os.pathsep}{tmp_path}"}
    process = rig.spawn(
        [PARPOOL[0], "-c", script, str(rig.folder / "client.json")], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.read() == b"well\n" and process.wait() == 0


def test_the_files_of_a_cluster_that_was_killed(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """They say so, and the next controller takes them over."""
    rig = make_rig(0)
    monkeypatch.setenv("PARPOOL_DIR", rig.environment["PARPOOL_DIR"])
    rig.kill_controller()
    with pytest.raises(ConnectionFileError, match="parpool start"):
        Client()
    rig.start_controller()
    assert find("client") == rig.folder / "client.json"
    with Client() as client:
        assert client.cluster_status()["pid"] == rig.controller.pid  # type: ignore[union-attr]
