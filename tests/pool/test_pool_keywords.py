"""Keywords: those beyond the stdlib's on each method, and what is said where one cannot be right."""

from __future__ import annotations

import inspect
import multiprocessing
import multiprocessing.pool
import time
from collections.abc import Iterator
from typing import Any

import pytest

import parpool
from parpool import Pool, TaskTimeout


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as made:
        assert made.client.wait_for_engines(2, 20)  # its threads and sockets are no test's leftover
        made.map_async(abs, [-1] * 8, 1, callback=lambda value: None).get()
        with pytest.raises(TaskTimeout):
            made.map(time.sleep, [5, 5], 1, task_timeout=0.05)
        yield made
    made.join()


def call(pool: Any, method: str, **keywords: Any) -> Any:
    if method.startswith("apply"):
        got = getattr(pool, method)(abs, (-1,), **keywords)
        return got.get(20) if method.endswith("async") else got
    items = [(-1,), (-2,)] if method.startswith("starmap") else [-1, -2]
    got = getattr(pool, method)(abs, items, **keywords)
    if method.startswith("imap"):
        return sorted(got)
    return got.get(20) if method.endswith("async") else got


APPLY = ["apply", "apply_async"]
MAPS = ["map", "map_async", "starmap", "starmap_async", "imap", "imap_unordered"]
IMAPS = ["imap", "imap_unordered"]

TAKEN = [
    *(
        (method, name, value)
        for method in APPLY + MAPS
        for name, value in [("retries", 2), ("task_timeout", 30), ("task_timeout", 2.5)]
    ),
    *((method, "progress", False) for method in MAPS),
    *((method, "buffersize", value) for method in IMAPS for value in (None, 1, 10)),
]


@pytest.mark.parametrize(("method", "name", "value"), TAKEN)
def test_taken(pool: Pool, method: str, name: str, value: Any) -> None:
    assert call(pool, method, **{name: value}) == (1 if method in APPLY else [1, 2])


WRONG: list[tuple[str, Any]] = [
    ("retries", -1),
    ("retries", 1.5),
    ("retries", "1"),
    ("task_timeout", 0),
    ("task_timeout", -1),
    ("task_timeout", float("nan")),
    ("task_timeout", "1"),
    ("task_timeout", [1]),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=repr)
@pytest.mark.parametrize("method", APPLY + MAPS)
def test_refused(pool: Pool, method: str, name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        call(pool, method, **{name: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(("name", "value"), WRONG, ids=repr)
def test_refused_by_the_pool(name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        Pool(1, **{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, "1"], ids=repr)
@pytest.mark.parametrize("method", IMAPS)
def test_refused_buffersize(pool: Pool, method: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="buffersize"):
        call(pool, method, buffersize=value)


@pytest.mark.parametrize("value", ["1", [1]], ids=repr)
@pytest.mark.parametrize("method", MAPS)
def test_refused_chunksize(pool: Pool, method: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="(?i)chunksize"):
        call(pool, method, chunksize=value)


@pytest.mark.parametrize(
    ("name", "value"), [("processes", 0), ("processes", -1), ("maxtasksperchild", 0), ("maxtasksperchild", 1.5)]
)
def test_refused_by_the_constructor(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Pool(**{name: value})


def test_an_unknown_keyword(pool: Pool) -> None:
    for method in APPLY + MAPS:
        with pytest.raises(TypeError, match="no_such"):
            call(pool, method, no_such=1)
    with pytest.raises(TypeError, match="no_such"):
        Pool(1, no_such=1)  # type: ignore[call-arg]


def test_a_refused_call_leaves_no_trace(pool: Pool) -> None:
    scheduler = pool.client.link.host.scheduler
    with pytest.raises(ValueError):
        pool.map_async(abs, [1], retries=-1)
    assert not scheduler.tasks
    assert pool.map(abs, [-1]) == [1]


def test_by_keyword_only() -> None:
    ours = {
        "retries",
        "task_timeout",
        "progress",
        "buffersize",
        "serializer",
        "client",
        "ipython",
        "threads_per_engine",
    }
    theirs: Any = multiprocessing.pool.Pool
    for name in ["__init__", *APPLY, *MAPS]:
        new = inspect.signature(getattr(Pool, name)).parameters
        old = inspect.signature(getattr(theirs, name)).parameters
        assert [p for p in new if new[p].kind is not inspect.Parameter.KEYWORD_ONLY] == [
            p for p in old if p not in ours
        ]
        for parameter in new.values():
            assert (parameter.kind is inspect.Parameter.KEYWORD_ONLY) == (parameter.name in ours)


# progress --------------------------------------------------------------------------------------------------


class Terminal:
    """What was written to stderr so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    pytest.importorskip("tqdm")
    return Terminal(capsys)


@pytest.mark.parametrize("method", MAPS)
def test_progress(pool: Pool, terminal: Terminal, method: str) -> None:
    assert call(pool, method, progress=True) == [1, 2]
    assert "2/2" in terminal.getvalue() and "100%" in terminal.getvalue()


def test_progress_of_the_pool(terminal: Terminal) -> None:
    with Pool(1, progress=True) as pool:
        assert pool.map(abs, range(-20, 0)) == list(range(20, 0, -1))
        assert "20/20" in terminal.getvalue()
        before = terminal.getvalue()
        pool.map(abs, range(-20, 0), progress=False)
        pool.apply(abs, (-1,))
        assert terminal.getvalue() == before
    pool.join()


def test_progress_of_the_unknown(pool: Pool, terminal: Terminal) -> None:
    assert list(pool.imap(abs, iter(range(5)), progress=True)) == [0, 1, 2, 3, 4]
    assert "5it" in terminal.getvalue()


@pytest.mark.parametrize("chunksize", [1, 3])
def test_progress_counts_items_and_not_chunks(pool: Pool, terminal: Terminal, chunksize: int) -> None:
    assert list(pool.imap(abs, list(range(10)), chunksize, progress=True)) == list(range(10))
    assert "10/10" in terminal.getvalue() and "12/10" not in terminal.getvalue()


def test_progress_ends_with_an_error(pool: Pool, terminal: Terminal) -> None:
    with pytest.raises(ValueError):
        pool.map(int, ["1", "x"], progress=True)
    with pytest.raises(TypeError):
        pool.map(abs, 5, progress=True)  # type: ignore[arg-type]
    assert pool.map(abs, [], progress=True) == []


# The package ------------------------------------------------------------------------------------------------


def test_every_public_name_is_there() -> None:
    for name in parpool.__all__:
        assert getattr(parpool, name) is not None
        assert name in dir(parpool)
    with pytest.raises(AttributeError, match="no_such"):
        parpool.no_such  # type: ignore[attr-defined]  # noqa: B018
    assert parpool.TimeoutError is multiprocessing.TimeoutError
    assert parpool.AbortedTask is parpool.TaskAborted and parpool.UnmetDependencyError is parpool.UnmetDependency


@pytest.mark.parametrize("method", [None, *multiprocessing.get_all_start_methods()])
def test_get_context(method: str | None) -> None:
    context = parpool.get_context(method)
    assert context.get_start_method() == multiprocessing.get_context(method).get_start_method()
    assert isinstance(context, type(multiprocessing.get_context(method)))
    assert context.cpu_count() == multiprocessing.cpu_count()
    lock = context.Lock()
    with lock, context.Pool(1) as pool:
        assert isinstance(pool, Pool) and pool.apply(abs, (-1,)) == 1
        assert pool._ctx.get_start_method() == context.get_start_method()
    pool.join()


def test_get_context_of_what_is_none() -> None:
    with pytest.raises(ValueError, match="no_such"):
        parpool.get_context("no_such")


#: What the constructors of these take; the others take a text.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "RemoteError": ("a", "b"),
    "CompositeError": ("several", [("ValueError", "no", "", {"engine_id": 0, "method": "apply"})]),
}


def test_errors_can_be_pickled() -> None:
    import pickle

    for name in parpool.__all__:
        kind = getattr(parpool, name)
        if isinstance(kind, type) and issubclass(kind, parpool.ParpoolError):
            error = kind(*ARGUMENTS.get(name, ("text",)))
            again = pickle.loads(pickle.dumps(error))
            assert type(again) is kind and again.args == error.args and str(again) == str(error)
