"""What can be done with a cluster that another process looks after: end it, its hub too, and wait for its end.

Both go by its controller, which any client may tell to end; whoever looks after it notices, and ends the rest.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from ..errors import ControllerLost, ParpoolError
from ..launch.process import await_end
from ..net import address
from . import record

ANSWER = 5.0  #: seconds that a controller has to answer
ENDING = 20.0  #: seconds that it has to end, and again that whoever looks after it has to end the rest
LOOK = 0.02  #: seconds between two looks, where nobody wakes us
AT_MOST = 1.0  #: the same, where somebody does


def end(folder: Path) -> None:
    """End the controller, and with it its engines; come back when whoever looks after them has noticed."""
    holder = address.holder(folder)
    if holder is not None:
        from ..client.client import Client

        try:
            with Client(folder / "client.json", timeout=ANSWER) as client:
                client.shutdown(hub=True)
        except ParpoolError:
            if address.holder(folder) == holder:  # else it has ended meanwhile
                _tell_to_end("controller", *holder)
        _await_end("controller", folder, holder)
    deadline = time.monotonic() + ENDING
    while (theirs := record.read(folder)) is not None and (who := record.keeper(theirs)):
        if theirs["pid"] == os.getpid() and theirs["hostname"] == socket.gethostname():
            return  # it is us, and a thread of ours is at it
        if time.monotonic() > deadline:
            raise ParpoolError(f"{who}, which looks after the cluster in {folder}, does not notice that it has ended")
        time.sleep(LOOK)


def end_hub(folder: Path) -> bool:
    """End the hub in a process of its own that has this folder; come back when it is gone. False: there is none."""
    folder = address.hub_folder(folder)
    holder = address.holder(folder)
    if holder is None:
        return False
    _tell_to_end("hub", *holder)
    _await_end("hub", folder, holder)
    return True


def _tell_to_end(what: str, pid: int, hostname: str) -> None:
    """By a signal, as nobody has a connection to it, or it does not answer."""
    if hostname != socket.gethostname() or not pid:
        raise ControllerLost(f"the {what} (pid {pid} on {hostname}) cannot be told to end from here: end it there")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        if hasattr(signal, "SIGCONT"):  # it may have been stopped
            os.kill(pid, signal.SIGCONT)


def _await_end(what: str, folder: Path, holder: tuple[int, str]) -> None:
    deadline = time.monotonic() + ENDING
    while address.holder(folder) == holder:
        if time.monotonic() > deadline:
            raise ControllerLost(f"the {what} (pid {holder[0]} on {holder[1]}) does not end: kill it")
        time.sleep(LOOK)


def wait(folder: Path, deadline: float) -> bool:
    """Wait until the cluster has ended; False where it is still there at that time."""
    while True:
        holder = address.holder(folder)
        theirs = record.read(folder)
        if holder is None and (record.over(folder) or theirs is None or not record.keeper(theirs)):
            return True
        if time.monotonic() >= deadline:
            return False
        pause = min(deadline, time.monotonic() + AT_MOST)
        if holder is None or not holder[0] or holder[1] != socket.gethostname() or await_end(holder[0], pause):
            time.sleep(min(LOOK, max(0.0, pause - time.monotonic())))
