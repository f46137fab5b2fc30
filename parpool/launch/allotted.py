"""How many of a machine's CPUs are an engine's own, and so how many threads BLAS and OpenMP may have in it.

Nobody else can tell: only on the machine where an engine comes up is it known how many CPUs there are, how many of them
a batch system has given to the job, and how many engines were started there together. That last number comes from who
started them: a launcher of ours (``--together``), or MPI's. Engines that were started by hand, one by one, know nothing
of each other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..options import THREAD_VARIABLES, cpu_count
from .mpi import rank_and_size

#: The environment variables that hold how many ranks there are on this machine, by who sets them.
LOCAL_SIZES = (
    "OMPI_COMM_WORLD_LOCAL_SIZE",  # Open MPI
    "MV2_COMM_WORLD_LOCAL_SIZE",  # MVAPICH2
    "MPI_LOCALNRANKS",  # MPICH, Intel MPI
    "PALS_LOCAL_SIZE",  # HPE Cray
    "JSM_NAMESPACE_LOCAL_SIZE",  # IBM's jsrun
)

#: Those that hold how many CPUs a batch system has given: to each process, to the job on this machine, or to the job. (PBS
#: and HTCondor set ``OMP_NUM_THREADS``.)
ALLOTTED = (
    ("SLURM_CPUS_PER_TASK", "process"),
    ("SLURM_CPUS_ON_NODE", "machine"),
    ("PBS_NUM_PPN", "machine"),  # Torque
    ("NSLOTS", "job"),  # Grid Engine
    ("LSB_DJOB_NUMPROC", "job"),  # LSF
)


def threads_of_one(chosen: str, environ: Mapping[str, str], together: str = "") -> int:
    """How many threads the libraries may have in this engine; 0: as many as they like.

    ``chosen`` is a number, or ``auto``: its share of the CPUs, where the environment says nothing else. ``together``: how
    many its launcher has started on this machine; anything but a number: it has not said.
    """
    if chosen != "auto":
        return int(chosen)
    if any(environ.get(name) for name in THREAD_VARIABLES):
        return 0
    return share_of_cpus(environ, _number(together))


def share_of_cpus(environ: Mapping[str, str], together: int = 0) -> int:
    """How many CPUs are this process's own, where ``together`` of its kind are on this machine (0: not known)."""
    ranks = 0 if together else local_size(environ)
    here = together or ranks or 1
    for name, owner in ALLOTTED:
        if given := _number(environ.get(name, "")):
            whole = rank_and_size(environ) if ranks else None
            share = given // {"process": 1, "machine": here, "job": whole[1] if whole else here}[owner]
            break
    else:
        # MPI may have bound this rank to some CPUs of those that it has for all; then what started it has them all.
        share = (max(cpu_count(), _cpus_of(os.getppid())) if ranks else cpu_count()) // here
    return max(1, min(share, cpu_count()))


def local_size(environ: Mapping[str, str]) -> int:
    """How many ranks there are on this machine, by what their launcher has put into the environment; 0: it has not."""
    for name in LOCAL_SIZES:
        if size := _number(environ.get(name, "")):
            return size
    if "SLURM_STEP_NUM_TASKS" not in environ:  # a job's script is no task of many
        return 0
    # One number for each node of the step, and what comes several times in short: 4(x2),3
    sizes: list[int] = []
    for size, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", environ.get("SLURM_STEP_TASKS_PER_NODE", "")):
        sizes += [int(size)] * min(int(times or 1), 100_000)
    return sizes[min(_number(environ.get("SLURM_NODEID", "")), len(sizes) - 1)] if sizes else 0


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _cpus_of(pid: int) -> int:
    try:
        return len(os.sched_getaffinity(pid))
    except (AttributeError, OSError):  # not on macOS and Windows; it has ended
        return 0
