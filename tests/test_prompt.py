"""A real IPython in a real terminal: what is typed there for engines, with all keys."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("IPython")
pexpect = pytest.importorskip("pexpect")

PATIENCE = 30

pytestmark = pytest.mark.timeout(4 * PATIENCE)


class Terminal:
    """A terminal with IPython in it."""

    def __init__(self, folder: Path) -> None:
        environment = os.environ | {
            "IPYTHONDIR": str(folder / "ipython"),
            "PARPOOL_DIR": str(folder / "data"),
            "PROMPT_TOOLKIT_NO_CPR": "1",  # nobody would answer where the cursor is
            "TERM": "xterm",
        }
        arguments = ["-m", "IPython", "--no-banner", "--colors=nocolor", "--no-confirm-exit", "--no-term-title"]
        arguments += ["--HistoryManager.enabled=False", "--TerminalInteractiveShell.autosuggestions_provider=None"]
        arguments += ["--InteractiveShellApp.exec_lines=begun = 'here'"]  # as in a start-up file
        self.child: Any = pexpect.spawn(
            sys.executable,
            arguments,
            env=environment,
            cwd=str(folder),
            encoding="utf-8",
            timeout=PATIENCE,
            dimensions=(60, 200),
        )
        self.number = 1

    def prompt(self) -> str:
        """Wait for the next prompt; gives what came before it, as text."""
        self.child.expect(rf"In \[{self.number}\]:")
        self.number += 1
        return text_of(self.child.before)

    def type(self, line: str) -> str:
        """Type a line; gives what comes of it."""
        self.child.sendline(line)
        drawn = f"In [{self.number - 1}]: {line}"  # once more, when it is taken
        return self.prompt().rpartition(drawn)[2]

    def until(self, pattern: str) -> None:
        """Wait for something to be shown."""
        self.child.expect(pattern)

    def end(self) -> None:
        """Leave."""
        self.child.sendline("exit")
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus == 0


def text_of(shown: str) -> str:
    """Without what moves the cursor and the like."""
    return re.sub(r"\x1b(\[[0-9;?]*[a-zA-Z]|[=>]|\][^\x07]*\x07)", "", shown).replace("\r", "")


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    try:
        terminal.prompt()
        yield terminal
        terminal.end()
    finally:
        terminal.child.close(force=True)


@pytest.fixture
def terminal(bare: Terminal) -> Terminal:
    """With two engines that have shells, and are forked from the one here."""
    bare.type("from parpool import Pool; rc = Pool(2, ipython=True).client; view = rc[:]; view.block = True")
    bare.type("view.activate(); view.push({'alpha_one': 1, 'alphabet': {'key_of_it': 2}}); rc.ids")
    return bare


def test_without_engines_the_magics_say_what_to_do(bare: Terminal) -> None:
    assert "not found" in bare.type("%px 1")
    assert bare.type("%load_ext parpool").strip() == ""
    for line in ("%px 1", "%autopx", "%pxresult", "%pxconfig"):
        shown = bare.type(line)
        assert "UsageError: %px" in shown or "UsageError: %autopx" in shown
        assert "view.activate()" in shown and "view = parpool.Pool().client[:]" in shown.replace("\n", "")


def test_engines_that_are_forked_from_the_prompt_have_no_part_in_it(bare: Terminal) -> None:
    bare.type("typed = 1; typed")
    bare.type("from parpool import Pool; rc = Pool(1).client; one = rc[0]; one.block = True; one.activate()")
    assert "['Pool', 'begun', 'typed']" in bare.type("one.keys()")
    assert "[stdout:0] 5" in bare.type("%px display(5)"), "and not here"
    for name in ("In", "Out", "_", "_1", "_i"):
        shown = bare.type(f"%px {name}")
        assert f"NameError: name '{name}' is not defined" in shown and ("ipython=True" in shown) is (name[0] != "_")
    assert "SystemExit" in bare.type("%px exit()"), "Python's own"
    assert "<built-in function open>" in bare.type("%px open")
    assert "'here there'" in bare.type("one.apply_sync(lambda: begun + ' there')"), "the user's names are the engine's"
    bare.type("def shout(): get_ipython().system('exit 3'); return get_ipython().getoutput('echo by a shell')\n")
    assert "['by a shell']" in bare.type("one.apply_sync(shout)"), "as functions with !commands call it"
    assert "['Pool', 'begun', 'typed']" in bare.type("one.keys()")
    assert "get_ipython" in bare.type("In, get_ipython"), "and nothing is gone here"


def test_the_tab_key(terminal: Terminal) -> None:
    def complete(typed: str, rest: str) -> None:
        terminal.child.send(f"{typed}\t")
        terminal.until(rest)  # which may be all that is drawn

    complete("%px alpha_", "one")
    assert "Out[0:1]: 6\nOut[1:1]: 6" in terminal.type(" + 5")
    complete("rc[0]['alphab", "et")
    assert "{'key_of_it': 2}" in terminal.type("']")
    complete("%px alphabet['key", "_of_it")
    assert "Out[1:2]: 2" in terminal.type("']")


def test_output_is_shown_while_the_engines_run(terminal: Terminal, tmp_path: Path) -> None:
    go = tmp_path / "go"
    terminal.type(f"view['go'] = {str(go)!r}")
    terminal.child.sendline(
        "%px import os, time; print('beg' + 'un'); exec('while not os.path.exists(go): time.sleep(0.01)'); 5"
    )
    seen = set()
    while len(seen) < 2:
        terminal.until(r"\[stdout:(\d)\] begun")
        seen.add(terminal.child.match[1])
    go.touch()
    assert "Out[0:1]: 5\nOut[1:1]: 5" in terminal.prompt()


@pytest.mark.parametrize("sleep", ["import time; time.sleep(600)", "!sleep 600"])
def test_ctrl_c_ends_the_wait_and_not_the_engines(terminal: Terminal, sleep: str) -> None:
    terminal.type("%px print('here')")
    terminal.child.sendline(
        f"%px print('asl' + 'eep'); {sleep}" if "!" not in sleep else "%px !echo asl''eep; sleep 600"
    )
    for _ in range(2):
        terminal.until(r"\[stdout:\d\] asleep")
    terminal.child.sendintr()
    assert "KeyboardInterrupt: the engines go on: %pxresult waits for them again" in terminal.prompt()
    assert "'tasks': 1" in terminal.type("rc.queue_status()[0]")
    terminal.type("rc.interrupt()")
    shown = terminal.type("%pxresult")
    assert shown.count("[stdout:") == 2 and "[0:execute]" in shown and "[1:execute]" in shown
    assert "KeyboardInterrupt" in shown
    assert "Out[0:3]: 7" in terminal.type("%px 7")


def test_ctrl_c_that_interrupts_the_engines(terminal: Terminal) -> None:
    terminal.type("%pxconfig --signal-on-interrupt SIGINT")
    terminal.child.sendline("%px import time; print('asl' + 'eep'); time.sleep(600)")
    for _ in range(2):
        terminal.until(r"\[stdout:\d\] asleep")
    terminal.child.sendintr()
    terminal.until("Received Keyboard Interrupt. Sending signal SIGINT to engines...")
    shown = terminal.prompt()
    assert "[0:execute]" in shown and "[1:execute]" in shown and "time.sleep(600)" in shown
    assert "asleep" not in shown and "engine.py" not in shown
    assert "Out[0:2]: 7" in terminal.type("%px 7")


def test_autopx_goes_on_after_errors(terminal: Terminal) -> None:
    assert "Auto Parallel Enabled\nType %autopx to disable" in terminal.type("%autopx")
    assert "Out[1:1]: 'typed'" in terminal.type("x = 'typed'; x")
    shown = terminal.type("x / 0")
    assert shown.count("TypeError: unsupported operand") == 2 and "magics.py" not in shown
    assert "SyntaxError" in terminal.type("x = = 1")
    assert "here" in terminal.type("!echo he''re")
    assert "[stdout:0] typed" in terminal.type("print(x)")
    assert "Auto Parallel Disabled" in terminal.type("%autopx")
    assert "NameError: name 'x'" in terminal.type("x")
    assert "'typed', 'typed'" in terminal.type("view['x']")
