"""The mission's rows of the old magics: W. The session of the document is in session_ipython1.txt."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("IPython")

import shells
from parpool.compat.ipython1 import client
from rows import Gate
from shells import shell

import parpool

__all__ = ["shell"]

ENGINES = 2
Typed = Callable[[str], str]


@pytest.fixture
def mec(rc: parpool.Client, shell: Any) -> client.MultiEngineClient:
    """The client that is active at the prompt."""
    mec = client.MultiEngineClient(rc)
    mec.activate()
    return mec


@pytest.fixture
def typed(shell: Any, mec: client.MultiEngineClient) -> Typed:
    """What the prompt prints for something that is typed."""
    shell.user_ns["mec"] = mec
    return lambda text: shells.typed(shell, text)


def numbers(text: str) -> str:
    """Without the numbers that the engines and the prompt have come to."""
    return re.sub(r"(In |Out ?)\[\d+\]", r"\1[n]", text)


def test_W1_the_client_that_was_activated_last_has_the_magics(mec: client.MultiEngineClient, typed: Typed) -> None:
    typed("%px a = 1")
    other = client.MultiEngineClient(mec.rc)
    other.targets = 0
    other.activate()
    typed("%px a = 2")
    assert mec["a"] == [2, 1]


def test_W2_px(typed: Typed, mec: client.MultiEngineClient) -> None:
    shown = typed("%px print(1 + 1)")
    assert numbers(shown) == (
        "Executing command on Controller\nOut[n]: \n<Results List>\n"
        "[0] In [n]: print(1 + 1)\n[0] Out[n]: 2\n\n[1] In [n]: print(1 + 1)\n[1] Out[n]: 2\n"
    )
    assert numbers(typed("%px x = '{y} $z'")).count("x = '{y} $z'") == 2 and mec["x"] == ["{y} $z"] * 2


def test_W3_without_the_percent_sign(typed: Typed) -> None:
    assert "Out[n]: 7" in numbers(typed("px print(3 + 4)"))


def test_W4_result(typed: Typed, mec: client.MultiEngineClient) -> None:
    shown = typed("px print(5)").partition("\n")[2]
    assert numbers(typed("%result")) == numbers(shown)
    number = mec.get_result()[0]["number"]
    typed("px pass")
    mec.targets = 0
    assert "print(5)" in typed(f"%result {number}") and "pass" in typed("%result")


def test_W5_autopx(typed: Typed, mec: client.MultiEngineClient, shell: Any) -> None:
    assert typed("%autopx") == "Auto Parallel Enabled\nType %autopx to disable\n"
    typed("exit_code = 3")
    assert mec["exit_code"] == [3, 3], "only exit itself is for the prompt"
    shown = typed("if True:\n    b = 5\nprint(b)")
    assert shown.startswith("<Results List>\n[0] In [") and mec["b"] == [5, 5] and "b" not in shell.user_ns
    assert typed("%autopx") == "Auto Parallel Disabled\n"
    typed("here = 1")
    assert shell.user_ns["here"] == 1 and all("here" not in names for names in mec.keys())
    typed("autopx")
    assert typed("autopx") == "Auto Parallel Disabled\n"


def test_W6_autopx_without_waiting(typed: Typed, mec: client.MultiEngineClient, gate: Gate) -> None:
    mec.push({"gate": gate})
    mec.block = False
    typed("%autopx")
    for code in ("gate.arrive()", "for i in range(3):\n    a = i\n"):
        assert re.fullmatch(r"<.+\.PendingResult object at 0x[0-9a-f]+>\n", typed(code))
    typed("%autopx")
    gate.open()
    mec.block = True
    assert mec["a"] == [2, 2]


def test_W7_block_and_targets(typed: Typed, mec: client.MultiEngineClient) -> None:
    mec.targets = [1]
    assert "[0]" not in typed("px print(1)")
    mec.block = False
    assert "PendingResult object" in typed("px c = 3")
    mec.block, mec.targets = True, "all"
    assert ["c" in names for names in mec.keys()] == [False, True]


def test_W8_cells(typed: Typed, mec: client.MultiEngineClient) -> None:
    typed("%%px\ny = [i**2 for i in range(3)]\nz = sum(y)")
    assert mec["z"] == [5, 5]


def test_errors_show_the_remote_tracebacks(typed: Typed) -> None:
    shown = typed("px 1/0")
    assert "CompositeError: one or more exceptions from call to method: execute" in shown
    assert shown.count("ZeroDivisionError: division by zero") == 2 and "site-packages" not in shown
