"""What the old client gives: lists of what came of code, and results to come."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parpool import AsyncResult

from .error import ResultNotCompleted

if TYPE_CHECKING:
    from .multiengineclient import MultiEngineClient


def told(executed: Any, engine: int) -> dict[str, Any]:
    """What came of some code on an engine, as a dict."""
    source = executed.source
    entry = {"input": {"translated": source, "raw": source}, "number": executed.execution_count, "id": engine}
    for key, text in (("stdout", executed.stdout), ("stderr", executed.stderr), ("pyout", executed.text)):
        if text:
            entry[key] = text
    return entry


class ResultList(list[dict[str, Any]]):
    """What came of some code: a dict for each engine, shown with the numbers that each gives its commands."""

    def __repr__(self) -> str:
        lines = ["<Results List>\n"]
        for entry in self:
            prompt, number = f"[{entry['id']}]", entry["number"]
            lines.append(f"{prompt} In [{number}]: {entry['input']['translated']}\n")
            if "stdout" in entry or "pyout" in entry:
                printed = entry.get("stdout", "")
                if "pyout" in entry:
                    printed += ("" if printed.endswith("\n") or not printed else "\n") + entry["pyout"]
                lines.append(f"{prompt} Out[{number}]: {_line(printed)}\n")
            if "stderr" in entry:
                lines.append(f"{prompt} Err[{number}]:\n{_line(entry['stderr'])}\n")
        return "".join(lines).rstrip("\n")


def _line(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


class PendingResult:
    """A result to come."""

    def __init__(self, client: MultiEngineClient, result: AsyncResult, made: Callable[[Any], Any]) -> None:
        self.client = client
        self.result_id = uuid.uuid4().hex
        self._pending = result
        self._made = made

    def get_result(self, default: Any = None, block: bool = True) -> Any:
        """The result; without ``block`` ``default``, where it is not there yet. Raises what the engines raised."""
        try:
            return self.client.get_pending_deferred(self, block)
        except ResultNotCompleted:
            return default

    @property
    def r(self) -> Any:
        """``get_result()``."""
        return self.get_result(block=True)

    def add_callback(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``function(result, *args, **kwargs)`` when it is there; not where engines have raised something."""

        def call(result: AsyncResult) -> None:
            if result.successful():
                function(self.get_result(), *args, **kwargs)

        self._pending.add_done_callback(call)

    def _repr_html_(self) -> str:
        return self._pending._repr_html_()

    def completed(self) -> bool:
        """Is it there?"""
        return self._pending.ready()

    def wait(self) -> None:
        """Wait until it is."""
        self._pending.wait()

    def value(self) -> Any:
        """What it gives, when it is there."""
        return self._made(self._pending.get())

    def __repr__(self) -> str:
        return f"<ipython1.kernel.multiengineclient.PendingResult object at {id(self):#x}>"  # as it was shown then
