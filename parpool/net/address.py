"""Where a controller is, and what lets others in: connection files, their folders, and keys.

A cluster has a folder, ``PARPOOL_DIR/profile_<profile>/clusters/<cluster_id>``. Its controller holds the lock in there
as long as it lives, and writes ``client.json`` and ``engine.json`` when its sockets are open: a file for each role,
with the keys of that role alone. Whoever has such a file, or what is in it, can connect; whoever has not, cannot. So
the files are private, and what is wrong with one ends in an error that names the file and the next step, but never
what is in it.
"""

from __future__ import annotations

import dataclasses
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec
import zmq

from .. import __version__
from ..errors import ConnectionFileError, ProtocolError
from ..wire.messages import PROTOCOL
from .deaths import alive
from .folder import LOCK, ControllerLock, holder, make_folder, running, write_private

__all__ = [
    "DEFAULT",
    "LOCK",
    "Connection",
    "ControllerLock",
    "Source",
    "check_name",
    "cluster_folder",
    "clusters",
    "connection_from",
    "default_profile",
    "find",
    "gone",
    "holder",
    "hub_folder",
    "make_folder",
    "new_keys",
    "options",
    "profiles",
    "read",
    "root",
    "running",
    "unknown_host",
    "write",
    "write_private",
]

DEFAULT = "default"  #: the name of the profile, and of the cluster, where none is given
#: The addresses that each role cannot do without. The first one begins the URL.
NEEDED = {"client": ("client", "heart"), "engine": ("work", "control", "heart"), "hub": ("hub",)}

_START = "parpool start"
_STARTS = {"hub": "parpool hub"}  #: the command that starts what a file of this role is of, where it is another one

_NAME = re.compile(r"[\w@+-][\w.@+-]{0,99}")
_SOCKET = re.compile(r"[a-z]+(\.[1-9][0-9]{0,2})?")  # a name, and the number of the scheduler
_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  # 32 bytes in z85


@dataclass(frozen=True)
class Connection:
    """Where a controller is, and the keys to it. Its repr shows no keys."""

    role: str  #: who may connect with it: "client", "engine" or, to a hub, "hub"
    cluster_id: str
    profile: str
    #: of the sockets, by name: those of `NEEDED` and, on one machine, "lane", a path. Where there are several schedulers,
    #: those of number 1 are called "client.1", and so on
    addresses: dict[str, str]
    server_key: str = field(default="", repr=False)  #: the controller's public CURVE key, in z85; empty on ipc
    public_key: str = field(default="", repr=False)  #: the role's public key
    secret_key: str = field(default="", repr=False)  #: and its secret one
    pid: int = 0  #: of the controller; 0: not known
    hostname: str = ""  #: where it runs; empty: not known
    version: str = __version__  #: of the controller's parpool
    protocol: int = PROTOCOL  #: that it speaks
    started: float = 0.0  #: when, in seconds since the epoch
    path: Path | None = field(default=None, compare=False)  #: the file that it was read from; not in the file

    def fields(self) -> dict[str, Any]:
        """What a connection file holds: everything but ``path``."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return {**fields, "addresses": dict(self.addresses)}

    @property
    def schedulers(self) -> int:
        """How many schedulers the controller has."""
        return 1 + max((int(name.partition(".")[2]) for name in self.addresses if "." in name), default=0)

    def of(self, number: int) -> Connection:
        """The connection to one of the schedulers alone."""
        if self.schedulers == 1 and not number:
            return self
        end = f".{number}" if number else ""
        names = [name for name in self.addresses if name.partition(".")[2] == end[1:]]
        return dataclasses.replace(self, addresses={name.partition(".")[0]: self.addresses[name] for name in names})

    def to_url(self) -> str:
        """All of it as one URL, as secret as the file: an address, and the rest as the query."""
        fields = self.fields()
        addresses = fields.pop("addresses")
        first = addresses.pop(NEEDED[self.role][0])
        return f"{quote(first, safe='/:@[]*')}?{urlencode({**fields, **addresses})}"


_FIELDS = [each.name for each in dataclasses.fields(Connection) if each.name != "path"]

Source: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | Connection"


def unknown_host(address: str) -> str:
    """The host of an address by tcp, where this machine knows no address of that name; else nothing."""
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]") if address.startswith("tcp://") else ""
    try:
        return "" if not host or socket.getaddrinfo(host, None) else host
    except (OSError, UnicodeError):
        return host


# Folders --------------------------------------------------------------------------------------------


def root() -> Path:
    """The folder of all profiles: ``PARPOOL_DIR``, or else where this system keeps a user's data."""
    if given := os.environ.get("PARPOOL_DIR"):
        return Path(given).expanduser().absolute()
    import platformdirs

    return platformdirs.user_data_path("parpool")


def default_profile() -> str:
    """The profile where none is given: ``PARPOOL_PROFILE``, or "default"."""
    return os.environ.get("PARPOOL_PROFILE") or DEFAULT


def cluster_folder(profile: str | None = None, cluster_id: str | None = None) -> Path:
    """The folder of a cluster, which need not be there. ValueError for a name that is none."""
    return _clusters_folder(profile) / check_name(cluster_id or DEFAULT, "cluster id")


def hub_folder(folder: Path) -> Path:
    """Where, below a cluster's folder, a hub in a process of its own holds its lock."""
    return folder / "hub"


def clusters(profile: str | None = None) -> list[Path]:
    """The folders of the profile's clusters, also of those that do not run."""
    return _folders_in(_clusters_folder(profile))


def profiles() -> list[str]:
    """The profiles that have a folder."""
    names = [each.name.partition("_") for each in _folders_in(root())]
    return [name for start, _, name in names if start == "profile" and name]


def check_name(name: str, what: str) -> str:
    """The name of a profile or cluster, if it can be that of a folder; else a ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no {what}: it is made of letters, digits and -_+@. and begins with no dot")
    return name


def options(profile: str, cluster_id: str) -> str:
    """The options that name a cluster on the command line, for messages; none for the default one."""
    given = {"profile": profile, "cluster-id": cluster_id}
    return "".join(f" --{option} {name}" for option, name in given.items() if name != DEFAULT)


def _clusters_folder(profile: str | None) -> Path:
    return root() / f"profile_{check_name(profile or default_profile(), 'profile')}" / "clusters"


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if _NAME.fullmatch(each.name) and each.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


# Files ----------------------------------------------------------------------------------------------


def write(connection: Connection, path: Path) -> None:
    """Write the connection file: for the user alone, at once, and in a folder that is made where it is missing."""
    write_private(path, msgspec.json.format(msgspec.json.encode(connection.fields())) + b"\n")


def read(path: str | os.PathLike[str], role: str | None = None, *, gone_too: bool = False) -> Connection:
    """The connection in a file. ``role``: that it must be of; ``gone_too``: also where the controller has ended.

    Raises ConnectionFileError or ProtocolError.
    """
    path = Path(os.path.expanduser(path)).absolute()
    try:
        with open(path, "rb") as file:
            open_to_others = os.name != "nt" and os.fstat(file.fileno()).st_mode & 0o077
            data = file.read()
    except FileNotFoundError:
        command = _STARTS.get(role or "", _START)
        raise ConnectionFileError(
            f"there is no connection file {path}: start it with `{command}`, or copy the file from the machine where it was"
        ) from None
    except OSError as error:
        raise ConnectionFileError(
            f"the connection file {path} cannot be read ({error.strerror}): use a file of your own"
        ) from None
    where = f"the connection file {path}"
    if open_to_others:
        raise ConnectionFileError(
            f"{where} can be used by others than its owner: `chmod 600 {path}`, and if somebody may have read it, "
            "start the cluster anew"
        )
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise ConnectionFileError(f"{where} holds no JSON object: {_AGAIN}") from None
    connection = dataclasses.replace(_made(fields, where, role, needed=_FIELDS), path=path)
    if not gone_too and gone(connection):
        what = "hub" if connection.role == "hub" else "controller"
        command = f"{_STARTS.get(connection.role, _START)}{options(connection.profile, connection.cluster_id)}"
        raise ConnectionFileError(
            f"{where} is of no use: the {what} that wrote it is gone (pid {connection.pid}). Start it again with "
            f"`{command}`"
        )
    return connection


def gone(connection: Connection) -> bool:
    """Is it certain that the controller, or the hub, has ended? Only its own machine can tell."""
    if connection.hostname != socket.gethostname():
        return False
    # The lock is asked first: pids come again, and a container has its own.
    if connection.path is not None:
        folder = connection.path.parent
        folder = hub_folder(folder) if connection.role == "hub" else folder
        if (folder / LOCK).exists():
            return not running(folder)
    return connection.pid > 0 and os.name != "nt" and not alive(connection.pid)


class SeveralClusters(ConnectionFileError):
    """It is not clear which one is meant."""


def find(role: str, *, profile: str | None = None, cluster_id: str | None = None) -> Path:
    """The file for ``role`` of the cluster that is meant: where none is named, "default" or the only one that runs."""
    file = f"{role}.json"
    path = cluster_folder(profile, cluster_id) / file
    if path.exists():
        return path
    folder = path.parent.parent
    known = [each for each in clusters(profile) if (each / file).exists()]
    candidates = [] if cluster_id else [each for each in known if running(each)]
    if len(candidates) == 1:
        return candidates[0] / file
    if candidates:
        names = ", ".join(each.name for each in candidates)
        raise SeveralClusters(f"several clusters run in {folder}: name one of them by its cluster id: {names}")
    which = f" {cluster_id!r}" if cluster_id else ""
    others = f" (it has: {', '.join(each.name for each in known)})" if known else ""
    raise ConnectionFileError(
        f"no cluster{which} with a file {file} is in {folder}{others}: start one with "
        f"`parpool start{options(profile or default_profile(), cluster_id or DEFAULT)}`"
    )


# From what users give -------------------------------------------------------------------------------


def connection_from(source: Source, role: str | None = None) -> Connection:
    """The connection that is meant by a file's path, a URL, a dict with a file's fields, or a connection.

    A dict or URL needs the addresses and, for tcp, the keys. ``role``: that it must be of.
    """
    if isinstance(source, Connection):
        made = _made(source.fields(), "the connection", role)
        return dataclasses.replace(made, path=source.path)
    if isinstance(source, Mapping):
        return _made({**_OPEN, **source}, "the connection given as a dict", role)
    if isinstance(source, str) and "://" in source:
        address, _, query = source.partition("?")
        where = f"the URL {address}"  # what comes after it is secret
        return _made(_of_url(unquote(address), query, where), where, role, strict=False)
    return read(source, role)


_OPEN = {"role": "client", "cluster_id": DEFAULT, "profile": DEFAULT}  # what a dict or URL may leave open
_AGAIN = "start the controller again, or copy the file once more"


def _of_url(first: str, query: str, where: str) -> dict[str, Any]:
    """The fields that a URL holds. The other addresses stand among them, a port alone being one of the same host."""
    fields: dict[str, Any] = {**_OPEN, **dict(parse_qsl(query, keep_blank_values=True))}
    addresses = {NEEDED.get(fields["role"], ("",))[0]: first}
    for name in sorted(fields.keys() - _FIELDS):
        value = fields.pop(name)
        addresses[name] = f"{first.rpartition(':')[0]}:{value}" if value.isdecimal() else value
        if not addresses[name].startswith(("tcp://", "ipc://", "/")):
            raise ConnectionFileError(f"{where} has {name!r}, which is neither a field of it nor an address: {_AGAIN}")
    return {**fields, "addresses": addresses}


def _made(
    fields: dict[str, Any], where: str, role: str | None, *, needed: Sequence[str] = (), strict: bool = True
) -> Connection:
    """The connection of these fields, if it is one. No message tells a value that may be secret."""

    def refused(why: str) -> ConnectionFileError:
        return ConnectionFileError(f"{where} {why}: {_AGAIN}")

    # First of all: another version may have other fields.
    protocol, version = (str(fields.get(*each)) for each in (("protocol", PROTOCOL), ("version", __version__)))
    if protocol != str(PROTOCOL):
        raise ProtocolError(
            f"{where} is of parpool {version:.20} (protocol {protocol:.20}), and this is parpool {__version__} "
            f"(protocol {PROTOCOL}): install the same version on both sides, and start the controller again"
        )
    if lacking := [name for name in needed if name not in fields]:
        raise refused(f"lacks {', '.join(lacking)}")
    try:
        made = msgspec.convert({name: fields[name] for name in _FIELDS if name in fields}, Connection, strict=strict)
    except msgspec.ValidationError as error:  # it names types and places
        raise refused(f"is not as it should be ({error})") from None
    if made.role not in NEEDED:
        raise refused("has a role that is none of client, engine and hub")
    if role not in (None, made.role):
        raise ConnectionFileError(f"{where} is one for {made.role}s, not for {role}s: use {role}.json")
    if odd := [name for name in made.addresses if not _SOCKET.fullmatch(name)]:
        raise refused(f"has an address of {odd[0][:40]!r}, which is no socket of a controller")
    names = [n + (f".{k}" if k else "") for k in range(made.schedulers) for n in NEEDED[made.role]]
    if lacking := [name for name in names if not made.addresses.get(name)]:
        raise refused(f"lacks the address of {', '.join(lacking[:4])}")
    if wrong := [name for name in names if not made.addresses[name].startswith(("tcp://", "ipc://"))]:
        raise refused(f"has an address of {', '.join(wrong)} that begins with neither tcp:// nor ipc://")
    for name in ("server_key", "public_key", "secret_key"):
        key = getattr(made, name)
        if key and not _KEY.fullmatch(key):
            raise refused(f"has a {name} that is none (40 characters of z85)")
        if not key and any(address.startswith("tcp:") for address in made.addresses.values()):
            raise refused(f"has no {name}, which tcp cannot do without")
    if made.hostname not in ("", socket.gethostname()):
        for address in made.addresses.values():
            if address.startswith("ipc://") and not os.path.exists(address[6:]):
                raise ConnectionFileError(
                    f"{where} is of a controller that only its own machine ({made.hostname}) can reach: for others, "
                    "start it with `parpool start --ip ADDRESS`"
                )
    return made


def new_keys() -> tuple[str, str]:
    """A new CURVE key pair in z85: (public, secret)."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()
