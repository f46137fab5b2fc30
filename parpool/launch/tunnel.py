"""Tunnels through ssh, for processes and controllers that do not reach each other.

Two ways: `Reverse` lets machines that processes are started on reach what only the starter reaches (``ssh -R``);
`Tunnel` lets this machine reach what only another one does (``ssh -L``), as an engine or a client behind a gateway
needs it. Both give an address on the loopback for each one that they lead to, and put it into files in its place.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from ..errors import EngineStartError
from .process import POSIX

LOOPBACK = "127.0.0.1"
OPEN = "parpool-open"
ATTEMPTS = 5  #: ports that are tried: somebody else may take one between the choice and its use


def rewritten(text: str, addresses: Mapping[str, str]) -> str:
    """The text with an address in the place of each ``host:port`` that has one."""
    for theirs, ours in addresses.items():
        text = re.sub(rf"(?<![\w.-]){re.escape(theirs)}(?!\d)", ours, text)
    return text


def _target(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"a tunnel leads to host:port, not to {address!r}")
    return address


class Reverse:
    """The tunnels that go along with a `Line` to a machine, from there to what is reached from here."""

    def __init__(self, addresses: Sequence[str], master: bool) -> None:
        self.addresses = [_target(address) for address in addresses]
        self._master = master
        #: The ports on the machine, by where they lead to; 0: one that is free there.
        self.ports: dict[str, int] = dict.fromkeys(self.addresses, 0)

    def options(self) -> list[str]:
        """What the line's ssh is told."""
        if self._master or not self.addresses:
            return []
        # A connection of its own: the tunnels have to end with it, and it has to tell of their ports.
        options = ["-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=INFO"]
        for address, port in self.ports.items():
            options += ["-R", f"{LOOPBACK}:{port}:{address}"]
        return options

    def told(self, allocated: Mapping[str, int]) -> bool:
        """ssh has told of these ports. Says whether all are known."""
        self.ports.update({address: port for address, port in allocated.items() if address in self.ports})
        return all(self.ports.values())

    def open(self, command: Sequence[str], host: str, timeout: float) -> None:
        """Have the master connection open them, where there is one to be used."""
        for address, known in self.ports.items() if self._master else ():
            # One that is open already is not opened twice; it is asked for as it was then, with any port.
            said = _order("forward", address, command, host, timeout)
            if known and int(said) != known:
                raise EngineStartError(f"the tunnel to {address} has another port now, {int(said)} and not {known}")
            self.ports[address] = int(said)

    def close(self, command: Sequence[str], host: str, timeout: float) -> None:
        """Have the master connection close what it has opened."""
        for address, port in self.ports.items():
            if self._master and port:
                with contextlib.suppress(EngineStartError):  # it is closed, and all its tunnels with it
                    _order("cancel", address, command, host, timeout)
            self.ports[address] = 0

    @property
    def entrances(self) -> dict[str, str]:
        """By each address, the one on the machine that leads to it."""
        return {address: f"{LOOPBACK}:{port}" for address, port in self.ports.items()}


def _order(order: str, address: str, ssh: Sequence[str], host: str, timeout: float) -> str:
    """Tell the master connection something about a tunnel."""
    command = [*ssh, "-O", order, "-R", f"{LOOPBACK}:0:{address}", "--", host]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineStartError(f"the master connection of ssh does not answer: {error}") from error
    if done.returncode or (order == "forward" and not done.stdout.strip().isdecimal()):
        said = done.stderr.strip()
        raise EngineStartError(f"the master connection of ssh opens no tunnel: {said}; is it open (ssh -O check)?")
    return done.stdout.strip()


class Tunnel:
    """Addresses that only ``gateway`` reaches, on this machine's loopback, until it is closed."""

    def __init__(
        self,
        gateway: str,
        addresses: Sequence[str],
        log: Path,
        *,
        options: Sequence[str] = (),
        timeout: float = 30.0,
        program: str = "ssh",
    ) -> None:
        #: By each address, the one here that leads to it.
        self.entrances: dict[str, str] = {}
        if gateway.startswith("-"):  # ssh would take it for an option
            raise ValueError(f"{gateway!r} is no host")
        targets = [_target(address) for address in addresses]
        command = [program, "-N", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, int(timeout))}"]
        # It says when all is open; a port that somebody else has answers, too.
        command += ["-o", "PermitLocalCommand=yes", "-o", f"LocalCommand=echo {OPEN}", "-o", "ControlPath=none"]
        command += ["-o", "ExitOnForwardFailure=yes", *options]
        for attempt in range(ATTEMPTS):
            self.entrances = dict(zip(targets, _free(len(targets)), strict=True))
            for address, entrance in self.entrances.items():
                command += ["-L", f"{entrance}:{address}"]
            with log.open("ab") as said:
                offset = said.tell()
                self._process = subprocess.Popen(
                    [*command, "--", gateway],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    start_new_session=POSIX,
                )
            if self._open(timeout):
                return
            del command[-2 * len(targets) :]
            self.close()
            words = log.read_bytes()[offset:].decode(errors="replace").strip()
            if "Address already in use" not in words or attempt == ATTEMPTS - 1:
                raise EngineStartError(f"no tunnel through {gateway}: {words or 'no answer'}; does ssh {gateway} work?")

    def _open(self, timeout: float) -> bool:
        """Wait until all entrances are open. False: they will not be."""
        assert self._process.stdout is not None
        timer = threading.Timer(timeout, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.readline().strip() == OPEN.encode()
        except BaseException:  # Ctrl-C
            self.close()
            raise
        finally:
            timer.cancel()
            timer.join()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _free(n: int) -> list[str]:
    """Addresses with ports that nobody uses here at this moment."""
    probes = [socket.socket() for _ in range(n)]
    try:
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [f"{LOOPBACK}:{probe.getsockname()[1]}" for probe in probes]
    finally:
        for probe in probes:
            probe.close()
