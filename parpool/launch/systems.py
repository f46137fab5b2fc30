r"""Batch systems, each a row of data: the commands, what they print, and what a job is made of.

Placeholders are filled in by `batch`. In a command:

``{script}``   the file that is submitted; where a system reads it from its standard input, ``stdin`` is set
``{ids}``      jobs, as arguments of their own, or with commas in between where it is part of an argument
``{signame}``  a signal without SIG

In a template:

``{label}``       the name of the job
``{stem}``        the path of the job's own files, without an ending
``{many}``        the lines for an array of ``{n}`` elements, for one job with room for ``{n}`` processes, or for one
``{directives}``  what the user adds
``{command}``     the shell commands that run the process
``{script}``      where a job is described in a file of its own, the path of the script
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

#: stuck: it is in the queue, and will stay there without ever running.
Phase = Literal["queued", "running", "ended", "stuck"]


@dataclass(frozen=True)
class System:
    """What a batch system is like."""

    name: str
    #: How a job is handed in, and the job in what that prints: ``id``, and what else its name has, ``tail``.
    submit: tuple[str, ...]
    job: re.Pattern[str]
    #: What is handed in; a directive is a line of it that begins with ``prefix``.
    template: str
    prefix: str
    #: The lines for an array of ``{n}`` jobs, and for one job with room for ``{n}`` processes.
    array: str
    tasks: str
    #: The number of an element, for the shell; and that of the first.
    index: str
    first: int
    #: The commands take these for an element, and for a job as a whole, array or not.
    element: str
    whole: str
    #: How it is asked; and in what it prints, an element: ``id``, ``index`` of an array, ``state``, perhaps ``why``.
    status: tuple[str, ...]
    found: re.Pattern[str]
    #: What the states mean. Of one that is not here, nothing is made.
    phases: Mapping[str, Phase]
    #: What it says of a job that it does not know any more.
    unknown: re.Pattern[str]
    #: How jobs are taken back, and sent signals; None: it has no way to.
    delete: tuple[str, ...]
    signal: tuple[str, ...] | None
    #: What tells a user more about job ``{id}``.
    more: str
    #: The lines for one job with one process.
    single: str = ""
    stdin: bool = False
    #: The template describes the job, and does not hold the commands.
    described: bool = False
    #: The name of a whole array, where it is another than that of a single job.
    whole_array: str = ""


def _phases(**states: str) -> dict[str, Phase]:
    return {state: phase for phase, words in states.items() for state in words.split()}  # type: ignore[misc]


SLURM = System(
    name="slurm",
    submit=("sbatch", "--parsable", "{script}"),
    job=re.compile(r"^(?P<id>\d+)(?P<tail>)", re.M),
    template="""#!/bin/sh
#SBATCH --job-name={label}
#SBATCH --output="{stem}.%j.out"
{many}
{directives}
{command}
""",
    prefix="#SBATCH ",
    array="#SBATCH --array=1-{n}",
    tasks="#SBATCH --ntasks={n}",
    index="$SLURM_ARRAY_TASK_ID",
    first=1,
    element="{id}_{index}",
    whole="{id}",
    status=("squeue", "--noheader", "--array", "--states=all", "--format=%F|%K|%t|%r", "--jobs={ids}"),
    found=re.compile(r"^(?P<id>\d+)\|(?P<index>\d+|N/A)\|(?P<state>\w+)\|(?P<why>.*)$", re.M),
    phases=_phases(
        queued="PD CF RD RF RH RQ SE",
        running="R CG S SI SO ST RS",
        ended="BF CA CD DL F NF OOM PR RV TO",
    ),
    unknown=re.compile("Invalid job id"),
    delete=("scancel", "{ids}"),
    # Without --full, a signal reaches the steps of srun alone, and none of what the script has started.
    signal=("scancel", "--full", "--signal={signame}", "{ids}"),
    more="scontrol show job {id}, or sacct -j {id}",
)

PBS = System(
    name="pbs",
    submit=("qsub", "{script}"),
    job=re.compile(r"^(?P<id>\d+)(?:\[\])?(?P<tail>\S*)", re.M),
    template="""#!/bin/sh
#PBS -N {label}
#PBS -j oe
#PBS -o {stem}.out
{many}
{directives}
{command}
""",
    prefix="#PBS ",
    array="#PBS -J 1-{n}",
    tasks="#PBS -l select={n}:ncpus=1:mpiprocs=1",
    index="$PBS_ARRAY_INDEX",
    first=1,
    element="{id}[{index}]{tail}",
    whole="{id}{tail}",
    whole_array="{id}[]{tail}",
    status=("qstat", "-t", "-f", "{ids}"),
    found=re.compile(
        r"^Job Id: (?P<id>\d+)(?:\[(?P<index>\d*)\])?\S*\n"
        r"(?:(?!Job Id: ).)*?job_state = (?P<state>\w)"
        r"(?:(?:(?!Job Id: ).)*?comment = (?P<why>[^\n]*))?",
        re.M | re.S,
    ),
    phases=_phases(queued="Q H W T M", running="R E S U B", ended="F X C"),
    unknown=re.compile("Unknown Job|has finished", re.I),
    delete=("qdel", "{ids}"),
    signal=("qsig", "-s", "SIG{signame}", "{ids}"),
    more="qstat -x -f {id}",
)

TORQUE = System(
    **{
        **vars(PBS),
        "name": "torque",
        "array": "#PBS -t 1-{n}",
        "tasks": "#PBS -l procs={n}",
        "index": "$PBS_ARRAYID",
        "more": "tracejob {id}",
    }
)

SGE = System(
    name="sge",
    submit=("qsub", "-terse", "{script}"),
    job=re.compile(r"^(?P<id>\d+)(?P<tail>)", re.M),
    template="""#!/bin/sh
#$ -S /bin/sh
#$ -N {label}
#$ -j y
#$ -o {stem}.out
{many}
{directives}
{command}
""",
    prefix="#$ ",
    array="#$ -t 1-{n}",
    tasks="#$ -pe mpi {n}",
    index="$SGE_TASK_ID",
    first=1,
    element="{id}.{index}",
    whole="{id}",
    # It has no short answer about single jobs; these are the user's.
    status=("qstat", "-g", "d"),
    found=re.compile(
        r"^\s*(?P<id>\d+)\s+[\d.]+\s+\S+\s+\S+\s+(?P<state>[A-Za-z]+)\s+[\d/]+\s+[\d:.]+"
        r"(?:\s+[^\s\d]\S*)?\s+\d+(?:\s+(?P<index>\d+))?\s*$",
        re.M,
    ),
    phases=_phases(
        queued="qw hqw hRwq w t Rt",
        running="r hr Rr s S T ts Rs dr dt dRr ds dS",
        stuck="Eqw Ehqw EhRqw",
    ),
    unknown=re.compile("do not exist", re.I),
    delete=("qdel", "{ids}"),
    signal=None,
    more="qstat -j {id}, or qacct -j {id}",
)

LSF = System(
    name="lsf",
    submit=("bsub",),
    stdin=True,
    job=re.compile(r"Job <(?P<id>\d+)>(?P<tail>)"),
    template="""#!/bin/sh
#BSUB -o {stem}.%J.%I.out
{many}
{directives}
{command}
""",
    prefix="#BSUB ",
    array="#BSUB -J {label}[1-{n}]",
    tasks="#BSUB -J {label}\n#BSUB -n {n}",
    single="#BSUB -J {label}",
    index="$LSB_JOBINDEX",
    first=1,
    element="{id}[{index}]",
    whole="{id}",
    status=("bjobs", "-a", "-noheader", "-o", "jobid jobindex stat delimiter='|'", "{ids}"),
    found=re.compile(r"^(?P<id>\d+)\|(?P<index>\d+)\|(?P<state>\w+)", re.M),
    phases=_phases(queued="PEND PSUSP PROV WAIT", running="RUN USUSP SSUSP UNKWN", ended="DONE EXIT ZOMBI"),
    unknown=re.compile("is not found", re.I),
    delete=("bkill", "{ids}"),
    signal=("bkill", "-s", "{signame}", "{ids}"),
    more="bhist -l {id}",
)

HTCONDOR = System(
    name="htcondor",
    submit=("condor_submit", "-terse", "{script}"),
    job=re.compile(r"^(?P<id>\d+)\.\d+(?P<tail>)", re.M),
    described=True,
    template="""# {label}
universe = vanilla
executable = {script}
arguments = $(Process)
output = {stem}.$(Process).out
error = {stem}.$(Process).out
log = {stem}.events
should_transfer_files = IF_NEEDED
{directives}
{many}
""",
    prefix="",
    array="queue {n}",
    tasks="request_cpus = {n}\nqueue",
    single="queue",
    index="$1",
    first=0,
    element="{id}.{index}",
    whole="{id}",
    status=("condor_q", "{ids}", "-af", "ClusterId", "ProcId", "JobStatus", "HoldReason"),
    found=re.compile(r"^(?P<id>\d+) (?P<index>\d+) (?P<state>\d)(?: undefined| (?P<why>.*))?$", re.M),
    # A job that is being removed (3) is in the queue until it is gone.
    phases=_phases(queued="1", running="2 3 6 7", ended="4", stuck="5"),
    unknown=re.compile("(?!)"),  # it just leaves them out
    delete=("condor_rm", "{ids}"),
    signal=None,
    more="condor_history {id}",
)

SYSTEMS = {system.name: system for system in (SLURM, PBS, TORQUE, SGE, LSF, HTCONDOR)}
