"""One mpiexec that starts all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from launch_contract import Make, ProcessContract
from servers import wait_until

from parpool.launch.launcher import Launcher, Site
from parpool.launch.mpi import Mpi, mpi, rank_and_size, share


@pytest.mark.usefixtures("openmpi")
class TestContract(ProcessContract):
    together = True

    @pytest.fixture
    def make(self, site: Site) -> Make:
        return lambda: mpi(site, as_root=True, oversubscribe=True)

    def test_ranks(self, launcher: Launcher, folder: Path) -> None:
        code = """
from parpool.launch.mpi import rank_and_size
write("rank", json.dumps(rank_and_size(os.environ)))
"""
        (name,) = self.start(launcher, folder, code, 3)
        told = sorted(json.loads(text) for text in self.left(folder, "rank", 3))
        assert told == [[0, 3], [1, 3], [2, 3]]
        assert "exit code 0" in self.ended(launcher, name)

    def test_one_rank_that_dies(self, launcher: Launcher, folder: Path) -> None:
        """It is mpiexec that ends the others then, and says so."""
        code = """
write("pid", str(os.getpid()))
while len(list(folder.glob("pid-*[!w]"))) < 3: time.sleep(0.01)
os.environ["OMPI_COMM_WORLD_RANK"] == "1" and os.kill(os.getpid(), signal.SIGKILL)
time.sleep(300)
"""
        (name,) = self.start(launcher, folder, code, 3)
        assert "exit code" in self.ended(launcher, name)
        assert "signal 9" in launcher.poll()[name].words or "Killed" in Path(self.log(launcher, name)).read_text()

    def log(self, launcher: Launcher, name: str) -> str:
        return launcher.poll()[name].words.rpartition("(log: ")[2].rstrip(")")


def test_more_than_there_are_places_for(openmpi: None, site: Site) -> None:
    launcher = mpi(site, as_root=True)
    (name,) = launcher.start(["sleep", "300"], 999)
    wait_until(lambda: launcher.poll()[name].ended, "it is refused")
    assert "not enough slots" in site.log(name).read_text()
    launcher.stop()


def test_command_lines() -> None:
    assert Mpi()(["a", "b c"], 4) == ["mpiexec", "-n", "4", "a", "b c"]
    flags = Mpi("mpirun", ("--hostfile", "x"), as_root=True, oversubscribe=True)
    assert flags(["a"], 2) == ["mpirun", "-n", "2", "--allow-run-as-root", "--oversubscribe", "--hostfile", "x", "a"]


@pytest.mark.parametrize(
    ("environ", "known"),
    [
        ({}, None),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"}, (1, 4)),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, (0, 2)),
        ({"MV2_COMM_WORLD_RANK": "5", "MV2_COMM_WORLD_SIZE": "6", "PMI_RANK": "0", "PMI_SIZE": "1"}, (5, 6)),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4"}, (3, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, None),  # the script of a job
        # mpiexec in a step of srun
        (
            {
                "SLURM_PROCID": "0",
                "SLURM_STEP_NUM_TASKS": "1",
                "OMPI_COMM_WORLD_RANK": "7",
                "OMPI_COMM_WORLD_SIZE": "8",
            },
            (7, 8),
        ),
        ({"PMI_RANK": "1"}, None),
        ({"PMI_RANK": "x", "PMI_SIZE": "2"}, None),
        ({"PMI_RANK": "-1", "PMI_SIZE": "2"}, None),
        ({"PMI_RANK": "2", "PMI_SIZE": "2"}, None),
        ({"PMI_RANK": "", "PMI_SIZE": ""}, None),
    ],
)
def test_rank_and_size(environ: Mapping[str, str], known: tuple[int, int] | None) -> None:
    assert rank_and_size(environ) == known


def test_which_scheduler_an_engine_serves() -> None:
    rank = {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8"}
    assert [share(2, {}, str(number)) for number in range(4)] == [0, 1, 0, 1]
    assert share(4, rank) == 1 and share(4, rank, "2") == 2 and share(4, rank, "{number}") == 1
    assert (
        share(3, {"SLURM_ARRAY_TASK_ID": "7"}) == 1 and share(3, {"SGE_TASK_ID": "undefined", "PBS_ARRAYID": "2"}) == 2
    )
    assert {share(3, {}) for _ in range(200)} == {0, 1, 2}
    assert share(1, rank, "9") == 0
