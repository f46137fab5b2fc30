"""Clusters that this process starts, looks after, and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from parpool import Client
from parpool.cluster import Cluster
from parpool.errors import ConnectionFileError, ControllerLost, EngineStartError, ForkedError, ParpoolError
from parpool.launch.fake import FakeLauncher
from parpool.launch.process import ProcessLauncher, birth
from parpool.net import address

Until = Callable[..., Any]


def clusters(folder: Path) -> list[Path]:
    return address.clusters("default")


# From the start to the end --------------------------------------------------------------------------


def test_a_with_block_is_the_life_of_a_cluster(folder: Path) -> None:
    cluster = Cluster(n=2)
    assert "does not run" in repr(cluster) and cluster.engine_sets == {}
    with cluster as rc:
        assert isinstance(rc, Client) and rc.ids == [0, 1]
        assert [view.keys() for view in (rc[0], rc[1])] == [[], []], (
            "the names of what became an engine are none of its"
        )
        pids = rc[:].apply_sync(os.getpid)
        assert len(set(pids)) == 2 and os.getpid() not in pids
        assert repr(cluster) == f"<Cluster {cluster.cluster_id!r} of profile 'default': 2 engines>"
        assert cluster.engine_sets == {"set-1": 2}
        page = ElementTree.fromstring(cluster._repr_html_())
        assert "".join(page.itertext()) == f"{repr(cluster)[1:-1]}enginesset2set-1{cluster.folder}"
        assert cluster.folder == folder / "profile_default" / "clusters" / cluster.cluster_id
        files = {each.name: each.stat().st_mode & 0o777 for each in cluster.folder.glob("*.json")}
        assert files == dict.fromkeys(("client.json", "engine.json", "controller.json", "cluster.json"), 0o600)
        with Client() as another:  # the only one that runs
            assert another[:].apply_sync(os.getpid) == pids
    assert not any(map(alive, pids))
    assert "does not run" in repr(cluster) and "does not run<" in cluster._repr_html_()
    assert cluster.wait() and cluster.engine_sets == {}
    assert clusters(folder) == [], "nothing went wrong, and nobody has named it"
    cluster.stop_cluster()  # once more


def alive(pid: int) -> bool:
    return birth(pid) is not None


def test_a_cluster_with_a_name_keeps_its_logs_and_can_be_started_again(folder: Path) -> None:
    cluster = Cluster(n=1, cluster_id="mine", profile="other", log_level="debug")
    for _ in range(2):
        client = cluster.start_and_connect()
        with Client(profile="other", cluster_id="mine") as other:
            assert other.ids == client.ids == [0]
        client.close()
        cluster.stop_cluster()
    assert cluster.folder == folder / "profile_other" / "clusters" / "mine"
    assert {each.name for each in cluster.folder.iterdir()} == {"log", "controller.lock"}
    logs = {each.name: each.read_text() for each in (cluster.folder / "log").iterdir()}
    assert {name: text.count("is ready") for name, text in logs.items()} == {"controller-0.log": 2, "engine-0.log": 0}
    assert logs["engine-0.log"].count("is to serve") == 2, "once for each start"


def test_two_clusters_do_not_collide() -> None:
    with Cluster(n=1) as one, Cluster(n=1) as two:
        assert one[0].apply_sync(os.getpid) != two[0].apply_sync(os.getpid)
        with pytest.raises(ConnectionFileError, match="several clusters run"):
            Client()


def test_without_n_there_is_an_engine_for_each_place() -> None:
    with Cluster(engines=lambda site: Roomy(site)) as rc:
        assert len(rc) == 3


class Roomy(ProcessLauncher):
    slots = 3


def test_no_engines_at_all(until: Until) -> None:
    cluster = Cluster(n=0)
    with cluster as rc:
        assert rc.ids == [] and cluster.engine_sets == {}
        set_id = cluster.start_engines(1)
        assert rc.wait_for_engines(1, timeout=20) and cluster.engine_sets == {set_id: 1}


def test_over_tcp(folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Cluster(n=1, ip="127.0.0.1", ports={"client": port}) as rc:
        assert rc[0].apply_sync(os.getpid) != os.getpid()
        (cluster,) = clusters(folder)
        assert address.read(cluster / "client.json").addresses["client"] == f"tcp://127.0.0.1:{port}"


def test_the_secrets_stand_on_no_command_line_and_in_no_environment() -> None:
    cluster = Cluster(n=1, ip="127.0.0.1", environment={"FOR_ENGINES": "yes"})
    with cluster as rc:
        assert rc[0].apply_sync(os.getenv, "FOR_ENGINES") == "yes"
        secrets = list(json.loads((cluster.folder / "controller.json").read_text())["keys"].values())
        assert len(secrets) == 6
        pids = [address.read(cluster.folder / "client.json").pid, rc[0].apply_sync(os.getpid)]
        for pid in pids:
            for file in ("cmdline", "environ"):
                text = Path(f"/proc/{pid}/{file}").read_text()
                assert text and not [secret for secret in secrets if secret in text]
        assert not [s for s in secrets if s in (cluster.folder / "cluster.json").read_text()]


# Engines --------------------------------------------------------------------------------------------


def test_engines_come_and_go_while_it_runs(until: Until) -> None:
    cluster = Cluster(n=1)
    with cluster as rc:
        assert rc[0].apply_sync(os.getpid)
        second = cluster.start_engines(2)
        assert rc.wait_for_engines(3, timeout=20) and cluster.engine_sets == {"set-1": 1, second: 2}
        assert "3 engines in 2 sets" in repr(cluster)
        cluster.stop_engines("set-1")
        until(lambda: rc.ids == [1, 2])
        before = set(rc[:].apply_sync(os.getpid))
        cluster.restart_engines(second)
        until(lambda: len(rc.ids) == 2 and not {1, 2} & set(rc.ids))
        assert not before & set(rc[:].apply_sync(os.getpid))
        cluster.stop_engines()
        until(lambda: rc.ids == [])
        assert cluster.engine_sets == {}
        with pytest.raises(KeyError, match="there is no set"):
            cluster.stop_engines(second)


heard: list[int] = []


def listen() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))


def how_many_were_heard() -> int:
    return len(heard)


def test_signals_reach_engines(until: Until) -> None:
    cluster = Cluster(n=2)
    with cluster as rc:
        rc[:].apply_sync(listen)
        cluster.signal_engines(signal.SIGUSR1, "set-1")
        until(lambda: rc[:].apply_sync(how_many_were_heard) == [1, 1])


def test_engines_that_a_client_has_told_to_end_stay_away(until: Until) -> None:
    cluster = Cluster(n=2)
    with cluster as rc:
        rc.shutdown(targets=[0])
        until(lambda: rc.ids == [1] and cluster.engine_sets == {"set-1": 1})
        assert rc[1].apply_sync(os.getpid)


# The end --------------------------------------------------------------------------------------------


def test_a_client_ends_it_all(until: Until) -> None:
    cluster = Cluster(n=2)
    rc = cluster.start_and_connect()
    pids = rc[:].apply_sync(os.getpid)
    assert not cluster.wait(timeout=0)
    rc.shutdown(hub=True)
    assert cluster.wait(timeout=20)
    assert not any(map(alive, pids)) and "does not run" in repr(cluster) and not cluster.folder.exists()
    with pytest.raises(ParpoolError, match="does not run"):
        cluster.start_engines(1)


def test_the_end_does_not_wait_for_tasks() -> None:
    with Cluster(n=1) as rc:
        rc[0].apply_async(time.sleep, 600)
        assert rc.queue_status()[0]["tasks"] == 1


def test_an_exception_ends_it_too(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        with Cluster(n=1):
            raise KeyboardInterrupt
    assert clusters(folder) == []


# What can go wrong ----------------------------------------------------------------------------------


def test_a_cluster_has_one_controller() -> None:
    with Cluster(n=1, cluster_id="mine") as rc:
        again = Cluster(n=1, cluster_id="mine")
        with pytest.raises(ConnectionFileError, match="a controller serves this cluster already .*parpool stop"):
            again.start_cluster()
        assert rc[0].apply_sync(os.getpid)
    with again as rc:
        with pytest.raises(ParpoolError, match="runs already: connect_client"):
            again.start_cluster()
        assert rc[0].apply_sync(os.getpid)


def test_a_controller_that_does_not_come_up(folder: Path) -> None:
    cluster = Cluster(n=1, controller_arguments=["--no-such-option"])
    with pytest.raises(ControllerLost, match="before it was ready.*exit code 2.*controller-0.log") as caught:
        cluster.start_cluster()
    assert "\n  | " in str(caught.value) and "No such option" in str(caught.value)
    assert (cluster.folder / "log" / "controller-0.log").exists() and not (cluster.folder / "cluster.json").exists()
    assert cluster.wait()
    with pytest.raises(ControllerLost) as again:
        cluster.start_cluster()
    assert str(again.value).count("No such option") == str(caught.value).count("No such option"), "of this start alone"


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cluster = Cluster(n=1, ip="127.0.0.1", ports={"client": taken.getsockname()[1]})
        with pytest.raises(ControllerLost, match="Address already in use: choose another port") as caught:
            cluster.start_controller()
        assert str(caught.value).count("Address already in use") == 1


def test_a_controller_that_is_too_slow() -> None:
    cluster = Cluster(n=1, timeout=0)
    with pytest.raises(ControllerLost, match="not ready in time.*timeout="):
        cluster.start_cluster()


def test_it_is_stopped_while_it_is_started(tmp_path: Path, until: Until) -> None:
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o700)
    cluster = Cluster(n=1, python=str(sleeper))

    def stop() -> None:
        until(lambda: (cluster.folder / "cluster.json").exists())
        cluster.stop_cluster()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(ParpoolError, match="stopped while it was started"):
        cluster.start_cluster()
    thread.join()
    assert "does not run" in repr(cluster)


def test_an_engine_that_does_not_come_up() -> None:
    cluster = Cluster(n=2, engine_arguments=["--no-such-option"])
    with pytest.raises(EngineStartError, match="engine-[01]: .*exit code 2.*engine-[01].log") as caught:
        cluster.start_and_connect()
    assert "No such option" in str(caught.value).split("\n  | ", 1)[1]
    assert "does not run" in repr(cluster)


def test_a_launcher_that_refuses() -> None:
    with pytest.raises(EngineStartError, match="cannot start /no/such/python"):
        Cluster(n=2, engines=lambda site: Elsewhere(site)).start_cluster()
    with pytest.raises(ValueError, match="there is no launcher 'nobody'"):
        Cluster(n=2, engines="nobody").start_cluster()


class Elsewhere(ProcessLauncher):
    def start(self, argv: Any, n: int) -> list[str]:
        return super().start(["/no/such/python", *argv[1:]], n)


def test_engines_that_do_not_come_in_time() -> None:
    # Processes of which no one is an engine.
    with pytest.raises(EngineStartError, match="0 of 2 engines were ready in time .engine-0 running, .*timeout="):
        Cluster(n=2, engines=FakeLauncher(), timeout=2).start_and_connect()


def test_engines_in_a_queue_are_waited_for_by_those_who_need_them(until: Until) -> None:
    launcher = FakeLauncher(queue=True)
    cluster = Cluster(n=2, engines=launcher, timeout=5)
    cluster.start_cluster()
    assert cluster.engine_sets == {"set-1": 2}
    cluster.stop_cluster()
    assert launcher.stopped == ["engine-0", "engine-1"]
    cluster = Cluster(n=2, engines=FakeLauncher(queue=True), timeout=2)
    with pytest.raises(EngineStartError, match="0 of 2 .*as the test asked for"):
        cluster.start_and_connect()


def test_ctrl_c_while_it_starts(folder: Path) -> None:
    waiting = threading.Event()

    class Launcher(FakeLauncher):
        def poll(self) -> Any:
            if threading.current_thread() is threading.main_thread():
                waiting.set()
            return super().poll()

    cluster = Cluster(n=2, engines=Launcher(), timeout=60)

    def interrupt() -> None:
        waiting.wait(20)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        cluster.start_cluster()
    thread.join()
    assert "does not run" in repr(cluster)


def test_names_and_numbers_that_are_none() -> None:
    for wrong in ({"profile": "a/b"}, {"cluster_id": ".."}, {"n": -1}, {"restarts": -1}):
        with pytest.raises(ValueError):
            Cluster(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ParpoolError, match="does not run"):
        Cluster().stop_engines()
    with Cluster(n=0) as _, pytest.raises(ValueError, match="1 or more"):
        _other = Cluster(n=0)
        with _other:
            _other.start_engines(0)


def test_a_forked_process_leaves_it_alone() -> None:
    cluster = Cluster(n=1)
    with cluster as rc:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                cluster.stop_cluster()
                try:
                    cluster.start_engines(1)
                except ForkedError:
                    code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert rc[0].apply_sync(os.getpid)
