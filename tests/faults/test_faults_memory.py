"""Large results in the memory of an engine that ends before their client has taken them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fault_rig import MakeRig, Rig, begun, end_of, let_go, until
from fault_tasks import add

from parpool.net.lane import have_lanes
from parpool.shm.files import ROOT
from parpool.shm.session import PREFIX, roots, sweep

pytestmark = pytest.mark.skipif(
    not (have_lanes() and roots()[0].startswith(ROOT)), reason="no memory that is shared with engines"
)

SHORT = 1.5  #: a limit of the heartbeat that is soon over
CLIENT = """
import sys
from fault_tasks import end_of_engine, large_when_let_go, large
from parpool import Client

with Client(sys.argv[1]) as client:
    engine = client[0]
    results = [engine.apply_async(large_when_let_go, sys.argv[2], 1), engine.apply_async(large, 2)]
    results += [engine.apply_async(end_of_engine) for _ in range(int(sys.argv[3]))]
    print("submitted", flush=True)
    for result in results:
        try:
            value = result.get()
            print(set(value), len(value), flush=True)
        except Exception as error:
            print(type(error).__name__, flush=True)
    client.queue_status()  # and does not leave before it is back
"""
WHOLE = [b"{1} 3000000\n", b"{2} 3000000\n"]


class Taker:
    """A client that is stopped while a task of it runs whose result will be large."""

    def __init__(self, rig: Rig, folder: Path, ends: int = 0, script: str = CLIENT) -> None:
        self.running = folder / "running"
        argv = [sys.executable, "-c", script, str(rig.folder / "client.json"), str(self.running), str(ends)]
        self.process = rig.spawn(argv, stdout=subprocess.PIPE)
        assert self.process.stdout is not None and self.process.stdout.readline() == b"submitted\n"
        begun(self.running)
        until(lambda: rig.status()["tasks"] == 2 + ends)
        self.process.send_signal(signal.SIGSTOP)

    def says(self) -> list[bytes]:
        """What its results come to, as it goes on."""
        self.process.send_signal(signal.SIGCONT)
        assert self.process.stdout is not None
        return self.process.stdout.readlines()


def memory(whose: str = "engine") -> set[Path]:
    """Where they have theirs."""
    return {path.parent for root in roots() for path in Path(root).glob(f"{PREFIX}*/memory-{whose}-*")}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_large_results_outlive_their_engine(make_rig: MakeRig, tmp_path: Path, how: signal.Signals) -> None:
    rig = make_rig(1)
    taker = Taker(rig, tmp_path)
    let_go(taker.running)
    until(lambda: rig.status()["tasks"] == 0)
    (folder,) = memory()
    rig.engines[0].send_signal(how)
    rig.engines[0].wait()
    until(lambda: not rig.ids())
    rig.start_engines(1)  # it sweeps, as all do that begin
    sweep()
    assert memory() >= {folder}
    assert taker.says() == WHOLE
    until(lambda: not folder.exists(), "the memory of an engine that has died stays")


def test_a_result_that_it_had_not_sent(make_rig: MakeRig, tmp_path: Path) -> None:
    """The engine dies in the task that follows."""
    rig = make_rig(1)
    taker = Taker(rig, tmp_path, 1)
    let_go(taker.running)
    until(lambda: not rig.ids())
    sweep()
    assert taker.says() == [*WHOLE, b"EngineLost\n"]
    until(lambda: not memory())


def test_a_controller_that_is_killed_between(make_rig: MakeRig, tmp_path: Path) -> None:
    """The next one guards what is there, too."""
    rig = make_rig(1)
    taker = Taker(rig, tmp_path)
    let_go(taker.running)
    until(lambda: rig.status()["tasks"] == 0)
    rig.restart_controller()
    until(lambda: rig.ids() == [0])
    rig.engines[0].kill()
    until(lambda: not rig.ids())
    sweep()
    assert taker.says() == WHOLE
    until(lambda: not memory())


def test_a_client_that_is_killed(make_rig: MakeRig, tmp_path: Path) -> None:
    """What it has sent lies in memory of its own."""
    rig = make_rig(1, limit=SHORT)
    script = CLIENT.replace("apply_async(large, 2)", "apply_async(len, bytes(3_000_000))")
    taker = Taker(rig, tmp_path, script=script)
    (folder,) = memory("client")
    taker.process.kill()
    until(lambda: not folder.exists())
    let_go(taker.running)


def test_an_engine_that_nobody_has_anything_of(make_rig: MakeRig) -> None:
    """Its memory goes without a sweep."""
    rig = make_rig(1)
    assert end_of(rig.client[0].apply_async(bytes, 3_000_000)) == bytes(3_000_000)
    (folder,) = memory()
    rig.engines[0].kill()
    until(lambda: not folder.exists())
    rig.start_engines(1)
    assert end_of(rig.client.load_balanced_view().apply_async(add, 1, 2)) == 3 and os.path.exists(rig.sockets)
