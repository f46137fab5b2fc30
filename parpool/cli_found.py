"""The clusters that commands are to be about: by their names or files, and whether they run."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import click

from .errors import ConnectionFileError
from .net import address
from .net.address import Connection

LOOK = 0.05  #: seconds between two looks for a connection file


class NotRunning(click.ClickException):
    """There is no such cluster, or it does not run."""

    exit_code = 3


def _found(role: str, profile: str, cluster_id: str | None) -> Path:
    try:
        return address.find(role, profile=profile, cluster_id=cluster_id)
    except ConnectionFileError as error:
        raise NotRunning(str(error)) from error


def awaited(file: Path | None, profile: str, cluster_id: str | None, timeout: float) -> Connection:
    """What an engine's file says, as soon as there is one, and a controller that may serve it."""
    deadline, told = time.monotonic() + timeout, False
    while True:
        try:
            return address.read(of_living("engine", file or _found("engine", profile, cluster_id)), "engine")
        except NotRunning as error:
            # A cluster that has ended in order has removed the files that its engines were told of.
            hopeless = isinstance(error.__cause__, address.SeveralClusters) or (file and not file.exists())
            if hopeless or time.monotonic() > deadline:
                raise
            if not told:
                click.echo(f"waiting for a controller, for {timeout:g} s: {error.message}", err=True)
                told = True
        time.sleep(LOOK)


def of_living(role: str, path: Path) -> Path:
    """The file, unless it is not there or its controller has ended."""
    if not path.exists():
        raise NotRunning(f"there is no connection file {path}")
    if address.gone(address.read(path, role, gone_too=True)):
        raise NotRunning(f"the cluster does not run: the controller that wrote {path} is gone")
    return path


def running(profile: str, cluster_id: str | None, *, to_stop: bool = False) -> Path:
    """The client's file of a cluster that runs; ``to_stop``: or of which something may be left here."""
    path = _found("client", profile, cluster_id)
    folder = path.parent
    if address.running(folder) or (to_stop and (folder / "cluster.json").exists()):
        return path
    hostname = address.read(path, gone_too=True).hostname
    if hostname in ("", socket.gethostname()):
        raise NotRunning(f"cluster {folder.name!r} does not run ({folder})")
    if to_stop:
        raise NotRunning(f"cluster {folder.name!r} does not run here: {path} is of {hostname}, where it can be stopped")
    return path  # copied here: who connects will see
