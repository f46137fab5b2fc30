"""Log records and warnings of tasks, handled where the client is."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from real_cluster import RealCluster, at_gate, until

from parpool import Client, Pool
from parpool.client import remarks
from parpool.wire.remark import REMARKS, Logged, to_text

log = logging.getLogger("parpool.tests.client")


class Kept(logging.Handler):
    """Keeps what it handles, and says in which thread."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []
        self.threads: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.threads.add(threading.current_thread().name)

    def said(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@contextmanager
def kept(name: str = log.name, level: int = logging.DEBUG) -> Iterator[Kept]:
    handler, logger = Kept(), logging.getLogger(name)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = before


@pytest.fixture(scope="module", params=["a pool's engines", "a cluster's engines"])
def rc(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Engines of both kinds: forked from here, with pytest's handlers; and others, that know nothing of them."""
    if request.param == "a pool's engines":
        with Pool(2) as pool:
            start(pool.client)
            yield pool.client
        pool.join()
    else:
        cluster: RealCluster = request.getfixturevalue("cluster")
        client = cluster.client()
        assert client.wait_for_engines(2, 20)
        start(client)
        yield client
        client.close()


def start(client: Client) -> None:
    """Have the engines log, and the thread started that all of this is handled in."""
    client[:].apply_sync(setup)
    with kept():
        client[:].apply_sync(say, "begin")


def setup() -> None:
    import logging
    import warnings

    logging.getLogger("parpool.tests.client").setLevel(logging.INFO)
    warnings.simplefilter("always")


def say(*texts: str, level: int = logging.WARNING, **extra: Any) -> int:
    import logging
    import os

    for text in texts:
        logging.getLogger("parpool.tests.client").log(level, text, extra=extra)
    return os.getpid()


def warn(text: str, times: int = 1) -> None:
    import warnings

    for _ in range(times):
        warnings.warn(text, RuntimeWarning, stacklevel=1)


# Log records ------------------------------------------------------------------------------------------


def test_the_logger_of_the_same_name_handles_it_before_the_value_is_there(rc: Client) -> None:
    with kept() as handler:
        result = rc[1].apply_async(say, "hello", job=5)
        pid = result.get(20)
        (record,) = handler.records
    assert (record.name, record.levelname, record.getMessage(), record.funcName) == (
        log.name,
        "WARNING",
        "hello",
        "say",
    )
    assert (record.engine, record.task, record.job) == (1, result.msg_ids[0], 5)
    assert (record.process, record.processName) == (pid, "engine 1") and pid != os.getpid()
    assert record.pathname == __file__ and record.filename == Path(__file__).name and record.args is None
    assert logging.Formatter("%(asctime)s %(module)s %(message)s").format(record).endswith(" hello")
    assert handler.threads == {"parpool-callbacks"}
    assert result.stderr == ""


def test_its_level_holds_here_too(rc: Client) -> None:
    with kept(level=logging.ERROR) as handler:
        rc[0].apply_sync(say, "info", level=logging.INFO)
        rc[0].apply_sync(say, "error", level=logging.ERROR)
        rc[0].apply_sync(say, "debug", level=logging.DEBUG)
    assert handler.said() == ["error"]


def test_of_all_engines_and_of_maps(rc: Client) -> None:
    with kept() as handler:
        rc[:].apply_sync(say, "one")
        assert sorted(record.engine for record in handler.records) == [0, 1]
        handler.records.clear()
        result = rc.load_balanced_view().map_async(say, [str(n) for n in range(10)], chunksize=2)
        result.get(20)
        assert sorted(handler.said(), key=int) == [str(n) for n in range(10)]
        assert {record.task for record in handler.records} == set(result.msg_ids)
        handler.records.clear()
        assert len(list(rc.load_balanced_view().imap(say, ["a", "b"]))) == 2
        until(lambda: sorted(handler.said()) == ["a", "b"])


def test_in_the_order_in_which_they_were_said(rc: Client) -> None:
    with kept() as handler:
        rc[0].apply_sync(say, *[str(n) for n in range(500)])
        assert handler.said() == [str(n) for n in range(500)]


def test_between_what_is_printed_live(rc: Client, capsys: pytest.CaptureFixture[str], gate: Path) -> None:
    def both(path: str) -> None:
        at_gate(path)  # what comes before somebody looks has no place between
        for number in range(3):
            print(number)
            say(f"said {number}")

    class Printer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print(record.getMessage())

    with kept():
        log.addHandler(printer := Printer())
        rc[0].push({"say": say, "at_gate": at_gate}, block=True)
        with rc[0].apply_async(both, str(gate)).stream_output() as result:
            gate.touch()
            result.get(20)
        log.removeHandler(printer)
    assert capsys.readouterr().out == "".join(f"[0] {n}\nsaid {n}\n" for n in range(3))


def test_the_exception_comes_along(rc: Client) -> None:
    def fails() -> None:
        import logging

        try:
            raise LookupError("gone")
        except LookupError:
            logging.getLogger("parpool.tests.client").exception("failed")

    with kept() as handler:
        rc[0].apply_sync(fails)
    text = logging.Formatter("%(message)s").format(handler.records[0])
    assert text.startswith("failed\nTraceback (most recent call last)") and text.endswith("LookupError: gone")


def test_a_handler_that_raises_stops_no_other(rc: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    hooked: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)

    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "bad":
                raise OSError("disk full")

    with kept() as handler:
        log.addHandler(raises := Raises())
        rc[0].apply_sync(say, "bad", "good")
        log.removeHandler(raises)
    assert handler.said() == ["bad", "good"] and [type(each.exc_value) for each in hooked] == [OSError]


def test_a_handler_may_call_engines_itself(rc: Client) -> None:
    found = []

    class Calls(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "outer":
                found.append(rc[1].apply_async(say, "inner").get(20))

    with kept() as handler:
        log.addHandler(calls := Calls())
        rc[0].apply_async(say, "outer").get(20)
        log.removeHandler(calls)
    assert len(found) == 1 and handler.said() == ["outer", "inner"]


def test_a_value_does_not_wait_for_ever_for_a_handler(rc: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remarks, "PATIENCE", 0.05)
    gate = threading.Event()

    class Waits(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            gate.wait(20)

    with kept() as handler:
        log.addHandler(waits := Waits())
        assert rc[0].apply_async(say, "x").get(20) and not gate.is_set()
        monkeypatch.setattr(remarks, "PATIENCE", 50)
        assert rc[0].apply_async(say, "y").get(20), "and not again while nothing moves"
        gate.set()
        until(lambda: handler.said() == ["x", "y"])
        rc.link.remarks.settle()
        log.removeHandler(waits)


def test_as_text_where_that_is_wanted(rc: Client) -> None:
    rc.remarks = False
    try:
        with kept() as handler:
            result = rc[0].apply_async(say, "hello")
            result.get(20)
            mapped = rc.load_balanced_view().map_async(say, ["a", "b"], chunksize=2)
            mapped.get(20)
        assert result.stderr == f"WARNING:{log.name}:hello\n" and handler.records == []
        assert mapped.metadata[0]["stderr"] == f"WARNING:{log.name}:a\nWARNING:{log.name}:b\n"
    finally:
        rc.remarks = True
    assert rc.remarks


def test_the_hub_has_them_as_text(cluster: RealCluster) -> None:
    with cluster.client() as rc, kept():
        assert rc.wait_for_engines(2, 20)
        result = rc[0].apply_async(say, "for the hub")
        result.get(20)
        found = rc.db_query({"msg_id": result.msg_ids[0]}, ["stderr"])
    assert found == [{"stderr": f"WARNING:{log.name}:for the hub\n", "msg_id": result.msg_ids[0]}]


# Warnings ---------------------------------------------------------------------------------------------


def test_warnings_are_issued_here_with_their_place(rc: Client) -> None:
    with pytest.warns(RuntimeWarning, match=r"^divided \[engine 1: .*test_client_remarks\.py:\d+\]$") as caught:
        rc[1].apply_sync(warn, "divided")
    assert [(each.filename, each.category) for each in caught] == [(__file__, RuntimeWarning)]
    with pytest.warns(RuntimeWarning) as caught:
        rc[:].apply_sync(warn, "both")
    assert len(caught) == 2


def test_filters_hold_here(rc: Client) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        rc[0].apply_sync(warn, "again and again", 5)
        assert len(caught) == 1, "once for each place"
        warnings.filterwarnings("ignore", "not this")
        rc[0].apply_sync(warn, "not this")
        assert len(caught) == 1


def test_an_error_by_the_filters_is_shown_and_not_raised(rc: Client) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        rc[0].apply_sync(warn, "would be one")
        assert rc[0].apply_sync(abs, -1) == 1
    assert [str(each.message).partition(" [")[0] for each in caught] == ["would be one"]


class Fussy(UserWarning):
    """One that cannot be made of a text."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


def test_of_a_class_that_is_not_here_or_cannot_be_made(rc: Client) -> None:
    def unknown(fussy: Any) -> None:
        import warnings

        class OnlyThere(FutureWarning):
            pass

        OnlyThere.__module__ = "only.there"
        warnings.warn("later", OnlyThere, stacklevel=1)
        warnings.warn(fussy(1, 2), stacklevel=1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rc[0].apply_sync(unknown, Fussy)
    assert [each.category for each in caught] == [FutureWarning, UserWarning]
    assert str(caught[1].message).startswith("Fussy: 1 2 [engine 0: ")


# How much ---------------------------------------------------------------------------------------------


def test_what_handlers_are_too_slow_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    class Link:
        """Calls back when it is told to."""

        def call_back(self, each: Any) -> None: ...
        def msg_id(self, id: int) -> str:
            return f"x_{id}"

    monkeypatch.setattr(remarks, "WAITING", 1000)
    link = Link()
    waiting = remarks.Remarks(link)
    line = to_text(Logged(log.name, logging.WARNING, "WARNING", "hello"))
    for _ in range(100):
        assert waiting.sort(REMARKS, line, 0, 1) == (REMARKS, "")
    fit = 1000 // len(line)
    with kept() as handler, kept("parpool") as told:
        for _ in range(100):
            waiting.run_callbacks()
    assert len(handler.records) == fit and not gate.is_set()
    dropped = f"{100 - fit} log records and warnings of engines were dropped: they came faster than they are handled"
    assert told.said() == [dropped]


# What stays as it is --------------------------------------------------------------------------------------

SCRIPT = """
import logging, sys
from {module} import Pool

def f(x):
    logging.getLogger("app").warning("said %s", x)
    return x

def configure():
    logging.basicConfig(format="configured in the worker: %(message)s", force=True)

if __name__ == "__main__":
    how = sys.argv[1]
    if how == "inherited":
        logging.basicConfig(format="inherited: %(message)s")
    with Pool(2, configure if how == "initializer" else None) as pool:
        if "{module}" == "parpool":
            pool.client[:].apply_sync(abs, -1)
        print(pool.map(f, [1, 2], 1))
"""


@pytest.mark.parametrize("how", ["inherited", "initializer", "not at all"])
def test_what_a_pool_s_tasks_log_is_printed_once_as_the_standard_library_has_it(tmp_path: Path, how: str) -> None:
    printed = []
    for module in ("parpool", "multiprocessing"):
        path = tmp_path / f"{module}_script.py"
        path.write_text(SCRIPT.replace("{module}", module))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, path, how], capture_output=True, text=True, timeout=50, env=environment)
        assert done.stdout == "[1, 2]\n", done.stderr
        printed.append(sorted(done.stderr.splitlines()))
    assert printed[0] == printed[1] and len(printed[0]) == 2


def test_nothing_is_counted_twice_under_a_fork(tmp_path: Path) -> None:
    """Handlers that the engine inherits print for the client, and not once more on the engine."""
    path = tmp_path / "script.py"
    path.write_text(
        SCRIPT.replace("{module}", "parpool").replace("pool.map(f, [1, 2], 1)", "pool.client[:].apply_sync(f, 1)")
    )
    for how, text in (("inherited", "inherited: "), ("initializer", "configured in the worker: "), ("not at all", "")):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, path, how], capture_output=True, text=True, timeout=50, env=environment)
        assert done.stdout == "[1, 1]\n" and done.stderr.splitlines() == [f"{text}said 1"] * 2
