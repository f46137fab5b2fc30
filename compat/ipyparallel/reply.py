"""What ``execute`` gives: the value of a last expression, shown as at a prompt."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


class ExecuteReply:
    """What came of some code on one engine."""

    def __init__(self, executed: Any, engine_id: int | None, silent: bool, outputs: list[dict[str, Any]]) -> None:
        self.source: str = executed.source
        self.execution_count: int = executed.execution_count
        self.stdout: str = executed.stdout
        self.stderr: str = executed.stderr
        self.engine_id = engine_id
        self.outputs = outputs  #: what it has displayed, as notebooks have it
        self.error: Any = None
        self.text: str | None = executed.text
        #: The value of a last expression: ``data`` by mime type, and ``metadata``; None where there is none, or silent.
        self.execute_result: dict[str, Any] | None = None
        if not silent and (executed.text is not None or executed.display):
            data = executed.display | ({} if executed.text is None else {"text/plain": executed.text})
            told = {"data": data, "metadata": executed.metadata, "execution_count": executed.execution_count}
            self.execute_result = told

    @property
    def data(self) -> dict[str, Any]:
        """The representations of the value, by mime type."""
        return {} if self.execute_result is None else dict(self.execute_result["data"])

    def display(self) -> None:
        """Show it as a prompt does."""
        show({**self.data, "text/plain": self._shown()}, self._about)

    @property
    def _about(self) -> dict[str, Any]:
        return {} if self.execute_result is None else dict(self.execute_result["metadata"])

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

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.data | {"text/plain": self._shown()}, self._about

    def _repr_mime(self, mime: str) -> Any:
        data, about = self.data.get(mime), self._about.get(mime)
        return data if data is None or about is None else (data, about)

    def _repr_html_(self) -> Any:
        return self._repr_mime("text/html")

    def _repr_png_(self) -> Any:
        return self._repr_mime("image/png")

    def _repr_svg_(self) -> Any:
        return self._repr_mime("image/svg+xml")

    def _repr_latex_(self) -> Any:
        return self._repr_mime("text/latex")


def replies(values: Any, result: Any) -> Any:
    """The values of a result: those of ``execute`` as ExecuteReply."""
    if not isinstance(values, list):
        return reply(values, result.engine_id, result, *result.displayed()) if _is_executed(values) else values
    if not any(_is_executed(value) for value in values):
        return values
    parts = zip(values, result.engine_id, result.displayed(), strict=False)
    return [reply(value, engine, result, outputs) for value, engine, outputs in parts]


def reply(value: Any, engine: int | None, result: Any, outputs: Any = ()) -> Any:
    """A value of a result, of one engine, and what that has displayed."""
    return ExecuteReply(value, engine, result.silent, list(outputs)) if _is_executed(value) else value


def show(data: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Show something by IPython where that runs, which knows what its front end can show, and else as text."""
    ipython = sys.modules.get("IPython")  # whoever runs a prompt has imported it
    if ipython is not None and ipython.get_ipython() is not None and set(data) != {"text/plain"}:
        display: Any = import_module("IPython.display")
        display.publish_display_data(data, metadata)
    else:
        sys.stdout.write(f"{data.get('text/plain', '')}\n")


def write(stream: Any, label: str, text: str) -> None:
    """Write what a task has printed, under a label."""
    stream.write(label + text + ("" if text.endswith("\n") else "\n"))


def show_all(label: str, outputs: list[dict[str, Any]]) -> None:
    """Show what a task has displayed, under a label."""
    sys.stdout.write(label)
    for output in outputs:
        if output.get("data"):
            show(output["data"], output.get("metadata", {}))


def _is_executed(value: Any) -> bool:
    # By its look: parpool has no public name for what execute() gives.
    return not isinstance(value, ExecuteReply) and type(value).__name__ == "Executed" and hasattr(value, "source")
