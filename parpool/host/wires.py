"""What lies between a host and its engines: two sockets for all of them, and a lane to each that is near."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from ..net.lane import Junction, Lane, have_lanes
from ..net.sockets import Context, Poller, have_ipc, keypair
from ..shm.session import Session
from .members import Member

WORK, CONTROL = "work", "control"
EARLY = 1024  #: lanes that are kept for engines that have not introduced themselves


class Wires:
    """The sockets of a host, in the folder of its session, or on loopback with keys where there is no ipc."""

    linger = 0.0  #: seconds that the last messages have to leave

    def __init__(self, session: Session) -> None:
        self.public, self._secret = (b"", b"") if have_ipc() else keypair()
        self.work_address = "ipc://" + session.path("work")
        self.control_address = "ipc://" + session.path("control")
        self.lane_path = ""
        self._junction: Junction | None = None
        self._what: dict[Any, Member | str] = {}  #: by socket, or by the file descriptor of a lane
        self._early: dict[bytes, Lane] = {}  #: lanes of engines that have not introduced themselves yet
        self._context: Context | None = None
        if not have_ipc():
            self.work_address = self.control_address = "tcp://127.0.0.1:*"
            self.open()
        elif have_lanes():
            self.lane_path = session.path("lane")
            self._junction = Junction(self.lane_path)

    def open(self) -> None:
        """Open the sockets: a fork is best made before, as ZeroMQ has threads. Does nothing the second time."""
        if self._context is not None:
            return
        with ExitStack() as undo:
            context = Context()
            undo.callback(context.close)
            self._work = context.router(self.work_address, secret=self._secret, public=self.public)
            self._control = context.router(self.control_address, secret=self._secret, public=self.public)
            undo.pop_all()
        self._context = context
        self.work_address, self.control_address = self._work.address, self._control.address
        self._poller = Poller()
        self._poller.add(self._work)
        self._poller.add(self._control)
        self._what = {self._work.socket: WORK, self._control.socket: CONTROL}

    def watch(self, fds: Iterable[int]) -> None:
        """Let :meth:`poll` give these file descriptors, too."""
        for fd in fds:
            self._poller.add(fd)

    def poll(self, timeout: float | None) -> list[Member | str | int]:
        """What can be read after ``timeout`` seconds at the most: a lane (by its member), WORK, CONTROL, or an fd."""
        ready, what = self._poller.poll(timeout), self._what
        return [what.get(source, source) for source, _ in ready]

    def close(self) -> None:
        """Close everything."""
        for member in list(self._what.values()):
            if isinstance(member, Member):
                self.part(member)
        for lane in self._early.values():
            lane.close()
        self._early.clear()
        if self._junction is not None:
            self._junction.close()
        if self._context is not None:
            self._context.close(self.linger)
            self._context = None

    # -- lanes ------------------------------------------------------------------------------------------------

    def join(self, by_address: dict[bytes, Member]) -> None:
        """Take in the lanes of engines that have introduced themselves."""
        for name, lane in self._junction.accept() if self._junction is not None else ():
            self._early[name] = lane
            if len(self._early) > EARLY:
                self._early.pop(next(iter(self._early))).close()
        for name in [name for name in self._early if name in by_address]:
            member, lane = by_address[name], self._early.pop(name)
            if member.lane is not None:
                self.part(member)  # the end of the other one has not been seen yet
            member.lane = lane
            self._what[lane.fd] = member
            self._poller.add(lane.fd)

    def part(self, member: Member) -> None:
        """The end of a member's lane, where it has one."""
        lane, member.lane = member.lane, None
        if lane is not None:
            del self._what[lane.fd]
            self._poller.remove(lane.fd)
            lane.close()

    def from_lane(self, member: Member) -> bytes | None:
        """The next message in a member's lane, if one is there."""
        lane: Lane | None = member.lane
        if lane is None:
            return None
        message = lane.receive()
        if message is None and lane.ended:
            self.part(member)
        return message

    # -- messages ---------------------------------------------------------------------------------------------

    def send(self, member: Member, header: bytes, frames: Sequence[bytes] = (), fresh: bool = False) -> None:
        """Send a message; ``fresh``: the engine holds nothing besides."""
        if (fresh or member.by_lane) and not frames and member.lane is not None and member.lane.send(header):
            member.by_lane = True
        else:
            member.by_lane = False
            self._work.send(member.address, header, frames)

    def tell(self, member: Member, order: bytes) -> None:
        """Send an order to the engine's second thread."""
        self._control.send(member.address, order)

    def work(self) -> tuple[bytes, list[bytes]] | None:
        """The next message of any engine and the address of its sender, if one is there. Not from a lane."""
        return self._work.receive()

    def more_work(self) -> bool:
        """Would :meth:`work` give something?"""
        return self._work.more()

    def wait_for_work(self, seconds: float) -> bool:
        """Wait until :meth:`work` gives something; False where it does not by then."""
        return self._work.wait(seconds)

    def control(self) -> tuple[bytes, list[bytes]] | None:
        """The next answer of any engine's second thread and its address, if one is there."""
        return self._control.receive()
