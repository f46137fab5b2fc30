"""Copies by one thread, and by two."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from senders import put, segments, session

from parpool.shm import copying
from parpool.shm.copying import copy
from parpool.shm.segments import Segments

__all__ = ["segments", "session"]

DATA = bytes(range(256)) * 40


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is large."""
    pytest.importorskip("numpy")
    monkeypatch.setattr(copying, "TWIN", 1024)
    monkeypatch.setattr(copying, "PIECE", 256)


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Those that were made."""
    made: list[threading.Thread] = []

    class Helper(threading.Thread):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr(copying.threading, "Thread", Helper)
    return made


def copied(source: bytes, twin: bool = True) -> bytes:
    target = bytearray(len(source) + 2)
    copy(memoryview(target)[1:-1], memoryview(source), twin)
    assert target[0] == target[-1] == 0
    return bytes(target[1:-1])


@given(size=st.integers(0, 3000), twin=st.booleans())
def test_any_size(size: int, twin: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "TWIN", 1024)
        patch.setattr(copying, "PIECE", 256)
        assert copied(DATA[:size], twin) == DATA[:size]


def test_a_second_thread_helps_and_has_ended(small: None, helpers: list[threading.Thread]) -> None:
    assert copied(DATA) == DATA
    assert len(helpers) == 1 and not helpers[0].is_alive()
    assert copied(DATA[:1000]) == DATA[:1000] and copied(DATA, twin=False) == DATA
    assert len(helpers) == 1


def test_without_numpy(small: None, helpers: list[threading.Thread], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy")
    assert copied(DATA) == DATA and not helpers


def test_no_thread_is_to_be_had(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert copied(DATA) == DATA


def test_ctrl_c_waits_for_the_other_thread(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it wrote later would be in the memory of something else."""
    ours, goes_on, seen = copying._copy_array, threading.Event(), []

    def copy_array(numpy: Any, target: Any, source: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        assert goes_on.wait(10)
        ours(numpy, target, source)

    class Helper(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            if not seen:  # Ctrl-C once more
                seen.append(self)
                raise KeyboardInterrupt
            goes_on.set()
            super().join(timeout)

    monkeypatch.setattr(copying, "_copy_array", copy_array)
    monkeypatch.setattr(copying.threading, "Thread", Helper)
    with pytest.raises(KeyboardInterrupt):
        copied(DATA)
    assert not seen[0].is_alive()


@pytest.mark.parametrize("busy", [False, True])
def test_who_has_something_else_to_do_has_no_help(
    small: None, helpers: list[threading.Thread], segments: Segments, busy: bool
) -> None:
    segments._twin, segments.busy = True, lambda: busy
    for _ in range(2):  # the first time by the system, as the memory is new
        hold, (_, slot, generation, size) = put(segments, DATA)
        assert segments._regions[0].copy(slot, generation, size) == DATA
        del hold
    assert len(segments._regions) == 1 and len(helpers) == (not busy)
