"""parpool.compat.ipyparallel: what its tutorials type, on the engines of a Pool."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Iterator
from pathlib import Path

import parpool.compat.ipyparallel as ipp
import pytest
from rows import PATIENCE, Gate, until

import parpool


@pytest.fixture
def rc(engines: parpool.Client) -> ipp.Client:
    engines.clear()
    return ipp.Client(engines)


def divide(n: int) -> float:
    return 1 / n


# The client -----------------------------------------------------------------------------------------


def test_views_are_the_callers_own(rc: ipp.Client) -> None:
    assert rc.ids == [0, 1] and len(rc) == 2
    view = rc[:]
    view.block = True
    assert view is not rc[:] and not rc[:].block
    assert [each.targets for each in (rc[0], rc[-1:], rc[:], rc.direct_view())] == [0, [1], [0, 1], "all"]
    assert [len(each) for each in (rc[0], rc[:], rc.direct_view(), rc.load_balanced_view())] == [1, 2, 2, 2]
    assert repr(rc[:]) == "<DirectView [0, 1]>" and repr(rc.load_balanced_view()) == "<LoadBalancedView None>"
    assert [each.targets for each in rc] == [0, 1]
    with pytest.raises(TypeError, match="int/slice"):
        rc[None]
    with pytest.raises(IndexError):
        rc[7]


def test_what_a_notebook_shows(rc: ipp.Client) -> None:
    view = rc[:]
    assert "of 2 engines" in rc._repr_html_() and "of 2 engines" in str(view._repr_html_())
    result = view.apply_async(os.getpid)
    result.get(PATIENCE)
    assert result._repr_html_().count('class="engine"') == 2
    view.targets = [0, 7]
    assert view._repr_html_() is None, "the text will do"


def test_targets_can_be_changed(rc: ipp.Client) -> None:
    view = rc[0]
    view["who"] = "first"
    view.targets = [0, 1]
    assert view.apply_sync(lambda: 1) == [1, 1]
    balanced = rc.load_balanced_view()
    balanced.targets = [1]
    assert balanced.apply_async(os.getpid).engine_id in (1, None)
    balanced.wait()
    assert balanced.apply_sync(os.getpid) == rc[1].apply_sync(os.getpid)


def test_flags(rc: ipp.Client) -> None:
    view = rc.broadcast_view(block=True)
    assert isinstance(view, ipp.BroadcastView) and view.block and view.targets == [0, 1]
    assert view.set_flags(label="mine") is view and view.label == "mine"
    with view.temp_flags(block=False):
        assert not view.block
    assert view.block
    with pytest.raises(KeyError, match="colour"):
        view.set_flags(colour=1)
    with pytest.raises(TypeError, match="block"):
        view.set_flags(block=1)
    assert view.apply(abs, -1) == [1, 1]


def test_waiting_for_engines(rc: ipp.Client) -> None:
    assert rc.wait_for_engines(2) is None
    future = rc.wait_for_engines(2, block=False)
    assert future is not None and future.result(PATIENCE) is None
    with pytest.raises(TypeError, match="must be specified"):
        rc.wait_for_engines()


def test_what_a_client_is_given_besides(rc: ipp.Client) -> None:
    assert ipp.Client(rc.parpool, context=None, debug=True).ids == rc.ids
    with pytest.raises(TypeError, match="ssh -L"):
        ipp.Client(sshserver="me@there")
    rc.send_signal(0)  # which only asks whether they are there
    rc.send_signal("SIGINT", targets=0)
    assert rc[:].apply_sync(abs, -1) == [1, 1]
    with pytest.warns(UserWarning, match="IPython prompt"):
        assert rc.activate().targets == "all"


def test_calls_by_their_place_and_name(rc: ipp.Client) -> None:
    first = rc[0].apply_async(abs, -1)
    second = rc[:].apply_async(abs, -2)
    assert rc.get_result(-1, block=True).get() == 2  # the call on engine 1
    assert rc.get_result(first.msg_ids[0]).get() == 1
    assert rc.get_result([first, second]).get() == [1, [2, 2]]
    assert rc.wait([first, second]) and first.msg_ids[0] in rc.history
    assert rc.result_status(first.msg_ids[0]) == {"pending": [], "completed": first.msg_ids}
    assert rc.result_status(first.msg_ids, status_only=False)[first.msg_ids[0]] == 1
    assert rc.queue_status(0)["tasks"] == 0 and rc[1].queue_status()["queue"] == 0


def test_the_futures_of_others_are_waited_for_too(rc: ipp.Client) -> None:
    mine: concurrent.futures.Future[int] = concurrent.futures.Future()
    assert not rc.wait([mine, rc[0].apply_async(abs, 1)], timeout=0.01)
    mine.set_result(1)
    assert rc.wait([mine])


def test_aborting(rc: ipp.Client, gate: Gate) -> None:
    view = rc[0]
    held = view.apply_async(gate.arrive)
    gate.await_one()
    late = view.apply_async(abs, 1)
    assert rc.outstanding >= {*held.msg_ids, *late.msg_ids}
    view.abort(late)
    with pytest.raises(ipp.TaskAborted):
        late.get(PATIENCE)
    gate.open()
    assert held.get(PATIENCE) is None


# Views ----------------------------------------------------------------------------------------------


def test_names(rc: ipp.Client) -> None:
    view = rc[:]
    assert view.push({"a": 1, "b": 2}, block=True) == [None, None]
    assert view["a"] == view.get("a") == [1, 1] and view.pull(("a", "b"), targets=0, block=True) == [1, 2]
    view["c"] = [1]
    view.update({"d": 4}).get()
    assert view.pull("d").get() == [4, 4]
    view.scatter("x", range(4))
    gathered = view.gather("x")
    assert isinstance(gathered, ipp.AsyncMapResult) and gathered.get() == [0, 1, 2, 3]
    view.clear(block=True)
    with pytest.raises(ipp.RemoteError) as caught:
        view["a"]
    assert isinstance(caught.value, ipp.CompositeError)


def test_attributes_of_names(rc: ipp.Client) -> None:
    view = rc[0]
    view.execute("class A: pass\na = A()", block=True)
    view["a.b"] = 5
    assert view["a.b"] == 5
    view.push({"a.b": 6, "c": 7}, block=True)
    assert view.pull(["a.b", "c"], block=True) == [6, 7] and rc[:1].push({"a.b": 6}, block=True) == [None]
    assert view.push({"a.b": 8}).get() is not None and view["a.b"] == 8
    assert view.apply_sync(ipp.interactive(lambda: [name for name in globals() if "_pushed" in name])) == []


def test_execute(rc: ipp.Client, capsys: pytest.CaptureFixture[str]) -> None:
    view = rc[:]
    result = view.execute("print('hello'); 5", silent=False, block=True)
    assert isinstance(result, ipp.AsyncResult) and result.ready()
    reply = result.get()[0]
    assert str(reply) == f"<ExecuteReply[{reply.execution_count}]: 5>" and reply.stdout == "hello\n"
    assert (
        [each["data"] for each in result.execute_result] == [{"text/plain": "5"}] * 2 == [each.data for each in result]
    )
    result.display_outputs()
    shown = capsys.readouterr().out
    assert shown.startswith("[stdout:0] \nhello\n[stdout:1] \nhello\n") and "\nOut[1:" in shown
    assert view.execute("5", block=True).execute_result == [None, None]
    single = rc[0].execute("print(5555)")
    single.get()
    single.display_outputs()
    assert capsys.readouterr().out == "5555\n"
    with pytest.raises(ipp.RemoteError):
        view.execute("1/0", block=True)
    assert isinstance(rc[0].execute("1/0").get_dict, object)


def test_run(rc: ipp.Client, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("def g():\n    return 5\n")
    rc[0].run(str(script), block=True)
    assert rc[0].apply_sync(lambda f: f(), ipp.Reference("g")) == 5


def test_imports(rc: ipp.Client, capsys: pytest.CaptureFixture[str]) -> None:
    with rc[:].sync_imports():
        import colorsys  # noqa: F401
    assert "importing colorsys on engine(s)" in capsys.readouterr().out
    assert rc[:].apply_sync(ipp.interactive(lambda: "colorsys" in globals())) == [True, True]


def test_maps(rc: ipp.Client) -> None:
    for view in (rc[:], rc.load_balanced_view(), rc[0]):
        result = view.map_async(pow, [1, 2, 3], [2, 2, 2])
        assert isinstance(result, ipp.AsyncMapResult) and len(result) == 3
        assert result.get() == list(result) == view.map_sync(pow, [1, 2, 3], [2, 2, 2]) == [1, 4, 9]
    with pytest.raises(TypeError, match="block"):
        rc[0].map_sync(abs, [1], block=True)
    with pytest.raises(TypeError, match="sequences"):
        rc[:].map(abs)


def test_exceptions_in_the_place_of_values(rc: ipp.Client) -> None:
    view = rc.load_balanced_view()
    result = view.map(divide, [1, 0, 2], return_exceptions=True)
    values = result.get()
    assert values[::2] == [1.0, 0.5] and isinstance(values[1], ipp.RemoteError) and list(result) == values
    found = list(view.imap(divide, [1, 0, 2], return_exceptions=True))
    assert found[::2] == [1.0, 0.5] and isinstance(found[1], ZeroDivisionError)


def test_imap_reads_no_further_than_it_may(rc: ipp.Client) -> None:
    read: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            read.append(len(read))
            yield read[-1]

    values = rc.load_balanced_view().imap(abs, endless(), max_outstanding=3)
    assert [next(values) for _ in range(4)] == [0, 1, 2, 3]
    assert len(read) <= 8
    values.cancel()
    assert list(values) == []


def test_dependencies(rc: ipp.Client) -> None:
    view = rc.load_balanced_view()
    first = view.apply_async(abs, -1)
    with view.temp_flags(follow=first, after=[first], timeout=60):
        second = view.apply_async(abs, -2)
    assert second.get(PATIENCE) == 2 and second.engine_id == first.engine_id and second.started >= first.completed
    failed = view.apply_async(divide, 0)
    with view.temp_flags(after=failed), pytest.raises(ipp.RemoteError) as caught:
        view.apply_sync(abs, 1)
    assert caught.value.ename == "ImpossibleDependency" and isinstance(caught.value, parpool.ImpossibleDependency)

    @ipp.depend(lambda: False)
    def never() -> None: ...

    with pytest.raises(ipp.UnmetDependency) as unmet:
        view.apply_sync(never)
    assert isinstance(unmet.value, ipp.RemoteError)


def test_executors(rc: ipp.Client) -> None:
    with rc.executor() as executor:
        future = executor.submit(divide, 2)
        values = executor.map(divide, [1, 2])
    assert future.done() and future.result() == 0.5 and list(values) == [1.0, 0.5]
    with pytest.raises(RuntimeError):
        executor.submit(divide, 2)
    assert isinstance(rc[0].executor, ipp.ViewExecutor)


def test_decorators(rc: ipp.Client) -> None:
    @ipp.remote(rc[0], block=True)
    def whereabouts(here: int = 5) -> tuple[int, int]:
        """Where it runs."""
        return os.getpid(), here

    @rc[:].parallel(block=True)
    def doubled(items: list[int]) -> list[int]:
        return [2 * item for item in items]

    @ipp.parallel(rc.load_balanced_view(), block=True)
    def product(x: int, y: int = 5) -> int:
        return x * y

    assert whereabouts(here=7) == (rc[0].apply_sync(os.getpid), 7)
    assert whereabouts.__name__ == "whereabouts" and "RemoteFunction" in str(whereabouts.__doc__)
    assert doubled(range(5)) == [0, 2, 4, 6, 8]
    assert product.map([1, 2, 3]) == [5, 10, 15] and product.map([1, 2], [3, 4]) == [3, 8]


def test_interactive(rc: ipp.Client) -> None:
    rc[:]["a"] = 5
    assert rc[:].apply_sync(ipp.interactive(reads_a)) == [5, 5]


def reads_a() -> object:
    return a  # type: ignore[name-defined]  # noqa: F821


# Errors ---------------------------------------------------------------------------------------------


def test_errors_of_several_engines(rc: ipp.Client) -> None:
    with pytest.raises(ipp.RemoteError) as caught:
        rc[:].apply_sync(divide, 0)
    error = caught.value
    assert isinstance(error, ipp.CompositeError) and isinstance(error, parpool.CompositeError)
    assert error.msg in str(error) and "[1:apply]: ZeroDivisionError" in str(error)
    assert [entry[0] for entry in error.elist] == ["ZeroDivisionError"] * 2
    with pytest.raises(ipp.RemoteError) as one:
        error.raise_exception(1)
    assert one.value.ename == "ZeroDivisionError" and one.value.engine_info["engine_id"] == 1


def test_of_many_errors_some_are_shown(rc: ipp.Client, capsys: pytest.CaptureFixture[str]) -> None:
    result = rc.get_result([rc[:].apply_async(divide, 0) for _ in range(5)])
    with pytest.raises(ipp.CompositeError) as caught:
        result.get()
    assert len(caught.value.elist) == 10, "of each engine"
    caught.value.print_traceback()
    shown = capsys.readouterr().out
    assert shown.rstrip().endswith("... 6 more exceptions ...") and shown.count("ZeroDivisionError: ") == 4
    assert "6 more" not in "\n".join(caught.value.render_traceback(0))


def test_an_engine_that_dies() -> None:
    with parpool.Pool(1) as pool:
        rc = ipp.Client(pool.client)
        with pytest.raises(ipp.RemoteError) as caught:
            rc[0].apply_sync(os._exit, 3)
        assert caught.value.ename == "EngineError" and isinstance(caught.value, ipp.EngineError | parpool.EngineLost)
        until(lambda: rc.ids == [1])
        with pytest.raises(ipp.CompositeError) as several:
            rc[:].apply_sync(os._exit, 3)
        assert several.value.elist[0][0] == "EngineError"


def test_collected_exceptions(rc: ipp.Client) -> None:
    errors = rc[:].apply_async(divide, 0).get(return_exceptions=True)
    assert ipp.collect_exceptions([1, 2]) == [1, 2]
    with pytest.raises(ipp.CompositeError, match="raised in: mine"):
        ipp.collect_exceptions([1, *errors], "mine")
    shown = ipp.AlreadyDisplayedError(ipp.CompositeError("x", [("E", "t", "", {})] * 3))
    assert shown.render_traceback() == ["3 errors"] and isinstance(shown, ipp.RemoteError)


# Names ----------------------------------------------------------------------------------------------


def test_every_public_name_is_there() -> None:
    for name in ipp.__all__:
        assert getattr(ipp, name) is not None
    assert issubclass(ipp.DependencyTimeout, ipp.ImpossibleDependency | ipp.RemoteError)
    assert ipp.TimeoutError is TimeoutError and ipp.AbortedTask is ipp.TaskAborted
    with pytest.raises(AttributeError, match="register_serializer"):
        ipp.serialize_object  # noqa: B018
    assert ipp.client.client.Client is ipp.Client and ipp.client.view.DirectView is ipp.DirectView
    assert ipp.client.asyncresult.AsyncResult is ipp.AsyncResult and ipp.client.remotefunction.remote is ipp.remote
    assert ipp.cluster.Cluster is ipp.Cluster and ipp.version_info >= (9, 0)


def test_what_is_not_there_says_what_is_instead(rc: ipp.Client) -> None:
    with pytest.raises(AttributeError, match="dask worker"):
        rc.become_dask()
    with pytest.raises(AttributeError, match=r"rc\[:\].use_dill"):
        ipp.use_dill()
    assert not hasattr(rc, "foo") and not hasattr(ipp, "foo")
