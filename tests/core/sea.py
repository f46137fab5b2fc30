"""A world whose engines are cut off and come back, and in which one scheduler follows another."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from world import CheckedTask, FakeEngine, Said, World

from parpool.core.check import check
from parpool.core.effects import Effects, Ending, Report
from parpool.core.scheduler import Scheduler
from parpool.core.state import Task
from parpool.status import IMPOSSIBLE, LOST


class Who(list[Task]):
    """On the way to an engine: it is asked what it holds."""


class Begin(list[Task]):
    """On the way to an engine: what is sent from here on is counted anew."""

    def __init__(self, said: int) -> None:
        super().__init__()
        self.said = said


class Work(list[Task]):
    """Tasks on the way to an engine, in a message that is numbered."""

    number = 0


class Hello(list[Said]):
    """On the way back: what it holds."""

    def __init__(self, held: list[int], said: int) -> None:
        super().__init__()
        self.held = held
        self.said = said


class Sea(World):
    """Engines that may be out of sight, and that outlive schedulers. They keep what they have reported until it is
    noted, and they cut no tasks."""

    def __init__(self, scheduler: Scheduler | None = None) -> None:
        super().__init__(scheduler)
        self.away: set[int] = set()  # engines that are cut off
        self.strange: set[int] = set()  # engines that this scheduler has not heard of yet
        self.outbox: dict[int, list[list[Said]]] = {}  # messages that were not noted
        self.read: list[list[Said]] = []  # messages that have arrived
        self.sent: dict[int, int] = {}  # messages with tasks since an engine was told to begin
        self.taken: dict[int, int | None] = {}  # the last that it has taken; None: it takes none now
        self.said: dict[int, int] = {}  # how often it has introduced itself
        self.given: dict[int, int] = {}  # task: the engine that it was sent to last
        self.left_behind: list[int] = []  # tasks that are to be submitted again
        self.claims: dict[int, int] = {}  # task that nobody knows: the engine that holds it
        self.kept: dict[int, list[tuple[int, Said]]] = {}  # task that nobody knows: what engines have reported

    # -- out of sight -----------------------------------------------------------------------------------------

    def step(self, act: Callable[[], Effects]) -> Effects:
        effects = super().step(act)
        for id in self.away:  # nothing gets there
            self.engines[id].works.clear()
            self.engines[id].orders.clear()
        return effects

    def cut(self, engine: FakeEngine) -> None:
        """What is on the way to an engine and from it is lost, and nothing comes through from here on."""
        self.away.add(engine.id)
        for channel in (engine.works, engine.orders, engine.reports, engine.answers):
            channel.clear()

    def connect(self, engine: FakeEngine) -> None:
        """It has a connection again."""
        self.away.remove(engine.id)

    def ask(self, engine: FakeEngine) -> None:
        """Ask an engine what it holds."""
        engine.works.append(Who())

    def arrive(self, engine: FakeEngine) -> None:
        id, work = engine.id, engine.works[0]
        if isinstance(work, Who):
            engine.works.popleft()
            self._introduce(engine)
        elif isinstance(work, Begin):
            engine.works.popleft()
            if work.said == self.said.get(id):
                self.taken[id] = 0
        else:
            assert isinstance(work, Work)
            taken = self.taken.setdefault(id, 0)
            if taken is not None and work.number == taken + 1:
                self.taken[id] = work.number
                super().arrive(engine)
                return
            engine.works.popleft()
            if taken is not None:
                self._introduce(engine)

    def _introduce(self, engine: FakeEngine) -> None:
        held = list(engine.inbox)
        if engine.current is not None:
            held.append(engine.current)
        if engine.unsent:
            self.flush(engine)
            engine.reports.pop()
        engine.reports.extend(self.outbox.get(engine.id, ()))
        self.said[engine.id] = self.said.get(engine.id, 0) + 1
        self.taken[engine.id] = None
        engine.reports.append(Hello(held, self.said[engine.id]))

    def flush(self, engine: FakeEngine) -> None:
        super().flush(engine)
        message = engine.reports[-1]
        self.outbox.setdefault(engine.id, []).append(message)
        if engine.id in self.away:
            engine.reports.pop()

    def obey(self, engine: FakeEngine, look: bool = True) -> None:
        what, about = engine.orders[0]
        if what == "revoke" and engine.current in about:
            rest = engine.rest.copy()
            engine.rest.clear()  # so that it keeps what it is in
            super().obey(engine, look)
            engine.rest = rest if engine.current is not None else engine.rest
        else:
            super().obey(engine, look)
        if engine.id in self.away:
            engine.answers.clear()

    def report(self, engine: FakeEngine) -> Effects:
        said = engine.reports.popleft()
        if isinstance(said, Hello):
            return self._returned(engine, said)
        if not any(said is each for each in self.read):
            self.read.append(said)
            for each in said:  # of tasks that are not known: for those who will ask
                if each.id not in self.scheduler.tasks and each.id in self.left_behind:
                    self.kept.setdefault(each.id, []).append((engine.id, each))
        return self.step(lambda: self.scheduler.outcomes(engine.id, said, self.now))

    def _returned(self, engine: FakeEngine, hello: Hello) -> Effects:
        id = engine.id
        if id in self.strange:
            self.strange.remove(id)
            self.claims.update((each, id) for each in hello.held if each not in self.scheduler.tasks)
        self.sent[id] = 0
        engine.works.append(Begin(hello.said))
        return self.step(lambda: self.scheduler.engine_returned(id, hello.held, self.now))

    def note(self, engine: FakeEngine) -> None:
        """It may forget what has arrived, where whoever submitted it has it."""
        outbox = self.outbox.get(engine.id, [])
        while outbox and any(outbox[0] is each for each in self.read):
            if any(said.id in self.left_behind for said in outbox[0]):
                break
            outbox.pop(0)

    # -- a scheduler that follows ---------------------------------------------------------------------------------

    def follow(self) -> None:
        """This scheduler is gone. Another one awaits its engines, and nobody has submitted anything to it yet."""
        self.scheduler = Scheduler()
        self.read = []
        self.claims, self.kept = {}, {}
        for engine in self.engines.values():
            if engine.alive and not engine.stopped:
                self.cut(engine)
                self.strange.add(engine.id)
                self.scheduler.engine_awaited(engine.id, self.now)
            else:
                engine.alive = False
                self.away.discard(engine.id)
        self.left_behind = [id for id in self.tasks if not self.has_ended(id)]

    def submit_again(self, count: int) -> None:
        """The next tasks that have not ended, in the order in which they were submitted first."""
        ids, self.left_behind = self.left_behind[:count], self.left_behind[count:]
        for id in ids:
            old = self.tasks[id]
            task = CheckedTask(id, old.function, old.payload)
            for name in ("count", "weight", "retries", "limit", "targets", "remembered"):
                setattr(task, name, getattr(old, name))
            task.first = next(n for n in range(old.count) if (id, n) not in self.outcomes)
            self.tasks[id] = task
            if not self._adopt(task):
                self.step(lambda task=task: self.scheduler.submit([task], self.now))  # type: ignore[misc]

    def _adopt(self, task: Task) -> bool:
        id, kept = task.id, self.kept.pop(task.id, [])
        given = self.given.get(id)
        holder = self.claims.pop(id, kept[0][0] if kept else None)
        if holder is None and given is not None and given in self.strange:
            holder = given
        if holder is not None and holder in self.scheduler.engines:
            self.spans[id] = task.first, task.count
            self.scheduler.adopt(task, holder, self.now)
            check(self.scheduler)
            if kept:
                self.step(lambda: self.scheduler.outcomes(holder, [said for _, said in kept], self.now))
            return True
        if given is None or self.engines[given].alive:
            return False
        task.state = "ended"
        for item in range(task.first, task.count):
            self._deliver(task, Ending(LOST, item, given, ""), given)
        return True

    def assert_over(self) -> None:
        self.order.clear()  # see the tests of the station
        super().assert_over()

    # -- what must be so ------------------------------------------------------------------------------------------

    def _send(self, id: int, tasks: list[Task]) -> None:
        super()._send(id, tasks)
        works = self.engines[id].works
        work = Work(works.pop())
        works.append(work)
        work.number = self.sent[id] = self.sent.get(id, 0) + 1
        for task in tasks:
            self.given[task.id] = id
            for engine in [each for each in self.engines.values() if each.alive]:
                has = task.id in engine.inbox or task.id == engine.current
                assert not has, f"{engine} holds {task}, which is given to {id}"

    def _deliver(self, task: Task, outcome: Report | Ending, engine: int | None) -> None:
        super()._deliver(task, outcome, engine)
        if outcome.status == IMPOSSIBLE:
            able = [each for each in self.tasks[task.id].targets or () if self._serves(each)]
            assert not able, f"{task} is said to be impossible, and {able} would have it"

    def _serves(self, id: int) -> bool:
        engine = self.scheduler.engines.get(id)
        return id in self.strange or (engine is not None and not engine.retiring)

    def die(self, engine: FakeEngine, known: bool = True, missing: Iterable[int] = (), detail: object = "") -> Effects:
        for register in (self.away, self.strange):
            register.discard(engine.id)
        return super().die(engine, known, missing, detail)

    def settle(self, took: float = 0.001) -> None:
        for id in list(self.away):
            self.connect(self.engines[id])
        for engine in self.engines.values():
            if engine.alive:
                self.ask(engine)  # as after every new connection
        self.submit_again(len(self.left_behind))
        super().settle(took)
