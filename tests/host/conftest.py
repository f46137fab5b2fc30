"""What several files' tests have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from parpool.net.sockets import Context, Dealer


class Keeping(Context):
    """Its sockets live as long as it does."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Dealer] = []

    def dealer(self, *args: Any, **options: Any) -> Dealer:
        self.kept.append(made := super().dealer(*args, **options))
        return made


@pytest.fixture
def context() -> Iterator[Context]:
    made = Keeping()
    yield made
    made.close()
