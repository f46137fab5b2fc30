"""What ipyparallel tells of a task, and the labels that its calls can have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

KEYS = (
    "msg_id submitted started completed received engine_id engine_uuid after follow status execute_input"
    " execute_result error stdout stderr outputs data label"
).split()


def each_of(told: Any) -> list[dict[str, Any]]:
    """What parpool tells of each task: of a result with one it is not a list."""
    return [told] if isinstance(told, dict) else told


class Metadata(dict[str, Any]):
    """What is known of a task, with its keys as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Labels:
    """The labels of a client's calls, by their names; of the last :attr:`MOST`. Other clients do not see them."""

    MOST = 2**16

    def __init__(self) -> None:
        self._of: dict[str, str] = {}

    def put(self, names: Iterable[str], label: str) -> None:
        """These calls have this label."""
        self._of.update(dict.fromkeys(names, label))
        while len(self._of) > self.MOST:
            del self._of[next(iter(self._of))]

    def get(self, name: str) -> str | None:
        """The label of a call; None where it has none."""
        return self._of.get(name)

    def matching(self, condition: Any) -> list[str]:
        """The names of the calls whose labels are as a query wants them: a label, or a dict of operators."""
        tests = condition if isinstance(condition, Mapping) else {"$eq": condition}
        if unknown := set(tests) - set(_OPERATORS):
            raise ValueError(f"a label is asked for by {', '.join(_OPERATORS)}, not by {', '.join(sorted(unknown))}")
        return [
            name
            for name, label in self._of.items()
            if all(_OPERATORS[operator](label, wanted) for operator, wanted in tests.items())
        ]

    def query(self, ask: Callable[..., list[dict[str, Any]]], query: dict[str, Any], keys: Any) -> list[dict[str, Any]]:
        """What the hub answers to a query, with the labels that are known here. ``ask(query, keys)`` asks it."""
        names: set[str] | None = None
        if "label" in query:
            names = set(self.matching(query["label"]))
            query = {key: value for key, value in query.items() if key != "label"}
            query.setdefault("msg_id", {"$in": sorted(names)})
        records = ask(query, keys if keys is None else [key for key in keys if key != "label"])
        if names is not None:
            records = [record for record in records if record["msg_id"] in names]
        if keys is None or "label" in keys:
            records = [record | {"label": self.get(record["msg_id"])} for record in records]
        return records


_OPERATORS: Mapping[str, Callable[[str, Any], bool]] = {
    "$eq": lambda label, wanted: bool(label == wanted),
    "$ne": lambda label, wanted: bool(label != wanted),
    "$in": lambda label, wanted: label in wanted,
    "$nin": lambda label, wanted: label not in wanted,
    "$regex": lambda label, wanted: re.search(wanted, label) is not None,
}
