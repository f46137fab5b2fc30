"""The graph of tasks."""

from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

pytest.importorskip("networkx")


def test_a_wrong_order_is_found(example) -> None:
    module = example("dag")
    graph = module.nx.DiGraph([(0, 1), (0, 2), (1, 2)])
    noon = datetime(2026, 1, 1, 12)

    def ran(start: int, end: int) -> SimpleNamespace:
        times = dict(started=noon + timedelta(seconds=start), completed=noon + timedelta(seconds=end))
        return SimpleNamespace(metadata=times)

    assert module.violations(graph, {0: ran(0, 1), 1: ran(1, 2), 2: ran(3, 4)}) == []
    assert module.violations(graph, {0: ran(0, 2), 1: ran(1, 3), 2: ran(2, 4)}) == [(0, 1), (1, 2)]


def test_a_random_graph_is_without_cycles(example) -> None:
    module = example("dag")
    graph = module.random_dag(20, 60, seed=5)
    assert (len(graph), graph.size()) == (20, 60)
    assert module.nx.is_directed_acyclic_graph(graph)
    assert module.random_dag(3, 60, seed=5).size() == 3


def test_it_runs_in_an_order_that_respects_the_edges(run_example) -> None:
    printed = run_example("dag", "--engines", 2, "--nodes", 40, "--edges", 120)
    assert "40 tasks with 120 dependencies" in printed
    assert printed.splitlines()[-1] == "every task began after the end of all that it depends on"


def test_it_is_drawn(run_example, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    printed = run_example("dag", "--engines", 2, "--nodes", 8, "--edges", 12, "--output", "dag.png")
    assert printed.splitlines()[-1] == "drawn to dag.png"
    assert (tmp_path / "dag.png").read_bytes().startswith(b"\x89PNG")
