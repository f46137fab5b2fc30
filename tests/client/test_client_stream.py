"""imap: results as they come, from iterables of every kind, with no more read than asked for."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parpool import Pool, SerializationError, TaskAborted


def sleep_and_give(item: Any) -> Any:
    time.sleep(item if isinstance(item, float) else 0.01)
    return item


def raise_on_odd(item: int) -> int:
    if item % 2:
        raise ValueError(item)
    return item


def stop(item: object) -> None:
    raise StopIteration(item)


class Counted:
    """An iterator that knows how far it was read."""

    def __init__(self, length: int | None = None) -> None:
        self.read = 0
        self.length = length

    def __iter__(self) -> Counted:
        return self

    def __next__(self) -> int:
        if self.length is not None and self.read >= self.length:
            raise StopIteration
        self.read += 1
        return self.read - 1


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "parpool-reader"]


def no_readers(seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while readers() and time.monotonic() < deadline:
        time.sleep(0.005)
    return not readers()


# What comes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 2, 7, 100])
@pytest.mark.parametrize("length", [0, 1, 7, 200])
@pytest.mark.parametrize("make", [list, iter], ids=["list", "iterator"])
def test_everything_once(pool: Pool, make: Any, length: int, chunksize: int) -> None:
    expected = list(range(length))
    assert list(pool.imap(abs, make(range(length)), chunksize)) == expected
    assert sorted(pool.imap_unordered(abs, make(range(length)), chunksize)) == expected
    assert list(pool.imap(abs, make(range(length)), chunksize, retries=1)) == expected
    assert list(pool.imap(abs, make(range(length)), chunksize, task_timeout=60)) == expected


def test_many(pool: Pool) -> None:
    assert list(pool.imap(abs, range(20_000))) == list(range(20_000))
    assert sum(pool.imap_unordered(abs, Counted(20_000))) == sum(range(20_000))


def test_results_that_come_before_the_call_returns(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    really = threading.Thread.start

    def start_and_lose_the_processor(self: threading.Thread) -> None:
        really(self)
        if self.name == "parpool-reader":
            time.sleep(0.1)

    monkeypatch.setattr(threading.Thread, "start", start_and_lose_the_processor)
    for imap in (pool.imap, pool.imap_unordered):
        stream = imap(abs, Counted(20_000))
        assert sum(stream.next(5) for _ in range(20_000)) == sum(range(20_000))


def test_it_is_an_iterator(pool: Pool) -> None:
    stream = pool.imap(abs, [-1, -2])
    assert iter(stream) is stream
    assert next(stream) == 1 and stream.next() == 2
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(stream)


def test_next_with_a_timeout(pool: Pool) -> None:
    stream = pool.imap(sleep_and_give, iter([0.3, 0.0]))
    for timeout in (0, 0.01, -1):
        with pytest.raises(multiprocessing.TimeoutError):
            stream.next(timeout)
    assert stream.next(10) == 0.3
    assert stream.next(timeout=10) == 0.0
    with pytest.raises(StopIteration):
        stream.next(0)


def give_when_there(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.005)
    return path


def test_as_they_come(pool: Pool, tmp_path: Path) -> None:
    late, there = tmp_path / "late", str(tmp_path)
    stream = pool.imap_unordered(give_when_there, iter([str(late), there, there]), 1)
    assert [next(stream), next(stream)] == [there, there]
    late.touch()
    assert next(stream) == str(late)


def test_first_results_come_before_the_iterable_ends(pool: Pool) -> None:
    gate = threading.Event()

    def items() -> Iterator[int]:
        yield from range(3)
        assert gate.wait(20)
        yield 3

    stream = pool.imap(abs, items())
    assert [stream.next(10) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(multiprocessing.TimeoutError):
        stream.next(0.05)
    gate.set()
    assert stream.next(10) == 3
    assert list(stream) == []
    assert no_readers()


def test_errors_end_only_their_item(pool: Pool) -> None:
    for items in (range(6), Counted(6)):
        stream = pool.imap(raise_on_odd, items)
        got: list[Any] = []
        while True:
            try:
                got.append(next(stream))
            except StopIteration:
                break
            except ValueError as error:
                got.append(error.args)
        assert got == [0, (1,), 2, (3,), 4, (5,)]


def test_a_task_s_stop_iteration_is_not_the_end(pool: Pool) -> None:
    stream = pool.imap(stop, [1, 2])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="StopIteration"):
            next(stream)
    with pytest.raises(StopIteration):
        next(stream)


def test_errors_of_the_iterable(pool: Pool) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("the iterable")

    stream = pool.imap(abs, items())
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(LookupError, match="the iterable") as caught:
        next(stream)
    assert caught.value.__cause__ is None
    with pytest.raises(StopIteration):
        next(stream)
    chunks = pool.imap(abs, items(), 3)  # the half-filled one is dropped
    with pytest.raises(LookupError):
        next(chunks)
    assert no_readers()


def test_what_is_no_iterable(pool: Pool) -> None:
    stream = pool.imap(abs, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not iterable"):
        next(stream)


def test_items_that_cannot_travel(pool: Pool) -> None:
    for items in ([1, threading.Lock(), 3], iter([1, threading.Lock(), 3])):
        stream = pool.imap(sleep_and_give, items)
        assert next(stream) == 1
        with pytest.raises(SerializationError, match="lock"):
            next(stream)
        assert next(stream) == 3
        assert list(stream) == []


def test_a_function_that_cannot_travel(pool: Pool) -> None:
    lock = threading.Lock()
    with pytest.raises(SerializationError, match="lock"):
        list(pool.imap(lambda x: lock, [1]))


# How much is read ------------------------------------------------------------------------------------------


def test_an_endless_iterable() -> None:
    """Only a little more is read than the engines have asked for."""
    with Pool(2) as pool:
        counted = Counted()
        stream = pool.imap(sleep_and_give, counted)
        assert list(itertools.islice(stream, 20)) == list(range(20))
        time.sleep(0.2)
        assert counted.read < 300
    pool.join()
    assert no_readers()


def test_endless_and_quick() -> None:
    """As long as it runs it does not fill the memory: what was not taken bounds what is read."""
    with Pool(2) as pool:
        stream = pool.imap_unordered(abs, itertools.count(), buffersize=1000)
        assert len(list(itertools.islice(stream, 5000))) == 5000
    pool.join()
    assert no_readers()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("buffersize", [1, 2, 5, 50])
def test_buffersize(pool: Pool, buffersize: int, ordered: bool) -> None:
    """No more is read than that beyond what was taken, and less is never waited for in vain."""
    counted = Counted(200)
    imap = pool.imap if ordered else pool.imap_unordered
    taken = 0
    most = 0
    for value in imap(abs, counted, buffersize=buffersize):
        taken += 1
        most = max(most, counted.read - taken)
        if ordered:
            assert value == taken - 1
        if taken % 20 == 0:
            time.sleep(0.01)
            most = max(most, counted.read - taken)
    assert taken == 200
    assert most <= buffersize


def test_buffersize_is_filled(pool: Pool) -> None:
    counted = Counted(100)
    stream = pool.imap(abs, counted, buffersize=10)
    deadline = time.monotonic() + 5
    while counted.read < 10 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.1)
    assert counted.read == 10
    next(stream)
    deadline = time.monotonic() + 5
    while counted.read < 11 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert counted.read == 11
    assert len(list(stream)) == 99


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize(("chunksize", "buffersize"), [(10, 5), (10, 10), (10, 15), (3, 1), (1, 1), (7, 100)])
def test_buffersize_and_chunks(make: Any, chunksize: int, buffersize: int) -> None:
    with Pool(2) as pool:
        for stream in (
            pool.imap(abs, make(range(35)), chunksize, buffersize=buffersize),
            pool.imap_unordered(abs, make(range(35)), chunksize, buffersize=buffersize),
        ):
            got: list[int] = []
            thread = threading.Thread(target=lambda: got.extend(stream), daemon=True)  # noqa: B023
            thread.start()
            thread.join(5)
            hangs = thread.is_alive()
            if hangs:
                pool.terminate()
                thread.join()
            assert not hangs, f"it hangs after {got}"
            assert sorted(got) == list(range(35))
    pool.join()


def test_buffersize_of_a_list(pool: Pool) -> None:
    for buffersize in (1, 3, 1000):
        assert list(pool.imap(abs, list(range(50)), buffersize=buffersize)) == list(range(50))


# Others go on meanwhile ---------------------------------------------------------------------------------------


def test_a_slow_iterable_blocks_nobody(pool: Pool) -> None:
    gate = threading.Event()

    def slow() -> Iterator[int]:
        assert gate.wait(20)
        yield 1

    stream = pool.imap(abs, slow())
    assert pool.apply(abs, (-1,)) == 1
    assert pool.map(abs, [-1, -2]) == [1, 2]
    assert list(pool.imap(abs, iter([-3]))) == [3]
    gate.set()
    assert list(stream) == [1]


def test_several_streams_at_once(pool: Pool) -> None:
    streams = [pool.imap(abs, Counted(100)) for _ in range(5)]
    assert [list(values) for values in zip(*streams, strict=True)] == [[i] * 5 for i in range(100)]


def test_an_iterable_that_uses_the_pool(pool: Pool) -> None:
    def items() -> Iterator[int]:
        for number in range(5):
            yield pool.apply(abs, (-number,))

    assert list(pool.imap(abs, items())) == [0, 1, 2, 3, 4]
    assert list(pool.imap(abs, pool.imap(abs, range(-5, 0)))) == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("ordered", [True, False])
def test_many_threads_take_from_one_stream(ordered: bool) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with Pool(2) as pool:
            for _ in range(3):
                stream = (pool.imap if ordered else pool.imap_unordered)(abs, range(1500))
                got: list[int] = []

                def take() -> None:
                    try:
                        got.extend(stream)  # noqa: B023
                    except TaskAborted:  # it hung, until the pool was ended
                        pass

                threads = [threading.Thread(target=take, daemon=True) for _ in range(4)]
                for thread in threads:
                    thread.start()
                deadline = time.monotonic() + 5
                for thread in threads:
                    thread.join(max(0, deadline - time.monotonic()))
                hang = [thread for thread in threads if thread.is_alive()]
                if hang:
                    pool.terminate()
                assert not hang, f"{len(hang)} threads wait for ever, with {len(got)} of 1500 taken"
                assert sorted(got) == list(range(1500))
        pool.join()
    finally:
        sys.setswitchinterval(interval)


# Ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [itertools.count, lambda: range(1_000_000)])
def test_close_reads_no_further(source: Any) -> None:
    with Pool(2) as pool:
        stream = pool.imap(abs, source(), buffersize=5)
        assert [next(stream) for _ in range(3)] == [0, 1, 2]
        stream.close()
        rest = list(stream)
        assert rest == list(range(3, 3 + len(rest))) and len(rest) <= 5
        assert no_readers()
        stream.close()
        assert list(stream) == [] and pool.apply(abs, (-1,)) == 1
    pool.join()


def test_terminate_ends_the_readers() -> None:
    pool = Pool(2)
    streams = [pool.imap(abs, itertools.count(), buffersize=5), pool.imap(sleep_and_give, itertools.count())]
    assert next(streams[0]) == 0
    assert readers()
    pool.terminate()
    pool.join()
    assert no_readers()
    with pytest.raises((TaskAborted, StopIteration, ValueError)):
        for _ in range(100_000):
            next(streams[1])


def test_terminate_while_another_thread_takes() -> None:
    pool = Pool(2)
    ends: list[Any] = []

    def take() -> None:
        try:
            for _ in pool.imap(sleep_and_give, itertools.count()):
                pass
            ends.append("end")
        except Exception as error:
            ends.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    time.sleep(0.2)
    pool.terminate()
    thread.join(5)
    assert not thread.is_alive()
    assert len(ends) == 1
    pool.join()


@pytest.mark.timeout(30)
def test_terminate_while_the_iterable_is_stuck() -> None:
    gate = threading.Event()

    def stuck() -> Iterator[int]:
        yield 1
        gate.wait()

    pool = Pool(1)
    stream = pool.imap(abs, stuck())
    assert next(stream) == 1
    pool.terminate()
    pool.join()
    gate.set()
    assert no_readers()


def test_close_lets_streams_end() -> None:
    pool = Pool(2)
    stream = pool.imap(sleep_and_give, (0.01 for _ in range(20)))
    pool.close()
    assert list(stream) == [0.01] * 20
    pool.join()
    assert no_readers()


def test_a_forgotten_stream_lets_the_pool_end() -> None:
    with Pool(2) as pool:
        for _ in range(5):
            pool.imap(abs, iter(range(100)))
        assert pool.apply(abs, (-1,)) == 1
    pool.join()
    assert no_readers()


# Items that change ----------------------------------------------------------------------------------


def first(row: list[int]) -> int:
    return row[0]


def raise_first(row: list[int]) -> int:
    row[0] += 1
    return row[0]


def one_buffer(count: int) -> Iterator[list[int]]:
    """Gives the same list again and again, each time with other content."""
    row = [0]
    for number in range(count):
        row[0] = number
        yield row


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_an_iterable_that_uses_its_buffer_again(pool: Pool, method: str) -> None:
    """By contract an item is pickled before the next one is read."""
    assert sorted(getattr(pool, method)(first, one_buffer(500))) == list(range(500))
    view = pool.client.load_balanced_view()
    assert list(view.imap(first, one_buffer(100))) == list(range(100))


@pytest.mark.parametrize("items", [list, iter, tuple], ids=["list", "iterator", "tuple"])
def test_items_of_imap_do_not_share_what_they_hold(pool: Pool, items: Any) -> None:
    one = [0]
    assert list(pool.imap(raise_first, items([one] * 50))) == [1] * 50
    assert list(pool.imap(len, items([(1, one)] * 50))) == [2] * 50


def test_plain_items_before_others(pool: Pool) -> None:
    mixed: list[Any] = [*range(30), [1], *range(30), (1, [2]), (3, "x"), None, b""]
    assert list(pool.imap(repr, iter(mixed))) == list(map(repr, mixed))
    assert sorted(pool.imap_unordered(repr, mixed)) == sorted(map(repr, mixed))


def test_an_endless_iterable_of_such_items_is_not_read_ahead_for_ever() -> None:
    read = 0

    def endless() -> Iterator[list[int]]:
        nonlocal read
        while True:
            read += 1
            yield [read]

    with Pool(2) as pool:
        results = pool.imap(first, endless(), buffersize=40)
        assert [next(results) for _ in range(100)] == list(range(1, 101))
        assert read <= 141
        assert next(pool.imap(first, endless())) > 0
        assert read < 10_000


@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered", "starmap"])
def test_an_error_tells_the_place_in_the_whole(pool: Pool, method: str) -> None:
    items: list[Any] = [(number,) for number in range(1000)] if method == "starmap" else list(range(1000))
    items[700] = (threading.Lock(),) if method == "starmap" else threading.Lock()
    with pytest.raises(TypeError, match=r"at \[700\]"):
        list(getattr(pool, method)(str, items))
