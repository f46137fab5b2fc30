"""The link: what a client may ask of the host in its own process, and how both end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parpool import Client, ForkedError, Pool, TaskAborted
from parpool.client import forked
from parpool.host.host import Host


def parpool_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("parpool")]


def sleep_and_give(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def until(condition: Any, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def test_the_client() -> None:
    with Pool(2) as pool:
        client = pool.client
        assert isinstance(client, Client) and bool(client)
        assert until(lambda: pool.apply(abs, (-1,)) and len(client) == 2)
        assert client.ids == [0, 1] and "[0, 1]" in repr(client)
        with pytest.raises(NotImplementedError):
            client.__reduce__()
    pool.join()


def test_nothing_is_kept_of_what_has_ended() -> None:
    with Pool(2) as pool:
        scheduler = pool.client.link.host.scheduler
        for _ in range(5):
            pool.map(abs, range(-100, 0))
            [pool.apply_async(abs, (-1,)) for _ in range(50)][-1].get()
        assert until(lambda: pool.apply(abs, (-1,)) and not scheduler.tasks)
        big = bytearray(1_000_000)
        result = pool.apply_async(len, (big,))
        assert result.get() == 1_000_000
        reference = weakref.ref(result)
        del result
        gc.collect()
        assert reference() is None
    pool.join()


def test_arguments_are_let_go() -> None:
    with Pool(1) as pool:

        class Thing:
            def __reduce__(self) -> Any:
                return int, (5,)

        things = [Thing() for _ in range(20)]
        references = [weakref.ref(thing) for thing in things]
        assert pool.map(abs, things) == [5] * 20
        stream = pool.imap(abs, iter(things))
        assert list(stream) == [5] * 20
        del things, stream
        assert until(lambda: gc.collect() is not None and not any(r() for r in references), 2)
    pool.join()


def test_terminate_fails_what_has_not_ended() -> None:
    pool = Pool(2)
    running = pool.apply_async(time.sleep, (1000,))
    queued = [pool.apply_async(abs, (-i,)) for i in range(1000)]
    mapped = pool.map_async(time.sleep, [1000] * 10)
    pool.terminate()
    for result in (running, mapped):
        with pytest.raises(TaskAborted, match="terminated"):
            result.get(5)
    assert all(result.ready() for result in queued)
    pool.join()
    assert not parpool_threads()


def test_terminate_from_another_thread_while_this_one_waits() -> None:
    pool = Pool(1)
    result = pool.apply_async(time.sleep, (30,))
    threading.Timer(0.1, pool.terminate).start()
    with pytest.raises(TaskAborted):
        result.get(10)
    pool.join()


def test_what_comes_about_just_before_the_driver_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    class Thing:
        _done = False
        _parked = None

    with Pool(1) as pool:
        pool.apply(abs, (-1,))
        link, thing = pool.client.link, Thing()
        wake_at = type(link.host.scheduler).wake_at

        def come_about() -> None:
            thing._done = True
            link.nudge()

        def look_at_the_clock(self: Any) -> Any:  # in a step, after the driver's look at the thing
            if threading.current_thread() is threading.main_thread() and not thing._done:
                other = threading.Thread(target=come_about)
                other.start()
                other.join()
            return wake_at(self)

        monkeypatch.setattr(type(link.host.scheduler), "wake_at", look_at_the_clock)
        assert link.wait(thing, None)
    pool.join()


def test_terminate_in_many_threads() -> None:
    pool = Pool(2)
    pool.map(abs, [-1])
    threads = [threading.Thread(target=pool.terminate) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    pool.join()
    pool.join()


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="a signal that nobody else needs")
@pytest.mark.parametrize("where", ["as its engines are asked to end", "as it waits for the last step"])
def test_a_handler_that_ends_what_is_just_ending(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(1)
    assert pool.apply(abs, (-1,)) == 1
    place, name = (pool._crew, "end") if "engines" in where else (pool._link._baton, "wait")
    really: Any = getattr(place, name)
    handled: list[bool] = []

    def struck(*args: Any) -> Any:
        monkeypatch.undo()
        signal.raise_signal(signal.SIGALRM)
        return really(*args)

    def handler(number: int, frame: object) -> None:
        pool._link.terminate()
        handled.append(True)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        monkeypatch.setattr(place, name, struck)
        pool.terminate()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert handled == [True]
    pool.join()


def test_terminate_in_a_callback() -> None:
    pool = Pool(1)
    done = threading.Event()

    def end(value: Any) -> None:
        pool.terminate()
        done.set()

    pool.apply_async(abs, (-1,), callback=end)
    assert done.wait(10)
    pool.join()
    assert until(lambda: not parpool_threads())


def test_close_and_join_in_a_callback() -> None:
    pool = Pool(1)
    result = pool.apply_async(abs, (-1,), callback=lambda value: pool.close())
    assert result.get(10) == 1
    pool.join()
    assert until(lambda: not parpool_threads())


def test_join_waits_for_work_and_callbacks() -> None:
    called: list[float] = []
    pool = Pool(2)
    for _ in range(10):
        pool.apply_async(sleep_and_give, (0.02,), callback=called.append)
    pool.close()
    pool.join()
    assert called == [0.02] * 10
    assert not parpool_threads()


def test_submitting_after_the_end() -> None:
    pool = Pool(1)
    pool.close()
    for call in (
        lambda: pool.apply(abs, (-1,)),
        lambda: pool.apply_async(abs, (-1,)),
        lambda: pool.map(abs, [-1]),
        lambda: pool.imap(abs, [-1]),
        lambda: pool.starmap(abs, [(-1,)]),
    ):
        with pytest.raises(ValueError, match="Pool not running"):
            call()
    pool.join()


packing, packed = threading.Event(), threading.Event()


class PackedSlowly:
    def __reduce__(self) -> tuple[Any, ...]:
        packing.set()
        packed.wait(10)
        return int, ()


@pytest.mark.parametrize("how", ["terminate", "close"])
@pytest.mark.parametrize("method", ["apply_async", "map_async", "view"])
def test_what_is_packed_while_the_pool_ends_is_refused(method: str, how: str) -> None:
    packing.clear()
    packed.clear()
    pool = Pool(1)
    view = pool.client.load_balanced_view()
    ends: list[Any] = []

    def submit() -> None:
        argument = PackedSlowly()
        try:
            if method == "view":
                ends.append(view.apply_async(abs, argument).get(10))
            else:
                ends.append(getattr(pool, method)(abs, [argument]).get(10))
        except BaseException as error:
            ends.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    packing.wait(10)
    getattr(pool, how)()
    assert until(lambda: not pool._pool)
    packed.set()
    thread.join()
    assert isinstance(ends[0], TaskAborted), ends
    pool.terminate()
    pool.join()
    assert not parpool_threads()


def test_threads_that_ask_at_once_get_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)
    monkeypatch.setattr(Client, "wait_for_engines", lambda client: both.wait(10))
    found: list[Client] = []
    with Pool(1) as pool:
        threads = [threading.Thread(target=lambda: found.append(pool.client)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 2 and found[0] is found[1] is pool.client


def test_a_link_is_known_to_forks_before_its_engines_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may fork meanwhile: the child must not take the engines for its own, and end them."""
    known: list[int] = []
    start = Host.start
    monkeypatch.setattr(Host, "start", lambda host: (known.append(len(forked._here)), start(host))[1])
    before = len(forked._here)
    with Pool(1):
        assert known == [before + 1]


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Have the start of threads with this name fail, as where there are too many."""
    start = threading.Thread.start
    refused: list[str] = []

    def refuse(thread: threading.Thread) -> None:
        if thread.name in refused:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    yield refused.append


def test_a_pool_for_which_there_is_no_thread(no_thread: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves nothing open: a forgotten context of ZeroMQ would wait for its sockets for ever."""
    kept: list[Host] = []

    def keep(host: Host) -> None:
        kept.append(host)
        begin(host)

    begin = Host.start
    with monkeypatch.context() as patched:
        patched.setattr(Host, "start", keep)
        no_thread("parpool-background")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            Pool(2)
    monkeypatch.undo()
    assert kept[0]._wires._context is None
    assert not os.path.exists(kept[0].session.folder)
    assert multiprocessing.active_children() == []
    with Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
    pool.join()


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_forgotten_pool_ends(busy: bool) -> None:
    """Also where the last reference goes with the result that was just delivered, by whichever thread."""

    def use() -> list[int]:
        pool = Pool(2)
        pids = [process.pid for process in pool._pool]
        pool.map(abs, [-1, -2])
        if busy:
            pool.apply_async(time.sleep, (0.2,))
        return pids

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        pids = use()
        gc.collect()
        assert until(lambda: all(map(gone, pids)) and not parpool_threads(), 10), parpool_threads()


def test_a_pool_forgotten_while_waited_for() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        result = Pool(1).apply_async(sleep_and_give, (0.1,))
        assert result.get(10) == 0.1
        del result
        gc.collect()
        assert until(lambda: not parpool_threads(), 10)


# Idle engines, forks ---------------------------------------------------------------------------------------------


def test_an_idle_engine_that_dies_is_replaced_though_nobody_looks() -> None:
    with Pool(2) as pool:
        pool.map(abs, [-1] * 10, 1)
        victim = pool._pool[0].pid
        os.kill(victim, signal.SIGKILL)
        assert until(lambda: victim not in [process.pid for process in pool._pool] and len(pool._pool) == 2)
        assert until(lambda: len(pool.client) == 2, 10)
        assert pool.map(abs, [-1] * 10, 1) == [1] * 10
    pool.join()


FORKED = """
import os, sys, time, warnings
from parpool import Pool, ForkedError
warnings.simplefilter("ignore", DeprecationWarning)
pool = Pool(2)
assert pool.map(abs, [-1, -2]) == [1, 2]
result = pool.apply_async(time.sleep, (0.3,))
pid = os.fork()
if pid == 0:
    wrong = []
    for call in (
        lambda: pool.apply(abs, (-1,)),
        lambda: pool.apply_async(abs, (-1,)),
        lambda: pool.map(abs, [-1]),
        lambda: list(pool.imap(abs, [-1])),
        lambda: list(pool.imap(abs, iter([-1]))),
        lambda: result.get(),
        lambda: result.wait(),
        lambda: result.abort(),
        lambda: pool.join(),
    ):
        try:
            call()
        except (ForkedError, ValueError) as error:
            if not isinstance(error, ForkedError) and "still running" not in str(error):
                wrong.append(repr(error))
        else:
            wrong.append("no error")
    pool.terminate()
    with Pool(1) as own:
        assert own.apply(abs, (-5,)) == 5
    print("wrong", wrong, flush=True)
    sys.exit(0)  # with all that an interpreter does at its end
assert os.waitpid(pid, 0)[1] == 0
result.get(5)
assert pool.map(abs, [-3, -4]) == [3, 4]
assert os.path.exists(pool.client.link.host.session.folder)
pool.close()
pool.join()
print("parent done", flush=True)
"""


def test_an_imap_for_which_there_is_no_thread(no_thread: Callable[[str], None]) -> None:
    """Nobody waits for what it would have read."""
    with Pool(1) as pool:
        no_thread("parpool-reader")
        with pytest.raises(RuntimeError, match="new thread"):
            pool.imap(abs, iter([1]))
        pool.close()
        ending = threading.Thread(target=pool.join, daemon=True)
        ending.start()
        ending.join(20)
        assert not ending.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_fork_of_this_process(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=50)
    assert done.stdout == "wrong []\nparent done\n", done.stdout + done.stderr
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_the_error_in_a_fork_says_what_to_do() -> None:
    with Pool(1) as pool:
        pool.client.link._foreign = True
        try:
            with pytest.raises(ForkedError, match="make a pool of its own here"):
                pool.apply(abs, (-1,))
        finally:
            pool.client.link._foreign = False
    pool.join()


# Signals ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["get", "map", "imap", "join"])
def test_ctrl_c_ends_a_blocking_call_at_once(how: str) -> None:
    with Pool(2) as pool:
        pool.map(abs, [-1, -2])
        calls: dict[str, Any] = {
            "get": lambda: pool.apply_async(time.sleep, (1000,)).get(),
            "map": lambda: pool.map(time.sleep, [1000] * 4),
            "imap": lambda: list(pool.imap(time.sleep, iter([1000] * 4))),
            "join": lambda: (pool.apply_async(time.sleep, (1000,)), pool.close(), pool.join()),
        }
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            calls[how]()
        timer.join()
        if how != "join":
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    pool.join()


STORM = """
import random, signal, time
from parpool import Pool
def small(x):
    return x
def work(pool, end):  # apart: of a loop at the end of a try some versions of Python leave the jump outside
    while time.monotonic() < end:
        pool.apply(small, (1,))
        pool.map(small, range(50))
interrupted = 0
with Pool(2) as pool:
    pool.map(small, range(10))
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0003, 0.003))
            work(pool, end + 5)
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            while True:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    break
                except KeyboardInterrupt:
                    continue
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert pool.map_async(small, range(100)).get(10) == list(range(100))
    deadline = time.monotonic() + 5
    while pool.client.link.host.scheduler.tasks and time.monotonic() < deadline:
        pool.apply_async(small, (1,)).get(5)
    assert not pool.client.link.host.scheduler.tasks, len(pool.client.link.host.scheduler.tasks)
pool.join()
print(interrupted > 20)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers that send signals")
def test_a_storm_of_ctrl_c(tmp_path: Path) -> None:
    """Wherever it strikes, the pool goes on."""
    script = tmp_path / "storm_script.py"
    script.write_text(STORM)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=50)
    assert done.stdout == "True\n" and done.returncode == 0, done.stdout + done.stderr


def test_a_handler_that_uses_the_pool() -> None:
    """The stdlib's Pool allows it; here a clear error would do too, but no dead-lock."""
    with Pool(2) as pool:
        pool.map(abs, [-1, -2])
        got: list[Any] = []

        def handle(number: int, frame: Any) -> None:
            try:
                got.append(pool.apply_async(abs, (-5,)).get(5))
            except RuntimeError as error:
                got.append(error)

        before = signal.signal(signal.SIGALRM, handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            assert pool.apply_async(sleep_and_give, (0.4,)).get(20) == 0.4
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert len(got) == 1 and (got == [5] or isinstance(got[0], RuntimeError))
    pool.join()
