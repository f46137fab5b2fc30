"""What the scheduler knows, declared in one place: tasks, engines, and the legal moves between a task's states.

The states diagram of the manual is drawn from :data:`MOVES`; the tests refuse every move that is not in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

# -- states of a task ---------------------------------------------------------------------------------------------
NEW = "new"  #: made, not yet submitted
WAITING = "waiting"  #: for the tasks that it depends on
QUEUED = "queued"  #: for an engine with room
SENT = "sent"  #: to an engine, which may or may not have begun it
REVOKING = "revoking"  #: sent, and asked back
ENDED = "ended"  #: its last outcome is delivered; the scheduler has forgotten it

MOVES: dict[str, frozenset[str]] = {
    NEW: frozenset({WAITING, QUEUED, SENT, ENDED}),  #: SENT: adopted
    WAITING: frozenset({QUEUED, ENDED}),
    QUEUED: frozenset({SENT, ENDED}),
    SENT: frozenset({QUEUED, REVOKING, ENDED}),
    REVOKING: frozenset({QUEUED, SENT, ENDED}),
    ENDED: frozenset(),
}


class Dependency:
    """Tasks to wait for, and what they must come to: all or any of them, with success, with failure, or either."""

    __slots__ = ("ids", "all", "success", "failure")

    def __init__(self, ids: frozenset[int], all: bool = True, success: bool = True, failure: bool = False) -> None:
        if not (success or failure):
            raise ValueError("a dependency must be met by success, by failure, or by both")
        self.ids = ids
        self.all = all
        self.success = success
        self.failure = failure


class Task:
    """One unit that the scheduler assigns: a call, or a chunk of a map whose ``count`` items end one by one.

    The fields with a default are those of most tasks. They lie in the class, and an instance has only those that
    differ: a task is then made in a third of the time, and a million queued ones take a third of the memory.
    """

    # what its submitter says
    kind: int = 0  #: opaque: how the engine is to run the payload
    count: int = 1  #: items that end separately; 1 for a plain call. A cut lowers it
    weight: int = 1  #: calls of the function in it, for the running mean; where there are items, one each
    retries: int = 0  #: how often an item may run again after the death of its engine
    limit: float | None = None  #: seconds that an item may run
    targets: frozenset[int] | None = None  #: engines that may run it; None: any
    policy: str | None = None  #: by which of several free engines gets it; None: by the scheduler's own
    after: Dependency | None = None  #: when it may run
    follow: Dependency | None = None  #: where it may run: on engines that ran these
    patience: float | None = None  #: seconds to wait for dependencies
    remembered: bool = False  #: others may depend on it after its end
    tag: Any = None  #: opaque: the submitter's own mark
    part_of: int | None = None  #: opaque: the task that its submitter has cut it from, to share that out

    # what has become of it
    state: str = NEW
    queue: Queue | None = None  #: where it stands, or stood last; None: with those that any engine may run
    engine: int | None = None  #: where it is, while SENT or REVOKING
    cost: float = 0.0  #: seconds that it was expected to take when it was sent
    first: int = 0  #: the first item that has not ended
    failed: bool = False  #: an item of it, before the last, did not end well
    attempts: int = 0  #: engines that died under its items up to ``reached``
    reached: int = 0  #: the last item that was begun on an engine that died
    places: frozenset[int] | None = None  #: the engines that ``follow`` came to; None: it does not say
    excluded: frozenset[int] | None = None  #: engines that said UNMET
    aborting: bool = False  #: asked back in order to be dropped
    whole: int | None = None  #: id of the task that it was cut from
    adopted: bool = False  #: an engine has held it since an earlier life, and may have begun it

    def __init__(self, id: int, function: bytes = b"", payload: Any = b"", door: Any = None, **more: Any) -> None:
        self.id = id
        self.function = function  #: key of the function; tasks of one function are timed together
        self.payload = payload  #: opaque
        self.door = door  #: opaque: who submitted it
        if more:
            for name, value in more.items():
                setattr(self, name, value)

    @property
    def origin(self) -> int:
        """The id of the task that it was cut from, or its own: what its submitter knows it by."""
        return self.id if self.whole is None else self.whole

    @property
    def known_as(self) -> int:
        """The id of the task that all of it comes from, also where its submitter has cut that to share it out."""
        return self.origin if self.part_of is None else self.part_of

    def __repr__(self) -> str:
        return f"<Task {self.id} {self.state}>"


class Queue:
    """Tasks in the order in which they are to be sent.

    A task that ends while it stands here is counted out and left where it is, as to take it out would be a walk
    through the queue. When more than half of the queue is such, it sheds them.
    """

    __slots__ = ("tasks", "gone", "engines")

    def __init__(self, engines: frozenset[int] | None = None) -> None:
        self.tasks: deque[Task] = deque()  #: those queued, and those counted out
        self.gone = 0  #: how many are counted out
        self.engines = engines  #: who may take from it; None: all

    def __len__(self) -> int:
        return len(self.tasks) - self.gone

    def __iter__(self) -> Iterator[Task]:
        return (task for task in self.tasks if task.state == QUEUED)

    def count_out(self) -> None:
        """A task in here has ended."""
        self.gone += 1
        self.shed()

    def shed(self) -> None:
        """Let go of those counted out, where they are more than the others."""
        if 2 * self.gone > len(self.tasks):
            left = list(self)
            self.tasks.clear()
            self.tasks += left
            self.gone = 0

    def clear(self) -> None:
        """Let go of all tasks."""
        self.tasks.clear()
        self.gone = 0


class Engine:
    """One process that runs tasks in the order in which it gets them."""

    __slots__ = (
        "id",
        "held",
        "own",
        "groups",
        "load",
        "quota",
        "since",
        "asked",
        "limited",
        "overdue",
        "retiring",
        "stopped",
        "killed",
        "awaited",
    )

    def __init__(self, id: int, quota: int | None, now: float) -> None:
        self.id = id
        self.held: dict[int, Task] = {}  #: sent and not ended, in the order sent; the first is the one that runs
        self.own = Queue(frozenset((id,)))  #: queued for this engine and no other
        self.groups: dict[frozenset[int], Queue] = {}  #: queued for several engines, of which it is one
        self.load = 0.0  #: expected seconds of the tasks that it holds
        self.quota = quota  #: tasks that it may still be given; None: no limit
        self.since = now  #: when the first held task, or item of it, is thought to have begun
        self.asked = -1  #: what it holds was offered to the engines that were idle then: see ``stuck.py``
        self.limited = 0  #: how many of the held tasks have a time limit
        self.overdue: tuple[int, int] | None = None  #: task and item that was interrupted and has not ended yet
        self.retiring = False  #: it gets nothing more
        self.stopped = False  #: the host was asked to let it end
        self.killed = False  #: the host was asked to end it
        self.awaited = False  #: of an earlier life, and not back yet: it gets nothing

    def __repr__(self) -> str:
        return f"<Engine {self.id} holds {len(self.held)}>"
