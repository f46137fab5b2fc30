"""Equal code has equal fingerprints, in whatever process; other code has others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from parpool.wire.fingerprint import fingerprint, is_main_code

HEAD = """
import dataclasses, enum, functools, re
def helper(x): return x + 1
def other(x): return x + 2
def wrapped(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args)
    return call
class Base:
    def of_base(self): return 1
"""


def define(source: str) -> Any:
    """What ``f`` is in a ``__main__`` of this source."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(textwrap.dedent(HEAD + source), "main.py", "exec"), names)
    return names["f"]


def same(first: str, second: str) -> bool:
    return fingerprint(define(first)) == fingerprint(define(second))


SAME = {
    "nothing": ("def f(x): return x", "def f(x): return x"),
    "where it stands": ("def f(x): return x", "\n\n\n\ndef f(x): return x"),
    "a comment": ("def f(x): return x", "# why\ndef f(x):\n    # more\n    return x"),
    "data that it refers to": ("n = 1\ndef f(x): return n", "n = 2\ndef f(x): return n"),
    "a list that is a default, and its state": ("def f(x, t=[]): return t", "def f(x, t=[1]): return t"),
    "a class's data, its state": ("class f:\n  k = []\n  n = 0", "class f:\n  k = [1]\n  n = 1"),
    "what it does not refer to": ("def f(x): return x", "def g(x): return x\ndef f(x): return x"),
    "a loop of functions": (
        "def f(x): return x and g(x - 1)\ndef g(x): return x and f(x - 1)",
        "def g(x): return x and f(x - 1)\ndef f(x): return x and g(x - 1)",
    ),
    "a class": (
        "class f(Base):\n  k = 1\n  def m(self): return 1",
        "\nclass f(Base):\n  k = 1\n  def m(self): return 1",
    ),
    "an enum": ("class f(enum.Enum):\n  R = 1", "class f(enum.Enum):\n  R = 1"),
    "a dataclass": ("@dataclasses.dataclass\nclass f:\n  x: int = 1", "@dataclasses.dataclass\nclass f:\n  x: int = 1"),
    "a decorated function": ("@wrapped\ndef f(x): return 1", "\n@wrapped\ndef f(x): return 1"),
}

OTHER = {
    "a constant": ("def f(x): return 1", "def f(x): return 2"),
    "a constant's type": ("def f(x): return 1", "def f(x): return 1.0"),
    "the sign of zero": ("def f(x): return 0.0", "def f(x): return -0.0"),
    "a text constant": ("def f(x): return 'a'", "def f(x): return 'b'"),
    "text or bytes": ("def f(x): return 'a'", "def f(x): return b'a'"),
    "a frozenset": ("def f(x): return x in {1, 2}", "def f(x): return x in {1, 3}"),
    "set or tuple": ("def f(x): return x in {1, 2}", "def f(x): return x in (1, 2)"),
    "an operator": ("def f(x): return x + 1", "def f(x): return x - 1"),
    "a name": ("def f(x): return len(x)", "def f(x): return sum(x)"),
    "its own name": ("def g(x): return x\nf = g", "def f(x): return x"),
    "parameters": ("def f(x): return 1", "def f(x, y): return 1"),
    "a star": ("def f(x): return x", "def f(*x): return x"),
    "keyword only": ("def f(x): return x", "def f(*, x): return x"),
    "position only": ("def f(x): return x", "def f(x, /): return x"),
    "a default": ("def f(x=1): return x", "def f(x=2): return x"),
    "a default more": ("def f(x=1): return x", "def f(x): return x"),
    "a default that is a function": ("def f(x, t=helper): return t(x)", "def f(x, t=other): return t(x)"),
    "a default that is a lambda": ("def f(x, t=lambda: 1): return t()", "def f(x, t=lambda: 2): return t()"),
    "a keyword's default": ("def f(*, x=1): return x", "def f(*, x=2): return x"),
    "an inner function": ("def f(x):\n  def g(): return 1\n  return g", "def f(x):\n  def g(): return 2\n  return g"),
    "a lambda inside": ("def f(x): return map(lambda y: y + 1, x)", "def f(x): return map(lambda y: y + 2, x)"),
    "a function it refers to": (
        "def g(): return 1\ndef f(x): return g()",
        "def g(): return 2\ndef f(x): return g()",
    ),
    "one referred to by that": (
        "def h(): return 1\ndef g(): return h()\ndef f(x): return g()",
        "def h(): return 2\ndef g(): return h()\ndef f(x): return g()",
    ),
    "one referred to inside": (
        "def g(): return 1\ndef f(x): return [g() for _ in x]",
        "def g(): return 2\ndef f(x): return [g() for _ in x]",
    ),
    "a class it refers to": (
        "class C:\n  def m(self): return 1\ndef f(x): return C().m()",
        "class C:\n  def m(self): return 2\ndef f(x): return C().m()",
    ),
    "what was decorated": ("@wrapped\ndef f(x): return 1", "@wrapped\ndef f(x): return 2"),
    "a method": ("class f:\n  def m(self): return 1", "class f:\n  def m(self): return 2"),
    "a static method": (
        "class f:\n  @staticmethod\n  def m(): return 1",
        "class f:\n  @staticmethod\n  def m(): return 2",
    ),
    "static or not": ("class f:\n  @staticmethod\n  def m(*a): return a", "class f:\n  def m(*a): return a"),
    "a class method": (
        "class f:\n  @classmethod\n  def m(cls): return 1",
        "class f:\n  @classmethod\n  def m(cls): return 2",
    ),
    "a property": (
        "class f:\n  @property\n  def m(self): return 1",
        "class f:\n  @property\n  def m(self): return 2",
    ),
    "a property's setter": (
        "class f:\n  @property\n  def m(self): return 1\n  @m.setter\n  def m(self, v): self.a = v",
        "class f:\n  @property\n  def m(self): return 1\n  @m.setter\n  def m(self, v): self.b = v",
    ),
    "a cached method": (
        "class f:\n  @functools.lru_cache\n  def m(self): return 1",
        "class f:\n  @functools.lru_cache\n  def m(self): return 2",
    ),
    "a cached property": (
        "class f:\n  @functools.cached_property\n  def m(self): return 1",
        "class f:\n  @functools.cached_property\n  def m(self): return 2",
    ),
    "an inner class": (
        "class f:\n  class g:\n    def m(self): return 1",
        "class f:\n  class g:\n    def m(self): return 2",
    ),
    "a base": ("class f(Base): pass", "class f: pass"),
    "a base's method": (
        "class B:\n  def m(self): return 1\nclass f(B): pass",
        "class B:\n  def m(self): return 2\nclass f(B): pass",
    ),
    "an enum's member": ("class f(enum.Enum):\n  R = 1", "class f(enum.Enum):\n  R = 1\n  G = 2"),
    "an enum's value": ("class f(enum.Enum):\n  R = 1", "class f(enum.Enum):\n  R = 2"),
    "a dataclass's default": (
        "@dataclasses.dataclass\nclass f:\n  x: int = 1",
        "@dataclasses.dataclass\nclass f:\n  x: int = 2",
    ),
    "a dataclass's field": (
        "@dataclasses.dataclass\nclass f:\n  x: int = 1",
        "@dataclasses.dataclass\nclass f:\n  y: int = 1",
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_it_stays_the_same(case: str) -> None:
    assert same(*SAME[case])


@pytest.mark.parametrize("case", OTHER)
def test_it_changes(case: str) -> None:
    assert not same(*OTHER[case])
    assert same(OTHER[case][0], OTHER[case][0])
    assert same(OTHER[case][1], OTHER[case][1])


# In several processes -----------------------------------------------------------------------------

SCRIPT = """
import dataclasses, enum, functools, json, multiprocessing, sys
from parpool.wire.fingerprint import fingerprint

TABLE = {"a": 1}

def constants(x, y={"a", "b", "c", "d"}, z=frozenset("efgh")):
    return x in {"spam", "eggs", "ham", "more", b"bytes", 3, None, (1, frozenset({"p", "q", "r"}))}

def nested(x):
    return [constants(y) for y in x if y in ("a", ..., -0.0, 1j)] and Thing

def generator(x):
    try:
        yield from (lambda y: y)(x)
    finally:
        del x

async def coroutine(x):
    async with x as y:
        return await y

@dataclasses.dataclass
class Thing:
    "doc"
    x: int = 1
    y: str = "y"
    z: list = dataclasses.field(default_factory=list)
    def method(self): return self.x in {"u", "v", "w"}

@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int = 1

class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"

class Flag(enum.Flag):
    A = 1
    B = 2

class Slots:
    __slots__ = ("a", "b")
    kinds = {"k", "l", "m", "n"}
    @property
    def p(self): return self.a
    @functools.lru_cache(3)
    def c(self): return 1

def prints():
    return {
        each.__qualname__: fingerprint(each).hex()
        for each in (constants, nested, generator, coroutine, Thing, Frozen, Colour, Flag, Slots)
    }

def child(queue):
    queue.put(prints())

if __name__ == "__main__":
    found = [prints()]
    for method in sys.argv[1:]:
        context = multiprocessing.get_context(method)
        queue = context.SimpleQueue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        found.append(queue.get())
        process.join()
    print(json.dumps(found))
"""


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "a_script.py"
    script.write_text(SCRIPT)
    found = []
    for seed, methods in [("1", ["fork"]), ("2", []), ("random", ["spawn"])]:
        done = subprocess.run(
            [sys.executable, str(script), *methods],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found += json.loads(done.stdout)
    assert len(found) == 5 and len(found[0]) == 9
    for each in found[1:]:
        assert each == found[0]


# is_main_code -------------------------------------------------------------------------------------


def test_is_main_code() -> None:
    function = define("def f(x): return x")
    assert is_main_code(function)
    assert is_main_code(define("class f: pass"))
    function.__module__ = "__mp_main__"
    assert is_main_code(function)
    for value in (same, Path, len, 5, None, define("f = Base()")):
        assert not is_main_code(value)
