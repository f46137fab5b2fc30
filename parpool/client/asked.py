"""Questions to controllers that have not answered yet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from ..wire.requests import Answer, Ask

#: Gets the value, or None and an error in words.
Reply = Callable[[Any, str], None]


class Asked:
    """What one controller was asked, by the numbers of the questions."""

    def __init__(self) -> None:
        self._next = itertools.count(1).__next__  # as several threads may ask at once
        self._open: dict[int, tuple[Ask, Reply]] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def __iter__(self) -> Iterator[Ask]:
        return iter([ask for ask, _ in list(self._open.values())])

    def question(self, what: str, about: dict[str, Any], reply: Reply | None = None) -> Ask:
        """A question, to be sent. Without ``reply`` its answer is of no interest."""
        ask = Ask(self._next(), what, about)
        if reply is not None:
            self._open[ask.number] = ask, reply
        return ask

    def withdrawn(self, what: str) -> list[dict[str, Any]]:
        """Forget the questions of a kind; what were they about?"""
        those = [ask for ask in self if ask.what == what]
        for ask in those:
            del self._open[ask.number]
        return [ask.about for ask in those]

    def heard(self, answer: Answer) -> None:
        """An answer has come; perhaps once more."""
        self._end(answer.number, answer.value, answer.error)

    def give_up(self, why: str) -> None:
        """No answer will come."""
        while self._open:  # also what is asked meanwhile
            for number in list(self._open):
                self._end(number, None, why)

    def _end(self, number: int, value: Any, error: str) -> None:
        asked = self._open.pop(number, None)
        if asked is not None:
            asked[1](value, error)
