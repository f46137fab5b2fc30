"""What all launchers share: surroundings, names, and words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from parpool.launch.launcher import Names, Site, State, chosen, describe, last_words, multiplied, numbered


def test_states() -> None:
    assert [State("ended").ended, State("running").ended, State("queued").ended] == [True, False, False]
    assert (str(State("queued")), str(State("queued", "for long"))) == ("queued", "for long")


def test_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    site = Site(tmp_path, files={"connection_file": Path("a b.json"), "other": Path("/c")})
    argv = ["{python}", "--file={connection_file}", "{other}{other}", "{unknown} {", "connection_file"]
    filled = [f"--file={tmp_path}/a b.json", "/c/c", "{unknown} {", "connection_file"]
    assert site.fill(argv) == [sys.executable, *filled]
    assert site.fill(argv, python="py", other="x") == ["py", filled[0], "xx", *filled[2:]]


def test_log_folders_are_private(tmp_path: Path) -> None:
    assert Site(tmp_path / "a" / "b").log("name") == tmp_path / "a" / "b" / "name.log"
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_names() -> None:
    names = Names("x-y")
    assert names.new(2) == ["x-y-0", "x-y-1"]
    names.used(["x-y-7", "x-y-3", "strange", "x-y"])
    assert names.new(1) == ["x-y-8"]
    with pytest.raises(ValueError, match="must be 1 or more, not 0"):
        names.new(0)
    assert names.new(1) == ["x-y-9"]


def test_numbered() -> None:
    argv = ["run", "{number}", "a{number}"]
    assert numbered(argv, "engine-12") == ["run", "12", "a{number}"]
    assert numbered(argv, "engine-3@ann@host-7") == ["run", "3", "a{number}"]
    assert numbered(["{together}", "{number}"], "engine-3", 7) == ["7", "3"]
    assert numbered(["{together}"], "engine-3") == ["{together}"]


def test_chosen() -> None:
    assert chosen(None, ["a", "b"]) == ["a", "b"]
    assert chosen(iter(["b", "b"]), ["a", "b"]) == ["b"]
    assert chosen([], ["a"]) == []
    with pytest.raises(KeyError, match="there is no process 'c'; there are: a, b"):
        chosen(["a", "c"], ["a", "b"])
    with pytest.raises(KeyError, match="there are: none"):
        chosen(["a"], [])


def test_multiplied() -> None:
    assert multiplied("srun --ntasks={n} 'a b'", ["x", "{n}"], 3) == ["srun", "--ntasks=3", "a b", "x", "{n}"]
    assert multiplied(lambda argv, n: [*argv] * n, ["x"], 2) == ["x", "x"]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (None, "is gone"),
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-9, "was killed by SIGKILL (kill -9, or the kernel when memory runs out)"),
        (-11, "was killed by SIGSEGV (a segmentation fault in native code)"),
        (-15, "was killed by SIGTERM"),
        (-6, "was killed by SIGABRT"),
        (-63, "was killed by signal 63"),
    ],
)
def test_describe(code: int | None, text: str) -> None:
    assert describe(code) == text


def test_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_words(log) == ""
    log.write_bytes(b"old\n")
    assert last_words(log) == "old" and last_words(log, 4) == ""
    log.write_bytes(b"old\nTraceback:\n  x\nValueError: \xff y\r\n\n-----\n  ^^^\n")
    assert last_words(log, 4) == "ValueError: \ufffd y"
    log.write_bytes(b"far\n" + b"x" * 5000 + b"\n")
    assert last_words(log) == "x" * 1999
    log.write_bytes(b"anew\n")
    assert last_words(log, 4000) == "anew", "the log was begun anew meanwhile"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("INFO engine engine-1, pid 7, is to serve ipc://x", ""),
        ("WARNING client 7 is lost", ""),
        ("ERROR no controller for 5 s: engine engine-1 ends", "no controller for 5 s: engine engine-1 ends"),
        ("INFO engine engine-1 ends: SIGTERM has come", "engine engine-1 ends: SIGTERM has come"),
    ],
)
def test_last_words_of_our_own_logs(tmp_path: Path, line: str, words: str) -> None:
    log = tmp_path / "log"
    log.write_text(f"a word before\n2026-11-21 15:26:17 18770 {line}\n")
    assert last_words(log) == words
    log.write_text(f"a word before\n2026-11-21 15:26:17,123 18770 {line}\n\n")
    assert last_words(log) == words
