"""How hosts are written, and how processes are shared out among them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parpool.errors import EngineStartError
from parpool.launch.machines import Machine, machines, spread

DEFAULT = Machine("", python="py")


@pytest.mark.parametrize(
    ("hosts", "known"),
    [
        ("one", [("one", None)]),
        ("ann@one:4, two", [("ann@one", 4), ("two", None)]),
        ("one:1 two:2,three:3", [("one", 1), ("two", 2), ("three", 3)]),
        (["one:4", {"address": "two", "slots": 2}], [("one", 4), ("two", 2)]),
        (
            {"one": 4, "two": None, "three": {"slots": 5}, "four": {}},
            [("one", 4), ("two", None), ("three", 5), ("four", None)],
        ),
        ("::1", [("::1", None)]),
        ("[::1]:4", [("::1", 4)]),
        ("ann@[fe80::1]:4", [("ann@fe80::1", 4)]),
        ("ssh://ann@one:2222", [("ssh://ann@one:2222", None)]),
        ({"ssh://ann@one:2222": 4}, [("ssh://ann@one:2222", 4)]),
    ],
)
def test_hosts(hosts: Any, known: list[tuple[str, int | None]]) -> None:
    made = machines(hosts, DEFAULT)
    assert [(machine.address, machine.slots) for machine in made] == known
    assert {machine.python for machine in made} == {"py"}


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ("", "no hosts are given"),
        ([], "no hosts are given"),
        ("one:many", "must end with a number of processes, as in 'ann@one:4'"),
        ("one:0", "one must have room for 1 process or more, not 0"),
        ({"one": "4"}, "one must have room for 1 process or more, not '4'"),
        ({"one": {"engines": 4}}, "a host is described by address, slots, .*; not by address, engines"),
        ([{"slots": 4}], "'' is no host"),
        ("one:2 one:3", "one is given twice"),
        ("-oProxyCommand=evil", "'-oProxyCommand=evil' is no host"),
    ],
)
def test_what_is_no_host(hosts: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        machines(hosts, DEFAULT)


@pytest.mark.parametrize(
    ("python", "word"),
    [
        ("python3", "python3"),
        ("/opt/my python", "'/opt/my python'"),
        ("~/env/bin/python", "~/env/bin/python"),
        ("~/my env/$x", "~/'my env/$x'"),
        ("a; b", "'a; b'"),
    ],
)
def test_interpreters(python: str, word: str) -> None:
    assert Machine("one", python=python).interpreter == word


def test_spread() -> None:
    assert spread(3, [(2, 0), (4, 0)]) == [1, 2]
    assert spread(2, [(2, 2), (2, 0)]) == [0, 2]
    assert spread(0, [(1, 1)]) == [0]
    with pytest.raises(EngineStartError, match="room for 1 more processes on these hosts, not for 2: name more hosts"):
        spread(2, [(1, 0), (3, 3)])


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=5), st.integers(0, 40))
def test_spread_keeps_to_the_slots(rooms: list[tuple[int, int]], n: int) -> None:
    rooms = [(slots, min(slots, taken)) for slots, taken in rooms]
    free = sum(slots - taken for slots, taken in rooms)
    shares = spread(min(n, free), rooms)
    assert sum(shares) == min(n, free)
    assert all(taken + share <= slots for (slots, taken), share in zip(rooms, shares, strict=True))
