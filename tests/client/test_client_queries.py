"""Times in queries of the hub's records: a datetime means all seconds that are shown like it."""

import operator
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parpool.client.queries import TIMES, dated, packed

SIGNS = {"$lt": operator.lt, "$lte": operator.le, "$gt": operator.gt, "$gte": operator.ge}
seconds = st.floats(1.6e9, 2.2e9)


def shown(value: float) -> datetime:
    return dated({"completed": value})["completed"]


@given(value=seconds, off=st.integers(-3, 3), sign=st.sampled_from(sorted(SIGNS)))
def test_what_is_found_is_as_it_is_shown(value: float, off: int, sign: str) -> None:
    wanted = shown(value) + timedelta(microseconds=off)
    condition = packed({"completed": {sign: wanted}})["completed"]
    assert SIGNS[sign](value, condition[sign]) == SIGNS[sign](shown(value), wanted)


@given(value=seconds, off=st.integers(-1, 1))
def test_so_are_equal_times(value: float, off: int) -> None:
    wanted = shown(value) + timedelta(microseconds=off)
    for condition in (wanted, {"$eq": wanted}):
        bounds = packed({"started": condition})["started"]
        assert (bounds["$gte"] <= value <= bounds["$lte"]) == (off == 0)


def test_times_without_a_zone_and_those_at_the_ends() -> None:
    naive = datetime.fromtimestamp(1.8e9)
    assert packed({"started": {"$lt": naive}})["started"]["$lt"] < 1.8e9 < packed({"started": naive})["started"]["$lte"]
    for end in (datetime.min, datetime.max):
        bounds = packed({"started": end.replace(tzinfo=timezone.utc)})["started"]
        assert bounds["$gte"] <= bounds["$lte"]


@pytest.mark.parametrize("zone", [timezone.utc, timezone(timedelta(hours=-5))])
def test_what_else_is_in_a_query(zone: timezone) -> None:
    when = datetime(2030, 1, 1, tzinfo=zone)
    query = {"status": {"$in": {"ok"}}, "name": "f", "submitted": {"$exists": True, "$ne": when}, "items": (1, 2)}
    assert packed(query) == {
        "status": {"$in": ["ok"]},
        "name": "f",
        "submitted": {"$exists": True, "$ne": when.timestamp()},
        "items": [1, 2],
    }
    assert dated(dict.fromkeys(TIMES)) == dict.fromkeys(TIMES)
