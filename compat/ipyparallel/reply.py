"""What ``execute`` gives: the value of a last expression, shown as at a prompt."""

from __future__ import annotations

import sys
from typing import Any


class ExecuteReply:
    """What came of some code on one engine."""

    def __init__(self, executed: Any, engine_id: int | None, silent: bool) -> None:
        self.source: str = executed.source
        self.execution_count: int = executed.execution_count
        self.stdout: str = executed.stdout
        self.stderr: str = executed.stderr
        self.engine_id = engine_id
        self.outputs: list[Any] = []
        self.error: Any = None
        self.text: str | None = executed.text
        #: The value of a last expression: ``data`` by mime type, and ``metadata``; None where there is none, or silent.
        self.execute_result: dict[str, Any] | None = None
        if not silent and executed.text is not None:
            data = {"text/plain": executed.text, **executed.display}
            self.execute_result = {"data": data, "metadata": {}, "execution_count": executed.execution_count}

    @property
    def data(self) -> dict[str, Any]:
        """The representations of the value, by mime type."""
        return {} if self.execute_result is None else dict(self.execute_result["data"])

    def display(self) -> None:
        """Print it as a prompt does."""
        sys.stdout.write(f"{self._shown()}\n")

    def _shown(self) -> str:
        text = self.data.get("text/plain", "")
        return f"Out[{self.engine_id}:{self.execution_count}]: {text}" if text else ""

    def __getitem__(self, key: str) -> Any:
        try:
            return vars(self)[key]
        except KeyError:
            raise KeyError(key) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExecuteReply) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        text = " ".join(self.data.get("text/plain", "").split())
        return f"<ExecuteReply[{self.execution_count}]: {text if len(text) <= 32 else text[:29] + '...'}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.data | {"text/plain": self._shown()}

    def _repr_html_(self) -> Any:
        return self.data.get("text/html")


def replies(values: Any, result: Any) -> Any:
    """The values of a result: those of ``execute`` as ExecuteReply."""
    if not isinstance(values, list):
        return reply(values, result.engine_id, result) if _is_executed(values) else values
    if not any(_is_executed(value) for value in values):
        return values
    return [reply(value, engine, result) for value, engine in zip(values, result.engine_id, strict=False)]


def reply(value: Any, engine: int | None, result: Any) -> Any:
    """A value of a result, of one engine."""
    return ExecuteReply(value, engine, result.silent) if _is_executed(value) else value


def _is_executed(value: Any) -> bool:
    # By its look: parpool has no public name for what execute() gives.
    return not isinstance(value, ExecuteReply) and type(value).__name__ == "Executed" and hasattr(value, "source")
