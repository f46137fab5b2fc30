"""Types of which users say how they travel."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import parpool
from parpool.errors import SerializationError
from parpool.wire import serializers
from parpool.wire.envelope import MARK, Large, dumps, dumps_small, load, pack, received
from parpool.wire.functions import FunctionBook

numpy = pytest.importorskip("numpy")


class Signal:
    """Samples and a name, which plain pickle cannot take, as there is a lock with them."""

    def __init__(self, name: str, samples: Any) -> None:
        self.name = name
        self.samples = samples
        self.lock = threading.Lock()


def encode(signal: Signal) -> tuple[Any, list[Any]]:
    return (signal.name, signal.samples.dtype, signal.samples.shape), [signal.samples]


def decode(metadata: Any, buffers: list[memoryview]) -> Signal:
    name, dtype, shape = metadata
    assert all(type(buffer) is memoryview and buffer.format == "B" for buffer in buffers)
    return Signal(name, numpy.frombuffer(buffers[0], dtype).reshape(shape))


class Louder(Signal):
    pass


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Without the registrations of a test in the next."""
    reducers, known = dict(serializers.reducers), dict(serializers._serializers)
    yield
    for table, before in ((serializers.reducers, reducers), (serializers._serializers, known)):
        table.clear()
        table.update(before)  # type: ignore[call-overload]


@pytest.fixture
def signal() -> Signal:
    parpool.register_serializer(Signal, encode, decode)
    return Signal("a", numpy.arange(20_000.0).reshape(100, -1))


def travel(value: Any, book: FunctionBook | None = None) -> Any:
    dump = partial(dumps, value) if book is None else lambda apart: book.dumps(value, (), apart)
    return load(received(pack(dump, None), None))


def test_values_travel_by_their_buffers(signal: Signal) -> None:
    payload = pack(partial(dumps, [signal, (signal,)]), None)
    assert payload.startswith(MARK)
    one, (same,) = load(received(payload, None))
    assert one is same and one.name == "a" and numpy.array_equal(one.samples, signal.samples)
    one.samples[0] = 1  # the receiver's own
    small = travel(Signal("b", numpy.arange(3)))
    assert small.samples.tolist() == [0, 1, 2]


def test_what_cannot_be_written_to_arrives(signal: Signal) -> None:
    signal.samples.flags.writeable = False
    assert numpy.array_equal(travel({"x": signal})["x"].samples, signal.samples)


def test_what_nobody_has_a_word_on_is_plain_pickle(signal: Signal) -> None:
    for value in (5, "a", ((1, "b", None), {}), ((), {})):
        assert dumps_small(value) == pickle.dumps(value, 5)
    for value in (signal, [signal], ((signal,), {}), ((), {"a": signal}), ((1, 2), signal)):
        with pytest.raises(Large):
            dumps_small(value)
    pair = (1, 2), numpy.zeros(3)
    assert pickle.loads(dumps_small(pair))[1].tolist() == [0, 0, 0]


def test_by_value_as_well(signal: Signal) -> None:
    value = travel((signal, lambda x: x + 1), FunctionBook())
    assert value[0].samples.sum() == signal.samples.sum() and value[1](1) == 2
    blob = FunctionBook().function(lambda: signal.name).blob  # in a closure
    assert load(blob[1:])() == "a"


def test_it_is_for_this_very_type(signal: Signal) -> None:
    with pytest.raises(TypeError):
        travel(Louder("c", signal.samples))
    parpool.register_serializer(
        Louder, lambda v: (v.name.upper(), [v.samples]), lambda name, b: Louder(name, numpy.frombuffer(b[0]))
    )
    back = travel(Louder("c", signal.samples), FunctionBook())
    assert type(back) is Louder and back.name == "C"
    assert type(travel(signal)) is Signal


def test_the_newest_registration_is_the_one(signal: Signal) -> None:
    parpool.register_serializer(Signal, lambda v: ("new", []), new_decode)
    assert travel(signal, FunctionBook()).name == "new!"


def new_decode(name: str, buffers: list[memoryview]) -> Signal:
    assert not buffers
    return Signal(name + "!", None)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((Signal("a", None), encode, decode), "a serializer is for a type, not for"),
        ((dict, encode, decode), "pickle has a way of its own for dict"),
        ((Signal, None, decode), "encode must be a function, not None"),
        ((Signal, encode, "x"), "decode must be a function, not 'x'"),
    ],
)
def test_a_registration_that_is_none_is_told(arguments: Any, error: str) -> None:
    with pytest.raises(TypeError, match=error):
        parpool.register_serializer(*arguments)


def test_an_encode_function_that_gives_something_else_is_told(signal: Signal) -> None:
    parpool.register_serializer(Signal, lambda v: v.samples, decode)
    with pytest.raises(SerializationError, match="encode function for Signal must give metadata and buffers"):
        travel(signal)


def test_the_registration_comes_with_the_first_value(signal: Signal) -> None:
    payload = pack(partial(dumps, signal), None)
    del serializers.reducers[Signal], serializers._serializers[Signal]
    back = load(received(payload, None))
    assert serializers._serializers[Signal] == (encode, decode, 0)
    assert travel(back).name == "a"


def test_a_value_goes_back_without_functions_that_have_no_name(signal: Signal) -> None:
    parpool.register_serializer(Signal, lambda v: encode(v), lambda m, b: decode(m, b))
    book = FunctionBook()
    payload = pack(lambda apart: book.dumps(signal, (), apart), None)
    known = serializers._serializers.pop(Signal)
    back = load(received(payload, None))
    plain = pack(partial(dumps, back), None)  # as an engine of a Pool does, which sends nothing by value
    serializers._serializers[Signal] = known
    assert load(received(plain, None)).name == "a"
    del serializers._serializers[Signal]
    with pytest.raises(SerializationError, match=r"no serializer for test_wire_serializers\.Signal in this process"):
        load(received(plain, None))


def twice(signal: Signal) -> Signal:
    return Signal(signal.name * 2, signal.samples * 2)


def name_of(signal: Signal) -> str:
    return signal.name


def test_to_engines_and_back(signal: Signal) -> None:
    with parpool.Pool(1) as pool:
        back = pool.apply(twice, (signal,))
        assert back.name == "aa" and numpy.array_equal(back.samples, signal.samples * 2)
        assert [each.name for each in pool.map(twice, [signal] * 3)] == ["aa"] * 3
        view = pool.client[:]
        view["signal"] = signal
        assert view.apply_sync(name_of, parpool.Reference("signal")) == ["a"] and view["signal"][0].name == "a"
        assert view.apply_sync(lambda s: s, signal)[0].samples.base is not None
    pool.join()


def test_engines_that_know_the_type_by_the_data_alone(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


SCRIPT = """
import multiprocessing, threading, numpy, parpool

class Cell:
    def __init__(self, values):
        self.values, self.lock = values, threading.Lock()

def double(cell):
    return Cell(cell.values * 2)

if __name__ == "__main__":
    for context in ("fork", "spawn"):
        with parpool.Pool(1, context=multiprocessing.get_context(context)) as pool:
            pool.apply(abs, (1,))
            parpool.register_serializer(
                Cell, lambda cell: (None, [cell.values]), lambda _, buffers: Cell(numpy.frombuffer(buffers[0]))
            )
            for n in (10, 100_000):
                assert pool.apply(double, (Cell(numpy.ones(n)),)).values.sum() == 2 * n
                assert pool.client[:].apply_sync(double, Cell(numpy.ones(n)))[0].values.sum() == 2 * n
        pool.join()
    print("ok")
"""


# Packages that bring serializers ---------------------------------------------------------------------------------

PACKAGE = """
import parpool
from things import Thing

def register():
    parpool.register_serializer(Thing, encode, decode)

def encode(thing):
    return "by the package", [thing.content]

def decode(metadata, buffers):
    return Thing(bytes(buffers[0]) + metadata.encode())

def broken():
    raise RuntimeError("not today")
"""
THING = """
class Thing:
    def __init__(self, content):
        self.content = content
    def __reduce__(self):
        raise TypeError("only by a serializer")
def make(n):
    return Thing(b"x" * n)
"""
USE = """
import sys, warnings, numpy, parpool
if __name__ == "__main__":
    with parpool.Pool(1) as pool:
        pool.apply(numpy.ones, (100_000,))
        assert "bringer" not in sys.modules, "before the type is there"
        import things
        for n in (3, 100_000):
            assert pool.apply(things.make, (n,)).content == b"x" * n + b"by the package"
            assert pool.apply(len_of, (things.Thing(b"y" * n),)) == n + 14
    pool.join()
    print("ok")
""".replace("if __name__", "def len_of(thing):\n    return len(thing.content)\n\nif __name__", 1)


def package(folder: Path, function: str) -> dict[str, str]:
    """A package with an entry point; gives the environment in which it is found."""
    info = folder / "bringer-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bringer\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[parpool.serializers]\nthings = bringer:{function}\n")
    (folder / "bringer.py").write_text(PACKAGE)
    (folder / "things.py").write_text(THING)
    (folder / "use.py").write_text(USE)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


def test_packages_bring_serializers_for_the_modules_that_are_imported(tmp_path: Path) -> None:
    env = package(tmp_path, "register")
    done = subprocess.run(
        [sys.executable, "use.py"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_one_that_cannot_be_loaded_is_a_warning(tmp_path: Path) -> None:
    env = package(tmp_path, "broken")
    code = "import things, parpool\nfrom parpool.wire.serializers import discover\ndiscover()\ndiscover()\nprint('went on')"
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "went on\n"
    assert done.stderr.count("RuntimeWarning") == 1
    assert "the serializers of things (bringer:broken) cannot be loaded: RuntimeError('not today')" in done.stderr


def test_sparse_matrices_as_in_the_manual() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    manual = (Path(__file__).parents[2] / "docs" / "arrays.md").read_text(encoding="utf-8")
    (example,) = [each for each in manual.split("```") if each.startswith("python\nfrom scipy.sparse import")]
    exec(example.removeprefix("python"), {"numpy": numpy, "parpool": parpool})
    matrix = sparse.random(2000, 2000, 0.05, format="csr")
    payload = pack(lambda apart: FunctionBook().dumps(matrix, (), apart), None)
    assert payload.startswith(MARK), "its buffers are apart"
    with parpool.Pool(1) as pool:
        back = pool.apply(lambda m: m * 2, (matrix,))
        assert type(back) is type(matrix) and abs(back - matrix * 2).max() == 0
        back.data[0] = 5  # it can be written to
        assert [each.nnz for each in pool.map(lambda m: m.tocsr(), [matrix] * 3)] == [matrix.nnz] * 3
    pool.join()
