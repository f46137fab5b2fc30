"""What is written down of a cluster by whoever looks after it, ``cluster.json``; and names for clusters that have none.

With it, another process can tell what there is, end it, and take it over when the one that looked after it is gone.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ConnectionFileError, ParpoolError
from ..launch.process import birth
from ..net import address

FILE = "cluster.json"
STATE = "controller.json"  #: there until a controller ends for good, also while none runs
DAYS = 7  #: that the logs of a cluster without a name of its own are kept

_MADE_UP = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write that this process looks after the cluster, and what there is."""
    about = {"pid": os.getpid(), "birth": birth(os.getpid()), "hostname": socket.gethostname()}
    address.write_private(folder / FILE, json.dumps({**about, **content}, indent=1).encode() + b"\n")


def read(folder: Path) -> dict[str, Any] | None:
    """What is written down; None: nobody has looked after the cluster."""
    try:
        return _parsed(folder / FILE)
    except FileNotFoundError:
        return None


def _parsed(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
        if {"pid", "birth", "hostname", "controller", "engines"} <= record.keys():
            return dict(record)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, AttributeError) as error:
        raise ConnectionFileError(f"{path} cannot be read ({error}): remove it when the cluster has ended") from error
    raise ConnectionFileError(f"{path} is of another version of parpool: remove it when the cluster has ended")


def keeper(record: Mapping[str, Any]) -> str:
    """Which process looks after the cluster now, in words; empty: the one that did is gone."""
    if record["hostname"] == socket.gethostname() and birth(record["pid"]) != record["birth"]:
        return ""
    return f"process {record['pid']} on {record['hostname']}"


def claim(folder: Path) -> dict[str, Any]:
    """Be the one process that takes over the cluster, whose file is gone then; gives what was in it.

    Raises ParpoolError where another one looks after it, or was faster.
    """
    path, mine = folder / FILE, folder / f"{FILE}.{os.getpid()}"
    try:
        os.rename(path, mine)  # one of several that try this can do it
    except FileNotFoundError:
        raise ParpoolError(f"another process has just taken over, or ended, the cluster in {folder}") from None
    record = _parsed(mine)
    if who := keeper(record):
        os.rename(mine, path)
        raise ParpoolError(f"{who} looks after the cluster in {folder}: it is for that one to change it")
    os.unlink(mine)
    return record


def over(folder: Path) -> bool:
    """Has the controller ended for good?"""
    return not (folder / STATE).exists()


def clear(folder: Path) -> None:
    """Remove what a controller leaves behind that was killed, and has no successor."""
    for path in (folder / STATE, *folder.glob(f"schedulers/*/{STATE}"), *folder.glob("schedulers/hub_state.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            session = Path(json.loads(path.read_bytes())["session"])
            if session.name.startswith("parpool-"):
                shutil.rmtree(session, ignore_errors=True)
    shutil.rmtree(folder / "schedulers", ignore_errors=True)
    for path in (*(folder / name for name in (STATE, "client.json", "engine.json")), *folder.glob("journal.*")):
        path.unlink(missing_ok=True)


def made_up() -> str:
    """A name that no other cluster has."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def sweep(profile: str) -> None:
    """Remove what is left of clusters with such names, after some days."""
    for folder in address.clusters(profile):
        try:
            old = _MADE_UP.fullmatch(folder.name) and folder.stat().st_mtime < time.time() - DAYS * 86400
        except OSError:
            continue
        if old and not address.running(folder):
            shutil.rmtree(folder, ignore_errors=True)
