"""How much work an engine gets at a time."""

from __future__ import annotations

import pytest

from parpool.core.credit import BATCH, FUNCTIONS, LONG, MOST, OVERHEAD, Pace, Paces
from parpool.core.state import QUEUED, Engine, Queue, Task

F = b"f"


def queue(tasks: int, **fields: object) -> Queue:
    queue = Queue()
    for id in range(tasks):
        queue.tasks.append(Task(id, F, b"", None, state=QUEUED, **fields))
    return queue


def paces(seconds: float, calls: int = 10_000) -> Paces:
    paces = Paces()
    paces.learn(F, seconds * calls, calls)
    return paces


def test_an_untimed_function_gets_one_task() -> None:
    assert len(Paces().give(Engine(0, None, 0.0), queue(50), 50)) == 1


def test_batches_ramp_up_with_what_is_known() -> None:
    paces, sizes = Paces(), []
    waiting = queue(2000)
    for _ in range(9):
        batch = paces.give(Engine(0, None, 0.0), waiting, len(waiting))
        sizes.append(len(batch))
        paces.learn(F, 1e-6 * len(batch), len(batch))
    assert sizes[0] == 1
    assert all(later <= 2 * sum(sizes[: n + 1]) for n, later in enumerate(sizes[1:]))
    assert sizes[-1] > 100


def test_two_batches_of_work_and_no_more() -> None:
    engine = Engine(0, None, 0.0)
    batch = paces(100e-6).give(engine, queue(500), 500)
    assert len(batch) == int(2 * BATCH / (100e-6 + OVERHEAD))
    assert engine.load == pytest.approx(sum(task.cost for task in batch))
    assert not paces(100e-6).give(engine, queue(500), 500), "it has its fill"


def test_a_long_task_goes_alone() -> None:
    engine = Engine(0, None, 0.0)
    slow = paces(2 * LONG)
    assert len(slow.give(engine, queue(9), 9)) == 1
    assert not slow.give(engine, queue(9), 9)


def test_a_long_task_is_not_put_behind_a_short_one() -> None:
    both = paces(1e-5)
    both.learn(b"slow", 1.0, 1)
    waiting = queue(3)
    waiting.tasks.append(Task(9, b"slow", state=QUEUED))
    assert [task.id for task in both.give(Engine(0, None, 0.0), waiting, 4)] == [0, 1, 2]
    assert [task.id for task in waiting] == [9]


def test_weight_counts() -> None:
    assert len(paces(100e-6).give(Engine(0, None, 0.0), queue(50, weight=10), 50)) == 3
    assert len(paces(100e-6).give(Engine(0, None, 0.0), queue(50, weight=10, count=10, first=9), 50)) > 30


def test_share_quota_and_most_are_kept() -> None:
    quick = paces(0.0)
    assert len(quick.give(Engine(0, None, 0.0), queue(50), 7)) == 7
    engine = Engine(0, 3, 0.0)
    assert len(quick.give(engine, queue(50), 50)) == 3
    assert engine.quota == 0
    assert len(paces(-1.0).give(Engine(0, None, 0.0), queue(3 * MOST), 3 * MOST)) <= MOST


def test_what_is_worth_a_message_is_given_whatever_the_share() -> None:
    assert len(paces(1e-6).give(Engine(0, None, 0.0), queue(50), 1, 20 * (1e-6 + OVERHEAD) + 1e-9)) == 20
    assert len(paces(1e-3).give(Engine(0, None, 0.0), queue(50), 1, 1e-4)) == 1, "one takes longer than that"
    assert len(paces(1e-6).give(Engine(0, None, 0.0), queue(50), 30, 1e-5)) == 30, "the share is more"
    assert len(Paces().give(Engine(0, None, 0.0), queue(50), 1, 1e-3)) == 1, "it was never timed"
    assert len(paces(1e-6).give(Engine(0, None, 0.0), queue(50, whole=7), 1, 1e-3)) == 1, "it was cut from a stuck one"
    assert len(paces(1e-6).give(Engine(0, 3, 0.0), queue(50), 1, 1e-3)) == 3, "no more than its quota"


def test_the_ended_in_a_queue_are_passed_over() -> None:
    waiting = queue(6)
    for task in list(waiting.tasks)[:2]:
        task.state = "ended"
        waiting.count_out()
    assert len(waiting) == 4
    assert [task.id for task in paces(0.0).give(Engine(0, None, 0.0), waiting, 3)] == [2, 3, 4]
    assert len(waiting) == 1


def test_a_queue_sheds_the_ended_in_linear_time() -> None:
    waiting = queue(100_000)
    for task in reversed(list(waiting.tasks)):
        task.state = "ended"
        waiting.count_out()
        assert 2 * waiting.gone <= len(waiting.tasks)
    assert not waiting.tasks


def test_the_mean_follows() -> None:
    pace = Pace()
    pace.learn(1.0, 1)
    assert pace.mean == 1.0
    pace.learn(-5.0, 1)  # a clock that was set back
    assert pace.mean == 0.75
    for _ in range(40):
        pace.learn(0.2, 1)
    assert pace.mean == pytest.approx(0.2, rel=0.01)
    pace.learn(1e6 * 0.1, 1_000_000)
    assert 0.1 < pace.mean < 0.13, "a large message weighs more, but not all"


def test_only_the_functions_last_used_are_kept() -> None:
    paces = Paces()
    for n in range(FUNCTIONS):
        paces.learn(b"%d" % n, 1.0, 1)
    paces.learn(b"0", 1.0, 1)
    paces.learn(b"new", 1.0, 1)
    assert len(paces) == FUNCTIONS
    assert paces.get(b"0") and paces.get(b"new") and not paces.get(b"1")
