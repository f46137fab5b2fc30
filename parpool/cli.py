"""The command line: ``parpool run | start | stop | status | list | controller | hub | engine``.

Exit statuses: 0 it went well, 1 it did not (one line on stderr says why), 2 the command line is wrong, 3 there is no
such cluster, or it does not run. An engine ends with 120 when its controller does not come back, with 121 when that
does not know its key, and with 122 when it is told to end at once.

Here is only what parses and prints. What the commands do is done elsewhere, and imported when it is needed.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from . import __version__
from .cli_found import NotRunning, awaited, of_living, running
from .cli_options import (
    ABOVE_0,
    as_a_process,
    database_option,
    file_option,
    heartbeats,
    hub_elsewhere,
    ipython_option,
    json_option,
    known_profiles,
    launched_by,
    name_of_folder,
    patience_option,
    reached_at,
    schedulers_option,
    threads_option,
    which_cluster,
)
from .cli_tables import print_table, shown
from .errors import ParpoolError
from .launch import choose, daemon
from .launch.allotted import threads_of_one
from .launch.mpi import rank_and_size, share
from .net import address
from .options import ControllerSettings, EngineSettings, HubSettings

log = logging.getLogger("parpool")

SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}
RESTARTS = 10  #: how often a scheduler or a hub of a controller is started again
REFUSING = 3  #: seconds that it needs at most to refuse an engine


def main(argv: Sequence[str] | None = None, prog: str = "parpool") -> None:
    """Run a command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["run"]:  # not by click, of which the script would find Ctrl-C and exits changed
        _run(arguments[1:], prog)
    else:
        commands.main(arguments, prog_name=prog, complete_var="_PARPOOL_COMPLETE")


def _run(arguments: list[str], prog: str) -> None:
    from .__main__ import main as run

    run(arguments, f"{prog} run")


# What the commands share ----------------------------------------------------------------------------


class Commands(click.Group):
    """What is wrong with the world ends in one line on stderr, and not in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run one."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # who reads what is printed has enough of it: click's affair
            raise
        except (ParpoolError, OSError) as error:
            raise click.ClickException(str(error)) from None


EPILOG = """\
Exit statuses: 0 it went well; 1 it did not; 2 the command line is wrong; 3 there is no such cluster, or it does not
run.

\b
Shell completion:
  bash, in ~/.bashrc:  eval "$(_PARPOOL_COMPLETE=bash_source parpool)"
  zsh, in ~/.zshrc:    eval "$(_PARPOOL_COMPLETE=zsh_source parpool)"
  fish, in its config: _PARPOOL_COMPLETE=fish_source parpool | source
"""


@click.group(cls=Commands, epilog=EPILOG, context_settings=SETTINGS)
@click.version_option(__version__, message="parpool %(version)s")
def commands() -> None:
    """Pools and clusters of engines, for Python.

    `parpool start` starts a cluster, and `parpool.Client()` connects to it.
    """


@commands.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("script", nargs=-1, type=click.UNPROCESSED, shell_complete=click.Path().shell_complete)
@click.pass_context
def run(ctx: click.Context, script: tuple[str, ...]) -> None:
    """Run a script with parpool's Pool in the place of multiprocessing's."""
    _run(list(script), ctx.command_path.rpartition(" ")[0])


# Clusters -------------------------------------------------------------------------------------------


@commands.command()
@click.option("-n", "n", type=click.IntRange(0), help="How many engines; by default as many as there is room for.")
@which_cluster
@launched_by
@threads_option
@ipython_option
@click.option("--restarts", type=click.IntRange(0), default=3, help="How often what has died is started again.")
@schedulers_option
@reached_at
@heartbeats
@patience_option
@as_a_process
def start(profile: str, cluster_id: str | None, threads: str, log_level: str, daemonize: bool, **options: Any) -> None:
    """Start a controller and engines, and look after them until Ctrl-C, SIGTERM or `parpool stop`."""
    from .cluster import Cluster

    folder = address.cluster_folder(profile, cluster_id)
    try:
        options["threads_per_engine"] = threads if threads == "auto" else int(threads) or None
        choose.check(options["engines"], **options["engine_options"])
        cluster = Cluster(profile=profile, cluster_id=folder.name, log_level=log_level, keep=daemonize, **options)
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None

    def serve(up: Callable[[str], None]) -> None:
        with daemon.ended_by_signals(cluster.stop_cluster):
            try:
                cluster.start_cluster()
            except (TypeError, ValueError) as error:  # of a launcher, by its options
                raise ParpoolError(str(error)) from error
            up(f"cluster {folder.name!r} is up, and clients connect with {folder / 'client.json'}")
            cluster.wait()

    daemon.be("cluster", _logs(folder), serve, log_level=log_level, daemonize=daemonize)


@commands.command()
@which_cluster
@click.option("--hub", is_flag=True, help="And its hub, where that has a process of its own.")
def stop(profile: str, cluster_id: str | None, hub: bool) -> None:
    """Stop a cluster, its engines and its controller."""
    from .cluster import Cluster, afar

    folder = address.cluster_folder(profile, cluster_id)
    try:
        folder = (path := running(profile, cluster_id, to_stop=True)).parent
        Cluster.from_file(path).stop_cluster()
    except NotRunning:
        if not hub or not afar.end_hub(folder):
            raise
    else:
        if hub:
            afar.end_hub(folder)
        elif holder := address.holder(address.hub_folder(folder)):
            click.echo(f"its hub goes on (pid {holder[0]} on {holder[1]}): --hub ends it, too", err=True)


@commands.command()
@which_cluster
@file_option
@json_option
def status(profile: str, cluster_id: str | None, file: Path | None, as_json: bool) -> None:
    """Tell of a cluster that runs: its engines, its clients, its hub."""
    path = of_living("client", file) if file else running(profile, cluster_id)
    from . import Client

    with Client(path) as client:
        found = client.cluster_status()
    if as_json:
        click.echo(json.dumps(found, indent=2, default=str))
    for name, part in () if as_json else found.items():
        if isinstance(part, list) and all(isinstance(each, Mapping) for each in part):
            print_table(part, f"{len(part)} {name}")
        elif isinstance(part, Mapping):
            print_table([{name: key, "": value} for key, value in part.items()])
        else:
            click.echo(f"{name}: {shown(name, part)}")


@commands.command("list")
@click.option("--profile", callback=name_of_folder, shell_complete=known_profiles, help="Of this profile alone.")
@json_option
def list_clusters(profile: str | None, as_json: bool) -> None:
    """List the clusters, also those that do not run."""
    found = [each for name in ([profile] if profile else address.profiles()) for each in address.clusters(name)]
    rows = [_row(folder) for folder in found]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        apart = any(row["hub_pid"] for row in rows)  # few have one
        print_table([{name: row[name] for name in row if apart or name != "hub_pid"} for row in rows])
    else:
        where = f"in profile {profile!r}" if profile else f"in {address.root()}"
        command = f"parpool start{address.options(profile or address.DEFAULT, address.DEFAULT)}"
        click.echo(f"there are no clusters {where}: start one with `{command}`", err=True)


def _row(folder: Path) -> dict[str, Any]:
    pid, hostname = address.holder(folder) or (None, None)
    began = None
    with suppress(ParpoolError):  # it has no file yet, or one of another version
        began = address.read(folder / "client.json", gone_too=True).started
    return {
        "profile": folder.parent.parent.name.partition("_")[2],
        "cluster_id": folder.name,
        "running": pid is not None,
        "pid": pid,
        "hostname": hostname,
        "started": began if pid is not None else None,
        "hub_pid": (address.holder(address.hub_folder(folder)) or (None,))[0],
        "folder": str(folder),
    }


# The processes of a cluster -------------------------------------------------------------------------


@commands.command()
@which_cluster
@reached_at
@click.option("--hub", default="", metavar="FILE|URL", callback=hub_elsewhere, help="Of a hub in a process of its own.")
@heartbeats
@schedulers_option
@click.option("--scheduler", "number", default=0, hidden=True, help="Which of those this is.")
@click.option("--owner", "owner_pid", default=0, hidden=True, expose_value=hasattr(ControllerSettings, "owner_pid"))
@as_a_process
def controller(profile: str, cluster_id: str | None, log_level: str, daemonize: bool, **options: Any) -> None:
    """Be the controller of a cluster."""
    folder = address.cluster_folder(profile, cluster_id)
    logs, number, count = _logs(folder), options["number"], options["schedulers"]
    name = f"scheduler-{number}-{os.getpid()}" if number else ""
    if number:
        folder = folder / "schedulers" / str(number)
    settings = ControllerSettings(folder, profile, cluster_id or address.DEFAULT, **options)

    def keep(label: str, argv: Sequence[str], wanted: Callable[[], bool], gone: Callable[[str], None]) -> Any:
        from .cluster.places import Places
        from .launch.launcher import Site
        from .launch.process import ProcessLauncher

        return Places(ProcessLauncher(Site(logs, label=label)), argv, RESTARTS, wanted=wanted, on_vacant=gone)

    def serve(up: Callable[[str], None]) -> None:
        from .host.controller import main

        main(settings, keep if count > 1 and not number else None)

    def is_up(pid: int) -> bool:
        with suppress(ParpoolError):
            return address.read(folder / "client.json", gone_too=True).pid == pid
        return False

    daemon.be("controller", logs, serve, is_up, name, log_level=log_level, daemonize=daemonize)


@commands.command()
@which_cluster
@click.option("--ip", default="", help="Listen at this address by tcp; by default this machine alone can connect.")
@click.option("--location", default="", help="Name or address by which the controller reaches it.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="By default any that is free.")
@database_option
@click.option("--owner", "owner_pid", default=0, hidden=True, help="The controller that has started it.")
@as_a_process
def hub(profile: str, cluster_id: str | None, log_level: str, daemonize: bool, **options: Any) -> None:
    """Be the hub of a cluster, for a controller with --hub."""
    folder = address.cluster_folder(profile, cluster_id)
    logs = _logs(folder)
    if options["owner_pid"]:
        folder = folder / "schedulers"
    settings = HubSettings(folder, profile, cluster_id or address.DEFAULT, **options)

    def serve(up: Callable[[str], None]) -> None:
        from .host.hub_process import main

        main(settings)

    def is_up(pid: int) -> bool:
        with suppress(ParpoolError):
            return address.read(folder / "hub.json", gone_too=True).pid == pid
        return False

    daemon.be("hub", logs, serve, is_up, log_level=log_level, daemonize=daemonize)


@commands.command()
@which_cluster
@file_option
@click.option("--mpi", is_flag=True, help="Of those that mpiexec starts: mpi_rank and mpi_size are in its namespace.")
@click.option("--timeout", type=ABOVE_0, default=EngineSettings.timeout, help="Seconds that a start may take.")
@patience_option
@threads_option
@ipython_option
@click.option("--scheduler", type=click.IntRange(0), help="The one that it serves, of several: 0, 1, ...")
@click.option("--number", default="", hidden=True, help="Which of those that were started together.")
@click.option("--together", default="", hidden=True, help="How many were, on this machine.")
@as_a_process
def engine(
    profile: str,
    cluster_id: str | None,
    file: Path | None,
    mpi: bool,
    timeout: float,
    patience: float,
    threads: str,
    ipython: bool,
    scheduler: int | None,
    number: str,
    together: str,
    **process: Any,
) -> None:
    """Be an engine of a cluster.

    It may be started before the controller: then it waits for that, as long as its --timeout.
    """
    if ipython and importlib.util.find_spec("IPython") is None:
        raise click.ClickException("--ipython: IPython is not installed here (pip install 'parpool[ipython]')")
    whole = awaited(file, profile, cluster_id, timeout)
    scheduler = share(whole.schedulers, os.environ, "" if mpi else number) if scheduler is None else scheduler
    if scheduler >= whole.schedulers:
        raise click.BadParameter(f"there are {whole.schedulers}, and they are counted from 0", param_hint="--scheduler")
    connection = whole.of(scheduler)
    ranks = rank_and_size(os.environ) if mpi else None
    if mpi and ranks is None:
        raise click.ClickException("--mpi is for engines that mpiexec or srun starts, and neither has started this one")
    settings = EngineSettings.from_connection(
        connection,
        mpi=ranks,
        timeout=timeout,
        patience=patience,
        ipython=ipython,
        threads=threads_of_one(threads, os.environ, together),
    )

    def serve(up: Callable[[str], None]) -> None:
        from .engine.engine import main
        from .engine.namespace import empty_main

        if not getattr(sys.flags, "safe_path", False):
            sys.path.insert(0, os.getcwd())  # as with python -m, by whatever name this was called
        empty_main()
        log.info("engine %s, pid %d, is to serve %s", settings.uid, os.getpid(), settings.work)
        main(settings)

    path = connection.path or Path()
    near = (path.parent / address.LOCK).exists()  # else the file was copied from another machine
    folder = path.parent if near else address.cluster_folder(connection.profile, connection.cluster_id)
    begun, beside = time.monotonic(), path.with_name("client.json")

    def is_up(pid: int) -> bool:
        from . import Client

        if not beside.exists():  # on another machine: there, one that is not refused at once is up
            return time.monotonic() > begun + REFUSING
        with Client(beside) as client:
            return settings.uid in (each["uid"] for each in client.cluster_status()["engines"])

    daemon.be("engine", _logs(folder), serve, is_up, settings.uid, **process)


# Steps ----------------------------------------------------------------------------------------------


def _logs(folder: Path) -> Path:
    address.make_folder(folder / "log")
    return folder / "log"
