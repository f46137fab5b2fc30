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
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from importlib import import_module
from time import time
from typing import Any

import msgspec

from .. import __version__
from ..errors import ProtocolError, TaskTimeout
from ..options import EngineSettings
from ..shm.recorder import Recorder
from ..wire import reference
from ..wire.failure import pack_failure
from ..wire.messages import (
    EACH,
    HOW,
    PROTOCOL,
    Begin,
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
    encode,
    to_engine,
)
from . import output, remarks, verbs
from .crash import crash_reported, end_soon
from .inherited import leave_prompt
from .mail import Mail
from .namespace import Namespace
from .run import LATE, Runner
from .threads import limit_threads
from .warden import Warden

FLUSH = 0.002  #: seconds of short tasks between two messages


class Engine:
    """One engine, in the main thread of its process."""

    def __init__(self, settings: EngineSettings, names: dict[str, Any] | None = None) -> None:
        self.namespace = Namespace(names)
        self._mail = Mail(settings)
        self._recorder = Recorder(settings.recorder)
        self._wire = threading.RLock()
        self._calls: deque[Call | None] = deque()  #: received, in order; None: stop
        self._waiting: dict[int, Call] = {}  #: those of them that have not begun
        self._flushed = 0.0
        self.receiving = self.busy = False  #: does the main thread wait for messages, or run tasks?
        self._over = ""  #: why it ends
        self._said = 0  #: how often this engine has introduced itself again
        self._taken: int | None = 0  #: the number of the last message with tasks; None: none are taken now
        self._more = False  #: does the host have more for this engine than the last message?
        self._needs = b""  #: key of the code that the main thread waits for
        self._begun = -1  #: id of the task that was taken from those that wait, until its outcome is noted
        self._cut = (-1, 0)  #: id of a task that was given back in part while it ran, and the first item that went
        self._telling = threading.Lock()  #: what is held is told as it is at one moment, or given back
        self.current = -1  #: id of the task whose code is running
        self.item = 0  #: the item of it
        #: the running task whose items end separately, and the numbers of those that have not begun. An iterator, so
        #: that whoever draws a number has it: the main thread the next one, the warden all that are left.
        self.items: tuple[int, Iterator[int]] = (-1, iter(()))
        self.late: tuple[int, int] | None = None  #: task and item that are over their time
        self._break = -1  #: id of the task to break off
        self.signals = 0  #: that the warden has sent, and that have not come
        self.capture: output.Capture | None = None  #: of what tasks of views print; None: there was none yet
        reference.resolve_hook = self.namespace.evaluate
        verbs.use(self.namespace.names)
        verbs.forget = self.namespace.forget
        remarks.remember()
        if self._mail.lasting:
            self._mail.wake_by_signals()
            signal.signal(signal.SIGTERM, lambda signum, frame: self.end_by_signal(signum))
        self._runner = Runner(self.namespace, self._recorder, self, settings)
        self._warden = Warden(self, self._mail, settings)
        self._runner.let_trim(self._warden)
        signal.signal(signal.SIGINT, self._on_interrupt)
        self._warden.start()

    def serve(self) -> None:
        """Run tasks until told to stop. Raises ProtocolError where the host refuses this engine."""
        with self._wire:
            self._mail.send(self._hello(None, []))
            while True:
                if not self._calls:
                    if self._more and self._mail.look(self._take_in):
                        continue  # what has ended goes with what these bring, or when FLUSH seconds have gone by
                    self._flush()
                    self._receive()
                elif self._calls[0] is None:
                    self._flush()
                    self._over = "its controller has told it to, and what it held is done"
                    return
                else:
                    self.busy = True
                    if len(self._calls) > 1 or self._calls[0].kind & HOW >= EACH or self._recorder.pending:
                        self._warden.watch()  # also over what has ended before, and waits for company
                    self._wire.release()
                    try:
                        self._run()
                    finally:
                        self._wire.acquire()
                        self.busy = False

    def _hello(self, held: list[int] | None, rests: list[tuple[int, int]], first: int = 1, last: int = 0) -> bytes:
        hostname = socket.gethostname() if self._mail.lasting else ""
        about = held, first, last, self._said, rests, self._runner.folder
        return encode(Hello(PROTOCOL, __version__, os.getpid(), hostname, *about))

    def fail(self, error: BaseException) -> None:
        """Say that this engine cannot serve, because its initializer raised."""
        with self._wire:
            self._mail.send(encode(Farewell(pack_failure(error))))
        end_soon(1)

    def close(self) -> None:
        """End the warden and the sockets; what was sent has a moment to leave."""
        self._warden.end()
        self._warden.tell_end(self._over)
        self._mail.close(encode(Farewell(b"")))
        self._recorder.close()
        self._runner.close()

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
                self._begun = -1
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
                self._mail.send_outcomes(count + 1, pending + outcome, [payload])
            else:
                self._flush()
                recorder.write(outcome)

    def print(self, id: int, stream: int, text: str) -> bool:
        """Send what a task wrote to a stream (1: stdout, 2: stderr, 3 and 4: see Printed). Any thread; False: come again."""
        # The warden does not wait: the main thread may have the wire until an answer has come.
        if not self._wire.acquire(blocking=threading.get_ident() != self._warden.ident):
            return False
        try:
            self._mail.send(encode(Printed(id, stream, text)))
            return True
        finally:
            self._wire.release()

    def install(self) -> output.Capture:
        """Begin to capture what tasks of views print."""
        self.capture = remarks.captured(self.print)
        self.capture.waiting = self._warden.watch
        self.capture.hindered = self._wire._is_owned  # type: ignore[attr-defined]  # as threading.Condition asks
        return self.capture

    def ask(self, key: bytes) -> None:
        """Ask for the code of a key, and wait until it, or the reason why not, has come."""
        with self._wire:
            self._flush()
            self.namespace.drop(key)
            self._needs = key
            self._mail.send(encode(Need(key)))
            while not self.namespace.knows(key):
                self._receive()
            self._needs = b""

    def _flush(self) -> None:
        """Send the outcomes that wait. Under the wire lock."""
        recorder = self._recorder
        if recorder.pending:
            self._mail.send_outcomes(*recorder.take())
        recorder.turn()  # also where they were sent before: by the warden, or in front of a large one

    def _receive(self, wait: bool = True) -> bool:
        """Take in what has come, after a wait for it unless told not to; was there anything? Under the wire lock."""
        self.receiving = wait
        try:
            return self._mail.receive(self._take_in, wait)
        finally:
            self.receiving = False

    def _take_in(self, frames: list[bytes]) -> None:
        """A message from the host. Under the wire lock."""
        try:
            message = to_engine(frames[0])
        except MalformedFrame:
            return
        if isinstance(message, Work):
            if message.number and not self._is_next(message.number):
                return
            self._more = not message.fresh
            if message.fresh:
                self._mail.by_lane = True
            if message.functions or message.forget:
                self.namespace.learn(message.functions, message.forget)
            body = 1
            for call in message.calls:
                if call.id == self._cut[0]:  # another life of it
                    self._cut = (-1, 0)
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
        elif isinstance(message, Begin):
            if message.said == self._said:
                self._taken = 0
                self._warden.go_on()
        elif isinstance(message, Refused):
            raise ProtocolError(f"the host refuses this engine: {message.reason}")

    def _is_next(self, number: int) -> bool:
        """Is this the next message with tasks? Where one was lost, the controller is told so."""
        if self._taken is None:
            return False  # it was sent before what was said last was heard
        if number == self._taken + 1:
            self._taken = number
            return True
        self._introduce()
        return False

    def _introduce(self) -> None:
        """Say what this engine holds, and again what may not have arrived. Under the wire lock."""
        with self._telling:
            # In this order, as tasks go from one to the other; and before the flush, which sends what ends meanwhile.
            held = list(self._waiting)
            begun, cut = self._begun, self._cut
            if begun >= 0:
                held.append(begun)
            self._said += 1
            self._taken = None
        if self._recorder.pending:
            self._mail.send_outcomes(*self._recorder.take())
        self._mail.introduce(partial(self._hello, held, [cut] if cut[0] == begun >= 0 else []))
        if self._needs:
            self._mail.send(encode(Need(self._needs)))

    def _on_interrupt(self, signum: int, frame: object) -> None:
        # Ctrl-C at a terminal reaches engines too, and is the parent's to answer; one without a parent ends.
        ours, self.signals = self.signals > 0, max(0, self.signals - 1)
        if self.current < 0:
            if not ours and self._break < 0 and self.late is None and self._mail.lasting:
                self.end_by_signal(signum)
            self._break, self.late = -1, None  # what was to be broken off has ended meanwhile
            return
        if (self.current, self.item) == self.late:
            self.late = None
            self._raise(TaskTimeout(LATE))
        elif self.current == self._break:
            self._break = -1
            self._raise(KeyboardInterrupt())

    def end_by_signal(self, signum: int) -> None:
        """End this process: in order where it is idle; at once where a task runs, which could catch what is raised."""
        self._over = f"{signal.Signals(signum).name} has come"
        if self.busy:
            self._warden.tell_end(self._over + " while a task ran")
            self._runner.exit(0)
        self._warden.end_process()

    def _raise(self, error: BaseException) -> None:
        """Raise in the task, but not in the middle of a piece of its output."""
        if self.capture is None or not self.capture.postpone(error):
            raise error

    # -- the warden's thread ----------------------------------------------------------------------------------

    def send_late(self) -> bool:
        """Send what has been waiting while a task runs; False when there is nothing to watch over any more."""
        if not self.busy:
            return False
        if self.capture is not None:
            self.capture.flush_late()
        if not self._wire.acquire(blocking=False):
            return True  # the main thread is at the socket itself for a moment
        try:
            if time() - self._flushed >= FLUSH and self._recorder.pending:
                self._mail.send_outcomes(*self._recorder.take())
            return True
        finally:
            self._wire.release()

    def look(self) -> bool:
        """Take in what is in the socket, unless the main thread is at it; was there anything?"""
        if not self._wire.acquire(blocking=False):
            return False
        try:
            return bool(list(iter(partial(self._receive, wait=False), False)))
        finally:
            self._wire.release()

    def give_back(self, ids: list[int], whole: bool) -> GivenBack | None:
        """Take back tasks, and, unless they are to stay ``whole``, items of the running one, that have not begun.

        None where a controller is about to hear what this engine holds: not before it has.
        """
        self.look()  # they may still be in the socket
        with self._telling:
            if self._taken is None:
                return None
            answer = GivenBack([], [], [], self._said)
            for id in ids:
                if self._waiting.pop(id, None) is not None:
                    answer.ids.append(id)
                elif not whole and self.items[0] == id and (rest := list(self.items[1])):
                    answer.rests.append((id, rest[0]))
                    self._cut = id, rest[0]
                else:
                    answer.kept.append(id)
            return answer

    def break_off(self) -> bool:
        """Mark what runs now to be broken off; False where nothing does."""
        self._break = self.current
        return self._break >= 0

    def unheeded(self) -> bool:
        """Does what is to be interrupted still run as though it was not?"""
        return self.current >= 0 and (self.current == self._break or (self.current, self.item) == self.late)

    def overdue(self, id: int, item: int) -> bool:
        """Mark an item of a task as over its time; False where it does not run any more, or not yet."""
        self.late = (id, item)
        runs = (self.current, self.item) == self.late
        if not runs and (self.current >= 0 or self._begun != id):
            self.late = None  # else it is being opened, and looks before it begins
        return runs


def main(settings: EngineSettings, initializer: Any = None, initargs: tuple[Any, ...] = ()) -> None:
    """Be an engine until told to stop: what a launcher's process runs."""
    with crash_reported(settings.recorder):
        limit_threads(settings.threads)
        leave_prompt()
        with closing(Engine(settings)) as engine:
            engine.namespace.names.update(settings.names)
            try:
                if settings.ipython:
                    import_module("parpool.engine.shell").host(engine.namespace, lambda: engine.capture)
                if initializer is not None:
                    initializer(*initargs)
                    verbs.remember()
            except BaseException as error:
                engine.fail(error)
                raise SystemExit(1) from None
            engine.serve()
