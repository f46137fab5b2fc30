"""How many CPUs are an engine's own, by what its surroundings say of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from parpool.launch import allotted
from parpool.launch.allotted import local_size, share_of_cpus, threads_of_one
from parpool.options import cpu_count


@pytest.fixture
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are 16 CPUs, for this process and for what has started it."""
    monkeypatch.setattr(allotted, "cpu_count", lambda: 16)
    monkeypatch.setattr(allotted, "_cpus_of", lambda pid: 16)


def test_a_share_of_what_there_is(sixteen: None) -> None:
    assert share_of_cpus({}) == 16, "one that knows of no others"
    assert [share_of_cpus({}, n) for n in (1, 3, 16, 100)] == [16, 5, 1, 1]


@pytest.mark.parametrize(
    ("environ", "share"),
    [
        ({"SLURM_CPUS_ON_NODE": "8"}, 8),  # one element of an array
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2"}, 2),
        ({"SLURM_CPUS_ON_NODE": "128"}, 16),  # never more than it can have
        ({"PBS_NUM_PPN": "4"}, 4),
        ({"NSLOTS": "3"}, 3),
        ({"LSB_DJOB_NUMPROC": "5"}, 5),
        ({"NSLOTS": "undefined"}, 16),
    ],
)
def test_what_a_batch_system_has_given(sixteen: None, environ: dict[str, str], share: int) -> None:
    assert share_of_cpus(environ) == share


def test_ranks_of_mpi_share_a_machine(sixteen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "8"}
    assert share_of_cpus(ranks) == 4
    assert share_of_cpus({**ranks, "SLURM_CPUS_ON_NODE": "8"}) == 2
    assert share_of_cpus({**ranks, "NSLOTS": "24"}) == 3, "which are those of the whole job"
    assert share_of_cpus(ranks, 2) == 8, "what a launcher of ours has counted is nearer"
    monkeypatch.setattr(allotted, "cpu_count", lambda: 2)
    assert share_of_cpus(ranks) == 2, "those that MPI has bound it to, which nobody else has"
    monkeypatch.setattr(allotted, "cpu_count", lambda: 8)
    assert share_of_cpus(ranks) == 4, "of half a machine, with another"


def test_how_many_ranks_are_here() -> None:
    assert local_size({}) == local_size({"SLURM_STEP_TASKS_PER_NODE": "4"}) == 0
    assert local_size({"MPI_LOCALNRANKS": "3"}) == 3
    step = {"SLURM_STEP_NUM_TASKS": "11", "SLURM_STEP_TASKS_PER_NODE": "4(x2),3"}
    assert [local_size({**step, "SLURM_NODEID": str(node)}) for node in range(3)] == [4, 4, 3]
    assert local_size(step) == 4 and local_size({**step, "SLURM_NODEID": "7"}) == 3
    assert local_size({**step, "SLURM_STEP_TASKS_PER_NODE": ""}) == 0


def test_threads(sixteen: None) -> None:
    assert threads_of_one("auto", {}, "4") == 4 and threads_of_one("auto", {}) == 16
    assert threads_of_one("auto", {}, "{together}") == 16, "nobody has filled it in"
    assert threads_of_one("auto", {"MKL_NUM_THREADS": "3"}, "4") == 0, "who has said it in the environment is heeded"
    assert threads_of_one("5", {"MKL_NUM_THREADS": "3"}, "4") == 5 and threads_of_one("0", {}, "4") == 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="there is no affinity")
def test_a_rank_that_is_bound_to_a_cpu_asks_its_parent_for_the_rest() -> None:
    code = """
import os, sys
from parpool.launch.allotted import share_of_cpus
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(share_of_cpus({"OMPI_COMM_WORLD_LOCAL_SIZE": sys.argv[1]}))
"""
    for ranks in (1, cpu_count(), 100):
        done = subprocess.run([sys.executable, "-c", code, str(ranks)], capture_output=True, text=True, timeout=50)
        assert (done.stdout, done.stderr) == ("1\n", "")
    assert allotted._cpus_of(os.getpid()) == len(os.sched_getaffinity(0)) and allotted._cpus_of(2**30) == 0
