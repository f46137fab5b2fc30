"""What tasks print, on the screen."""

from __future__ import annotations

import threading

import pytest

from parpool import Pool


def say(text: str) -> None:
    print(text)


def test_a_callback_may_show_what_another_call_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """The thread of the callbacks waits for nothing that only it could do."""
    with Pool(1) as pool:
        view = pool.client.load_balanced_view()
        shown = threading.Event()

        def show(_: object) -> None:
            result = view.apply_async(say, "hello")
            with result.stream_output():
                result.get()
            shown.set()

        view.apply_async(abs, -1).add_done_callback(show)
        assert shown.wait(20)
    pool.join()
    assert "[0] hello\n" in capsys.readouterr().out
