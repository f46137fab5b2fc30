"""How many engines there should be."""

from __future__ import annotations

from parpool.core.staff import MAX_FAILURES, Staff


def hire(staff: Staff, prefix: str = "e") -> list[str]:
    names = [f"{prefix}{n}" for n in range(staff.vacancies())]
    for name in names:
        staff.started(name)
    return names


def test_every_place_is_filled_and_refilled() -> None:
    staff = Staff(3)
    names = hire(staff)
    assert len(names) == 3 and staff.vacancies() == 0
    for name in names:
        staff.ready(name)
    staff.ended(names[0])
    assert staff.vacancies() == 1 and not staff.broken


def test_none_is_hired_at_the_end() -> None:
    staff = Staff(2)
    staff.hiring = False
    assert staff.vacancies() == 0


def test_a_failing_initializer_breaks_the_staff_when_all_have_failed() -> None:
    staff = Staff(2)
    first, second = hire(staff)
    staff.ready(first)
    staff.ended(first, failed=True)
    assert not staff.broken, "the other may serve"
    staff.ended(second, failed=True)
    assert (staff.broken, staff.vacancies()) == (True, 0)


def test_an_initializer_that_fails_everywhere_is_tried_once_in_each_place() -> None:
    staff = Staff(3)
    first, second, third = hire(staff)
    for name in (first, second):
        staff.ended(name, failed=True)
        assert (staff.broken, staff.vacancies()) == (False, 0), "the last of them may serve"
    staff.ended(third, failed=True)
    assert (staff.broken, staff.vacancies()) == (True, 0)


def test_an_initializer_that_fails_here_and_there_has_more_tries() -> None:
    staff = Staff(3)
    first, second, third = hire(staff)
    staff.ended(first, failed=True)
    assert staff.vacancies() == 0
    staff.ready(second)
    assert staff.vacancies() == 1
    staff.ended(third, failed=True)
    assert (staff.broken, staff.vacancies()) == (False, 2)


def test_engines_that_die_before_they_are_ready_break_it_after_a_few() -> None:
    staff = Staff(1)
    for n in range(MAX_FAILURES):
        assert not staff.broken
        (name,) = hire(staff, f"try{n}-")
        staff.ended(name)
    assert staff.broken


def test_places_for_which_there_is_no_process_break_it_after_a_few_attempts() -> None:
    staff = Staff(2)
    for _ in range(MAX_FAILURES):
        assert (staff.broken, staff.vacancies()) == (False, 2)
        staff.not_started()
    assert (staff.broken, staff.vacancies()) == (True, 0)


def test_a_place_for_which_there_is_no_process_is_left_vacant_where_another_serves() -> None:
    staff = Staff(2)
    first, second = hire(staff)
    staff.ready(first)
    staff.ended(second)
    while staff.vacancies():
        staff.not_started()
    assert not staff.broken and staff.failures == 2 * MAX_FAILURES
    staff.ended(first)
    assert (staff.broken, staff.vacancies()) == (False, 1), "its place gets a try of its own"
    staff.not_started()
    assert staff.broken


def test_one_success_wipes_the_failures() -> None:
    staff = Staff(1)
    for n in range(10):
        (name,) = hire(staff, f"bad{n}-")
        staff.ended(name)
        (name,) = hire(staff, f"good{n}-")
        staff.ready(name)
        staff.ended(name)
    assert not staff.broken and staff.vacancies() == 1


def test_where_one_serves_the_others_are_given_up_and_its_own_place_is_not() -> None:
    staff = Staff(2)
    good, bad = hire(staff)
    staff.ready(good)
    staff.ended(bad)
    for n in range(MAX_FAILURES * 2 - 1):
        (bad,) = hire(staff, f"bad{n}-")
        staff.ended(bad)
    assert staff.vacancies() == 0
    assert not staff.broken and staff.failures == MAX_FAILURES * 2
    staff.ended(good)  # it had run all the tasks that it might
    assert (staff.broken, staff.vacancies()) == (False, 1)
    (last,) = hire(staff, "last")
    assert staff.vacancies() == 0
    staff.ended(last)
    assert staff.broken
