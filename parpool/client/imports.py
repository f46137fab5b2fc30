"""Imports that are carried out on the engines, too, or only there.

Within the ``with`` of :class:`SyncImports` an import statement is seen by what every such statement calls,
``builtins.__import__``. That is told which module is wanted, but not under which names it will be bound: these stand
in the byte code that follows, so they are read there (:func:`statement_at`). Nothing is done to the statement itself:
what the hook returns is bound by the interpreter, as ever.

Only the frame that has the ``with`` counts. Modules that are imported import others, other threads import what they
like, and so do functions that the block calls: none of that is what the user wrote in the block.
"""

from __future__ import annotations

import builtins
import dis
import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FrameType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..wire.functions import by_name
from ..wire.reference import Reference

if TYPE_CHECKING:
    from .direct import DirectView


class SyncImports:
    """A context manager: what the code within it imports is imported on the view's engines, too.

    The names are bound in the engines' namespaces as they are here, whatever the form of the statement. It has ended
    when all engines have imported, and raises what went wrong there; what fails here is not tried there. Each import is
    announced by a line, ``importing numpy on engine(s)``, unless ``quiet``.

    With ``local=False`` nothing is imported here. A name that is bound here already keeps its object; any other is
    bound to a :class:`StandIn`. ``from m import *`` binds none, as nobody here knows them.

    Only statements of the very code that has the ``with`` count, not those of functions or classes that it runs; and
    calls of ``__import__`` and ``importlib.import_module`` in it, which bind nothing on the engines. Where such blocks
    are nested, the engines of all of them import, and the innermost one says whether this process does. Relative
    imports are an ImportError: engines have no module that they could be relative to.
    """

    def __init__(self, view: DirectView, local: bool = True, quiet: bool = False) -> None:
        self.view = view
        self.local = local
        self.quiet = quiet
        self._frame: FrameType | None = None  #: what runs the block, while it does

    def __enter__(self) -> SyncImports:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__") == "contextlib":
            frame = frame.f_back  # an ExitStack enters it for its user
        _begin(self, frame)
        return self

    def __exit__(self, *_: object) -> None:
        _end(self)

    def _import_there(self, wanted: Statement | Call) -> None:
        if not self.quiet:
            print(f"importing {wanted.shown} on engine(s)")
        try:
            wanted.send(self.view)
        except Exception as error:
            if hasattr(error, "add_note"):  # from Python 3.11 on
                error.add_note(f"raised by the import of {wanted.shown} on the engines of {self.view!r}")
            raise


class Importer(SyncImports):
    """Imports on a view's engines, by name: ``view.importer('numpy', as_='np')``.

    It is a context manager as well, that of ``view.sync_imports()``.
    """

    def __init__(self, view: DirectView) -> None:
        super().__init__(view)

    def __call__(self, module: str, as_: str | None = None) -> Any:
        """Import a module on the engines, under its own name or another.

        Waits, and raises what went wrong there, if ``view.block``; else gives the AsyncResult. Nothing is imported
        here. Raises ValueError for what is not the name of a module.
        """
        if not isinstance(module, str):
            raise TypeError(f"a module is imported by its name, a str, not {type(module).__name__}")
        if bad := [name for name in [*module.split("."), as_ or "x"] if not name.isidentifier()]:
            raise ValueError(f"cannot import {module!r}: {bad[0]!r} is not a name of Python")
        result = self.view._verb("load", module, as_, method="importer")
        return None if self.view.block else result


class StandIn(Reference):
    """What a name is bound to whose import went to the engines only.

    Whatever needs the module here is refused. As an argument of a view's call, or in a closure, it arrives as the
    module, since it is a Reference to it.
    """

    __slots__ = ("_what",)

    _what: str

    def __new__(cls, expression: str, what: str) -> StandIn:
        self: StandIn = super().__new__(cls, expression)  # type: ignore[assignment]  # declared to give a Reference
        object.__setattr__(self, "_what", what)
        return self

    def __repr__(self) -> str:
        return f"<{self.expression}: {self._what} was imported on the engines only>"


# Statements -------------------------------------------------------------------------------------------


class Store(NamedTuple):
    """A name that a statement binds, and whether it is declared ``global``."""

    name: str
    is_global: bool = False


class Statement(NamedTuple):
    """An import statement: one ``import`` of one module, or one ``from``."""

    module: str
    asname: str | None  #: of ``import module as asname``
    names: tuple[str, ...]  #: what ``from`` takes out of the module; ``*`` for all
    stores: tuple[Store, ...]  #: what each of the names is bound to; for ``import`` just one; for ``*`` none

    @property
    def shown(self) -> str:
        """As it is announced."""
        return f"{', '.join(self.names)} from {self.module}" if self.names else self.module

    def send(self, view: DirectView) -> None:
        """Let the engines do the same, and wait until they have."""
        pairs = [(name, store.name) for name, store in zip(self.names, self.stores, strict=False)]
        fromlist = [name if name == bound else (name, bound) for name, bound in pairs] or list(self.names)
        view._verb("load", self.module, self.asname, fromlist, block=True, method="sync_imports")

    def is_had_from(self, module: Any) -> bool:
        """Will the interpreter find in the module, now that it is imported, what the statement takes out of it?"""
        wanted = getattr(module, "__all__", ()) if self.names == ("*",) else self.names
        full = getattr(module, "__name__", None)
        return all(hasattr(module, name) or f"{full}.{name}" in sys.modules for name in wanted)

    def stand_in(self, frame: FrameType) -> Any:
        """What to give to the interpreter in the place of the module, so that it binds stand-ins."""
        if self.names == ("*",):
            return SimpleNamespace(__all__=())
        if self.names:
            pairs = zip(self.names, self.stores, strict=True)
            return _Handed([_unless_bound(frame, store, f"{self.module}.{name}") for name, store in pairs])
        top, *rest = self.module.split(".")
        given = _unless_bound(frame, self.stores[0], top if self.asname is None else self.module)
        for _ in rest if self.asname is not None else ():
            given = _Handed([given])
        return given


class Call(NamedTuple):
    """An import by a call, which binds nothing."""

    shown: str
    expression: str  #: gives the module, or what the call gives

    def send(self, view: DirectView) -> None:
        """Let the engines do the same, and wait until they have."""
        view._call(by_name("builtins", "exec"), (self.expression, {}), {}, view._targets, "sync_imports").get()

    def is_had_from(self, module: Any) -> bool:
        """As for statements; nothing is taken out of it."""
        return True

    def stand_in(self, frame: FrameType) -> Any:
        """What to give to the caller in the place of the module."""
        return StandIn(self.expression, self.shown)


def statement_at(code: CodeType, offset: int, fromlist: Sequence[str] | None) -> Statement | None:
    """The statement whose ``IMPORT_NAME`` stands at ``offset``, with the names that it will bind; None: none does.

    ``fromlist`` is what the instruction passes on: without it, a module as a whole is bound.

    What follows is ``STORE a`` for ``import a`` and ``import a.b``; for ``import a.b.c as x`` it is ``IMPORT_FROM b``,
    the two atop the stack swapped and one dropped, ``IMPORT_FROM c``, ``STORE x``; for ``from a import b, c`` it is
    ``IMPORT_FROM b``, ``STORE b``, ``IMPORT_FROM c``, ``STORE c``, ``POP_TOP``.
    """
    steps = _steps_from(code, offset)
    first = next(steps, None)
    if first is None or first.opname != "IMPORT_NAME":
        return None
    module: str = first.argval
    if fromlist and "*" in fromlist:
        return Statement(module, None, ("*",), ())
    taken: list[str] = []
    stores: list[Store] = []
    for step in steps:
        if step.opname == "IMPORT_FROM":
            taken.append(step.argval)
        elif step.opname.startswith(_STORES):
            # One that is fused with the load or store after it has the names of both.
            name = step.argval[0] if isinstance(step.argval, tuple) else step.argval
            stores.append(Store(name, step.opname == "STORE_GLOBAL"))
        elif stores or step.opname not in ("SWAP", "ROT_TWO", "POP_TOP"):
            break
    top = module.partition(".")[0]
    if fromlist:
        if len(taken) != len(stores):  # byte code that no compiler we know makes: as though there were no `as`
            taken, stores = list(fromlist), [Store(name) for name in fromlist]
        return Statement(module, None, tuple(taken), tuple(stores))
    bound = stores[0] if stores else Store(top)
    return Statement(module, bound.name if taken or bound.name != top else None, (), (bound,))


_STORES = ("STORE_NAME", "STORE_GLOBAL", "STORE_FAST", "STORE_DEREF")
_PADDING = ("EXTENDED_ARG", "CACHE", "NOP")


def _steps_from(code: CodeType, offset: int) -> Iterator[dis.Instruction]:
    # In Python 3.10 the offset is that of the first EXTENDED_ARG, where there are any.
    return (step for step in dis.get_instructions(code) if step.offset >= offset and step.opname not in _PADDING)


def _unless_bound(frame: FrameType, store: Store, what: str) -> Any:
    names = frame.f_globals if store.is_global else frame.f_locals
    try:
        return names[store.name]
    except KeyError:
        return StandIn(store.name, what)


class _Handed:
    """Whatever attribute is asked for, gives one thing after the other: for each IMPORT_FROM the next."""

    def __init__(self, things: list[Any]) -> None:
        self._next = iter(things)

    def __getattribute__(self, name: str) -> Any:
        return next(object.__getattribute__(self, "_next"))


# The hooks --------------------------------------------------------------------------------------------

_lock = threading.Lock()
_blocks: tuple[SyncImports, ...] = ()  #: those that are running, the outer ones before the inner ones
_undo: list[Callable[[], None]] = []


def _begin(block: SyncImports, frame: FrameType | None) -> None:
    global _blocks
    with _lock:
        if block in _blocks:
            raise RuntimeError("this is in use by a with: make another one with view.sync_imports()")
        if not _blocks:
            _replace(builtins, "__import__", _import_hook)
            # Not import_module itself: whoever has a name for it would still call the real one, and whoever imports
            # it within the block would be left with ours.
            _replace(vars(importlib)["_bootstrap"], "_gcd_import", _import_module_hook)
        block._frame = frame
        _blocks = (*_blocks, block)


def _end(block: SyncImports) -> None:
    global _blocks
    with _lock:
        _blocks = tuple(each for each in _blocks if each is not block)
        block._frame = None
        while _undo and not _blocks:
            _undo.pop()()


def _replace(module: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put another function in the place of one, made from it."""
    original = getattr(module, name, None)
    if original is None:
        return  # other Pythons may do without it
    hook = make(original)

    def undo() -> None:
        # Somebody's who came after us, and calls ours, stays. That is why each time has a hook of its own: were it
        # always the same, it would become its own original.
        if getattr(module, name) is hook:
            setattr(module, name, original)

    setattr(module, name, hook)
    _undo.append(undo)


def _import_hook(original: Callable[..., Any]) -> Callable[..., Any]:
    def __import__(name: Any, globals: Any = None, locals: Any = None, fromlist: Any = (), level: Any = 0) -> Any:
        def here() -> Any:
            return original(name, globals, locals, fromlist, level)

        frame = sys._getframe(1)
        blocks = _blocks_of(frame)
        if not blocks or not isinstance(name, str):
            return here()
        wanted: Statement | Call | None = statement_at(frame.f_code, frame.f_lasti, fromlist)
        if wanted is None:
            # C functions import what they need by a call of __import__, too, and have no frames of their own
            # (time.strptime is one): only code that has the word in it calls for itself.
            if "__import__" not in frame.f_code.co_names:
                return here()
            more = f", fromlist={list(fromlist)!r}" if fromlist else ""
            wanted = Call(name, f"__import__({name!r}{more})")
        if level:
            raise ImportError(
                f"a relative import means nothing on the engines: give the full name instead of {'.' * level + name!r}",
                name=name,
            )
        return _carry_out(wanted, blocks, frame, here)

    return __import__


def _import_module_hook(original: Callable[..., Any]) -> Callable[..., Any]:
    def _gcd_import(name: Any, package: Any = None, level: Any = 0) -> Any:
        def here() -> Any:
            return original(name, package, level)

        caller = sys._getframe(1)
        if caller.f_globals is not vars(importlib):
            return here()  # not import_module, but the import system itself
        frame = caller.f_back
        blocks = _blocks_of(frame)
        if frame is None or not blocks:
            return here()
        from importlib.util import resolve_name

        absolute = resolve_name("." * level + name, package)
        return _carry_out(Call(absolute, f"__import__('importlib').import_module({absolute!r})"), blocks, frame, here)

    return _gcd_import


def _blocks_of(frame: FrameType | None) -> list[SyncImports]:
    return [block for block in _blocks if block._frame is frame]


def _carry_out(wanted: Statement | Call, blocks: list[SyncImports], frame: FrameType, here: Callable[[], Any]) -> Any:
    if blocks[-1].local:
        module = here()
        if not wanted.is_had_from(module):
            return module  # and the interpreter says what is missing
    else:
        module = wanted.stand_in(frame)
    for block in {id(block.view): block for block in blocks}.values():  # a view may be there twice
        block._import_there(wanted)
    return module
