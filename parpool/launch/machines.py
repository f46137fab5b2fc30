"""The machines that ssh reaches: how they are named, and how processes are shared out among them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import EngineStartError

#: ``"ann@a:4, b"``, a list of such or of dicts with the fields of `Machine`, or a dict from address to number or fields.
Hosts = str | Iterable[str | Mapping[str, Any]] | Mapping[str, int | Mapping[str, Any] | None]


@dataclass(frozen=True)
class Machine:
    """A machine, and what is special there."""

    #: As ssh takes it: a name of its configuration, ``host``, ``user@host``, ``ssh://user@host:port``.
    address: str
    #: How many processes it has room for; None: as many as it has cores.
    slots: int | None = None
    #: The interpreter there. ``~/`` is the home folder there.
    python: str = "python3"
    #: Where the processes work; None: as everywhere, or the home folder.
    folder: str | None = None
    #: What their environment has there besides.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Options of ssh for this machine alone.
    options: Sequence[str] = ()

    @property
    def interpreter(self) -> str:
        """The interpreter as a word for the shell there."""
        if self.python.startswith("~/"):  # quoted, it would be a name and not the home folder
            return "~/" + shlex.quote(self.python[2:])
        return shlex.quote(self.python)


def machines(hosts: Hosts, default: Machine) -> list[Machine]:
    """The machines that are meant; what is not said of one is as in ``default``."""
    given: list[Machine] = []
    if isinstance(hosts, str):
        hosts = [part for part in hosts.replace(",", " ").split() if part]
    if isinstance(hosts, Mapping):
        for address, terms in hosts.items():
            fields = dict(terms) if isinstance(terms, Mapping) else {"slots": terms}
            given.append(_machine({"address": address, **fields}, default))
    else:
        for host in hosts:
            given.append(_machine(dict(host) if isinstance(host, Mapping) else _parted(host), default))
    if not given:
        raise ValueError("no hosts are given: name them as in 'ann@one:4, two'")
    addresses = [machine.address for machine in given]
    if twice := [address for address in addresses if addresses.count(address) > 1]:
        raise ValueError(f"{twice[0]} is given twice: say it once, with the number of processes on it")
    return given


def _machine(fields: dict[str, Any], default: Machine) -> Machine:
    try:
        machine = replace(default, **fields)
    except TypeError:
        known = ", ".join(Machine.__dataclass_fields__)
        raise ValueError(f"a host is described by {known}; not by {', '.join(map(str, fields))}") from None
    if not machine.address or machine.address.startswith("-"):  # ssh would take it for an option
        raise ValueError(f"{machine.address!r} is no host")
    if machine.slots is not None and (not isinstance(machine.slots, int) or machine.slots < 1):
        raise ValueError(f"{machine.address} must have room for 1 process or more, not {machine.slots!r}")
    return machine


def _parted(host: str) -> dict[str, Any]:
    """``user@host:n`` in its parts. What has several colons is an IPv6 address, with a number only after brackets."""
    address, colon, number = host.rpartition(":")
    if not colon or host.startswith("ssh://") or (":" in address and not address.endswith("]")):
        address, number = host, ""
    elif not number.isdecimal():
        raise ValueError(f"{host!r} must end with a number of processes, as in 'ann@one:4'")
    if not address.startswith("ssh://"):
        address = address.replace("[", "").replace("]", "")
    return {"address": address, "slots": int(number)} if number else {"address": address}


def spread(n: int, rooms: Sequence[tuple[int, int]]) -> list[int]:
    """How many of ``n`` go where, for rooms of (slots, taken): one by one to where the least part of it is taken."""
    slots, taken = [room[0] for room in rooms], [room[1] for room in rooms]
    free = sum(slots) - sum(taken)
    if n > free:
        raise EngineStartError(
            f"there is room for {free} more processes on these hosts, not for {n}: "
            "name more hosts, or a larger number behind the colon (host:8)"
        )
    shares = [0] * len(rooms)
    for _ in range(n):
        index = min(
            (index for index in range(len(rooms)) if taken[index] < slots[index]),
            key=lambda index: taken[index] / slots[index],
        )
        taken[index] += 1
        shares[index] += 1
    return shares
