"""Jobs of batch systems: in a real Slurm, and with stand-ins for the commands of the others."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import batch_fakes
import pytest
from launch_contract import Make, ProcessContract, lives
from servers import wait_until

from parpool.errors import EngineStartError, ParpoolError
from parpool.launch.batch import BatchLauncher
from parpool.launch.launcher import Launcher, Site
from parpool.launch.systems import SYSTEMS

SLEEP = ["{python}", "-c", "import time; time.sleep(300)"]


class BatchContract(ProcessContract):
    """What jobs do besides."""

    system = ""

    @pytest.fixture(autouse=True)
    def hurry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("parpool.launch.batch.PAUSES", (0.05, 0.1))

    @pytest.fixture
    def make(self, site: Site) -> Make:
        return lambda: BatchLauncher(site, SYSTEMS[self.system], every=0.1)

    def test_scripts_are_private(self, launcher: Launcher, folder: Path, site: Site) -> None:
        self.start(launcher, folder, self.SLEEPER)
        self.pids(folder)
        scripts = [*site.log_folder.glob("*.sh"), *site.log_folder.glob("*.job")]
        assert scripts and {path.stat().st_mode & 0o777 for path in scripts} == {0o700}
        assert site.log_folder.stat().st_mode & 0o777 == 0o700
        assert any("a secret of the user" in path.read_text() for path in scripts)
        assert not any("a secret of the cluster" in path.read_text() for path in scripts)

    def test_jobs_one_by_one(self, site: Site, folder: Path) -> None:
        """Where there are no arrays."""
        launcher = BatchLauncher(site, SYSTEMS[self.system], every=0.1, array=False)
        names = self.start(launcher, folder, self.SLEEPER, 2)
        pids = self.pids(folder, 2)
        launcher.stop(names[1:], patience=5)
        assert sum(map(lives, pids)) == 1 and [*launcher.poll()] == names[:1]
        launcher.stop(patience=5)
        assert not any(map(lives, pids))

    def test_what_comes_before(self, site: Site, folder: Path) -> None:
        launcher = BatchLauncher(site, SYSTEMS[self.system], every=0.1, prelude="WORD=loaded; export WORD")
        (name,) = self.start(launcher, folder, 'write("word", os.environ["WORD"])')
        assert self.left(folder, "word") == ["loaded"]
        self.ended(launcher, name)

    def test_no_folder_to_work_in(self, site: Site, folder: Path) -> None:
        launcher = BatchLauncher(replace(site, folder=folder / "none"), SYSTEMS[self.system], every=0.1, settle=0)
        (name,) = self.start(launcher, folder, self.SLEEPER)
        words = self.ended(launcher, name)
        assert "before its script came to its end" in words and "see: " in words
        assert str(folder / "none") in site.log(name).read_text()

    def test_a_refused_directive(self, site: Site) -> None:
        launcher = BatchLauncher(site, SYSTEMS[self.system], directives=["--refuse=1"], array=False)
        with pytest.raises(
            EngineStartError, match=f"{self.system} does not take the job: (?s:.*)refuse(?s:.*)look at .*"
        ):
            launcher.start(SLEEP, 2)
        assert launcher.poll() == {}


@pytest.mark.usefixtures("slurm")
class TestSlurm(BatchContract):
    system = "slurm"

    def test_queued_ones(self, site: Site) -> None:
        launcher = BatchLauncher(site, SYSTEMS["slurm"], directives=["--partition=down", "#SBATCH --time=5"], every=0)
        names = launcher.start(SLEEP, 3)
        wait_until(lambda: "PartitionDown" in str(launcher.poll()[names[0]]), "the reason")
        assert {state.phase for state in launcher.poll().values()} == {"queued"}
        launcher.signal(signal.SIGUSR1)  # nobody hears it
        ended = launcher.stop(names[:1], patience=5)
        assert re.fullmatch(r"job \d+_1 was deleted", ended[names[0]].words)
        assert {state.phase for state in launcher.poll().values()} == {"queued"}
        launcher.stop(patience=5)

    def test_one_job_for_all(self, site: Site, folder: Path) -> None:
        code = """
from parpool.launch.mpi import rank_and_size
write("rank", json.dumps(rank_and_size(os.environ)))
time.sleep(300)
"""
        launcher = BatchLauncher(site, SYSTEMS["slurm"], many="srun --ntasks={n}", every=0)
        (name,) = self.start(launcher, folder, code, 3)
        assert sorted(json.loads(text) for text in self.left(folder, "rank", 3)) == [[0, 3], [1, 3], [2, 3]]
        launcher.stop(patience=5)

    def test_a_script_is_no_rank(self, launcher: Launcher, folder: Path) -> None:
        code = "from parpool.launch.mpi import rank_and_size\nwrite('rank', str(rank_and_size(os.environ)))"
        names = self.start(launcher, folder, code, 2)
        assert self.left(folder, "rank", 2) == ["None", "None"]
        assert all("exit code 0" in self.ended(launcher, name) for name in names)

    def test_one_that_the_system_ends(self, launcher: Launcher, folder: Path) -> None:
        (name,) = self.start(launcher, folder, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + self.SLEEPER)
        self.pids(folder)
        (job,) = launcher.record()["jobs"]
        subprocess.run(["scancel", "--full", "--signal=KILL", job["id"]], check=True)
        words = self.ended(launcher, name)
        assert re.match(rf"job {job['id']} left the queue in state \w+ before its script .*sacct -j {job['id']}", words)

    def test_a_template(self, site: Site, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "template"
        path.write_text('#!/bin/sh\n#SBATCH --output=/dev/null\nWORD="${label}x{label}"\nexport WORD\n{command}\n')
        for template in (path, str(path), path.read_text()):
            launcher = BatchLauncher(site, SYSTEMS["slurm"], template=template, every=0)
            (name,) = self.start(launcher, folder, 'write("word", os.environ["WORD"])')
            self.ended(launcher, name)
        assert self.left(folder, "word", 3) == ["xengine"] * 3
        with pytest.raises(ValueError, match="a job for slurm must have {command} where the process is started"):
            BatchLauncher(site, SYSTEMS["slurm"], template="#!/bin/sh\necho")

    def test_slurm_is_down(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        launcher = BatchLauncher(site, SYSTEMS["slurm"], every=0)
        (name,) = launcher.start(SLEEP, 1)
        wait_until(lambda: launcher.poll()[name].phase == "running", "running")
        with monkeypatch.context() as patch:
            patch.setenv("SLURM_CONF", "/no.conf")
            patch.setattr("parpool.launch.batch.COMMAND", 1.0)  # they would try for long
            state = launcher.poll()[name]
            assert state.phase == "running" and "its state is not known: " in state.words
            with pytest.raises(EngineStartError, match="sbatch has not answered for 1 s; is slurm up?"):
                launcher.start(SLEEP, 1)
        assert str(launcher.poll()[name]) == "running"
        launcher.stop(patience=5)


class FakeContract(BatchContract):
    """With stand-ins, which can be told what is to happen."""

    signals = False

    @pytest.fixture(autouse=True)
    def queue(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "bin").mkdir()
        batch_fakes.install(tmp_path / "bin", self.system)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
        return tmp_path / "bin" / "queue"

    def test_queued_ones(self, launcher: Launcher, queue: Path) -> None:
        (queue / "hold").touch()
        names = launcher.start(SLEEP, 3) + launcher.start(SLEEP, 1)
        assert {state.phase for state in launcher.poll().values()} == {"queued"}
        assert all("was deleted" in state.words for state in launcher.stop(names[1:], patience=5).values())
        (queue / "hold").unlink()
        wait_until(lambda: launcher.poll()[names[0]].phase == "running", "running")

    def test_the_system_is_down(self, launcher: Launcher, queue: Path) -> None:
        names = launcher.start(SLEEP, 2)
        wait_until(lambda: {s.phase for s in launcher.poll().values()} == {"running"}, "running")
        (queue / "down").touch()
        wait_until(lambda: "its state is not known" in str(launcher.poll()[names[0]]), "asked")
        state = launcher.poll()[names[0]]
        assert state.phase == "running" and "cannot connect to server" in state.words
        with pytest.raises(EngineStartError, match="cannot connect to server"):
            launcher.start(SLEEP, 1)
        (queue / "down").unlink()
        wait_until(lambda: str(launcher.poll()[names[0]]) == "running", "known again")


class TestPbs(FakeContract):
    system = "pbs"
    signals = True


class TestTorque(FakeContract):
    system = "torque"
    signals = True


class TestLsf(FakeContract):
    system = "lsf"
    signals = True


class StuckContract(FakeContract):
    def test_stuck_ones(self, launcher: Launcher, queue: Path) -> None:
        (queue / "stuck").touch()
        names = launcher.start(SLEEP, 2)
        words = self.ended(launcher, names[0])
        assert "could not be started, and was deleted from the queue in state" in words and "see: " in words
        wait_until(lambda: len([*queue.glob("*.deleted")]) == 2, "deleted")


class TestSge(StuckContract):
    system = "sge"
    asks = False


class TestHtcondor(StuckContract):
    system = "htcondor"

    def test_a_template(self, site: Site, folder: Path) -> None:
        template = SYSTEMS["htcondor"].template.replace("# {label}", "# mine")
        launcher = BatchLauncher(site, SYSTEMS["htcondor"], template=template, every=0, directives=["+Mine = 1"])
        (name,) = self.start(launcher, folder, 'write("end", "")')
        self.ended(launcher, name)
        (job,) = site.log_folder.glob("*.job")
        assert job.read_text().startswith("# mine\n") and "\n+Mine = 1\nqueue\n" in job.read_text()
        with pytest.raises(ValueError, match="must have {script} where"):
            BatchLauncher(site, SYSTEMS["htcondor"], template="{command}")


# Without a system ------------------------------------------------------------------------------------------


def test_there_is_no_such_system(site: Site) -> None:
    with pytest.raises(EngineStartError, match="cannot run bsub: No such file.*; run this where jobs are submitted"):
        BatchLauncher(site, SYSTEMS["lsf"]).start(SLEEP, 1)


def test_one_that_never_ends(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that accepts all, and does nothing."""
    for command, text in (("sbatch", "7"), ("squeue", "7|N/A|R|None"), ("scancel", "")):
        (tmp_path / command).write_text(f"#!/bin/sh\necho '{text}'\n")
        (tmp_path / command).chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("parpool.launch.batch.FORCE", 0.2)
    launcher = BatchLauncher(site, SYSTEMS["slurm"])
    (name,) = launcher.start(SLEEP, 1)
    with pytest.raises(ParpoolError, match="slurm does not end 7: without a word; delete them by hand"):
        launcher.stop(patience=0.1)
    assert [*launcher.poll()] == [name]
    with pytest.raises(ValueError, match="these are jobs of lsf, and not of slurm"):
        launcher.adopt({"system": "lsf", "jobs": []})
