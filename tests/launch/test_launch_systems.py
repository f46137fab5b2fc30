"""What the commands of batch systems print, and what is made of it."""

from __future__ import annotations

import pytest

from parpool.launch.systems import SYSTEMS

SGE = """
job-ID  prior   name       user         state submit/start at     queue                          slots ja-task-ID
-----------------------------------------------------------------------------------------------------------------
      2 0.55500 engine     ann          r     11/21/2026 12:29:59 main.q@node1.example               1 1
     18 0.75000 engine     ann          Eqw   11/21/2026 12:33:37                                    1 2
     20 0.45093 engine     ann          qw    11/21/2026 12:34:41                                    4
     21 1.45093 engine     ann          dr    11/21/2026 12:34:41.123 all.q@n-2                      4
"""
PBS = """Job Id: 12[].head.example
    Job_Name = engine
    job_state = B

Job Id: 12[1].head.example
    Job_Name = engine
    job_state = R
    comment = Job run at Sat Nov 21 at 10:00

Job Id: 12[2].head.example
    Job_Name = engine
    job_state = Q
Job Id: 13.head.example
    job_state = H
    comment = Not Running: no room
    etime = x
"""


@pytest.mark.parametrize(
    ("system", "printed", "known"),
    [
        ("slurm", "77\n", ("77", "")),
        ("slurm", "77;cluster\n", ("77", "")),
        ("pbs", "12.head.example\n", ("12", ".head.example")),
        ("pbs", "12[].head.example\n", ("12", ".head.example")),
        ("torque", "12[].head\n", ("12", ".head")),
        ("sge", "5\n", ("5", "")),
        ("sge", "5.1-4:1\n", ("5", "")),
        ("lsf", "Job <99> is submitted to default queue <normal>.\n", ("99", "")),
        ("htcondor", "101.0 - 101.3\n", ("101", "")),
        ("slurm", "sbatch: hello\n77\n", ("77", "")),
        ("slurm", "sbatch: error\n", None),
        ("lsf", "Request aborted by esub. Job not submitted.\n", None),
    ],
)
def test_jobs(system: str, printed: str, known: tuple[str, str] | None) -> None:
    match = SYSTEMS[system].job.search(printed)
    assert (match and (match["id"], match["tail"])) == known


@pytest.mark.parametrize(
    ("system", "printed", "known"),
    [
        (
            "slurm",
            "7|1|PD|Resources\n7|2|R|None\n8|N/A|CG|None\n9|N/A|OOM|OutOfMemory\n",
            [("7", "1", "PD"), ("7", "2", "R"), ("8", "N/A", "CG"), ("9", "N/A", "OOM")],
        ),
        ("sge", SGE, [("2", "1", "r"), ("18", "2", "Eqw"), ("20", None, "qw"), ("21", None, "dr")]),
        (
            "sge",
            SGE.replace("\n", " \n"),
            [("2", "1", "r"), ("18", "2", "Eqw"), ("20", None, "qw"), ("21", None, "dr")],
        ),
        ("pbs", PBS, [("12", "", "B"), ("12", "1", "R"), ("12", "2", "Q"), ("13", None, "H")]),
        ("lsf", "99|1|RUN\n99|2|PEND\n100|0|EXIT\n", [("99", "1", "RUN"), ("99", "2", "PEND"), ("100", "0", "EXIT")]),
        ("htcondor", "5 0 2 undefined\n5 1 5 Error from x: no\n", [("5", "0", "2"), ("5", "1", "5")]),
        ("slurm", "", []),
    ],
)
def test_elements(system: str, printed: str, known: list[tuple[str, str | None, str]]) -> None:
    row = SYSTEMS[system]
    found = [(match["id"], match["index"], match["state"]) for match in row.found.finditer(printed)]
    assert found == known
    assert all(state in row.phases for _, _, state in found)


def test_why() -> None:
    whys = [match["why"] for match in SYSTEMS["pbs"].found.finditer(PBS)]
    assert whys == [None, "Job run at Sat Nov 21 at 10:00", None, "Not Running: no room"]
    assert [match["why"] for match in SYSTEMS["htcondor"].found.finditer("5 0 2 undefined\n5 1 5 no x\n")] == [
        None,
        "no x",
    ]
    assert [match["why"] for match in SYSTEMS["slurm"].found.finditer("7|1|PD|no x\n")] == ["no x"]


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_rows_are_whole(system: object) -> None:
    from parpool.launch.systems import System

    assert isinstance(system, System)
    assert "{script}" in system.submit or system.stdin
    assert "{many}" in system.template and "{directives}" in system.template
    assert "{n}" in system.array and "{n}" in system.tasks
    assert "{ids}" in system.delete[-1] and "{id}" in system.more
    assert {"queued", "running"} <= set(system.phases.values())
    assert system.signal is None or any("{signame}" in part for part in system.signal)
