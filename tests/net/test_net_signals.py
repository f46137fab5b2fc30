"""A loop is woken by signals, whichever thread the system gives them to."""

from __future__ import annotations

import select
import signal
import threading

import pytest

from parpool.net.signals import drain, woken_by_signals

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signals")

PATIENCE = 20.0


def test_the_loop_is_woken_though_another_thread_gets_it() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with woken_by_signals() as woken:
            assert not select.select([woken], [], [], 0)[0]
            thread = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
            thread.start()
            assert select.select([woken], [], [], PATIENCE)[0]
            thread.join()
            drain(woken)
            drain(woken)
            assert heard == [signal.SIGUSR1] and not select.select([woken], [], [], 0)[0]
    finally:
        signal.signal(signal.SIGUSR1, before)
