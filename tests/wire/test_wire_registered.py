"""Modules registered with cloudpickle go by value: their code runs where they cannot be imported."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

from parpool import Pool, RemoteError
from parpool.wire.functions import FunctionBook
from parpool.wire.registered import goes_by_value, names_one, registered

SOURCE = """
FACTORS = [3]

def scaled(x):
    return x * FACTORS[0]

def twice(x):
    return scaled(x) * 2

class Box:
    def __init__(self, content):
        self.content = content

    def opened(self):
        return twice(self.content)
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Its engines were made before the module was."""
    with Pool(1) as made:
        # So that all that is started later on has been started.
        made.map_async(abs, [-1], callback=lambda value: None).get()
        assert made.client.wait_for_engines(1, 20)
        yield made
    made.join()


@pytest.fixture
def module(pool: Pool) -> Iterator[Any]:
    """A module that engines do not have. It is registered by the tests, and never after them."""
    package, made = types.ModuleType("only_here"), types.ModuleType("only_here.inner")
    exec(SOURCE, vars(made))
    sys.modules.update({"only_here": package, "only_here.inner": made})
    package.inner = made  # type: ignore[attr-defined]
    yield made
    for each in (package, made):
        if each.__name__ in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.unregister_pickle_by_value(each)
        del sys.modules[each.__name__]


@pytest.fixture(params=["only_here.inner", "only_here"])
def known(request: pytest.FixtureRequest, module: Any) -> Any:
    """The module, registered: itself, or the package that it is in."""
    cloudpickle.register_pickle_by_value(sys.modules[request.param])
    return module


def use(function: Any, *args: Any) -> Any:
    return function(*args)


def test_what_is_registered(module: Any) -> None:
    assert not {"only_here", "only_here.inner"} & registered()
    assert not goes_by_value("only_here.inner") and not names_one(pickle.dumps(module.twice))
    cloudpickle.register_pickle_by_value(sys.modules["only_here"])
    assert "only_here" in registered() and "__mp_main__" not in registered()
    assert goes_by_value("only_here") and goes_by_value("only_here.inner") and not goes_by_value("only_here_too")
    assert not goes_by_value(None)
    assert names_one(pickle.dumps(module.twice)) and not names_one(pickle.dumps(use))


def test_calls_of_a_pool(pool: Pool, known: Any) -> None:
    assert pool.apply(known.twice, (1,)) == 6
    assert pool.map(known.twice, range(3)) == list(pool.imap(known.twice, range(3))) == [0, 6, 12]
    assert pool.apply(use, (known.twice, 2)) == 12
    assert pool.apply(known.Box(2).opened) == 12
    assert pool.apply(lambda box: box.opened(), (known.Box(3),)) == 18
    assert pool.apply(lambda box, data: (box.opened(), len(data)), (known.Box(3), bytes(10**6))) == (18, 10**6)


def test_calls_of_views(pool: Pool, known: Any) -> None:
    for view in (pool.client[0], pool.client.load_balanced_view()):
        assert view.apply_sync(known.twice, 1) == 6
        assert view.map_sync(known.twice, range(3)) == [0, 6, 12]
        assert view.executor.submit(known.twice, 1).result() == 6
        box = view.apply_sync(known.Box, 4)
        assert type(box) is known.Box and box.opened() == 24, "what comes back is of the class that is here"
    view = pool.client[0]
    view.push({"f": known.twice}, block=True)
    assert view.execute("y = f(7)").get() is not None and view["y"] == 42


def test_data_of_the_module_travels_with_the_code(pool: Pool, known: Any) -> None:
    known.FACTORS[0] = 5
    assert pool.apply(known.Box(1).opened) == 10


def test_its_data_is_as_it_is_at_each_call(pool: Pool, known: Any) -> None:
    def by_way_of_here(x: int) -> int:
        return known.scaled(x)  # type: ignore[no-any-return]

    view = pool.client[0]
    for factor in (3, 4):
        known.FACTORS = [factor]
        assert view.apply_sync(known.scaled, 1) == pool.apply(known.scaled, (1,)) == factor
        assert view.apply_sync(by_way_of_here, 1) == factor


def test_it_is_heeded_at_once(pool: Pool, module: Any) -> None:
    view = pool.client[0]
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="only_here"):
            pool.apply(module.twice, (1,))
        with pytest.raises(RemoteError, match="only_here"):
            view.apply_sync(use, module.twice, 1)
        cloudpickle.register_pickle_by_value(module)
        assert pool.apply(module.twice, (1,)) == view.apply_sync(use, module.twice, 1) == 6
        cloudpickle.unregister_pickle_by_value(module)


def test_what_is_importable_stays_by_reference(known: Any) -> None:
    book = FunctionBook()
    assert b"only_here" not in book.function(use).blob and len(book.function(use).blob) < 200
    assert len(book.function(known.twice).blob) > 200
