"""A graph of tasks: each runs when those that it depends on have ended.

    python examples/dag.py
    python examples/dag.py --nodes 100 --edges 300 --engines 4 --output dag.png

A random directed graph without cycles is made with networkx. All of its nodes are submitted at once, each `after` the
nodes with an edge to it; the scheduler holds a task back until its time has come. Then the order is checked: for no
edge may a task have begun before the other had ended. With `--output` the graph is drawn with matplotlib: from left to
right as the tasks began, colored by the engine that ran each.
"""

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

from parpool import AsyncResult, Pool

try:
    import networkx as nx
except ImportError:
    sys.exit("this example needs networkx: pip install networkx")


def work(seconds: float) -> float:
    """A task of so many seconds. This is what the engines run."""
    time.sleep(seconds)
    return seconds


def random_dag(nodes: int, edges: int, seed: int) -> Any:
    """A directed graph without cycles: every edge leads from a smaller number to a larger one."""
    pairs = [(low, high) for high in range(nodes) for low in range(high)]
    graph = nx.DiGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(random.Random(seed).sample(pairs, min(edges, len(pairs))))
    return graph


def submit(view: Any, graph: Any, seconds: dict[int, float]) -> dict[int, AsyncResult]:
    """Submit every node, after the nodes that it depends on."""
    results: dict[int, AsyncResult] = {}
    for node in nx.topological_sort(graph):
        with view.temp_flags(after=[results[before] for before in graph.predecessors(node)]):
            results[node] = view.apply_async(work, seconds[node])
    return results


def violations(graph: Any, results: dict[int, AsyncResult]) -> list[tuple[int, int]]:
    """The edges of which the second task began before the first had ended."""
    told = {node: result.metadata for node, result in results.items()}
    return [(one, two) for one, two in graph.edges if told[one]["completed"] > told[two]["started"]]


def draw(graph: Any, results: dict[int, AsyncResult], path: Path) -> None:
    """Draw the graph: to the right as the tasks began, colored by engine."""
    from matplotlib.figure import Figure  # not pyplot: no window is wanted

    told = {node: result.metadata for node, result in results.items()}
    begin = min(each["started"] for each in told.values())
    depth: dict[int, int] = {}
    for node in nx.topological_sort(graph):
        depth[node] = 1 + max((depth[before] for before in graph.predecessors(node)), default=0)
    places = {}
    for level in set(depth.values()):
        members = sorted(node for node in depth if depth[node] == level)
        for row, node in enumerate(members, start=1):
            places[node] = ((told[node]["started"] - begin).total_seconds(), row / (len(members) + 1))

    figure = Figure(figsize=(12, 7))
    axes = figure.add_subplot()
    colors = [told[node]["engine_id"] for node in graph]
    nx.draw_networkx(graph, places, ax=axes, node_color=colors, cmap="Set3", edge_color="silver", font_size=8)
    axes.set_xlabel("seconds since the first task began")
    axes.tick_params(bottom=True, labelbottom=True)
    axes.set_title(f"{len(graph)} tasks, {graph.size()} dependencies; a color for each engine")
    figure.savefig(path)


def main() -> None:
    """Run a random graph, and check the order."""
    parser = argparse.ArgumentParser(description="Run a graph of tasks that depend on each other.")
    parser.add_argument("--engines", type=int, metavar="N", help="how many engines (default: one for each CPU)")
    parser.add_argument("--nodes", type=int, default=32, metavar="N", help="how many tasks (default: 32)")
    parser.add_argument("--edges", type=int, default=64, metavar="N", help="how many dependencies (default: 64)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which graph (default: 1)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="draw the graph into this file, dag.png for one")
    options = parser.parse_args()
    if options.output:
        try:
            import matplotlib  # noqa: F401 (now, and not after the work)
        except ImportError:
            sys.exit("to draw, this example needs matplotlib: pip install matplotlib")

    graph = random_dag(options.nodes, options.edges, options.seed)
    lengths = random.Random(options.seed)
    seconds = {node: lengths.uniform(0.005, 0.05) for node in graph}

    with Pool(options.engines) as pool:
        view = pool.client.load_balanced_view()
        started = time.perf_counter()
        results = submit(view, graph, seconds)
        submitted = time.perf_counter()
        view.wait(results.values())
        ended = time.perf_counter()
        for result in results.values():
            result.get()
        engines = len(pool.client)

    longest = {node: 0.0 for node in graph}  # the longest way to the end of each node: no schedule is faster
    for node in nx.topological_sort(graph):
        longest[node] = seconds[node] + max((longest[before] for before in graph.predecessors(node)), default=0.0)
    print(f"{len(graph)} tasks with {graph.size()} dependencies, submitted in {submitted - started:.3f} s")
    print(f"ran for {ended - started:.2f} s on {engines} engines")
    print(f"at the least: {sum(seconds.values()) / engines:.2f} s for the work of each engine,")
    print(f"              {max(longest.values(), default=0.0):.2f} s for the longest chain of dependencies")

    wrong = violations(graph, results)
    if wrong:
        sys.exit(f"the order is WRONG: {wrong}")
    print("every task began after the end of all that it depends on")
    if options.output:
        draw(graph, results, options.output)
        print(f"drawn to {options.output}")


if __name__ == "__main__":
    main()
