"""A question to several schedulers, and one answer."""

from __future__ import annotations

from typing import Any

from parpool.client import rounds
from parpool.client.asked import Asked, Reply
from parpool.client.rounds import Round
from parpool.wire.requests import Answer


class Scheduler:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.replies: list[Reply] = []

    def ask(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        self.asked.append((what, about))
        self.replies.append(reply)


def test_all_are_asked_and_the_answers_come_at_once() -> None:
    two, told = {0: Scheduler(), 1: Scheduler()}, []
    Round(two, lambda values, error: told.append((values, error))).ask("sync", {"a": 1})
    assert [each.asked for each in two.values()] == [[("sync", {"a": 1})]] * 2
    two[1].replies[0]("b", "")
    assert told == []
    two[0].replies[0]("a", "")
    assert told == [({0: "a", 1: "b"}, "")]


def test_each_about_its_own_and_one_error() -> None:
    two, told = {0: Scheduler(), 1: Scheduler()}, []
    about = {0: {"ids": [0]}, 1: {"ids": [1]}}
    Round(two, lambda values, error: told.append((values, error))).ask("retire", about, each=True)
    assert [each.asked[0][1] for each in two.values()] == [{"ids": [0]}, {"ids": [1]}]
    two[0].replies[0](None, "no")
    two[1].replies[0](None, "nor here")
    assert told == [({0: None, 1: None}, "no")]


def test_nobody_is_asked() -> None:
    told: list[Any] = []
    Round({}, lambda values, error: told.append((values, error))).ask("sync", {})
    assert told == [({}, "")]


def test_the_status_of_queues() -> None:
    answers = {
        0: [[[2, "c"], [0, "a"], ["unassigned", 3]], {5: "x"}],
        1: [[[1, "b"], ["unassigned", 4]], {5: "x", 6: "y"}],
    }
    pairs, names = rounds.queue_status(answers, 10)
    assert pairs == [(0, "a"), (1, "b"), (2, "c"), ("unassigned", 17)] and names == {5: "x", 6: "y"}


def part(pid: int, ids: list[int], here: bool, journal: str = "") -> dict[str, Any]:
    return {
        "pid": pid,
        "started": float(pid),
        "engines": [{"id": id} for id in ids],
        "clients": [{"name": "me", "here": here}, {"name": f"only {pid}", "here": True}],
        "tasks": pid,
        "malformed": {"clients": 1, "engines": 2, "keys": 3},
        "journal": journal,
        "hub": "the one",
    }


def test_the_status_of_a_cluster() -> None:
    status = rounds.cluster_status({0: part(10, [2, 0], False), 1: part(11, [1], True, "full")}, [2])
    assert [each["id"] for each in status["engines"]] == [0, 1, 2]
    assert [(each["name"], each["here"]) for each in status["clients"]] == [
        ("me", True),
        ("only 10", True),
        ("only 11", True),
    ]
    assert status["tasks"] == 21 and status["malformed"] == {"clients": 2, "engines": 4, "keys": 6}
    assert status["journal"] == "full" and status["hub"] == "the one" and status["pid"] == 10
    assert [(each["scheduler"], each["pid"], each["engines"]) for each in status["schedulers"]] == [
        (0, 10, 2),
        (1, 11, 1),
        (2, None, 0),
    ]


def test_questions_that_are_open() -> None:
    asked, told = Asked(), []
    first = asked.question("a", {}, lambda value, error: told.append((value, error)))
    second = asked.question("b", {}, lambda value, error: told.append((value, error)))
    nobody_s = asked.question("c", {})
    assert [first.number, second.number, nobody_s.number] == [1, 2, 3] and list(asked) == [first, second]
    asked.heard(Answer(1, "", "yes"))
    asked.heard(Answer(1, "", "yes"))
    asked.heard(Answer(3, "", "to nobody"))
    assert told == [("yes", "")] and asked
    asked.give_up("it is gone")
    assert told[1:] == [(None, "it is gone")] and not asked
