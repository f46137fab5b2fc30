"""What a client's orders say of tasks, made into tasks, and refused where it cannot be meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from ..core.choose import POLICIES
from ..core.state import Dependency, Task
from ..wire.requests import MOST_ITEMS, SHIFT, Order, Relation, Submit, Terms

MOST_CALLS = 1 << 32  #: in one task
KINDS = 32  #: below which a task's kind is
FORMS = 256  #: sets of terms that are remembered


class Unacceptable(Exception):
    """A message that is well formed and cannot be meant."""


class Forms:
    """Makes tasks of orders.

    Each set of terms is a class, whose defaults they are: a task then costs and keeps no more than one without terms.
    """

    def __init__(self) -> None:
        self._forms: dict[tuple[Any, ...], type[Task]] = {}

    def tasks(
        self, message: Submit, frames: Sequence[bytes], number: int, keys: Mapping[bytes, bytes], door: Any
    ) -> list[Task]:
        """The tasks of a message of client ``number``; ``frames``: the message's, ``keys``: of functions, each by itself.

        Raises Unacceptable.
        """
        forms = [self._form(each) for each in message.terms]
        few = len(forms)
        forms.append((Task, None))
        tasks = []
        body, function = 1, b""
        for order in message.orders:
            id, which, kind, payload = order.id, order.terms, order.kind, order.payload
            if not -1 <= which < few:
                raise Unacceptable("it has no such terms")
            if id >> SHIFT != number:
                raise Unacceptable("a task's number is another client's")
            if order.frames:
                if body >= len(frames):
                    raise Unacceptable("a frame that was announced is not there")
                payload = frames[body]
                body += 1
            if order.function != function:
                # One object for all tasks of it: they are many, and are compared often.
                function = keys.get(order.function, order.function)
            form, own = forms[which]
            task = form(id, function, payload, door)
            if own is not None:
                if own.get("part_of", id) >> SHIFT != number:
                    raise Unacceptable("a task is a part of another client's")
                vars(task).update(own)
            if kind:
                if not 0 < kind < KINDS:
                    raise Unacceptable("there is no such kind of task")
                task.kind = kind
            if order.count != 1 or order.weight != 1 or order.first:
                _shape(task, order)
            tasks.append(task)
        if len({task.id for task in tasks}) < len(tasks):
            raise Unacceptable("a task is in it twice")
        return tasks

    def _form(self, terms: Terms) -> tuple[type[Task], dict[str, Any] | None]:
        """The class of these terms, and what of them is for few tasks and is in each."""
        fields, own = _fields(terms), _own(terms)
        if not fields:
            return Task, own
        key = tuple(fields.items())
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= FORMS:
                self._forms.clear()
            form = self._forms[key] = type("Task", (Task,), fields)
        return form, own


def _shape(task: Task, order: Order) -> None:
    items = 0 <= order.first < order.count <= MOST_ITEMS and (order.count == 1 or order.weight >= order.count)
    if not (items and 0 < order.weight <= MOST_CALLS):
        raise Unacceptable("a task's items cannot be so many")
    task.first, task.count, task.weight = order.first, order.count, order.weight


def _fields(terms: Terms) -> dict[str, Any]:
    """The fields of a task that differ from their defaults, and that many tasks have in common."""
    fields: dict[str, Any] = {}
    # Written so that NaN is neither.
    if terms.limit is not None and not 0 < terms.limit < inf:
        raise Unacceptable("a time limit that is none")
    if terms.patience is not None and not 0 <= terms.patience < inf:
        raise Unacceptable("a time to wait that is none")
    if terms.retries > 0:
        fields["retries"] = terms.retries
    if terms.limit is not None:
        fields["limit"] = terms.limit
    if terms.targets is not None:
        fields["targets"] = frozenset(terms.targets)
    if terms.policy is not None:
        if terms.policy not in POLICIES:
            raise Unacceptable("there is no such policy")
        fields["policy"] = terms.policy
    if terms.patience is not None:
        fields["patience"] = terms.patience
    if terms.remembered:
        fields["remembered"] = True
    return fields


def _own(terms: Terms) -> dict[str, Any] | None:
    """Those that hardly two tasks have in common."""
    own: dict[str, Any] = {}
    if terms.ended:
        own["ended"] = frozenset(terms.ended)
    if terms.part_of is not None:
        own["part_of"] = terms.part_of
    for name in ("after", "follow"):
        relation: Relation | None = getattr(terms, name)
        if relation is not None:
            if not (relation.success or relation.failure):
                raise Unacceptable("a dependency that nothing meets")
            own[name] = Dependency(frozenset(relation.ids), relation.all, relation.success, relation.failure)
    return own or None
