"""What users rely on in the Pool contract: every case, against the stdlib's Pool (the oracle) and against parpool's."""

from __future__ import annotations

import inspect
import multiprocessing.pool
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oracle
import oracle_calls  # noqa: F401  (each registers its cases)
import oracle_ends  # noqa: F401
import oracle_errors  # noqa: F401
import oracle_life  # noqa: F401
import oracle_ours  # noqa: F401
import oracle_results  # noqa: F401
import oracle_tasks
import pytest
import scripts
from oracle import Case, Kit

pytestmark = pytest.mark.filterwarnings(
    # Python 3.12 and later say so whenever a process with threads forks, which the stdlib's own Pool does.
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)

KITS = {"stdlib": oracle.stdlib_kit, "parpool": oracle.parpool_kit}
# What the stdlib does need not be asked on every interpreter: what is expected is the same on all.
EACH = [pytest.param("stdlib", marks=pytest.mark.once), "parpool"]


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    """One implementation, with a pool for the cases that need none of their own."""
    kit = KITS[request.param](tmp_path_factory.mktemp("kit"))
    kit.pool = kit.Pool(2)
    _warm_up(kit.pool)
    yield kit
    oracle.end(kit.pool)
    kit.pool = None


def _warm_up(pool: Any) -> None:
    """What a pool makes when it first needs it, and keeps, is not for the first case that needs it to answer for."""
    data = b"x" * 5_000_000
    pool.map(oracle_tasks.give, [data] * 8, 1)
    results = [pool.apply_async(oracle_tasks.give, (data,), callback=len) for _ in range(8)]
    oracle.until(lambda: all(result.ready() for result in results))


@pytest.fixture
def kit(shared: Kit, tmp_path: Path) -> Kit:
    shared.folder = tmp_path
    return shared


BOTH = [case for case in oracle.CASES if not case.only_ours]
OURS = [case for case in oracle.CASES if case.only_ours]


# Each argument by itself, so that all cases of an implementation share its pool.
@pytest.mark.parametrize("case", BOTH, ids=[case.id for case in BOTH])
@pytest.mark.parametrize("shared", EACH, indirect=True, scope="module")
def test_contract(kit: Kit, case: Case) -> None:
    assert case.function(kit) == case.expected


@pytest.mark.parametrize("case", OURS, ids=[case.id for case in OURS])
@pytest.mark.parametrize("shared", ["parpool"], indirect=True, scope="module")
def test_what_is_ours(kit: Kit, case: Case) -> None:
    assert case.function(kit) == case.expected


def test_case_names_are_unique() -> None:
    names = [case.id for case in oracle.CASES]
    assert sorted(set(names)) == sorted(names)


# Signatures

METHODS = ["__init__", "apply", "apply_async", "map", "map_async", "starmap", "starmap_async", "imap"]
METHODS += ["imap_unordered", "close", "terminate", "join"]
ADDED = {
    "__init__": {"retries", "task_timeout", "serializer", "progress"},
    "apply": {"retries", "task_timeout"},
    "apply_async": {"retries", "task_timeout"},
    "map": {"retries", "task_timeout", "progress"},
    "map_async": {"retries", "task_timeout"},
    "starmap": {"retries", "task_timeout", "progress"},
    "starmap_async": {"retries", "task_timeout"},
    "imap": {"retries", "task_timeout", "progress", "buffersize"},
    "imap_unordered": {"retries", "task_timeout", "progress", "buffersize"},
}


def _parameters(cls: type, name: str) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(cls, name)).parameters.values())


@pytest.mark.parametrize("name", METHODS)
def test_signature(name: str) -> None:
    from parpool import Pool

    theirs, ours = _parameters(multiprocessing.pool.Pool, name), _parameters(Pool, name)
    shape = [(p.name, p.kind, p.default) for p in theirs]
    assert [(p.name, p.kind, p.default) for p in ours[: len(theirs)]] == shape
    more = ours[len(theirs) :]
    assert {p.kind for p in more} <= {inspect.Parameter.KEYWORD_ONLY}
    assert {p.name for p in more} >= ADDED.get(name, set())
    assert all(p.default is not inspect.Parameter.empty for p in more)


@pytest.mark.parametrize("name", ["get", "wait", "ready", "successful"])
def test_result_signature(name: str) -> None:
    from parpool import AsyncResult

    theirs = [(p.name, p.kind, p.default) for p in _parameters(multiprocessing.pool.AsyncResult, name)]
    assert [(p.name, p.kind, p.default) for p in _parameters(AsyncResult, name)][: len(theirs)] == theirs


# What lies in a script's own module

SCRIPT = """
import multiprocessing, sys

if "{module}" == "parpool":
    from parpool import Pool
else:
    from multiprocessing import Pool

setting = "default"

class Box:
    def __init__(self, x):
        self.x = x

class OddError(Exception):
    pass

def make(x):
    return Box(x)

def look(box):
    return type(box) is Box and isinstance(box, Box), box.x

def fail(x):
    if x % 2:
        raise OddError(x)
    return x

def get_setting(_):
    return setting

def initialize(value):
    global setting
    setting = value

if __name__ == "__main__":
    multiprocessing.set_start_method("{method}")
    setting = "changed"
    with Pool(2) as pool:
        boxes = pool.map(make, range(3))
        print([type(box) is Box for box in boxes], [box.x for box in boxes])
        print(pool.map(look, boxes))
        try:
            pool.map(fail, [0, 2, 3])
        except OddError as error:
            print("caught", error.args, type(error) is OddError)
        print(set(pool.map(get_setting, range(4))))
    pool.join()
    with Pool(2, initialize, ("by the initializer",)) as pool:
        print(set(pool.map(get_setting, range(4))))
    pool.join()
    print(sys.argv[1:])
"""

OUTPUT = """[True, True, True] [0, 1, 2]
[(True, 0), (True, 1), (True, 2)]
caught (3,) True
{'%s'}
{'by the initializer'}
['an', 'argument']
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("module", ["multiprocessing", "parpool"])
def test_things_of_a_script(module: str, method: str, tmp_path: Path) -> None:
    """Functions, classes and globals of `__main__`."""
    expected = OUTPUT % ("changed" if method == "fork" else "default")
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(module=module, method=method))
    ended = scripts.run([str(path), "an", "argument"], 40)
    assert (ended.out, ended.status, ended.left) == (expected, 0, []), ended.report()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_an_unmodified_script(method: str, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(module="multiprocessing", method=method))
    ended = scripts.run(["-m", "parpool", str(path), "an", "argument"], 40)
    expected = OUTPUT % ("changed" if method == "fork" else "default")
    assert (ended.out, ended.status, ended.left) == (expected, 0, []), ended.report()


LATER = """
import multiprocessing
from parpool import Pool

if __name__ == "__main__":
    multiprocessing.set_start_method("{method}")
    pool = Pool(2)
    print(pool.apply(len, ("abc",)))

    offset = 100

    def later(x):
        return x + 1

    class Later:
        def __init__(self, x):
            self.x = later(x)

    print(pool.map(later, range(3)))
    print([type(item) is Later and item.x for item in pool.map(Later, range(3))])
    print(pool.map(lambda x: later(x) * 2, range(3)))

    def later(x):
        return x + 2

    print(pool.map(later, range(3)))
    pool.close()
    pool.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_functions_defined_after_the_pool(method: str, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(LATER.format(method=method))
    ended = scripts.run([str(path)], 40)
    expected = "3\n[1, 2, 3]\n[1, 2, 3]\n[2, 4, 6]\n[2, 3, 4]\n"
    assert (ended.out, ended.status, ended.left) == (expected, 0, []), ended.report()


@pytest.mark.parametrize(("end", "status"), [("sys.exit(7)", 7), ("sys.exit()", 0), ("raise KeyError('x')", 1)])
def test_exit_status_under_dash_m(end: str, status: int, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        "import sys\nfrom multiprocessing import Pool\nimport parpool\n"
        "if __name__ == '__main__':\n"
        "    with Pool(1) as pool:\n"
        "        print(isinstance(pool, parpool.Pool), pool.map(abs, [-1]), __file__ == sys.argv[0], __name__)\n"
        f"    pool.join()\n    {end}\n"
    )
    ended = scripts.run(["-m", "parpool", str(path)], 40)
    assert (ended.out, ended.status, ended.left) == ("True [1] True __main__\n", status, []), ended.report()
