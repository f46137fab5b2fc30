"""The engine: receives tasks, runs them in its main thread, reports what came of them.

The work socket is the main thread's, except while it runs tasks: then the warden may use it. ``_wire`` is the lock
that says so. Which thread takes a task is decided by who pops it from ``_waiting``: the main thread to run it, the
warden to give it back.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from time import time
from typing import Any

import msgspec

from .. import __version__
from ..errors import ProtocolError, TaskTimeout
from ..net import lane
from ..net.heart import Heart
from ..net.sockets import Context, Poller
from ..options import EngineSettings
from ..shm.recorder import Recorder
from ..wire import reference
from ..wire.failure import pack_failure
from ..wire.messages import (
    EACH,
    HOW,
    PROTOCOL,
    Call,
    Farewell,
    GivenBack,
    Hello,
    MalformedFrame,
    Need,
    Printed,
    Refused,
    Stop,
    Who,
    Work,
    done_header,
    encode,
    to_engine,
)
from . import output, verbs
from .crash import crash_reported
from .namespace import Namespace
from .outbox import Outbox
from .run import Runner
from .warden import Warden

FLUSH = 0.002  #: seconds of short tasks between two messages
LINGER = 2.0  #: seconds that the last outcomes have to leave the process


class Engine:
    """One engine, in the main thread of its process."""

    def __init__(self, settings: EngineSettings, names: dict[str, Any] | None = None) -> None:
        self.namespace = Namespace(names)
        self._settings = settings
        self._context = Context()
        uid, host_key = settings.uid, settings.host_key
        keys = settings.keys if settings.heart else None
        self._work = self._context.dealer(settings.work, uid, host_key=host_key, keys=keys)
        control = self._context.dealer(settings.control, uid, host_key=host_key, keys=keys)
        self._outbox = Outbox() if settings.heart else None
        self._heart: Heart | None = None
        monitor = None
        if keys is not None:
            self._work.connect_plainly()
            monitor = control.connect()
            self._heart = Heart(settings.heart, uid, host_key=host_key, keys=keys)
        self._lane = lane.join(settings.lane, uid) if settings.lane else None
        self._by_lane = False  #: may the next message take the lane?
        self._poller = Poller()
        self._poller.add(self._work)
        if self._lane is not None:
            self._poller.add(self._lane.fd)
        self._recorder = Recorder(settings.recorder)
        self._wire = threading.RLock()
        self._calls: deque[Call | None] = deque()  #: received, in order; None: stop
        self._waiting: dict[int, Call] = {}  #: those of them that have not begun
        self._flushed = 0.0
        self._busy = False  #: is the main thread running tasks?
        self._needs = b""  #: key of the code that the main thread waits for
        self._begun = -1  #: id of the task that was taken from those that wait, until its outcome is noted
        self.current = -1  #: id of the task whose code is running
        self.item = 0  #: the item of it
        #: the running task whose items end separately, and the numbers of those that have not begun. An iterator, so
        #: that whoever draws a number has it: the main thread the next one, the warden all that are left.
        self.items: tuple[int, Iterator[int]] = (-1, iter(()))
        self._overdue = (-1, 0)  #: task and item to interrupt
        self._break = -1  #: id of the task to break off
        self.capture: output.Capture | None = None  #: of what tasks of views print; None: there was none yet
        reference.resolve_hook = self.namespace.evaluate
        verbs.use(self.namespace.names)
        verbs.forget = self.namespace.forget
        self._runner = Runner(self.namespace, self._recorder, self)
        self._warden = Warden(self, control, settings, monitor)
        signal.signal(signal.SIGINT, self._on_interrupt)
        self._warden.start()

    def serve(self) -> None:
        """Run tasks until told to stop. Raises ProtocolError where the host refuses this engine."""
        with self._wire:
            self._work.send(encode(self._hello(None)))
            while True:
                if not self._calls:
                    self._flush()
                    self._receive()
                elif self._calls[0] is None:
                    self._flush()
                    return
                else:
                    self._busy = True
                    if len(self._calls) > 1 or self._calls[0].kind & HOW >= EACH:
                        self._warden.watch()
                    self._wire.release()
                    try:
                        self._run()
                    finally:
                        self._wire.acquire()
                        self._busy = False

    def _hello(self, held: list[int] | None) -> Hello:
        if self._outbox is None:
            return Hello(PROTOCOL, __version__, os.getpid())
        return Hello(PROTOCOL, __version__, os.getpid(), socket.gethostname(), held, self._outbox.first)

    def fail(self, error: BaseException) -> None:
        """Say that this engine cannot serve, because its initializer raised."""
        with self._wire:
            self._work.send(encode(Farewell(pack_failure(error))))

    def close(self) -> None:
        """End the warden and the sockets; what was sent has a moment to leave."""
        self._warden.end()
        if self._heart is not None:
            self._heart.close()
        if self._lane is not None:
            self._lane.close()
        self._context.close(LINGER)
        self._recorder.close()

    # -- the main thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        calls, waiting, run = self._calls, self._waiting, self._runner.run
        while calls:
            call = calls[0]
            if call is None:
                return
            calls.popleft()
            self._begun = call.id  # first: it is always in one of the two
            if waiting.get(call.id) is not call or waiting.pop(call.id, None) is None:
                continue  # it was given back, and perhaps sent again
            completed = run(call)
            self._begun = -1
            if completed - self._flushed > FLUSH:
                self.flush_if_due(completed)

    def flush_if_due(self, now: float) -> None:
        """Send the outcomes that wait, where the last message went out long enough ago."""
        if now - self._flushed > FLUSH or now < self._flushed:
            with self._wire:
                self._flush()
            self._flushed = now

    def report(self, outcome: bytes, payload: bytes | None) -> None:
        """Note an outcome, encoded. A large payload is apart from it and goes out at once."""
        recorder = self._recorder
        if payload is None and recorder.fits(len(outcome)):
            recorder.write(outcome)
            return
        with self._wire:
            if payload is not None:
                count, pending = recorder.take()
                self._send_outcomes(count + 1, pending + outcome, [payload])
            else:
                self._flush()
                recorder.write(outcome)

    def print(self, id: int, stream: int, text: str) -> bool:
        """Send what a task wrote to a stream (1: stdout, 2: stderr). Any thread; False where it has to come again."""
        # The warden does not wait: the main thread may have the wire until an answer has come.
        if not self._wire.acquire(blocking=threading.get_ident() != self._warden.ident):
            return False
        try:
            self._send(encode(Printed(id, stream, text)))
            return True
        finally:
            self._wire.release()

    def install(self) -> output.Capture:
        """Begin to capture what tasks of views print."""
        self.capture = output.installed(self.print)
        self.capture.waiting = self._warden.watch
        self.capture.hindered = self._wire._is_owned  # type: ignore[attr-defined]  # as threading.Condition asks
        return self.capture

    def ask(self, key: bytes) -> None:
        """Ask for the code of a key, and wait until it, or the reason why not, has come."""
        with self._wire:
            self._flush()
            self.namespace.drop(key)
            self._needs = key
            self._send(encode(Need(key)))
            while not self.namespace.knows(key):
                self._receive()
            self._needs = b""

    def _flush(self) -> None:
        """Send the outcomes that wait. Under the wire lock."""
        recorder = self._recorder
        if recorder.pending:
            self._send_outcomes(*recorder.take())
        recorder.turn()  # also where they were sent before: by the warden, or in front of a large one

    def _send_outcomes(self, count: int, outcomes: bytes, frames: Sequence[bytes] = ()) -> None:
        """Send outcomes, encoded one behind the other. Under the wire lock."""
        outbox = self._outbox
        self._send(done_header(count, outcomes) if outbox is None else outbox.put(count, outcomes, frames), frames)

    def _send(self, header: bytes, frames: Sequence[bytes] = ()) -> None:
        """Send a message, by the lane where it may take it. Under the wire lock."""
        if not self._by_lane or frames or not self._lane or not self._lane.send(header):
            self._by_lane = False
            self._work.send(header, frames)

    def _receive(self, wait: bool = True) -> bool:
        """Take in what has come, after a wait for it unless told not to; was there anything? Under the wire lock."""
        near, came = self._lane, False
        if near is None:
            frames = self._work.receive(wait)
        else:
            if wait:
                ready = self._poller.poll(None)
                if len(ready) == 1 and ready[0][0] == near.fd:  # as most often: no look at the other one
                    return self._take_from_lane(near)
            frames = self._work.receive(wait=False)
            while self._take_from_lane(near):  # it was sent before
                came = True
        if frames is not None:
            self._take_in(frames)
        return came or frames is not None

    def _take_from_lane(self, near: lane.Lane) -> bool:
        message = near.receive()
        if message is not None:
            self._take_in([message])
            return True
        if near.ended and self._lane is not None:
            self._poller.remove(near.fd)
            self._lane = None
            near.close()
        return False

    def _take_in(self, frames: list[bytes]) -> None:
        """A message from the host. Under the wire lock."""
        try:
            message = to_engine(frames[0])
        except MalformedFrame:
            return
        if isinstance(message, Work):
            if message.fresh:
                self._by_lane = True
            if message.functions or message.forget:
                self.namespace.learn(message.functions, message.forget)
            body = 1
            for call in message.calls:
                if call.frames:
                    # A frame that was announced and is not there makes a payload that cannot be opened.
                    payload = frames[body] if body < len(frames) else b""
                    call = msgspec.structs.replace(call, payload=payload)
                    body += 1
                self._waiting[call.id] = call
                self._calls.append(call)
        elif isinstance(message, Stop):
            self._calls.append(None)
        elif isinstance(message, Who):
            self._introduce()
        elif isinstance(message, Refused):
            raise ProtocolError(f"the host refuses this engine: {message.reason}")

    def _introduce(self) -> None:
        """Say again what may not have arrived, and what this engine holds. Under the wire lock."""
        # In this order, as tasks go from one to the other; and before the flush, which sends what ends meanwhile.
        held = list(self._waiting)
        if self._begun >= 0:
            held.append(self._begun)
        self._flush_late()
        if self._outbox is not None:
            for header, frames in self._outbox.kept():
                self._work.send(header, frames)
        self._by_lane = False
        if self._lane is None and self._settings.lane and (near := lane.join(self._settings.lane, self._settings.uid)):
            self._lane = near
            self._poller.add(near.fd)
        self._work.send(encode(self._hello(held)))
        if self._needs:
            self._work.send(encode(Need(self._needs)))

    def _on_interrupt(self, signum: int, frame: object) -> None:
        # Ctrl-C at a terminal reaches engines too, and is the parent's to answer.
        if self.current < 0:
            self._break = -1  # what was to be broken off has ended meanwhile
            return
        if (self.current, self.item) == self._overdue:
            self._overdue = (-1, 0)
            self._raise(TaskTimeout("the task ran longer than its task_timeout"))
        elif self.current == self._break:
            self._break = -1
            self._raise(KeyboardInterrupt())

    def _raise(self, error: BaseException) -> None:
        """Raise in the task, but not in the middle of a piece of its output."""
        if self.capture is None or not self.capture.postpone(error):
            raise error

    # -- the warden's thread ----------------------------------------------------------------------------------

    def send_late(self) -> bool:
        """Send what has been waiting while a task runs; False when there is nothing to watch over any more."""
        if not self._busy:
            return False
        if self.capture is not None:
            self.capture.flush_late()
        if not self._wire.acquire(blocking=False):
            return True  # the main thread is at the socket itself for a moment
        try:
            if time() - self._flushed >= FLUSH:
                self._flush_late()
            return True
        finally:
            self._wire.release()

    def _flush_late(self) -> None:
        count, outcomes = self._recorder.take()
        if count:
            self._send_outcomes(count, outcomes)

    def look(self) -> bool:
        """Take in what is in the socket; False where the main thread is at it, and will do so."""
        if not self._wire.acquire(blocking=False):
            return False
        try:
            while self._receive(wait=False):
                pass
            return True
        finally:
            self._wire.release()

    def noted(self, number: int) -> None:
        """The outcomes in the messages up to this number have arrived."""
        if self._outbox is not None:
            self._outbox.noted(number)

    def give_back(self, ids: list[int], whole: bool) -> GivenBack:
        """Take back tasks, and, unless they are to stay ``whole``, items of the running one, that have not begun."""
        self.look()  # they may still be in the socket
        answer = GivenBack([], [], [])
        for id in ids:
            if self._waiting.pop(id, None) is not None:
                answer.ids.append(id)
            elif not whole and self.items[0] == id and (rest := list(self.items[1])):
                answer.rests.append((id, rest[0]))
            else:
                answer.kept.append(id)
        return answer

    def break_off(self) -> bool:
        """Mark what runs now to be broken off; False where nothing does."""
        self._break = self.current
        return self._break >= 0

    def overdue(self, id: int, item: int) -> bool:
        """Mark an item of a task as over its time; False where it does not run any more."""
        self._overdue = (id, item)
        return (self.current, self.item) == self._overdue


def main(settings: EngineSettings, initializer: Any = None, initargs: tuple[Any, ...] = ()) -> None:
    """Be an engine until told to stop: what a launcher's process runs."""
    with crash_reported(settings.recorder):
        engine = Engine(settings)
        engine.namespace.names.update(settings.names)
        _serve(engine, initializer, initargs)


def _serve(engine: Engine, initializer: Any, initargs: tuple[Any, ...]) -> None:
    try:
        if initializer is not None:
            try:
                initializer(*initargs)
                verbs.remember()
            except BaseException as error:
                engine.fail(error)
                raise SystemExit(1) from None
        engine.serve()
    finally:
        engine.close()
