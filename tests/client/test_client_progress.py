"""Bars, ours and those that users put around what calls give."""

from __future__ import annotations

import builtins
import io
import operator
import os
import re
import struct
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress, track
from tqdm import tqdm

from parpool import Client, CompositeError, Pool
from parpool.client import progress
from parpool.client.progress import progress_bar


class Terminal(io.StringIO):
    """A file that says it is one."""

    def isatty(self) -> bool:
        return True


def plain(text: str) -> str:
    """Without the codes of terminals."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


# Ours -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [True, "tqdm", "rich", "text"])
@pytest.mark.parametrize("file", [io.StringIO, Terminal])
def test_each_kind_says_how_many_of_how_many(kind: Any, file: Any) -> None:
    shown = file()
    bar = progress_bar(10, kind, shown)
    for _ in range(5):
        bar.update(2)
    assert bar.n == 10
    bar.close()
    bar.close()
    last = plain(shown.getvalue()).replace("\r", "\n").strip().splitlines()[-1]
    assert re.search(r"10/10|10 of 10", last), shown.getvalue()


@pytest.mark.parametrize("kind", ["tqdm", "rich", "text"])
def test_without_a_total(kind: str) -> None:
    shown = io.StringIO()
    bar = progress_bar(None, kind, shown)
    bar.update(7)
    bar.close()
    assert "7" in plain(shown.getvalue())


def test_text_in_a_terminal_is_written_anew_and_in_a_file_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    terminal, file = Terminal(), io.StringIO()
    bars = [progress_bar(3, "text", each) for each in (terminal, file)]
    for step in (0.0, 2 * progress.EVERY, progress.SELDOM):
        now[0] += step
        for bar in bars:
            bar.update(1)
    for bar in bars:
        bar.close()
    assert terminal.getvalue() == "\r2 of 3\r3 of 3\r3 of 3\n" and file.getvalue() == "3 of 3\n3 of 3\n"


def test_what_is_not_installed_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    real, absent = builtins.__import__, {"tqdm"}

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in absent:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert type(progress_bar(1, True, io.StringIO())) is progress._Rich
    absent.add("rich")
    assert type(progress_bar(1, True, io.StringIO())) is progress._Text
    with pytest.raises(ImportError):
        progress_bar(1, "rich")


def test_kinds_that_cannot_be_meant(pool: Pool) -> None:
    assert progress_bar(1, False) is None and progress_bar(1, None) is None
    with pytest.raises(ValueError, match="progress is True, False, 'tqdm', 'rich', 'text', and not 'slow'"):
        pool.map(abs, [1], progress="slow")
    for wrong in (2, 2.5, tqdm):
        with pytest.raises(ValueError, match="progress is True"):
            pool.map(abs, [1], progress=wrong)


def test_of_maps_and_of_results(pool: Pool, rc: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, said in (("text", "6 of 6"), ("rich", "6/6"), ("tqdm", "6/6")):
        monkeypatch.setattr(sys, "stderr", shown := io.StringIO())
        assert pool.map(abs, range(6), progress=kind) == list(range(6))
        assert list(pool.imap(abs, range(6), progress=kind)) == list(range(6))
        assert rc.load_balanced_view().map_sync(abs, range(6), progress=kind) == list(range(6))
        assert list(rc.load_balanced_view().imap(pow, range(6), [1] * 9, progress=kind)) == list(range(6))
        result = rc.load_balanced_view().map_async(abs, range(6))
        assert result.wait_interactive(0.01, 20, bar=kind)
        assert plain(shown.getvalue()).count(said) >= 5


@pytest.mark.parametrize("targets", [slice(None), 0])
def test_bars_of_a_direct_view_count_the_items_of_parts(
    rc: Client, monkeypatch: pytest.MonkeyPatch, targets: Any
) -> None:
    monkeypatch.setattr(sys, "stderr", shown := io.StringIO())
    assert rc[targets].map_sync(abs, range(6), progress="text") == list(range(6))
    assert list(rc[targets].imap(abs, range(6), progress="tqdm")) == list(range(6))
    result = rc[targets].map_async(abs, [-1, "x"], dist="r", progress="rich")
    with pytest.raises((TypeError, CompositeError)):
        result.get()
    assert rc[targets].map_sync(abs, [], progress="text") == []
    said = plain(shown.getvalue())
    assert "6 of 6\n" in said and "6/6" in said and "2/2" in said and said.endswith("0 of 0\n")
    with pytest.raises(ValueError, match="progress is"):
        rc[targets].map_async(abs, range(6), progress="slow")


def test_bars_of_imap_with_flags_and_without_a_length(rc: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", shown := io.StringIO())
    values = rc.load_balanced_view().imap(abs, iter(range(6)), targets=[0], chunksize=2, progress="text")
    assert list(values) == list(range(6)) and shown.getvalue() == "6\n"


def test_where_there_is_no_stderr(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    for kind in (True, "tqdm", "rich", "text"):
        assert pool.map(abs, range(6), progress=kind) == list(range(6))
        assert list(pool.imap(abs, range(6), progress=kind)) == list(range(6))


@pytest.fixture(autouse=True)
def no_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm's own thread stays until the interpreter ends."""
    monkeypatch.setattr(tqdm, "monitor_interval", 0)


# Others' ----------------------------------------------------------------------------------------------


class Broken(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    flush: Any = lambda self: self.write("")


@pytest.mark.parametrize("kind", ["tqdm", "rich", "text"])
def test_where_stderr_cannot_be_written_to(kind: str, pool: Pool, rc: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map ends all the same, also the next one, whoever drives."""
    monkeypatch.setattr("sys.stderr", Broken())
    monkeypatch.setattr(progress, "SELDOM", 0.0)
    for _ in range(2):
        assert pool.map_async(abs, range(5), chunksize=1, progress=kind).get(60) == list(range(5))
        assert list(pool.imap(abs, range(5), progress=kind)) == list(range(5))
        assert rc[:].map(abs, range(5), progress=kind).get(60) == list(range(5))


def test_a_bar_is_as_wide_as_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    screen, keyboard = os.openpty()
    fcntl.ioctl(keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 61, 0, 0))
    with open(keyboard, "w") as stderr, open(screen, "rb", 0) as shown:
        monkeypatch.setattr("sys.stderr", stderr)
        bar = progress_bar(10, "tqdm")
        bar.update(10)
        bar.close()
        lines = shown.read(10_000).decode().strip().split("\r")
    assert {len(line.rstrip()) for line in lines if "10/10" in line} <= {60, 61}, lines


def test_tqdm_around_imap_and_results(pool: Pool, rc: Client) -> None:
    shown = io.StringIO()
    assert list(tqdm(pool.imap(abs, range(9)), total=9, file=shown)) == list(range(9))
    assert sorted(tqdm(pool.imap_unordered(abs, range(9), 2), total=9, file=shown)) == list(range(9))
    for result in (pool.map_async(abs, range(9)), rc.load_balanced_view().map_async(abs, range(9))):
        bar = tqdm(result, file=shown)
        assert bar.total == 9 and list(bar) == list(range(9))
    bar = tqdm(rc[:].apply_async(abs, -1), file=shown)
    assert bar.total == 2 and list(bar) == [1, 1]
    assert shown.getvalue().count("100%") >= 5


def test_rich_around_imap_and_results_knows_how_many(pool: Pool, rc: Client) -> None:
    console = Console(file=io.StringIO())
    for things in (
        pool.imap(abs, range(9)),
        pool.imap_unordered(abs, set(range(9))),
        pool.map_async(abs, range(9)),
        rc.load_balanced_view().map_async(abs, range(9)),
        rc.load_balanced_view().imap(abs, range(9)),
    ):
        with Progress(console=console, auto_refresh=False) as shown:
            assert sorted(shown.track(things)) == list(range(9))
            assert [(task.total, task.completed) for task in shown.tasks] == [(9, 9)]
    assert sum(track(pool.imap(abs, range(4)), console=console, disable=True)) == 6


class Odd:
    """An iterable whose length cannot be had."""

    def __len__(self) -> int:
        raise RuntimeError("not now")

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])


def test_how_many_are_still_to_come(pool: Pool) -> None:
    results = pool.imap(abs, [1, 2, 3])
    hints = [operator.length_hint(results, -1)]
    for _ in results:
        hints.append(operator.length_hint(results, -1))
    assert hints == [3, 2, 1, 0]
    results = pool.imap(abs, {1: 2, 3: 4})
    assert operator.length_hint(results, -1) == 2 and list(results) == [1, 3] and not operator.length_hint(results)
    for unknown in (iter([1, 2]), Odd()):
        results = pool.imap(abs, unknown)
        assert operator.length_hint(results, -1) in (-1, 2)  # 2 where all has been read
        assert list(results) == [1, 2]
