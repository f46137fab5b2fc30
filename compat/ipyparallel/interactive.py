"""Functions that see the engine's names, wherever they were written."""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any, TypeVar

T = TypeVar("T")


def interactive(function: T) -> T:
    """A decorator: the function is taken for one that was typed at the prompt, with the engine's names for its globals.

    Needed for functions that are written in modules: those of scripts and prompts see these names anyway.
    """
    made: Any = function
    if isinstance(function, FunctionType) and function.__closure__ is None:
        main = vars(sys.modules["__main__"])
        made = FunctionType(function.__code__, main, function.__name__, function.__defaults__)
        made.__kwdefaults__, made.__doc__ = function.__kwdefaults__, function.__doc__
        made.__annotations__ = function.__annotations__
        made.__qualname__ = function.__name__
        vars(made).update(vars(function))
    made.__module__ = "__main__"
    return made  # type: ignore[no-any-return]
