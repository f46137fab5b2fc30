"""From what was given for an address to a client."""

from __future__ import annotations

from typing import Any

from parpool import Client

#: Names of this machine, at which the old controllers listened.
HERE = ("", "127.0.0.1", "localhost", "::1")


def connected(addr: Any, options: dict[str, Any]) -> Client:
    """The client of the cluster at an address. ValueError for one of another machine, where a port does not suffice."""
    if isinstance(addr, Client):
        return addr
    if hasattr(addr, "rc"):  # one of the old clients
        return addr.rc  # type: ignore[no-any-return]
    if isinstance(addr, (tuple, list)):
        host, _port = addr
        if host not in HERE:
            raise ValueError(
                f"{host} is another machine: copy client.json of the cluster from there, and give its path; it has"
                " the address and the key"
            )
        addr = None
    if isinstance(addr, str) and (addr.endswith(".furl") or addr.startswith(("pb://", "pbu://"))):
        raise ValueError(
            f"{addr} is an address of then: give nothing for the default cluster, or the path of a client.json"
        )
    client = Client(addr or None, **options)
    client.remarks = False  # log records and warnings are text on stderr, as they were
    return client
