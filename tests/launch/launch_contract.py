"""What every launcher has to do, as tests; a launcher is bound to them by a class with a fixture `make`."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from servers import wait_until

from parpool.errors import EngineStartError
from parpool.launch.launcher import Launcher, Site
from parpool.launch.process import birth

Make = Callable[[], Launcher]


class StatesContract:
    """What holds for a launcher whatever it starts, even nothing."""

    #: One name stands for all processes of a start.
    together = False

    @pytest.fixture
    def make(self) -> Make:
        """Makes a launcher; several of one test are for the same place."""
        raise NotImplementedError

    @pytest.fixture
    def launcher(self, make: Make) -> Iterator[Launcher]:
        """A launcher, which has nothing left to do in the end."""
        launcher = make()
        yield launcher
        launcher.stop(patience=0)

    def names(self, launcher: Launcher, n: int) -> list[str]:
        """Start something that stays."""
        return launcher.start(["{python}", "-c", "import time; time.sleep(300)"], n)

    def test_names(self, launcher: Launcher) -> None:
        first, second = self.names(launcher, 2), self.names(launcher, 1)
        assert len(first) == (1 if self.together else 2) and len({*first, *second}) == len(first) + 1
        assert set(launcher.poll()) == {*first, *second}
        assert all(state.phase in ("queued", "running") for state in launcher.poll().values())
        ended = launcher.stop(first, patience=1)
        assert set(ended) == set(first) and all(state.ended and state.words for state in ended.values())
        assert list(launcher.poll()) == second and not launcher.poll()[second[0]].ended
        launcher.stop(patience=1)
        assert launcher.poll() == {} == launcher.stop()
        assert not {*self.names(launcher, 1)} & {*first, *second}

    def test_wrong_numbers(self, launcher: Launcher) -> None:
        for n in (0, -1):
            with pytest.raises(ValueError, match=f"must be 1 or more, not {n}"):
                self.names(launcher, n)
        assert launcher.poll() == {}

    def test_unknown_names(self, launcher: Launcher) -> None:
        (name,) = self.names(launcher, 1)
        for wrong in (["nobody"], [name, "nobody"]):
            with pytest.raises(KeyError, match="nobody"):
                launcher.stop(wrong)
            with pytest.raises(KeyError, match="nobody"):
                launcher.signal(signal.SIGTERM, wrong)
        assert not launcher.poll()[name].ended

    def test_another_takes_over(self, make: Make, launcher: Launcher) -> None:
        names = self.names(launcher, 2)
        record = json.loads(json.dumps(launcher.record()))
        other = make()
        other.adopt(record)
        assert set(other.poll()) == set(names) and not any(state.ended for state in other.poll().values())
        assert not {*self.names(other, 1)} & {*names}
        other.stop(patience=1)


RECORDER = """
import json, os, pathlib, signal, sys, time, uuid

def write(name, text):
    path = folder / f"{name}-{uuid.uuid4().hex}"
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)

folder = pathlib.Path(sys.argv[1])
"""


class ProcessContract(StatesContract):
    """What holds for a launcher of processes, which the tests see as files in a folder that they share."""

    #: It can send signals.
    signals = True
    #: Seconds until a process is sure to run.
    patience = 20.0
    #: It asks processes to end, before it ends them.
    asks = True

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Where processes leave something."""
        (tmp_path / "out").mkdir()
        return tmp_path / "out"

    def start(self, launcher: Launcher, folder: Path, code: str, n: int = 1, more: Sequence[str] = ()) -> list[str]:
        """Start processes that run this code."""
        return launcher.start(["{python}", "-c", RECORDER + code, str(folder), *more], n)

    def left(self, folder: Path, name: str, n: int = 1) -> list[str]:
        """What so many processes have left there by this name."""
        wait_until(lambda: len([*self.files(folder, name)]) >= n, f"{n} times {name}", self.patience)
        return [path.read_text() for path in self.files(folder, name)]

    def files(self, folder: Path, name: str) -> list[Path]:
        return [path for path in folder.glob(f"{name}-*") if path.suffix != ".new"]

    def ended(self, launcher: Launcher, name: str) -> str:
        """Wait for its end; gives what is said of it."""
        wait_until(lambda: launcher.poll()[name].ended, f"{name} has ended", self.patience)
        return str(launcher.poll()[name])

    def pids(self, folder: Path, n: int = 1) -> list[int]:
        """The process ids that they have left."""
        return [int(text) for text in self.left(folder, "pid", n)]

    SLEEPER = 'write("pid", str(os.getpid())); time.sleep(300)'

    def test_as_many_as_asked_for(self, launcher: Launcher, folder: Path) -> None:
        names = self.start(launcher, folder, self.SLEEPER, 3)
        pids = self.pids(folder, 3)
        assert len(set(pids)) == 3
        wait_until(lambda: {s.phase for s in launcher.poll().values()} == {"running"}, "running", self.patience)
        launcher.stop(names[:1], patience=5)
        wait_until(lambda: sum(map(lives, pids)) == (0 if self.together else 2), "one has ended")
        launcher.stop(patience=5)
        assert not any(map(lives, pids))

    def test_surroundings(self, launcher: Launcher, folder: Path, site: Site) -> None:
        code = """
        told = [os.getcwd(), os.environ["PARPOOL_WORD"], pathlib.Path(sys.argv[2]).read_text(), sys.stdin.read()]
        write("told", json.dumps([*told, oct(os.stat(sys.argv[2]).st_mode & 0o777)]))
        """
        names = self.start(launcher, folder, textwrap.dedent(code), 1, ["{connection_file}"])
        (told,) = self.left(folder, "told")
        secret = site.files["connection_file"].read_text()
        assert json.loads(told) == [str(site.folder), site.environment["PARPOOL_WORD"], secret, "", "0o600"]
        assert "exit code 0" in self.ended(launcher, names[0])

    def test_arguments_arrive_as_they_are(self, launcher: Launcher, folder: Path) -> None:
        odd = ["", " a  b ", "'", '"', "$HOME", "`id`", "\\", "é\n*", "{n}", "{other}", "%j", "!x", "--", "#"]
        (name,) = self.start(launcher, folder, 'write("argv", json.dumps(sys.argv[2:]))', 1, odd)
        (told,) = self.left(folder, "argv")
        assert json.loads(told) == odd
        assert "exit code 0" in self.ended(launcher, name)

    def test_how_it_ended(self, launcher: Launcher, folder: Path, site: Site) -> None:
        (name,) = self.start(
            launcher, folder, 'print("earlier", flush=True); sys.stderr.write("no engine\\n\\n"); sys.exit(3)'
        )
        words = self.ended(launcher, name)
        assert "exit code 3" in words and str(site.log(name)) in words
        # What starts all has the last word.
        assert "no engine" in (site.log(name).read_text() if self.together else words)
        assert "earlier" in site.log(name).read_text()
        assert site.log(name).stat().st_mode & 0o777 == 0o600
        assert launcher.poll()[name].code == 3
        assert str(launcher.stop([name])[name]) == words  # until then it is told of
        (name,) = self.start(launcher, folder, "os.kill(os.getpid(), signal.SIGKILL)")
        words = self.ended(launcher, name)
        if not self.together:  # what starts all tells of it in its own ways
            assert "was killed by SIGKILL" in words and launcher.poll()[name].code == -9

    def test_what_is_no_program(self, launcher: Launcher, folder: Path, site: Site) -> None:
        try:
            (name,) = launcher.start([str(folder / "engine"), "x"], 1)
        except EngineStartError as error:
            words = str(error)
        else:
            words = self.ended(launcher, name)
        said = "".join(path.read_text() for path in site.log_folder.glob("*.log")) if self.together else words
        assert words and str(folder / "engine") in said

    def test_signals(self, launcher: Launcher, folder: Path) -> None:
        code = (
            """
signal.signal(signal.SIGUSR1, lambda number, frame: write("heard", str(number)))
"""
            + self.SLEEPER
        )
        names = self.start(launcher, folder, code, 2)
        self.pids(folder, 2)
        wait_until(lambda: {s.phase for s in launcher.poll().values()} == {"running"}, "running", self.patience)
        if not self.signals:
            with pytest.raises(ValueError, match="no way to send SIGUSR1"):
                launcher.signal(signal.SIGUSR1)
            return
        if not self.together:
            launcher.signal(signal.SIGUSR1, names[:1])
            self.left(folder, "heard", 1)
        launcher.signal(signal.SIGUSR1)
        assert set(self.left(folder, "heard", 2 if self.together else 3)) == {str(int(signal.SIGUSR1))}
        assert not any(state.ended for state in launcher.poll().values())

    def test_a_request_to_end_comes_first(self, launcher: Launcher, folder: Path) -> None:
        code = (
            """
signal.signal(signal.SIGTERM, lambda number, frame: (write("end", ""), sys.exit(0)))
"""
            + self.SLEEPER
        )
        self.start(launcher, folder, code, 2)
        pids = self.pids(folder, 2)
        launcher.stop(patience=10)
        assert len(self.files(folder, "end")) >= (2 if self.asks else 0) and not any(map(lives, pids))

    def test_the_deaf_are_ended_by_force(self, launcher: Launcher, folder: Path) -> None:
        self.start(launcher, folder, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + self.SLEEPER, 2)
        pids = self.pids(folder, 2)
        launcher.stop(patience=0.5)
        wait_until(lambda: not any(map(lives, pids)), "killed")

    def test_secrets_are_on_no_command_line(self, launcher: Launcher, folder: Path) -> None:
        self.start(launcher, folder, self.SLEEPER, 1, ["{connection_file}"])
        self.pids(folder)
        lines = {pid: command_line(pid) for pid in os.listdir("/proc") if pid.isdecimal()}
        assert any("connection_file" not in line and "-c" in line for line in lines.values())
        assert not {line for line in lines.values() if "a secret of" in line}

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # beside the thread of pytest-timeout
    def test_the_starter_crashes(self, make: Make, folder: Path) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                launcher = make()
                self.start(launcher, folder, self.SLEEPER, 2)
                self.pids(folder, 2)
                launcher.poll()
                (folder / "record.new").write_text(json.dumps(launcher.record()))
                (folder / "record.new").rename(folder / "record")
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        pids = self.pids(folder, 2)
        other = make()
        other.adopt(json.loads((folder / "record").read_text()))
        assert all(map(lives, pids))
        wait_until(lambda: {s.phase for s in other.poll().values()} == {"running"}, "running", self.patience)
        ended = other.stop(patience=5)
        assert all(state.ended for state in ended.values())
        assert not any(map(lives, pids))


def lives(pid: int) -> bool:
    """Whether there is such a process, not only one to be waited for."""
    return birth(pid) is not None


def command_line(pid: str) -> str:
    """The command line of a process; empty: it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""
