"""One command that starts all processes, that of MPI; and how a process learns who it is of how many.

Processes started so are ranks: they can use MPI among themselves. They have one name together, as one command has
started them; it is stopped as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import randrange

from .launcher import Site
from .process import ProcessLauncher


@dataclass(frozen=True)
class Mpi:
    """``mpiexec -n N argv``, with any MPI's ``mpiexec``; the flags by name are Open MPI's."""

    program: str = "mpiexec"
    #: Whatever else it takes: ``("--hostfile", "machines")``.
    options: Sequence[str] = ()
    #: Open MPI refuses to run as root without it.
    as_root: bool = False
    #: More processes than there are cores.
    oversubscribe: bool = False

    def __call__(self, argv: Sequence[str], n: int) -> list[str]:
        """The command line for ``n`` processes."""
        flags = ["--allow-run-as-root"] * self.as_root + ["--oversubscribe"] * self.oversubscribe
        return [self.program, "-n", str(n), *flags, *self.options, *argv]


def mpi(
    site: Site,
    program: str = "mpiexec",
    options: Sequence[str] = (),
    as_root: bool = False,
    oversubscribe: bool = False,
) -> ProcessLauncher:
    """Processes started from here by one ``mpiexec``; the options are those of `Mpi`."""
    return ProcessLauncher(site, Mpi(program, options, as_root, oversubscribe))


#: The environment variables that hold rank and size, by who sets them. The first pair that is there counts: a launcher
#: inside another, such as mpiexec in a job, stands before it.
RANKS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),  # MVAPICH2
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, Slurm's pmi2
    ("PALS_RANKID", "PALS_SIZE"),  # HPE Cray
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),  # IBM's jsrun
    # srun. Not SLURM_NTASKS: a job's script has that one and SLURM_PROCID, too, though it is no task of many.
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)


def rank_and_size(environ: Mapping[str, str]) -> tuple[int, int] | None:
    """Which of how many this process is, by what the launcher of MPI has put into its environment; None: of one."""
    for rank, size in RANKS:
        if environ.get(rank, "").isdecimal() and environ.get(size, "").isdecimal():
            if int(environ[rank]) < int(environ[size]):
                return int(environ[rank]), int(environ[size])
    return None


#: The environment variables that hold the number of an element of a job array.
ELEMENTS = ("SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX", "PBS_ARRAYID", "SGE_TASK_ID", "LSB_JOBINDEX")


def share(schedulers: int, environ: Mapping[str, str], number: str = "") -> int:
    """Which of so many schedulers an engine serves: by its ``number`` among those that were started together, by its
    rank, by its number in a job array; where nobody has counted them, any."""
    ranks = rank_and_size(environ)
    known = [number, "" if ranks is None else str(ranks[0]), *(environ.get(name, "") for name in ELEMENTS)]
    for each in known:
        if each.isascii() and each.isdecimal():
            return int(each) % schedulers
    return randrange(schedulers)
