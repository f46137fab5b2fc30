"""A session at a prompt, replayed: what is typed, and what the prompt answers.

    python examples/interactive_session.py
    python examples/interactive_session.py --engines 4

Each statement of SESSION is shown behind `>>>` and run as a prompt runs it: the value of an expression is shown, and a
statement that raises does not end the session. `px` is what notebooks know as %px: code for all engines.
"""

import argparse
import ast
import sys
import traceback
from typing import Any

from parpool import Pool

SESSION = """
rc
view = rc[:]
view.block = True

# Names are pushed to the namespaces of the engines, and pulled from there.
view["a"] = 10
view.push({"b": 2.5, "names": ["Ada", "Grace"]})
view["a"]
view.pull(["a", "b"])
rc[0]["names"]

# Functions see these names as their globals, and can change them.
def add(increment):
    global a
    a += increment
    return a

view.apply(add, 5)
rc[0].apply_sync(add, 100)
view["a"]

# Each engine has its part of a sequence.
view.scatter("x", range(10))
px("x")
px("y = [n**2 for n in x]; print(sum(y))")
view.gather("y")

# Code has the value of its last expression, and what it printed comes home.
px("import os, sys; print('hello', file=sys.stderr); len(names)")
result = view.execute("a / len(x)", block=False)
[answer.text for answer in result.get()]

# What fails tells where, and what did not fail is not lost.
view.execute("z = 1 / x[0]")
"z" in rc[0], "z" in rc[-1]
rc[0].pull("nmes", block=True)

# A load-balanced view has no names of its own, and any engine will do.
balanced = rc.load_balanced_view()
balanced.map_sync(lambda n: n**2, range(5))
view.clear()
"a" in view
"""


def replay(session: str, names: dict[str, Any]) -> None:
    """Run the statements, and show them with what a prompt would answer."""
    for source, statement in statements(session):
        for number, line in enumerate(source.splitlines()):
            print("..." if number and line else ">>>" if line else "", line)
        if statement is not None:
            code = compile(ast.Interactive([statement]), "<session>", "single")
            try:
                exec(code, names)
            except Exception as error:
                # Of our side it would only show this function.
                print("".join(traceback.format_exception_only(error)), end="")
            print()


def statements(session: str) -> list[tuple[str, ast.stmt | None]]:
    """Each statement with the lines of its source; None for a comment."""
    lines = session.splitlines()
    found: list[tuple[str, ast.stmt | None]] = []
    shown = 0
    for statement in ast.parse(session).body:
        for line in lines[shown : statement.lineno - 1]:
            if line:
                found.append((line, None))
        shown = statement.end_lineno or statement.lineno
        found.append(("\n".join(lines[statement.lineno - 1 : shown]), statement))
    return found


def main() -> None:
    """Replay the session on engines of its own."""
    parser = argparse.ArgumentParser(description="Replay a session at a prompt.")
    parser.add_argument("--engines", type=int, default=2, metavar="N", help="how many engines (default: 2)")
    options = parser.parse_args()
    sys.stderr = sys.stdout  # as on a screen: what engines write to either comes in its order

    with Pool(options.engines) as pool:

        def px(code: str) -> None:
            """Run code on all engines, and show its output and values under the names of the engines."""
            pool.client[:].execute(code, silent=False, block=True)

        replay(SESSION, {"__name__": "__main__", "rc": pool.client, "px": px})


if __name__ == "__main__":
    main()
