"""The command line, without a cluster: what it parses, prints and ends with."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from parpool import __main__, __version__, cli
from parpool.net import address
from parpool.net.address import Connection, ControllerLock

NO_CLUSTER = 3
COMMAND = [sys.executable, "-c", "from parpool.cli import main; main()"]  # as the installed script does
MODULE = [sys.executable, "-m", "parpool"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("PARPOOL_PROFILE", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path / "data"


def call(*arguments: str) -> Result:
    """A command in this process."""
    return CliRunner().invoke(cli.commands, arguments)


def program(*command: str, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, **more)


@pytest.fixture
def cluster() -> Callable[..., Path]:
    """Leaves the files of a cluster, whose controller is this process if it holds the lock."""

    def make(cluster_id: str = "default", profile: str = "default", **changes: Any) -> Path:
        path = address.cluster_folder(profile, cluster_id) / "client.json"
        addresses = {"client": "ipc:///nowhere/client", "heart": "ipc:///nowhere/heart"}
        made = Connection("client", cluster_id, profile, addresses, pid=os.getpid(), hostname=socket.gethostname())
        address.write(dataclasses.replace(made, started=1e9, **changes), path)
        return path

    return make


# Help and usage -------------------------------------------------------------------------------------


def test_the_commands_are_the_same_in_both_places() -> None:
    assert tuple(cli.commands.commands) == __main__.COMMANDS


@pytest.mark.parametrize("command", [[], *([name] for name in __main__.COMMANDS)])
@pytest.mark.parametrize("how", ["-h", "--help"])
def test_help(command: list[str], how: str, tmp_path: Path) -> None:
    if command == ["run"]:
        done = program(*COMMAND, *command, how, cwd=tmp_path)
        assert done.returncode == 0 and "usage: parpool run [options]" in done.stdout
        return
    result = call(*command, how)
    assert result.exit_code == 0 and "Usage: " in result.output
    if not command:
        assert all(name in result.output for name in __main__.COMMANDS)
        assert "_PARPOOL_COMPLETE=bash_source parpool" in result.output


def test_version(tmp_path: Path) -> None:
    for command in (COMMAND, MODULE):
        assert program(*command, "--version", cwd=tmp_path).stdout == f"parpool {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stopp"], "No such command"),
        (["start", "-n", "x"], "not a valid integer"),
        (["start", "-n", "-1"], "-1 is not in the range"),
        (["start", "--log-level", "loud"], "'loud' is not one of"),
        (["start", "-o", "hosts"], "'hosts' is not NAME=VALUE"),
        (["start", "--db", "postgresql://me:secret@host/db"], "its password would stand here"),
        (["controller", "--db", "postgresql://me:secret@host/db"], "its password would stand here"),
        (["start", "--db", "postgresql://me@host/db?user=me&password=secret"], "its password would stand here"),
        (["hub", "--db", "postgresql://me@host/db?SSL%50assword=secret"], "its password would stand here"),
        (["controller", "--hub", "tcp://head:5000?role=hub&secret_key=x"], "its key would stand here"),
        (["controller", "--hub", "tcp://head:5000%3Frole=hub%26secret%5Fkey=x"], "its key would stand here"),
        (["start", "--db", "foo://secret@x"], "it may be memory, sqlite:///PATH"),
        (["controller", "--db", "tasks.db"], "it may be memory, sqlite:///PATH"),
        (["start", "--engines", "moon"], "there is no launcher 'moon'; there are: "),
        (["start", "-o", "foo=1"], "its options: many=None"),
        (["start", "4"], "unexpected extra argument"),
        (["status", "--profile", "../x"], "'../x' is no profile"),
        (["stop", "--cluster-id", "a b"], "'a b' is no cluster id"),
        (["list", "--profile", "/"], "'/' is no profile"),
        (["controller", "--port", "work"], "'work' is not NAME=VALUE"),
        (["controller", "--port", "hub=12"], "hub=12 is not NAME=PORT"),
        (["controller", "--port", "work=70000"], "work=70000 is not NAME=PORT"),
        (["controller", "--port", "work.x=7000"], "work.x=7000 is not NAME=PORT"),
        (["controller", "--schedulers", "0"], "0 is not in the range"),
        (["start", "--schedulers", "none"], "'none' is not a valid int"),
        (["engine", "--scheduler", "-1"], "-1 is not in the range"),
        (["start", "--heartbeat", "0"], "0.0 is not in the range"),
        (["start", "--misses", "0"], "0 is not in the range"),
        (["start", "--patience", "0"], "0.0 is not in the range"),
        (["start", "--on-client-lost", "cry"], "'cry' is not one of"),
        (["controller", "--port", "work.x=7000"], "work.x=7000 is not NAME=PORT"),
        (["controller", "--schedulers", "0"], "0 is not in the range"),
        (["start", "--schedulers", "none"], "'none' is not a valid int"),
        (["engine", "--scheduler", "-1"], "-1 is not in the range"),
        (["controller", "--heartbeat", "0"], "0.0 is not in the range"),
        (["controller", "--misses", "0"], "0 is not in the range"),
        (["controller", "--on-client-lost", "cry"], "'cry' is not one of"),
        (["engine", "--patience", "-1"], "-1.0 is not in the range"),
        (["engine", "--threads", "-1"], "'-1' is neither a number nor auto"),
        (["start", "--threads", "all"], "'all' is neither a number nor auto"),
    ],
)
def test_usage(arguments: list[str], message: str, folder: Path) -> None:
    result = call(*arguments)
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    assert "secret" not in result.output and not folder.exists()


def test_a_profile_of_the_environment_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARPOOL_PROFILE", "a/b")
    result = call("status")
    assert result.exit_code == 2 and "'a/b' is no profile" in result.output


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("st", {"start", "stop", "status"}),
        ("start --profile ", {"default", "mpi"}),
        ("stop --cluster-id ", {"big", "big2"}),
        ("status --profile mpi --cluster-id ", {"small"}),
        ("start --log", {"--log-level"}),
        ("start --log-level w", {"warning"}),
        ("start --engines s", {"sge", "slurm", "ssh"}),
        ("start --db s", {"sqlite:///"}),
        ("hub --db p", {"postgresql://"}),
    ],
)
def test_completion(words: str, completions: set[str], cluster: Callable[..., Path], tmp_path: Path) -> None:
    for name, profile in [("big", "default"), ("big2", "default"), ("small", "mpi")]:
        cluster(name, profile)
    count = str(words.count(" ") + 1)
    ask = {"_PARPOOL_COMPLETE": "bash_complete", "COMP_WORDS": f"parpool {words}", "COMP_CWORD": count}
    done = program(*COMMAND, cwd=tmp_path, env={**os.environ, **ask})
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == completions, done.stderr


# Scripts --------------------------------------------------------------------------------------------

SCRIPT = """
import multiprocessing, sys
print(__name__, multiprocessing.Pool.__module__, sys.argv)
sys.exit(7)
"""


@pytest.mark.parametrize(
    "command", [MODULE, [*MODULE, "run"], [*COMMAND, "run"]], ids=["python -m", "python -m run", "run"]
)
@pytest.mark.parametrize("script", [["script.py"], ["--retries", "1", "script.py"], ["-m", "script"]])
def test_a_script_is_run(command: list[str], script: list[str], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = program(*command, *script, "--profile", "-m", "x", "--help", cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    path = str(tmp_path / "script.py") if "-m" in script else "script.py"
    assert done.stdout.startswith(f"__main__ parpool.patching {[path, '--profile', '-m', 'x', '--help']}")


@pytest.mark.parametrize(("command", "name"), [(MODULE, "python -m parpool"), ([*COMMAND, "run"], "parpool run")])
def test_no_script(command: list[str], name: str, tmp_path: Path) -> None:
    done = program(*command, cwd=tmp_path)
    assert done.returncode == 2 and f"{name}: error: no script was given" in done.stderr
    done = program(*command, "none.py", cwd=tmp_path)
    assert done.returncode == 2 and f"{name}: can't run 'none.py'" in done.stderr


@pytest.mark.parametrize("name", __main__.COMMANDS)
def test_a_script_with_the_name_of_a_command(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(SCRIPT)
    assert program(*MODULE, f"./{name}", cwd=tmp_path).returncode == 7
    done = program(*MODULE, name, "--help", cwd=tmp_path)
    assert done.returncode == 0 and f"python -m parpool {name}" in done.stdout


def test_the_ways_to_name_such_a_script(tmp_path: Path) -> None:
    for file in ("start", "start.py"):
        (tmp_path / file).write_text(SCRIPT)
    for arguments in (["start.py"], ["-m", "start"], [str(tmp_path / "start")], ["--retries", "2", "start"]):
        assert program(*MODULE, *arguments, cwd=tmp_path).returncode == 7
    assert program(*COMMAND, "run", "start", cwd=tmp_path).returncode == 7


def test_a_script_does_not_load_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("import sys; sys.exit('click' in sys.modules or 'parpool.cli' in sys.modules)")
    assert program(*MODULE, "s.py", cwd=tmp_path).returncode == 0


def test_ctrl_c_in_a_script_is_the_scripts(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)")
    process = subprocess.Popen(
        [*COMMAND, "run", "s.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
    assert process.returncode == -signal.SIGINT


# Clusters that do not run ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "stop", "engine"])
def test_no_such_cluster(command: str, folder: Path) -> None:
    more = ["--timeout", "0.2"] if command == "engine" else []
    result = call(command, *more)
    assert result.exit_code == NO_CLUSTER
    *waits, error = result.stderr.splitlines()
    assert error.startswith("Error: no cluster") and len(waits) == (command == "engine")
    assert str(folder) in error and "`parpool start`" in error
    result = call(command, *more, "--profile", "mpi", "--cluster-id", "big")
    assert result.exit_code == NO_CLUSTER and "parpool start --profile mpi --cluster-id big" in result.stderr


@pytest.mark.parametrize("command", ["status", "stop"])
def test_a_cluster_that_has_ended(command: str, cluster: Callable[..., Path]) -> None:
    path = cluster("old")
    result = call(command, "--cluster-id", "old")
    assert result.exit_code == NO_CLUSTER
    assert result.stderr == f"Error: cluster 'old' does not run ({path.parent})\n"


def test_the_file_of_a_controller_that_is_gone(cluster: Callable[..., Path], tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path = cluster(pid=dead.pid)
    result = call("status", "--file", str(path))
    assert result.exit_code == NO_CLUSTER and str(path) in result.stderr and "is gone" in result.stderr
    result = call("engine", "--file", str(path))
    assert result.exit_code == 1 and "use engine.json" in result.stderr
    for command in ("status", "engine"):  # nor is it waited for
        result = call(command, "--file", str(tmp_path / "none.json"))
        assert result.exit_code == NO_CLUSTER
        assert result.stderr == f"Error: there is no connection file {tmp_path / 'none.json'}\n"


def test_an_engine_does_not_wait_where_it_is_not_clear_for_what(cluster: Callable[..., Path], folder: Path) -> None:
    one, two = cluster("one"), cluster("two")
    for each in (one, two):
        (each.parent / "engine.json").write_text(each.read_text())
    with ControllerLock(one.parent), ControllerLock(two.parent):
        done = program(*COMMAND, "engine", cwd=folder)
    assert done.returncode == NO_CLUSTER and "waiting" not in done.stderr
    assert "several clusters run" in done.stderr and "one, two" in done.stderr


def test_an_engine_that_no_mpi_has_started(cluster: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OMPI_", "PMI_", "SLURM_", "MV2_", "PALS_", "JSM_")):
            monkeypatch.delenv(name)
    addresses = {name: "ipc:///nowhere" for name in ("work", "control", "heart")}
    path = cluster(role="engine", addresses=addresses).rename(address.cluster_folder() / "engine.json")
    result = call("engine", "--mpi", "--file", str(path))
    assert result.exit_code == 1 and "mpiexec" in result.stderr


# list -----------------------------------------------------------------------------------------------


def test_an_empty_list(folder: Path) -> None:
    result = call("list")
    assert result.exit_code == 0 and not result.stdout and str(folder) in result.stderr
    result = call("list", "--profile", "none")
    assert result.exit_code == 0 and "no clusters in profile 'none'" in result.stderr
    assert "`parpool start --profile none`" in result.stderr
    assert json.loads(call("list", "--json").stdout) == []


@pytest.mark.skipif(os.name == "nt", reason="flock")
def test_list(cluster: Callable[..., Path], folder: Path, tmp_path: Path) -> None:
    one, _, two = cluster("one"), cluster("empty").unlink(), cluster("two", "mpi")
    with ControllerLock(one.parent):
        done = program(*COMMAND, "list", "--json", cwd=tmp_path)
        rows = json.loads(done.stdout)
        assert [(row["profile"], row["cluster_id"], row["running"]) for row in rows] == [
            ("default", "empty", False),
            ("default", "one", True),
            ("mpi", "two", False),
        ]
        runs, stopped = rows[1:]
        assert (runs["pid"], runs["hostname"]) == (os.getpid(), socket.gethostname())
        assert runs["started"] == 1e9 and runs["folder"] == str(one.parent)
        assert stopped["pid"] is stopped["hostname"] is stopped["started"] is None
        assert json.loads(call("list", "--json", "--profile", "mpi").stdout) == [stopped]
        text = program(*COMMAND, "list", cwd=tmp_path).stdout.splitlines()
    assert text[0].split() == ["profile", "cluster_id", "running", "pid", "hostname", "started", "folder"]
    assert len(text) == 4 and str(one.parent) in text[2] and str(two.parent) in text[3], "nothing is cut or broken"
    assert [line.split()[2] for line in text[1:]] == ["no", "yes", "no"] and time.ctime(1e9) in text[2]


@pytest.mark.skipif(os.name == "nt", reason="terminals")
@pytest.mark.parametrize("width", ["80", "60"])
def test_a_list_in_a_narrow_terminal(cluster: Callable[..., Path], tmp_path: Path, width: str) -> None:
    path = cluster("a-cluster-with-quite-a-long-name").parent
    terminal, theirs = os.openpty()
    environment = {**os.environ, "COLUMNS": width, "TERM": "xterm"}
    done = subprocess.run([*COMMAND, "list"], cwd=tmp_path, env=environment, stdout=theirs, stderr=subprocess.PIPE)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(theirs)
    os.close(terminal)
    assert done.returncode == 0 and not done.stderr
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= int(width)
    texts = {"profile": "default", "cluster_id": path.name, "folder": str(path)}
    assert sum(map(len, texts.values())) > int(width), "else it is not narrow"
    lines = [line.ljust(int(width)) for line in lines]
    free = "".join(" " if set(column) == {" "} else "x" for column in zip(*lines, strict=True))
    rows = ["".join(line[slice(*match.span())].strip() for line in lines) for match in re.finditer("x+", free)]
    for name, text in texts.items():
        assert name + text in rows


def test_a_list_that_nobody_reads_to_its_end(cluster: Callable[..., Path], tmp_path: Path) -> None:
    cluster()
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, "list", "--json"], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.returncode == 1 and b"Traceback" not in done.stderr


def test_what_is_wrong_with_the_world_is_one_line(folder: Path) -> None:
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file where the folder should be")
    result = call("controller")
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1 and str(folder) in result.stderr
    assert "set PARPOOL_DIR to a folder of your own" in result.stderr
