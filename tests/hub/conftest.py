import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_told import Door

from parpool.hub.records import Store

sys.path.append(str(Path(__file__).parents[1] / "launch"))  # for its servers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    from parpool.hub.sql import SqlStore  # not for the tests of the memory

    store = SqlStore(url, patience=0.1)
    yield store
    store.close()


@pytest.fixture
def door() -> Door:
    return Door(3)
