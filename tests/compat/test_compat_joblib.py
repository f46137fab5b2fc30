"""joblib's Parallel on engines: its own options and promises, and scikit-learn on top of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

numpy = pytest.importorskip("numpy")
joblib = pytest.importorskip("joblib", reason="joblib is installed in one environment only")
from joblib import Parallel, delayed, parallel_config  # noqa: E402
from parpool.compat import joblib as ours  # noqa: E402

from parpool import Cluster, EngineLost, Pool  # noqa: E402

pytestmark = pytest.mark.usefixtures("joblib_backend")


def pid(_: object = None) -> int:
    return os.getpid()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def begin(folder: Path, name: str) -> str:
    (folder / name).touch()
    wait_for(folder / "open")
    return name


# Calls --------------------------------------------------------------------------------------------------


def test_calls_run_on_engines(two: None) -> None:
    pids = set(Parallel()(delayed(pid)(n) for n in range(100)))
    assert os.getpid() not in pids
    again = set(Parallel()(delayed(pid)(n) for n in range(100)))
    assert 1 <= len(pids | again) <= 2, "the engines are used again"


def test_values_are_in_order_whatever_the_batches(two: None) -> None:
    offset = 3
    for options in ({}, {"batch_size": 1}, {"batch_size": 7}, {"pre_dispatch": "all"}, {"pre_dispatch": 1}):
        assert Parallel(**options)(delayed(lambda n: n + offset)(n) for n in range(500)) == list(range(3, 503))
    assert Parallel()([]) == []


def test_batches_grow_with_short_calls(two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    submit = ours.ParpoolBackend.submit
    monkeypatch.setattr(
        ours.ParpoolBackend,
        "submit",
        lambda self, func, callback: sizes.append(len(func)) or submit(self, func, callback),
    )
    Parallel()(delayed(abs)(n) for n in range(20_000))
    assert sum(sizes) == 20_000 and len(sizes) < 1000
    sizes.clear()
    Parallel()(delayed(time.sleep)(0.06) for n in range(6))
    assert sizes == [1] * 6, "and one call that takes long is a batch"


def test_how_many() -> None:
    with parallel_config(backend="parpool"):
        assert joblib.effective_n_jobs() == joblib.effective_n_jobs(-1) == max(joblib.cpu_count(), 1)
        assert joblib.effective_n_jobs(3) == 3 and joblib.effective_n_jobs(-1000) == 1
        with pytest.raises(ValueError, match="no meaning"):
            joblib.effective_n_jobs(0)
    with parallel_config(backend="parpool", n_jobs=1):
        assert Parallel()([delayed(pid)()]) == [os.getpid()], "one job needs no engine"


def test_generators(two: None, tmp_path: Path) -> None:
    values = Parallel(return_as="generator")(delayed(abs)(-n) for n in range(50))
    assert next(values) == 0 and list(values) == list(range(1, 50))
    values = Parallel(return_as="generator_unordered", batch_size=1)(
        [delayed(begin)(tmp_path, "slow"), delayed(str)("quick")]
    )
    assert next(values) == "quick"
    (tmp_path / "open").touch()
    assert list(values) == ["slow"]


def test_a_generator_that_nobody_wants(two: None, tmp_path: Path) -> None:
    values = Parallel(return_as="generator", batch_size=1)(delayed(begin)(tmp_path, f"task-{n}") for n in range(10))
    wait_for(tmp_path / "task-0")
    with pytest.warns(UserWarning, match="cancelled"):
        del values
    assert Parallel()(delayed(abs)(-n) for n in range(3)) == [0, 1, 2]
    assert not (tmp_path / "task-9").exists()


def test_a_parallel_that_is_used_several_times(two: None) -> None:
    with Parallel() as parallel:
        for _ in range(3):
            assert parallel(delayed(abs)(-n) for n in range(20)) == list(range(20))
        with pytest.raises(ZeroDivisionError):
            parallel(delayed(divmod)(1, n) for n in [1, 0])
        assert parallel([delayed(abs)(-1)]) == [1]


def nested(n: int) -> tuple[list[int], list[int]]:
    inner = Parallel(n_jobs=2)(delayed(pid)(m) for m in range(4))
    with parallel_config(backend="parpool"):
        named = Parallel(n_jobs=2)(delayed(pid)(m) for m in range(4))
    return inner, named


def test_nested_calls_stay_on_their_engine(two: None) -> None:
    for inner, named in Parallel(batch_size=1)(delayed(nested)(n) for n in range(4)):
        assert len({*inner, *named}) == 1 and os.getpid() not in inner


def in_a_thread(n: int) -> list[int]:
    with ThreadPoolExecutor(1) as executor:  # where nothing is known of the call that this one is in
        return executor.submit(
            lambda: Parallel(n_jobs=2, backend="parpool")(delayed(abs)(-m) for m in range(n))
        ).result()


def test_an_engine_may_have_engines_of_its_own(two: None) -> None:
    """It was forked while the engines were being made."""
    assert Parallel(batch_size=1)(delayed(in_a_thread)(n) for n in range(3)) == [[], [0], [0, 1]]


# When things go wrong -----------------------------------------------------------------------------------


def test_an_error_ends_the_rest(two: None, tmp_path: Path) -> None:
    def run(n: int) -> None:
        (tmp_path / str(n)).touch()
        if n == 3:
            raise LookupError("three")
        time.sleep(0.01)

    with pytest.raises(LookupError, match="three") as caught:
        Parallel(batch_size=1)(delayed(run)(n) for n in range(1000))
    assert 'raise LookupError("three")' in str(caught.value.__cause__), "the remote traceback"
    assert len(list(tmp_path.iterdir())) < 500
    assert Parallel()([delayed(abs)(-1), delayed(abs)(-2)]) == [1, 2]


def test_an_engine_that_dies(two: None) -> None:
    with pytest.raises(EngineLost, match="exit code 3"):
        Parallel(batch_size=1)(delayed(os._exit)(3) for _ in range(2))
    assert Parallel()([delayed(abs)(-1), delayed(abs)(-2)]) == [1, 2]


def test_what_cannot_be_sent(two: None) -> None:
    with pytest.raises(TypeError, match="lock"):
        Parallel()(delayed(id)(__import__("threading").Lock()) for _ in range(5))


def test_an_iterable_that_fails(two: None) -> None:
    def items() -> Iterator[Any]:
        yield from (delayed(abs)(-n) for n in range(100))
        raise OSError("no more items")

    with pytest.raises(OSError, match="no more items"):
        Parallel()(items())


def test_time_is_up(two: None, tmp_path: Path) -> None:
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.1)(delayed(begin)(tmp_path, str(n)) for n in range(4))
    assert Parallel()([delayed(abs)(-1), delayed(abs)(-2)]) == [1, 2], "those that ran have been ended"


CTRL_C = """
import sys, time
from pathlib import Path
import joblib
from parpool.compat import joblib as ours

def begin(folder, n):
    Path(folder, str(n)).touch()
    time.sleep(60)

ours.register()
with joblib.parallel_config(backend="parpool", n_jobs=2):
    try:
        joblib.Parallel()(joblib.delayed(begin)(sys.argv[1], n) for n in range(100))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(joblib.Parallel()(joblib.delayed(abs)(-n) for n in range(3)), flush=True)
"""


def test_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(CTRL_C)
    line = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 30
            while not (tmp_path / "0").exists():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.001)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=40)
        finally:
            process.kill()
    assert (out.split("\n")[:2], err, process.returncode) == (["interrupted", "[0, 1, 2]"], "", 0)


# Engines ------------------------------------------------------------------------------------------------


def remember(value: str) -> None:
    os.environ["PARPOOL_TEST_JOBLIB"] = value


def test_an_initializer() -> None:
    with parallel_config(backend="parpool", n_jobs=2, initializer=remember, initargs=("kept",)):
        assert set(Parallel()(delayed(os.getenv)("PARPOOL_TEST_JOBLIB") for _ in range(10))) == {"kept"}


def test_threads_of_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with parallel_config(backend="parpool", n_jobs=2, inner_max_num_threads=3):
        assert set(Parallel()(delayed(os.getenv)("OMP_NUM_THREADS") for _ in range(10))) == {"3"}


def test_a_pool_of_ones_own() -> None:
    with Pool(2) as pool:
        with parallel_config(backend="parpool", pool=pool, inner_max_num_threads=3):
            assert joblib.effective_n_jobs(-1) == joblib.effective_n_jobs(5) == 2
            pids = set(Parallel()(delayed(pid)(n) for n in range(100)))
            assert pids <= {process.pid for process in pool._pool}
            assert Parallel()([delayed(os.getenv)("OMP_NUM_THREADS")] * 2) == ["3", "3"]
            with pytest.raises(LookupError):
                Parallel()(delayed({}.__getitem__)(n) for n in range(100))
            assert set(Parallel()(delayed(pid)(n) for n in range(100))) <= pids | {p.pid for p in pool._pool}
        assert pool.apply(abs, (-1,)) == 1, "it goes on"
    pool.join()


def test_options_of_one_parallel() -> None:
    with Pool(2) as pool:
        pids = {process.pid for process in pool._pool}
        calls = [delayed(pid)(n) for n in range(20)]
        assert set(Parallel(n_jobs=2, backend="parpool", pool=pool)(calls)) <= pids
        with parallel_config(backend="parpool", n_jobs=2):
            assert set(Parallel(pool=pool)(calls)) <= pids
            assert not set(Parallel()(calls)) & pids, "the next has its own"
            given = Parallel(initializer=remember, initargs=("one",))(
                delayed(os.getenv)("PARPOOL_TEST_JOBLIB") for _ in "ab"
            )
            assert given == ["one", "one"]
        with pytest.warns(
            UserWarning, match="^pools: of no effect on joblib's backend 'parpool', whose options here are"
        ):
            Parallel(n_jobs=2, backend="parpool", pools=pool)(calls)
    pool.join()


def test_the_engines_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # in the checkout its engines would find parpool/, which is not the whole package
    with Cluster(2) as rc:
        with parallel_config(backend="parpool", client=rc):
            assert joblib.effective_n_jobs(-1) == 2
            for _ in range(2):
                pids = set(Parallel()(delayed(pid)(n) for n in range(100)))
                assert pids <= set(rc[:].apply_sync(os.getpid))
            with pytest.raises(ZeroDivisionError):
                Parallel()(delayed(divmod)(1, n) for n in [1, 0])
        assert rc[0].apply_sync(abs, -1) == 1


@pytest.mark.parametrize(
    "options", [{"pool": 1, "client": 2}, {"pool": 1, "initializer": abs}, {"client": 1, "context": 2}]
)
def test_options_that_contradict_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ours.ParpoolBackend(**options)


# scikit-learn -------------------------------------------------------------------------------------------


def test_cross_val_score(two: None) -> None:
    pytest.importorskip("sklearn")
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    x, y = make_classification(8000, 20, random_state=0)
    assert x.nbytes >= 2**20, "so that it is shared"
    here = cross_val_score(LogisticRegression(), x, y, cv=5, n_jobs=1)
    assert numpy.allclose(cross_val_score(LogisticRegression(), x, y, cv=5), here)


def test_grid_search(two: None) -> None:
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    x, y = load_iris(return_X_y=True)
    grid = {"n_estimators": [3, 5], "max_depth": [1, 3]}
    search = GridSearchCV(RandomForestClassifier(random_state=0, n_jobs=2), grid, cv=3)
    assert search.fit(x, y).best_score_ > 0.8
    with parallel_config(backend="sequential"):
        assert (
            GridSearchCV(RandomForestClassifier(random_state=0), grid, cv=3).fit(x, y).best_params_
            == search.best_params_
        )


# ipyparallel's names for it ----------------------------------------------------------------------------


def test_by_ipyparallels_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import parpool.compat.ipyparallel as ipp

    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # in the checkout engines would find parpool/, without compat
    ipp.register_joblib_backend()
    with parallel_config(backend="ipyparallel", n_jobs=2):
        here = set(Parallel()(delayed(pid)(n) for n in range(20)))
    assert os.getpid() not in here, "without a cluster, engines are started"
    with ipp.Cluster(n=2) as rc:
        theirs = set(rc[:].apply_sync(os.getpid))
        rc.load_balanced_view().register_joblib_backend("view")
        for name in ("view", "ipyparallel"):  # the second finds the cluster, as it is the default one
            with parallel_config(backend=name, n_jobs=2):
                assert set(Parallel()(delayed(pid)(n) for n in range(20))) <= theirs
