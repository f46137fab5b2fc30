"""The plugin for pytest, as the pytest of a user has it: in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

LIVES = """
import os

def pids(pool):
    return sorted(pool.client[:].apply_sync(os.getpid))
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs a test file, with options of the configuration; the plugin is there whether parpool is installed or not."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run_tests(source: str, *arguments: str, **options: str) -> pytest.RunResult:
        pytester.makeini("\n".join(["[pytest]", *(f"{name} = {value}" for name, value in options.items())]))
        pytester.makepyfile(lives=LIVES, test_it=source)
        return pytester.runpytest_subprocess("-p", "parpool.testing", "-p", "no:randomly", *arguments, timeout=50)

    return run_tests


def gone(folder: Path) -> bool:
    """Have the processes ended that the tests have noted?"""
    pids = [int(pid) for path in folder.glob("*.pids") for pid in path.read_text().split()]
    assert pids
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_pool_that_ends_with_the_module(pytester: pytest.Pytester, run) -> None:
    done = run(
        """
        import time
        from pathlib import Path
        from lives import pids

        def double(x):
            return 2 * x

        seen = []

        def test_one(parpool_pool):
            assert parpool_pool.map(double, range(5)) == [0, 2, 4, 6, 8]
            seen.append(pids(parpool_pool))
            Path("a.pids").write_text(" ".join(map(str, seen[0])))

        def test_two(parpool_pool):
            seen.append(pids(parpool_pool))
            assert len(seen[0]) == 2 and seen[0] == seen[1]
            parpool_pool.apply_async(time.sleep, (100,))
            assert False, "and what runs is ended"
        """
    )
    done.assert_outcomes(passed=1, failed=1)
    assert gone(pytester.path)


def test_the_number_and_the_life_of_the_engines_are_options(run) -> None:
    done = run(
        """
        from lives import pids

        seen = []

        def test_one(parpool_pool):
            seen.append(pids(parpool_pool))

        def test_two(parpool_pool):
            assert len(seen[0]) == 3 and not set(seen[0]) & set(pids(parpool_pool))
        """,
        parpool_engines="3",
        parpool_scope="function",
    )
    done.assert_outcomes(passed=2)


def test_a_cluster_that_clients_find(pytester: pytest.Pytester, run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARPOOL_DIR", "/nowhere")
    monkeypatch.setenv("PARPOOL_PROFILE", "another")
    done = run(
        """
        import os
        import time
        from pathlib import Path
        import pytest
        import parpool

        def test_one(parpool_cluster):
            with parpool.Client() as rc:
                pids = [rc.cluster_status()["pid"], *rc[:].apply_sync(os.getpid)]
                Path("a.pids").write_text(" ".join(map(str, pids)))
            assert len(pids) == 3
            with parpool_cluster.connect_client() as rc:
                rc[0].apply_async(time.sleep, 100)
                raise ValueError("and what runs is ended")

        @pytest.fixture(scope="session", autouse=True)
        def environment_is_as_before():
            yield
            assert os.environ["PARPOOL_DIR"] == "/nowhere" and os.environ["PARPOOL_PROFILE"] == "another"
        """
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["E * ValueError: and what runs is ended"])
    assert gone(pytester.path)


def test_ctrl_c_ends_the_engines(pytester: pytest.Pytester, run) -> None:
    done = run(
        """
        from pathlib import Path
        from lives import pids

        def test_one(parpool_pool):
            Path("a.pids").write_text(" ".join(map(str, pids(parpool_pool))))
            raise KeyboardInterrupt
        """,
        parpool_scope="session",
    )
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert gone(pytester.path)


def test_who_does_not_use_it_pays_nothing(run) -> None:
    done = run(
        """
        import sys

        def test_nothing_is_loaded():
            ours = {name for name in sys.modules if name.partition(".")[0] == "parpool"}
            assert ours == {"parpool", "parpool.testing"}
            assert not {"zmq", "msgspec", "cloudpickle", "multiprocessing.pool", "numpy"} & set(sys.modules)
        """,
        "-W",
        "error",
        "--strict-config",
        "--strict-markers",
    )
    done.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("parpool_engines", "many", "parpool_engines is how many engines there are, 1 or more, and not 'many'"),
        ("parpool_engines", "0", "1 or more, and not '0'"),
        ("parpool_scope", "test", "parpool_scope is one of function, class, module, package, session, and not 'test'"),
    ],
)
def test_options_that_cannot_be_meant(run, name: str, value: str, message: str) -> None:
    done = run("def test_one(): pass", **{name: value})
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"ERROR: *{message}"])
