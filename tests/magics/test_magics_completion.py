"""Completion of the names of engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("IPython")

from answers import Typed
from IPython.core import guarded_eval
from IPython.core.completer import provisionalcompleter
from rows import until

from parpool import Client, DirectView, Pool
from parpool.client import direct
from parpool.magics import unload_ipython_extension

SHELLS = True  #: on the engines


@pytest.fixture
def completed(px: Typed, shell: Any, view: DirectView) -> Callable[[str], list[str]]:
    """What a text, with the cursor at its end, may become."""
    view.push({"alpha_one": 1, "alphabet": {"key_of_it": 3}})
    view.client[0]["alpha_here"] = 1

    def complete(text: str) -> list[str]:
        with provisionalcompleter():
            found = list(shell.Completer.completions(text, len(text)))
        return [text[: each.start] + each.text for each in found]

    return complete


@pytest.mark.parametrize(
    "text, whole",
    [
        ("%px alpha_", ["%px alpha_here", "%px alpha_one"]),
        ("px alpha_o", ["px alpha_one"]),
        ("%px -t 1 x = alpha_o", ["%px -t 1 x = alpha_one"]),
        ("%%px\nx = 1\nalpha_o", ["%%px\nx = 1\nalpha_one"]),
        ("%px alphabet.setd", ["%px alphabet.setdefault"]),
        ("%px alphabet['key", ["%px alphabet['key_of_it"]),
        ("view['alpha_", ["view['alpha_one"]),
        ("rc[0]['alpha_", ["rc[0]['alpha_here", "rc[0]['alpha_one"]),
        ("%px2 alpha_", []),
        ("alpha_", []),
    ],
)
def test_names_of_engines_are_completed(completed: Callable[[str], list[str]], text: str, whole: list[str]) -> None:
    assert sorted(completed(text)) == whole


def test_completion_with_autopx(completed: Callable[[str], list[str]], px: Typed) -> None:
    px("%autopx")
    assert completed("for i in range(3):\n    alpha_o") == ["for i in range(3):\n    alpha_one"]
    assert "%autopx" in completed("%autop")
    px("%autopx")
    assert completed("alpha_o") == []


def test_completion_on_a_view_itself(completed: Callable[[str], list[str]]) -> None:
    assert {"view.apply", "view.apply_async"} <= set(completed("view.appl"))


def test_a_busy_engine_completes_nothing(rc: Client, view: DirectView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "SOON", 0.1)
    busy = view.execute("import time\nwhile not go: time.sleep(0.01)" if view.push({"go": []}) else "", block=False)
    try:
        assert view.complete("alpha", timeout=0.2) == ("", [])
        assert view._ipython_key_completions_() == []
    finally:
        rc.interrupt()
        busy.wait()
    assert view.complete("impor") == ("impor", ["import"])


def test_completion_without_a_shell() -> None:
    with Pool(1) as pool:
        one = pool.client[0]
        one.push({"alpha_one": 1, "alphabet": {}}, block=True)
        assert one.complete("x = alp") == ("alp", ["alpha_one", "alphabet"])
        assert one.complete("alphabet.setd") == ("alphabet.setd", ["alphabet.setdefault"])
        assert one.complete("lam")[1] == ["lambda"] and one.complete("nothing.a") == ("nothing.a", [])
        assert one.complete("alphabet['") == ("", [])
        assert {"alpha_one", "alphabet"} <= set(one.complete("f(")[1])
    pool.join()


def test_engines_that_are_gone_complete_nothing(px: Typed, shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def complete() -> list[str]:
        with provisionalcompleter():
            texts = ("%px alpha_", "%%px\nalpha_", "gone['alpha_", "gone.client[0]['alpha_")
            return [each.text for text in texts for each in shell.Completer.completions(text, len(text))]

    with Pool(2) as pool:
        shell.user_ns["gone"] = gone = pool.client[0]
        gone.activate()
        gone["alpha_one"] = 1
        assert complete() == ["alpha_one"] * 4
        pool.client.shutdown(0)
        until(lambda: pool.client.ids == [1])
        assert complete() == []
        pool.close()
        assert complete() == []
    pool.join()
    assert complete() == []
    assert capsys.readouterr().err == "", "nor do they say anything while one types"


def test_leaving_takes_completion_away(completed: Callable[[str], list[str]], shell: Any) -> None:
    unload_ipython_extension(shell)
    assert completed("%px alpha_") == []
    assert not shell.Completer.custom_matchers
    assert Client not in guarded_eval.EVALUATION_POLICIES["limited"].allowed_getitem
