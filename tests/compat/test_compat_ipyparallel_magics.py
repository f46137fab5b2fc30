"""parpool.compat.ipyparallel: its magics at a real IPython prompt."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("IPython")

import parpool.compat.ipyparallel as ipp
import shells
from rows import PATIENCE, Gate
from shells import shell

import parpool

__all__ = ["shell"]

Typed = Callable[[str], str]


@pytest.fixture
def view(engines: parpool.Client, shell: Any) -> ipp.DirectView:
    engines.clear()
    return ipp.Client(engines).activate()


@pytest.fixture
def typed(shell: Any, view: ipp.DirectView) -> Typed:
    return lambda text: shells.typed(shell, text)


def test_a_client_brings_them_along(engines: parpool.Client, shell: Any) -> None:
    rc = ipp.Client(engines)
    assert "px" in shell.magics_manager.magics["line"] and "px" in shell.magics_manager.magics["cell"]
    view = rc.activate(-1, "_last")
    assert view.targets == 1 and view.block
    assert shells.typed(shell, "%px_last 1 + 1").startswith("Out[1:")


def test_px_shows_what_comes_of_it(typed: Typed, view: ipp.DirectView) -> None:
    lines = typed("%px print('hello'); 5").splitlines()
    assert sorted(lines[:4]) == ["[stdout:0] ", "[stdout:1] ", "hello", "hello"]
    assert [line.partition(":")[0] for line in lines[4:]] == ["Out[0", "Out[1"]
    assert typed('%px y = f"{1}"') == "" and view["y"] == ["1", "1"]
    for options in ("--block --group-outputs engine", "-b -e"):
        assert typed(f"%%px {options} --no-stream\nprint(7)") == "[stdout:0] \n7\n[stdout:1] \n7\n"


def test_without_waiting(typed: Typed, view: ipp.DirectView, shell: Any, gate: Gate) -> None:
    view["gate"] = gate
    shell.user_ns["name"] = "kept"
    typed("%%px --noblock -o {name}\ngate.arrive()\n6")
    assert isinstance(shell.user_ns["kept"], ipp.AsyncResult) and not shell.user_ns["kept"].ready()
    gate.open()
    assert typed("%pxresult").count(": 6") == typed("%pxresult -r -o again").count(": 6") == 2
    assert shell.user_ns["again"] is shell.user_ns["kept"]
    view.block = False
    assert "<AsyncResult(execute):" in typed("%px 1")


def test_pxresult_without_a_result(typed: Typed) -> None:
    assert "No previous result" in typed("%pxresult")


def test_autopx(typed: Typed, view: ipp.DirectView, shell: Any) -> None:
    assert typed("%autopx") == "%autopx enabled\n"
    assert typed("a = 5\na").count(": 5") == 2 and "a" not in shell.user_ns
    assert "ZeroDivisionError" in typed("1/0")
    assert typed("%autopx") == "%autopx disabled\n"
    typed("%autopx")
    view.activate()
    typed("b = 5")
    assert shell.user_ns["b"] == 5, "who is activated begins anew"


def test_pxconfig(typed: Typed, view: ipp.DirectView) -> None:
    for word, targets in ((":", [0, 1]), ("::2", [0]), ("1", 1), ("0,1", [0, 1]), ("all", "all")):
        typed(f"%pxconfig --targets {word}")
        assert view.targets == targets
    typed("%pxconfig --noblock --verbose")
    assert not view.block and typed("%px 1").startswith("Async parallel execution on engine(s): all")
    assert typed("%%px --block -t 0 --no-stream\n1").startswith("Parallel execution on engine(s): 0\nOut[0:")
    assert "without spaces" in typed("%pxconfig --targets x") and not view.block


def test_here_as_well(typed: Typed, view: ipp.DirectView, shell: Any) -> None:
    typed("%%px --local\nc = 3")
    assert shell.user_ns["c"] == 3 and view["c"] == [3, 3]


def test_errors(typed: Typed, shell: Any) -> None:
    shown = typed("%px 1/0")
    assert shown.count("ZeroDivisionError: division by zero") == 2 and "2 errors" in shown
    with pytest.raises(ipp.CompositeError):
        shell.run_cell_magic("px", "--no-stream", "1/0")
    with pytest.raises(ipp.error.AlreadyDisplayedError):
        shell.run_cell_magic("px", "--stream", "1/0")


def test_an_interrupt_goes_to_the_engines(typed: Typed, view: ipp.DirectView, shell: Any, gate: Gate) -> None:
    view["gate"] = gate
    view.scatter("rank", [0, 1], flatten=True)

    def interrupt() -> None:
        gate.await_one(0)
        gate.await_one(1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    shown = typed("%px gate.arrive(rank)")
    thread.join()
    assert "Received Keyboard Interrupt. Sending signal SIGINT to engines..." in shown
    with pytest.raises(ipp.RemoteError) as caught:
        view.client.get_result(-1).get(PATIENCE)
    assert caught.value.ename == "KeyboardInterrupt"
