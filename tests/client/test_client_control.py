"""What a client asks of the engines: to come, to end; and how long it is worth waiting for them."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from parpool import NoEngines, Pool


def be_the_only_one(folder: str) -> None:
    try:
        os.mkdir(folder)
    except FileExistsError:
        raise ValueError("there is one already") from None


def test_engines_that_will_never_come_are_not_waited_for(tmp_path: Path) -> None:
    """One serves, so the pool is not broken; the other place stays empty."""
    with Pool(2, be_the_only_one, (str(tmp_path / "taken"),)) as pool:
        with pytest.raises(NoEngines, match="could not serve") as caught:
            pool.client  # noqa: B018 (it waits for all engines)
        assert "there is one already" in str(caught.value.__cause__)
        assert pool.apply(abs, (-1,)) == 1
    pool.join()


def test_engines_of_a_closed_pool_are_not_waited_for() -> None:
    with Pool(1) as pool:
        rc = pool.client
        pool.close()
        pool.join()
        with pytest.raises(Exception, match="terminated|asked for"):
            rc.wait_for_engines(2, timeout=20)


def test_a_place_is_given_up_once() -> None:
    with Pool(2) as pool:
        rc = pool.client
        busy = rc[0].apply_async(time.sleep, 0.3)
        for _ in range(3):
            rc.shutdown(0)
        assert rc.link.engines == 1
        busy.get()
        assert pool.map(abs, [-1, -2]) == [1, 2]
        deadline = time.monotonic() + 10
        while rc.ids != [1] and time.monotonic() < deadline:
            time.sleep(0.01)
        assert rc.ids == [1]
    pool.join()


def test_with_the_last_engine_everything_ends() -> None:
    with Pool(2) as pool:
        rc = pool.client
        rc[0].apply_async(time.sleep, 30)
        rc.shutdown(0)
        rc.shutdown(1)
        with pytest.raises(ValueError, match="Pool not running"):
            pool.map(abs, [-1])
    pool.join()
    assert not multiprocessing.active_children()


def test_an_error_of_what_is_asked_comes_to_whoever_asks() -> None:
    with Pool(1) as pool:
        control = pool.client.link.control
        waiting = pool.apply_async(time.sleep, (0.3,))
        driver = threading.Thread(target=waiting.get)
        driver.start()
        with pytest.raises(ZeroDivisionError):
            control.ask(lambda: 1 / 0)
        driver.join()
        assert waiting.successful()
    pool.join()
