"""What is always true of a scheduler between two of its steps: for tests, which call :func:`check` after each."""

from __future__ import annotations

from math import inf, isclose

from .credit import BATCH, FUNCTIONS
from .graph import REMEMBERED
from .scheduler import Scheduler
from .state import ENDED, MOVES, QUEUED, REVOKING, SENT, WAITING, Engine, Queue, Task
from .stuck import is_deep


class Broken(AssertionError):
    """An invariant does not hold."""


def check(scheduler: Scheduler) -> None:
    """Raise :class:`Broken` where the state of a scheduler contradicts itself."""
    _check_places(scheduler)
    _check_queues(scheduler)
    for engine in scheduler.engines.values():
        _check_engine(scheduler, engine)
    _check_registers(scheduler)
    _check_graph(scheduler)
    _check_parts(scheduler)


def _require(truth: object, what: str, *about: object) -> None:
    if not truth:
        raise Broken(f"{what}: {', '.join(map(repr, about))}" if about else what)


def _check_places(scheduler: Scheduler) -> None:
    """Each task that has not ended is in one place, and its fields say which; no other task is anywhere."""
    ledger = scheduler._ledger
    found: dict[int, Task] = {}

    def find(task: Task, *states: str) -> None:
        _require(task.id not in found, "a task is in two places", task)
        _require(task.state in states, "a task is not in the state of its place", task, states)
        found[task.id] = task

    for task, _ in ledger.graph.waiting.values():
        find(task, WAITING)
        _require(task.engine is None, "a waiting task has an engine", task)
    queues = [ledger.queues.ready, *ledger.queues.groups.values()]
    queues += [engine.own for engine in scheduler.engines.values()]
    for queue in queues:
        for task in queue:
            find(task, QUEUED)
            _require(task.engine is None, "a queued task has an engine", task)
            _require((task.queue or ledger.queues.ready) is queue, "a task is not in its queue", task)
    for engine in scheduler.engines.values():
        for id, task in engine.held.items():
            find(task, SENT, REVOKING)
            _require(id == task.id and task.engine == engine.id, "a task is held by another engine", task, engine)
    for task in ledger.condemned:
        find(task, ENDED)
    _require(found == scheduler.tasks, "not every task is somewhere", scheduler.tasks.keys() ^ found.keys())
    for id, task in found.items():
        _require(id == task.id and task.state in MOVES, "a task has no id, or no state", task)
        _require(0 <= task.first < task.count, "a task has no item left", task, task.first, task.count)
        _require(task.weight >= task.count, "a task has fewer calls than items", task)
        _require(0 <= task.attempts <= task.retries, "a task was tried too often", task)
        _require(not task.aborting or task.state == REVOKING, "a task that is not held is being aborted", task)
    _require(not ledger._unsettled, "the end of a task was not followed up")


def _check_queues(scheduler: Scheduler) -> None:
    queues = scheduler._ledger.queues
    engines = scheduler.engines
    everywhere: list[Queue] = [queues.ready, *queues.groups.values(), *(engine.own for engine in engines.values())]
    for queue in everywhere:
        gone = sum(task.state != QUEUED for task in queue.tasks)
        _require(queue.gone == gone, "a queue does not know how many have ended in it", queue.gone, gone)
        _require(2 * gone <= len(queue.tasks), "a queue keeps more of the ended than of the others", gone)
        _require(all(task.state in (QUEUED, ENDED) for task in queue.tasks), "a queue keeps a task that was sent")
    _require(queues.ready.engines is None, "not every engine may take what is ready")
    for allowed, queue in queues.groups.items():
        _require(queue, "an empty group", allowed)
        _require(queue.engines == allowed, "a group for other engines", allowed, queue.engines)
        able = [id for id in allowed if id in engines and not engines[id].stopped]
        _require(able, "a group that nobody serves", allowed)
    for engine in engines.values():
        groups = {} if engine.stopped else {allowed: q for allowed, q in queues.groups.items() if engine.id in allowed}
        _require(engine.groups == groups, "an engine with the wrong groups", engine, engine.groups.keys() ^ groups)
        _require(not (engine.stopped and engine.own), "something is queued for an engine that is stopped", engine)
    private = {id for id, engine in engines.items() if engine.own or engine.groups}
    _require(queues.private.keys() == private, "private", queues.private.keys() ^ private)


def _check_engine(scheduler: Scheduler, engine: Engine) -> None:
    """What an engine holds is within its credit, and is accounted for."""
    held = list(engine.held.values())
    _require(scheduler.engines[engine.id] is engine, "an engine under another id", engine)
    cost = sum(task.cost for task in held)
    _require(isclose(engine.load, cost, rel_tol=1e-6, abs_tol=1e-9), "load", engine, engine.load, cost)
    if len(held) > 1 and not any(task.adopted for task in held):
        _require(engine.load <= 2 * BATCH + 1e-9, "something is queued behind a long task", engine, engine.load)
    _require(engine.quota is None or engine.quota >= 0, "an engine was given more tasks than it may get", engine)
    limited = sum(task.limit is not None for task in held)
    _require(engine.limited == limited, "limited", engine, engine.limited, limited)
    if engine.overdue is not None:
        task = engine.held.get(engine.overdue[0])
        _require(task is not None and task.first == engine.overdue[1], "overdue, and ended", engine, engine.overdue)
    _require(engine.retiring or not engine.killed, "an engine that is being ended may get more", engine)
    _require(not (engine.stopped and held), "an engine that holds something was stopped", engine)


def _check_registers(scheduler: Scheduler) -> None:
    dispatch, queues = scheduler._dispatch, scheduler._ledger.queues
    engines = scheduler.engines
    spent = {id for id, engine in engines.items() if engine.retiring or engine.quota == 0}
    awaited = {id for id, engine in engines.items() if engine.awaited}
    idle = {id for id, engine in engines.items() if not engine.held and id not in spent | awaited}
    _require(dispatch.idle.keys() == idle, "idle", dispatch.idle.keys() ^ idle)
    _require(dispatch.open.keys() >= idle, "an idle engine is not open", idle - dispatch.open.keys())
    _require(dispatch.open.keys() <= engines.keys() - spent - awaited, "an engine that gets nothing more is open")
    for id in spent - awaited:
        _require(engines[id].held or engines[id].stopped, "an engine that is done was not stopped", id)
    for engine in dispatch.open.values():
        waiting = queues.ready or engine.own or engine.groups
        _require(not waiting, "an engine is open, and what it may take is not given to it", engine)
    deep = {id for id, engine in engines.items() if is_deep(engine)}
    _require(dispatch.deep.engines.keys() == deep, "deep", dispatch.deep.engines.keys() ^ deep)
    limited = {id for id, engine in engines.items() if engine.limited}
    _require(dispatch.limits.holders.keys() == limited, "limits", dispatch.limits.holders.keys() ^ limited)
    for engine in dispatch.limits.holders.values():
        task = next(iter(engine.held.values()))
        if task.limit is not None and not engine.killed:
            _require(dispatch.limits.bound <= engine.since + task.limit + 1.0, "a time limit is not looked after", task)
    _require(limited or dispatch.limits.bound == inf, "a time limit of nobody is looked after")
    for register in (dispatch.idle, dispatch.open, dispatch.deep.engines, dispatch.limits.holders, queues.private):
        for id, engine in register.items():
            _require(engines.get(id) is engine, "a register keeps an engine that is gone", id)
    _require(len(dispatch.paces) <= FUNCTIONS, "too many functions are timed")


def _check_graph(scheduler: Scheduler) -> None:
    graph, ledger = scheduler._ledger.graph, scheduler._ledger
    dependents: dict[int, set[int]] = {}
    for id, (task, tallies) in graph.waiting.items():
        _require(id == task.id, "a waiting task under another id", task)
        for tally in tallies:
            for named in tally.pending:
                alive = named in scheduler.tasks or named in ledger.parts.families
                _require(alive, "a task waits for one that has ended", task, named)
                dependents.setdefault(named, set()).add(id)
    known = {id: set(waiting) for id, waiting in graph.dependents.items()}
    _require(known == dependents, "the graph does not know who waits for whom", known, dependents)
    _require(len(graph.ends) <= REMEMBERED, "too many ends are remembered")
    patient = sum(task.patience is not None for task, _ in graph.waiting.values())
    _require(len(graph.expiries) >= patient, "the end of somebody's patience is not looked after")
    _require(len(graph.expiries) <= 2 * len(graph.waiting) + 2, "the end of too many's patience is looked after")


def _check_parts(scheduler: Scheduler) -> None:
    for whole, family in scheduler._ledger.parts.families.items():
        _require(family.ids, "all parts of a task have ended, and not the task", whole)
        for id in family.ids:
            _require(id in scheduler.tasks, "a part has ended, and its task does not know", whole, id)
            _require(id == whole or scheduler.tasks[id].whole == whole, "a part of another task", whole, id)
    for task in scheduler.tasks.values():
        if task.whole is not None:
            _require(task.whole in scheduler._ledger.parts.families, "a part of no task", task)
