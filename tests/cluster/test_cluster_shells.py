"""Clusters whose engines host IPython shells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("IPython")

from click.testing import CliRunner

from parpool import Cluster, RemoteError
from parpool.cli import commands

PATIENCE = 30.0
Until = Callable[..., Any]


def test_its_engines_take_what_is_ipythons_own(folder: Path, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    with Cluster(n=1, ipython=True) as rc:
        view = rc[0]
        names = view.keys()
        result = view.execute("x = 5\n!echo $x {x + 1}\ndisplay('shown')\nx", block=False)
        assert result.get(PATIENCE).text == "5" and result.stdout == "5 6\n"
        assert result.outputs[0]["data"] == {"text/plain": "'shown'"}
        assert view.keys() == ["x"] and names == []
        assert "backend_inline" in view.execute("import os; os.environ['MPLBACKEND']", block=True).text, (
            "pictures come home"
        )
        del view["os"]

        asleep = view.execute("!echo begun; sleep 600", block=False)
        until(lambda: "begun" in asleep.stdout)
        rc.interrupt()
        with pytest.raises(RemoteError) as caught:
            asleep.get(PATIENCE)
        assert caught.value.ename == "KeyboardInterrupt" and "Cell In" in caught.value.traceback

        [engine] = rc.cluster_status()["engines"]
        os.kill(engine["pid"], signal.SIGKILL)
        until(lambda: [each for each in rc.cluster_status()["engines"] if each["pid"] != engine["pid"]])
        assert rc[rc.ids[-1]].execute("%who_ls", block=True).text == "[]", "who takes its place has a shell, too"
    assert not (folder / "ipython").exists(), "no history, no profile"


def test_one_that_is_started_by_hand(folder: Path) -> None:
    with Cluster(n=0) as rc:
        file = str(next(folder.rglob("engine.json")))
        engine = subprocess.Popen([sys.executable, "-m", "parpool", "engine", "--file", file, "--ipython"])
        try:
            assert rc.wait_for_engines(1, PATIENCE)
            assert rc[0].execute("names = %who_ls\n'names' in names", block=True).text == "False"
        finally:
            engine.terminate()
            engine.wait(PATIENCE)


def test_without_ipython_the_engine_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    ended = CliRunner().invoke(commands, ["engine", "--ipython"])
    assert ended.exit_code == 1 and "pip install 'parpool[ipython]'" in ended.output
