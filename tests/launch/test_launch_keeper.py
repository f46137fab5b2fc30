"""What runs on other machines, without an ssh in between."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from launch_contract import lives
from servers import wait_until

import parpool
from parpool.errors import ParpoolError
from parpool.launch.line import Line, Lost, Slow

KEEPER = [sys.executable, "-m", "parpool.launch.keeper"]
SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(KEEPER, tmp_path / "log")
    yield line
    line.close(10)
    assert not folders()


def folders() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("parpool-ssh-*"))


def tell(line: Line, order: str, **arguments: object) -> object:
    return line.answer(line.ask(order, **arguments), time.monotonic() + 20)


def prepare(line: Line, **more: object) -> None:
    terms = {"environment": {}, "folder": None, "files": {}, "label": "engine"}
    tell(line, "prepare", **{**terms, **more})


def test_hello(line: Line) -> None:
    hello = tell(line, "hello")
    assert hello["version"] == parpool.__version__ and hello["cpus"] == parpool.cpu_count()  # type: ignore[index]


def test_files(line: Line) -> None:
    prepare(line, files={"a": base64.b64encode(b"secret\0").decode()})
    (folder,) = folders()
    assert (folder / "file-0").read_bytes() == b"secret\0" and (folder / "file-0").stat().st_mode & 0o777 == 0o600
    code = "import os, sys; print(sys.argv[1], os.getcwd())"
    tell(line, "start", argv=[sys.executable, "-c", code, "{a}"], n=1, first=5)
    wait_until(lambda: tell(line, "poll")["engine-5"], "ended")  # type: ignore[index]
    text = base64.b64decode(str(tell(line, "log", name="engine-5"))).decode()
    assert text == f"{folder}/file-0 {Path.home()}\n"


def test_what_it_cannot_do(line: Line) -> None:
    with pytest.raises(ParpoolError, match="it has not been told where the processes work"):
        tell(line, "start", argv=SLEEP, n=1, first=0)
    prepare(line)
    with pytest.raises(ParpoolError, match="cannot start /nothing: No such file"):
        tell(line, "start", argv=["/nothing"], n=1, first=0)
    with pytest.raises(ParpoolError, match="^there is no process 'nobody'; there are: none$"):
        tell(line, "signal", names=["nobody"], signame="SIGINT")
    assert tell(line, "stop", names=["nobody"], patience=0) == {"nobody": ["it was stopped before", None]}
    with pytest.raises(ParpoolError, match="No such file"):
        tell(line, "log", name="nobody")
    assert tell(line, "poll") == {}


def test_long_logs_are_sent_from_their_end(line: Line) -> None:
    prepare(line)
    tell(line, "start", argv=[sys.executable, "-c", "print('a' * 100_000 + 'end')"], n=1, first=0)
    wait_until(lambda: tell(line, "poll")["engine-0"], "ended")  # type: ignore[index]
    log = base64.b64decode(str(tell(line, "log", name="engine-0")))
    assert len(log) == 64 * 1024 and log.endswith(b"aend\n")


def test_it_stays_as_long_as_its_processes(tmp_path: Path) -> None:
    line = Line(KEEPER, tmp_path / "log")
    prepare(line)
    reply = tell(line, "start", argv=["sh", "-c", "while ! test -e go; do sleep 0.02; done"], n=1, first=0)
    assert isinstance(reply, dict)
    pid = reply["processes"]["engine-0"][0]
    (folder,) = folders()
    assert line._process.stdin is not None
    line._process.stdin.close()  # the starter is gone
    with pytest.raises(subprocess.TimeoutExpired):
        line._process.wait(0.3)
    assert lives(pid) and folder.exists()
    os.kill(pid, 9)
    assert line._process.wait(20) == 0
    assert not folder.exists()
    line.close(0)
    assert (tmp_path / "log").read_text() == ""


def test_nobody_reads_its_answers(tmp_path: Path) -> None:
    with (tmp_path / "errors").open("wb") as errors:
        process = subprocess.Popen(KEEPER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    assert process.stdin is not None and process.stdout is not None
    process.stdout.close()
    process.stdin.write(b'[1, "hello", {}]\n' * 3)
    process.stdin.flush()
    assert process.wait(20) == 0 and not folders()
    process.stdin.close()
    assert (tmp_path / "errors").read_text() == ""


# The line to it ---------------------------------------------------------------------------------------------


def shell(tmp_path: Path, script: str) -> Line:
    return Line(["sh", "-c", script], tmp_path / "log")


def test_noise_and_late_answers(tmp_path: Path) -> None:
    script = 'read a; echo Welcome; read b; sleep 0.2; printf "parpool-keeper [1, true, 1]\\nparpool-keeper [2, true, 2'
    line = shell(tmp_path, script + ']\\nmotd\\nparpool-keeper [3, tr"')
    first = line.ask("x")
    with pytest.raises(Slow, match="no answer in time"):
        line.answer(first, time.monotonic())
    assert line.answer(line.ask("y"), time.monotonic() + 20) == 2
    with pytest.raises(Lost, match="ssh ended with exit code 0"):
        line.answer(line.ask("z"), time.monotonic() + 20)
    with pytest.raises(Lost):  # and from now on
        line.answer(line.ask("z"), time.monotonic() + 20)
    line.close(1)


def test_what_ssh_says(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("of another time\n")
    script = (
        "echo 'Allocated port 4711 for remote forward to 10.0.0.1:55' >&2; for i in 1 2 3 4 5; do echo no $i >&2; done"
    )
    line = shell(tmp_path, script)
    with pytest.raises(Lost, match="^no 2; no 3; no 4; no 5$"):
        line.answer(line.ask("x"), time.monotonic() + 20)
    assert line.allocated() == {"10.0.0.1:55": 4711}
    line.close(1)


def test_one_that_does_not_end(tmp_path: Path) -> None:
    line = shell(tmp_path, "exec sleep 300")
    line.close(0)
    assert line._process.returncode == -9


def test_what_holds_the_output_of_a_line_that_is_closed(tmp_path: Path) -> None:
    """As the ssh that a script runs, when the script is killed: nobody waits until that has ended."""
    line = shell(tmp_path, f"(while ! test -e {tmp_path}/over; do sleep 0.02; done) & cat; wait")
    closing = threading.Thread(target=line.close, args=(0,))
    closing.start()
    closing.join(20)
    waited = not closing.is_alive()
    (tmp_path / "over").touch()
    closing.join()
    line._reader.join(20)
    assert waited and not line._reader.is_alive()
