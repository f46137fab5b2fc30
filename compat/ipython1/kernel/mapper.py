"""The mappers of the old clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class Mapper:
    """A client's ``map`` with options that are always the same."""

    def __init__(self, through: Callable[..., Any], **options: Any) -> None:
        self._through = through
        self._options = options

    def map(self, func: Callable[..., Any], *sequences: Iterable[Any]) -> Any:
        """``list(map(func, *sequences))`` on the engines."""
        return self._through(func, *sequences, **self._options)
