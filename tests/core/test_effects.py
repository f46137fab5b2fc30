"""The values that a step answers with."""

from __future__ import annotations

from parpool.core.effects import Effects, Ending
from parpool.status import LOST


def test_effects_are_true_when_there_is_something_to_do() -> None:
    assert not Effects()
    for name in Effects.__slots__:
        effects = Effects()
        getattr(effects, name).append(object())
        assert effects


def test_an_ending_says_what_it_is() -> None:
    assert repr(Ending(LOST, 3, 7, "killed by signal 9")) == "Ending(-1, item=3, engine=7, 'killed by signal 9')"
