"""References: what stands here for an object that lives on the engines.

A Reference is pickled as its expression, and what unpickles on an engine is the object that the expression gives in
the engine's namespace at that moment. So no code looks for references in arguments: the pickle does, at any depth.
Everywhere else a Reference unpickles as itself. The value behind it is never here, so whatever would need the value
is refused in a sentence that says what to do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType
from typing import Any, NoReturn

from .failure import safe_repr

#: Set by the engine: gives the object that an expression names there.
resolve_hook: Callable[[str], Any] | None = None

KEPT = 256  #: compiled expressions that are remembered


def resolve(expression: str) -> Any:
    """What a Reference inside a pickle becomes when it is opened."""
    return Reference(expression) if resolve_hook is None else resolve_hook(expression)


def may_refer(data: bytes) -> bool:
    """Can a Reference be in this pickle? If so, opening it again may give something else."""
    return b"parpool.wire.reference" in data


@functools.lru_cache(KEPT)
def compiled(expression: str) -> CodeType:
    """The code that gives the value of an expression. Raises SyntaxError for what is none."""
    shown = safe_repr(expression, 80)
    try:
        return compile(expression, f"<Reference {shown}>", "eval", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:  # all that junk can lead to
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise SyntaxError(f"a Reference needs a name or another Python expression, not {shown}: {reason}") from None


class NotHere(TypeError, AttributeError):
    """An attribute was asked of a Reference, as though its object were in this process.

    An AttributeError as well, for ``hasattr`` and for all that probes objects for what they can do.
    """


def _refusal(action: str, error: type[TypeError] = TypeError) -> Callable[..., NoReturn]:
    def refuse(self: Reference, *_: object, **__: object) -> NoReturn:
        raise error(
            f"cannot {action} {self!r} here: it stands for an object on the engines. "
            f"Give it to a function that runs there: view.apply(f, Reference({self.expression!r}))"
        )

    return refuse


class Reference:
    """Stands for an object in the namespace of the engines.

    As an argument of a view's call, alone or anywhere in lists, dicts and other containers, it arrives as the object
    itself, which need not travel::

        view.push({"a": big_array})
        view.apply(numpy.dot, Reference("a"), b)

    ``expression`` is a name (``'a'``), a dotted name (``'a.shape'``), or any Python expression (``'a[3]'``,
    ``'len(a)'``). Each call looks it up anew, on the engine that runs it. References are equal if their expressions
    are.
    """

    __slots__ = ("__weakref__", "expression")

    expression: str

    # Not __init__: there must be no moment without an expression, as refusals show it.
    def __new__(cls, expression: str) -> Reference:
        if not isinstance(expression, str):
            raise TypeError(f"a Reference needs the name of an object as a str, not {type(expression).__qualname__}")
        expression = expression.strip()
        compiled(expression)
        self = super().__new__(cls)
        object.__setattr__(self, "expression", expression)
        return self

    def __repr__(self) -> str:
        return f"<Reference {self.expression!r}>"

    def __eq__(self, other: object) -> bool:
        return self.expression == other.expression if isinstance(other, Reference) else NotImplemented

    def __hash__(self) -> int:
        return hash((Reference, self.expression))

    def __reduce__(self) -> tuple[Any, ...]:
        return resolve, (self.expression,)

    # Not by way of __reduce__: on an engine that would give the object.
    def __copy__(self) -> Reference:
        return self

    def __deepcopy__(self, memo: object) -> Reference:
        return self

    def __getattr__(self, name: str) -> NoReturn:
        _refusal(f"get the attribute {name!r} of", NotHere)(self)

    __setattr__ = _refusal("set an attribute of", NotHere)
    __delattr__ = _refusal("delete an attribute of", NotHere)
    __call__ = _refusal("call")
    __bool__ = _refusal("tell the truth value of")
    __len__ = _refusal("tell the length of")
    __iter__ = __reversed__ = _refusal("iterate over")
    __contains__ = _refusal("look for items in")
    __getitem__ = _refusal("get an item of")
    __setitem__ = _refusal("set an item of")
    __delitem__ = _refusal("delete an item of")
    __int__ = __index__ = _refusal("make an integer of")
    __float__ = _refusal("make a float of")
    __complex__ = _refusal("make a complex number of")
    __bytes__ = _refusal("make bytes of")
    __array__ = _refusal("make an array of")
    __lt__ = __le__ = __gt__ = __ge__ = _refusal("compare")
    __round__ = __trunc__ = __floor__ = __ceil__ = _refusal("round")
    __neg__ = __pos__ = __abs__ = __invert__ = _refusal("compute with")
    __add__ = __sub__ = __mul__ = __matmul__ = __truediv__ = __floordiv__ = __neg__
    __mod__ = __divmod__ = __pow__ = __lshift__ = __rshift__ = __and__ = __or__ = __xor__ = __neg__
    __radd__ = __rsub__ = __rmul__ = __rmatmul__ = __rtruediv__ = __rfloordiv__ = __neg__
    __rmod__ = __rdivmod__ = __rpow__ = __rlshift__ = __rrshift__ = __rand__ = __ror__ = __rxor__ = __neg__
