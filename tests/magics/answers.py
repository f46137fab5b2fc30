"""What a prompt answers to what is typed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError


@dataclass
class Answer:
    """What came of a cell."""

    out: str
    err: str
    outputs: list[Any]  #: what was displayed besides text
    error: BaseException | None
    value: Any

    @property
    def shown(self) -> str:
        """What was printed, without the numbers of what runs on an engine: they depend on the tests before."""
        return shown(self.out)


Typed = Callable[[str], Answer]


def shown(text: str) -> str:
    """Without the numbers of what runs on an engine."""
    return re.sub(r"(Out\[\d+:)\d+\]", r"\1N]", text)


def usage(answer: Answer) -> str:
    """The message of a UsageError, which is shown without a traceback."""
    assert type(answer.error) is UsageError
    assert answer.err.startswith("UsageError: ")
    return str(answer.error)
