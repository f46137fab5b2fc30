"""How many threads BLAS and OpenMP have on engines: seen by numpy's own, which was loaded here before."""

from __future__ import annotations

import os
from typing import Any

import pytest

from parpool import Client, Cluster, Executor, Pool, cpu_count
from parpool.options import THREAD_VARIABLES, threads_of

numpy = pytest.importorskip("numpy")
threadpoolctl = pytest.importorskip("threadpoolctl", reason="threadpoolctl counts the threads, and sets them")


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has no opinion, whoever runs the tests."""
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def seen() -> set[int]:
    """The threads of the libraries that are loaded, numpy's among them."""
    import numpy
    import threadpoolctl

    numpy.ones((4, 4)) @ numpy.ones((4, 4))
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


def said() -> set[str | None]:
    return {os.environ.get(name) for name in THREAD_VARIABLES}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_engines_of_a_pool_have_what_is_asked_for(method: str) -> None:
    here = seen()
    assert here, "numpy has a library that threadpoolctl knows"
    with Pool(1, context=__import__("multiprocessing").get_context(method), threads_per_engine=1) as pool:
        assert pool.apply(seen) == {1} and pool.apply(said) == {"1"}
    pool.join()
    assert seen() == here and said() == {None}, "and nothing changes here"


def test_as_many_as_they_like_by_default() -> None:
    with Pool(2) as pool:
        assert pool.apply(seen) == seen() and pool.apply(said) == {None}
    pool.join()


def test_an_executor_has_the_same_option() -> None:
    with Executor(2, threads_per_engine="auto") as executor:
        share = max(1, cpu_count() // 2)
        assert executor.submit(seen).result() == {share}
        assert executor.submit(said).result() == {str(share)}


def test_auto_is_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads_of(None, 2) == 0
    assert threads_of("auto", 1) == threads_of("auto", 0) == cpu_count()
    assert threads_of("auto", 10**6) == 1 and threads_of(7, 10**6) == 7
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_of("auto", 2) == 0, "who has said it in the environment is heeded"
    assert threads_of(7, 2) == 7


@pytest.mark.parametrize(("error", "wrong"), [(ValueError, 0), (TypeError, "all"), (TypeError, 1.5)])
def test_what_cannot_be_meant(error: type[Exception], wrong: Any) -> None:
    for make in (Pool, Executor, Cluster):
        with pytest.raises(error, match="threads_per_engine"):
            make(1, threads_per_engine=wrong)


@pytest.mark.parametrize(
    ("given", "share"), [({}, None), ({"threads_per_engine": 1}, 1), ({"threads_per_engine": None}, 0)]
)
def test_engines_of_a_cluster_have_their_share(given: dict[str, Any], share: int | None) -> None:
    share = max(1, cpu_count() // 2) if share is None else share
    with Cluster(2, **given) as rc:
        assert isinstance(rc, Client)
        assert rc[0].apply_sync(said) == {str(share) if share else None}
        if share:
            assert rc[0].apply_sync(seen) == {share}
        with pytest.raises(ValueError, match="threads_per_engine"):
            Pool(client=rc, threads_per_engine=1)


def test_what_the_environment_of_a_cluster_says_counts() -> None:
    with Cluster(1, environment={"OMP_NUM_THREADS": "2"}) as rc:
        assert rc[0].apply_sync(said) == {"2", None}
