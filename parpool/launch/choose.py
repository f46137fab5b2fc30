"""Launchers by their names: ours, and those that other packages bring along.

A package adds one by an entry point of the group ``parpool.launchers``: its name is that of the launcher, and it loads
to a callable that is given a `launcher.Site` and the options, and gives a `launcher.Launcher`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

from ..errors import EngineStartError
from .launcher import Launcher, Site

GROUP = "parpool.launchers"
BATCH = ("slurm", "pbs", "torque", "sge", "lsf", "htcondor")  #: rows of `systems`, which is only loaded when needed

Factory = Callable[..., Launcher]  #: of a Site and options


def launcher(name: str, site: Site, **options: Any) -> Launcher:
    """A launcher by its name, with its options: ``launcher("ssh", site, hosts="one:4, two")``."""
    return check(name, **options)(site, **options)


def check(name: str, **options: Any) -> Factory:
    """What makes a launcher of this name. Raises ValueError where there is none, TypeError for options it has not."""
    factory = _factory(name)
    try:
        inspect.signature(factory).bind(None, **options)
    except TypeError as error:
        raise TypeError(f"the launcher {name!r}: {error}; its options: {_options(factory)}") from None
    return factory


def known() -> list[str]:
    """The names that there are."""
    return sorted({"local", "mpi", "ssh", *BATCH, *metadata.entry_points(group=GROUP).names})


def _factory(name: str) -> Factory:
    if name == "local":
        from .process import ProcessLauncher

        return ProcessLauncher
    if name == "mpi":
        from .mpi import mpi

        return mpi
    if name == "ssh":
        from .ssh import SshLauncher

        return SshLauncher
    if name in BATCH:
        from .batch import BatchLauncher
        from .systems import SYSTEMS

        return partial(BatchLauncher, system=SYSTEMS[name])
    for point in metadata.entry_points(group=GROUP, name=name):
        try:
            factory: Factory = point.load()
        except Exception as error:
            raise EngineStartError(
                f"the launcher {name!r} ({point.value}) cannot be loaded: {error!r}; look at the package that brings it"
            ) from error
        return factory
    raise ValueError(f"there is no launcher {name!r}; there are: {', '.join(known())}")


def _options(factory: Factory) -> str:
    parameters = list(inspect.signature(factory).parameters.values())[1:]
    plain = [parameter.replace(annotation=parameter.empty) for parameter in parameters if parameter.name != "system"]
    return ", ".join(map(str, plain)) or "none"
