"""The options that commands of the command line have in common, and what is wrong with their values."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import click

from .net import address
from .options import DATABASES, ControllerSettings, EngineSettings, holds_password, names_database

LEVELS = ("debug", "info", "warning", "error")
ABOVE_0 = click.FloatRange(0, min_open=True)
PROFILE: Any = {"help": "The profile that the cluster belongs to.", "show_default": 'PARPOOL_PROFILE, or "default"'}
PORTS = ("client", "work", "control", "heart")
NAMES = ", ".join(PORTS)

F = TypeVar("F", bound=Callable[..., Any])


def _together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorated(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorated


def name_of_folder(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """A name that a profile or cluster may have."""
    try:
        return value and address.check_name(value, str(option.name).replace("_", " "))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def known_profiles(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    """The profiles that begin so, for completion."""
    return [name for name in address.profiles() if name.startswith(incomplete)]


def _clusters(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    with suppress(ValueError):  # there is no such profile
        folders = address.clusters(ctx.params.get("profile"))
        return [each.name for each in folders if each.name.startswith(incomplete)]
    return []


def _launchers(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    from .launch.choose import known  # which looks at what all packages bring along

    return [name for name in known() if name.startswith(incomplete)]


def _databases(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    return [each for each in ("memory", "sqlite:///", "postgresql://") if each.startswith(incomplete)]


def _assignments(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """From NAME=VALUE, each, to a dict. A value is JSON, or else a text."""
    options: dict[str, Any] = {}
    for name, equals, text in (value.partition("=") for value in values):
        if not equals:
            raise click.BadParameter(f"{name!r} is not NAME=VALUE")
        try:
            options[name] = json.loads(text)
        except ValueError:  # a text, which needs no quotes
            options[name] = text
    return options


def _ports(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    ports = _assignments(ctx, option, values)
    for name, port in ports.items():
        socket, dot, number = name.partition(".")  # of another scheduler than the first: client.1
        if socket not in PORTS or (dot and not number.isdecimal()) or type(port) is not int or not 0 < port < 1 << 16:
            raise click.BadParameter(f"{name}={port} is not NAME=PORT for one of {NAMES}")
    return ports


def _database(ctx: click.Context, option: click.Parameter, value: str) -> str:
    if holds_password(value):
        raise click.BadParameter("its password would stand here for others to read: it belongs in ~/.pgpass")
    if not names_database(value):
        raise click.BadParameter(f"it may be {DATABASES}")
    return value


def hub_elsewhere(ctx: click.Context, option: click.Parameter, value: str) -> str:
    """A hub by its file, or by a URL that holds no secret."""
    if "://" in value and "secret_key" in unquote(value):
        raise click.BadParameter("its key would stand here for others to read: give the path of its hub.json")
    return value


which_cluster = _together(
    click.option(
        "--profile", default=address.default_profile, callback=name_of_folder, shell_complete=known_profiles, **PROFILE
    ),
    click.option("--cluster-id", callback=name_of_folder, shell_complete=_clusters, help="The name of the cluster."),
)
as_a_process = _together(
    click.option("--log-level", type=click.Choice(LEVELS), default="info", help="How much is written to the log."),
    click.option("--daemonize", is_flag=True, help="Go on in the background; return when it is up."),
)
database_option = click.option(
    "--db",
    default="memory",
    callback=_database,
    shell_complete=_databases,
    help=f"Where records are kept: {DATABASES}.",
)
launched_by = _together(
    click.option(
        "--engines",
        default="local",
        metavar="LAUNCHER",
        shell_complete=_launchers,
        help="What starts them: local, ssh, mpi, slurm, ...",
    ),
    click.option(
        "-o", "engine_options", multiple=True, metavar="NAME=VALUE", callback=_assignments, help="For the launcher."
    ),
)
reached_at = _together(
    click.option("--ip", default="", show_default=False, help="Listen by tcp at this address, or * for all."),
    click.option("--location", default="", show_default=False, help="The address that others use for this machine."),
    click.option("--port", "ports", multiple=True, metavar="NAME=PORT", callback=_ports, help=f"NAME: {NAMES}."),
    database_option,
)
heartbeats = _together(
    click.option("--heartbeat", type=ABOVE_0, default=ControllerSettings.heartbeat, help="Seconds between heartbeats."),
    click.option(
        "--misses", type=click.IntRange(1), default=ControllerSettings.misses, help="How many may be unanswered."
    ),
    click.option(
        "--on-client-lost",
        type=click.Choice(["drop", "keep"]),
        default=ControllerSettings.on_client_lost,
        help="What to do with the tasks of a client that is lost.",
    ),
)
patience_option = click.option(
    "--patience", type=ABOVE_0, default=EngineSettings.patience, help="Seconds that an engine waits for a controller."
)


def _threads(ctx: click.Context, option: click.Parameter, value: str) -> str:
    if value != "auto" and not (value.isascii() and value.isdecimal()):
        raise click.BadParameter(f"{value!r} is neither a number nor auto")
    return value


threads_option = click.option(
    "--threads",
    default="auto",
    metavar="NUMBER|auto",
    callback=_threads,
    help="Of BLAS and OpenMP in an engine; auto: its share of the CPUs; 0: any.",
)
ipython_option = click.option("--ipython", is_flag=True, help="Engines host an IPython shell each, for %px.")
schedulers_option = click.option(
    "--schedulers", type=click.IntRange(1, 999), default=1, help="Processes with a scheduler, which share the engines."
)
file_option = click.option("--file", type=click.Path(path_type=Path), help="Its connection file, if it lies elsewhere.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
