"""Two clients of a cluster whose controller is killed."""

import os
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "fork"), reason="kills with -9")


def test_a_task_notes_that_it_ran(example, tmp_path) -> None:
    module, path = example("cluster_two_clients"), tmp_path / "ran"
    assert [module.work(number, str(path)) for number in (3, 4)] == [9, 16]
    assert path.read_text() == "3\n4\n"


def test_nothing_is_lost_and_nothing_runs_twice(run_example, tmp_path) -> None:
    printed = run_example("cluster_two_clients", "--tasks", 120).splitlines()
    assert printed[0].startswith("the controller is killed; of 120 tasks ")
    assert printed[1].startswith("another one has taken its place after ") and printed[1].endswith(" s: True")
    assert printed[2:] == [
        f"the second client has the result of the last one: {119 * 119}",
        "every task ran once, and every result arrived",
    ]
    assert os.listdir(tmp_path) == []
