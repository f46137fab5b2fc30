"""Engines that run nothing: `cluster_light.py ENGINE.JSON COUNT [--lanes]`, many of them in one process.

Each has the sockets of an engine and speaks its protocol: it introduces itself, answers every call with None at once,
gives back nothing, and echoes heartbeats. With ``--lanes`` it also joins the lane that engines on the controller's own
machine have; without, it is to the controller as one on another machine.

It ends when its input does, or when the controller tells it to.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import select
import sys
from collections.abc import Callable
from time import time

import zmq

from parpool import __version__
from parpool.net import lane
from parpool.net.address import Connection, read
from parpool.status import OK
from parpool.wire.messages import (
    PROTOCOL,
    Die,
    GivenBack,
    Hello,
    Revoke,
    Stop,
    Who,
    Work,
    done_header,
    encode,
    to_control,
    to_engine,
)
from parpool.wire.payload import NONE

TOOK = 1e-6  #: seconds that a call is said to take


class Light:
    """One engine."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], connection: Connection, uid: str, lanes: bool) -> None:
        self._uid = uid
        self._number = 0  # of its messages with outcomes
        self._said = 0  # how often it has introduced itself
        self._by_lane = False
        self._work, self._control, self._heart = (
            _connected(context, connection, name, uid) for name in ("work", "control", "heart")
        )
        path = connection.addresses.get("lane")
        self._lane = lane.join(path, uid) if lanes and path else None
        self._introduce()

    def sources(self) -> dict[int, Callable[[], None]]:
        """By file descriptor, what is to be called when something may have come."""
        sources = {
            self._work.FD: self._heed_work,
            self._control.FD: self._heed_control,
            self._heart.FD: self._echo,
        }
        if self._lane is not None:
            sources[self._lane.fd] = self._heed_lane
        return sources

    def _introduce(self, held: list[int] | None = None) -> None:
        self._by_lane = False
        name, number = os.uname().nodename, self._number
        self._work.send(encode(Hello(PROTOCOL, __version__, os.getpid(), name, held, number + 1, number, self._said)))
        self._said += 1

    # The descriptor of a ZeroMQ socket is readable when it has to look at its affairs, so each of these goes on until
    # nothing is left: what is left would not be told of again.

    def _heed_work(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                self._take_in(self._work.recv_multipart(zmq.NOBLOCK)[0])

    def _heed_lane(self) -> None:
        if self._lane is None:
            return
        message = self._lane.receive()
        if message is not None:
            self._take_in(message)
            if not self._by_lane:
                self._heed_work()  # a send looks at the socket's affairs, too
        elif self._lane.ended:
            self._lane.close()  # which takes it from the poller, too
            self._by_lane, self._lane = False, None

    def _take_in(self, header: bytes) -> None:
        message = to_engine(header)
        if isinstance(message, Work):
            if message.fresh:
                self._by_lane = True
            now = time()
            outcomes = [encode((call.id, OK, 0, now - TOOK, now, NONE, 0)) for call in message.calls]
            if outcomes:
                self._number += 1
                self._send(done_header(len(outcomes), b"".join(outcomes), self._number))
        elif isinstance(message, Who):
            self._introduce([])
        elif isinstance(message, Stop):
            raise SystemExit

    def _send(self, header: bytes) -> None:
        if not self._by_lane or self._lane is None or not self._lane.send(header):
            self._by_lane = False
            self._work.send(header)

    def _heed_control(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                order = to_control(self._control.recv(zmq.NOBLOCK))
                if isinstance(order, Revoke):
                    self._control.send(encode(GivenBack([], order.ids, [])))
                elif isinstance(order, Die):
                    raise SystemExit

    def _echo(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                self._heart.send_multipart(self._heart.recv_multipart(zmq.NOBLOCK))


def _connected(
    context: zmq.Context[zmq.Socket[bytes]], connection: Connection, name: str, uid: str
) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = 0
    socket.identity = uid.encode()
    if connection.server_key:
        socket.curve_serverkey = connection.server_key.encode()
        socket.curve_publickey = connection.public_key.encode()
        socket.curve_secretkey = connection.secret_key.encode()
    socket.connect(connection.addresses[name])
    return socket


def serve(connection: Connection, count: int, lanes: bool) -> None:
    """Be so many engines."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4 * count + 16)
    sources: dict[int, Callable[[], None]] = {}
    for number in range(count):
        sources |= Light(context, connection, f"light-{number}", lanes).sources()
    poller = select.epoll()
    for fd in sources:
        poller.register(fd, select.EPOLLIN)
    poller.register(sys.stdin, select.EPOLLIN | select.EPOLLHUP)
    for heed in sources.values():  # what has come before
        heed()
    try:
        while True:
            for fd, _ in poller.poll():
                if fd not in sources:
                    return  # the benchmark has ended
                sources[fd]()
    finally:
        context.destroy(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the connection file for engines")
    parser.add_argument("count", type=int)
    parser.add_argument("--lanes", action="store_true")
    options = parser.parse_args()
    serve(read(options.file, "engine"), options.count, options.lanes)


if __name__ == "__main__":
    main()
