"""A question to several schedulers, and one answer: that of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from .asked import Reply


class Asking(Protocol):
    """What can be asked: one scheduler of a cluster."""

    def ask(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        """Call ``reply`` with the value, or with None and an error in words."""


class Round:
    """Asks each of ``those``, by their numbers; ``then`` gets the answers by number, and an error, when all are there."""

    def __init__(self, those: Mapping[int, Asking], then: Callable[[dict[int, Any], str], None]) -> None:
        self._those = those
        self._then = then
        self._values: dict[int, Any] = {}
        self._error = ""

    def ask(self, what: str, about: Mapping[int, dict[str, Any]] | dict[str, Any], each: bool = False) -> None:
        """``each``: ``about`` has what each is asked about, by number."""
        if not self._those:
            self._then({}, "")
        for number, asked in self._those.items():
            asked.ask(what, about[number] if each else dict(about), self._heard(number))  # type: ignore[arg-type, index]

    def _heard(self, number: int) -> Reply:
        def reply(value: Any, error: str) -> None:
            self._values[number] = value
            self._error = self._error or error
            if len(self._values) == len(self._those):
                self._then({number: self._values[number] for number in sorted(self._values)}, self._error)

        return reply


def queue_status(answers: Mapping[int, Any], waiting: int) -> Any:
    """Of the engines of all. ``waiting``: tasks that no scheduler has yet."""
    names: dict[int, str] = {}
    engines: dict[Any, Any] = {}
    for pairs, known in answers.values():
        names.update(known)
        for key, value in pairs:
            if key == "unassigned":
                waiting += value
            else:
                engines[key] = value
    return [*sorted(engines.items()), ("unassigned", waiting)], names


def cluster_status(answers: Mapping[int, Any], lost: Iterable[int]) -> Any:
    """What number 0 says, with what the others have of the same kind; and a row for each."""
    status = dict(answers[min(answers)])
    parts = answers.values()
    status["engines"] = sorted((each for part in parts for each in part["engines"]), key=lambda each: each["id"])
    clients: dict[str, Any] = {}
    for part in parts:
        for each in part["clients"]:
            known = clients.setdefault(each["name"], each)
            known["here"] = known["here"] or each["here"]
    status["clients"] = list(clients.values())
    status["tasks"] = sum(part["tasks"] for part in parts)
    for name in ("malformed",):
        status[name] = {key: sum(part[name][key] for part in parts) for key in status[name]}
    status["journal"] = "; ".join(part["journal"] for part in parts if part["journal"])
    rows = [
        {
            "scheduler": number,
            "pid": part["pid"],
            "started": part["started"],
            "engines": len(part["engines"]),
            "tasks": part["tasks"],
        }
        for number, part in answers.items()
    ]
    rows += [{"scheduler": number, "pid": None, "started": None, "engines": 0, "tasks": 0} for number in lost]
    status["schedulers"] = sorted(rows, key=lambda row: row["scheduler"])
    return status
