"""What a view asks of an engine's namespace: importable functions, so that each is an ordinary call of a task.

They act in the dict that :data:`namespace` gives, which the engine sets with :func:`use`. Code that they run stands in
tracebacks directly below the frames of this module, and with its source lines, as they are kept in :mod:`linecache`.
"""

from __future__ import annotations

import io
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import TYPE_CHECKING, Any

from .represent import display_of, text_of

OF_IPYTHON = "what is IPython's own is for engines with a shell: Pool(ipython=True), parpool start --ipython"

if TYPE_CHECKING:
    from .shell import Shell

KEPT = 100  #: sources whose lines are kept for tracebacks


def _names_of_main() -> dict[str, Any]:
    return vars(sys.modules["__main__"])


#: gives the engine's namespace
namespace: Callable[[], dict[str, Any]] = _names_of_main
#: called after :func:`clear`: whoever bound names there may have to bind them again
forget: Callable[[], object] | None = None
#: the IPython shell that this engine hosts: it runs what :func:`execute` is given. None: there is none
shell: Shell | None = None

_NOTHING = object()
_at_start: frozenset[str] = frozenset()  #: the names that clear() leaves
_executed = 0  #: how many sources have run here
_future = 0  #: compiler flags: what code has imported from __future__ so far
_last: Any = _NOTHING  #: the value that execute() bound to _
inherited: dict[str, Any] = {}  #: names that are there, and nobody's to see: see :mod:`parpool.engine.inherited`
_sources: list[str] = []  #: file names that we put into linecache, the oldest first


def use(names: dict[str, Any]) -> None:
    """Let ``names`` be the engine's namespace, as it is now: see :func:`remember`."""

    def current() -> dict[str, Any]:
        return names

    global namespace, shell
    namespace, shell = current, None  # one that this process has inherited is another engine's
    remember()


def remember() -> None:
    """Note the names that are there now as those of a fresh namespace, which :func:`clear` leaves alone."""
    global _at_start
    _at_start = frozenset(namespace())


@dataclass(repr=False)
class Executed:
    """What came of :func:`execute` or :func:`run`: the value of the last expression, as a prompt would show it.

    ``source`` is the code as it was given, ``execution_count`` its number among all that ran on this engine, from 1
    on; ``text`` is the ``repr`` of the value, None where there is none; ``display`` has its other representations by
    mime type: HTML, SVG, Markdown and LaTeX as text, PNG as text in base64, JSON as plain lists, dicts and so on;
    ``metadata`` is what is said of some of these, such as the width of a picture, by mime type as well.
    It is pickled as its fields, so one of another version can be opened: what it lacks is as in an empty one.
    """

    source: str = ""
    execution_count: int = 0
    text: str | None = None
    display: dict[str, Any] = field(default_factory=dict)
    stdout: str = ""  #: what the code has printed; the client fills it in
    stderr: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        return Executed, (), dict(vars(self))

    def _repr_mimebundle_(self, **which: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"text/plain": repr(self), **self.display}, self.metadata

    def __repr__(self) -> str:
        text = " ".join(str(self.text).split())
        return f"<ExecuteReply[{self.execution_count}]: {text if len(text) <= 60 else text[:57] + '...'}>"


# Code -------------------------------------------------------------------------------------------------


def execute(code: str, filename: str = "<execute>", silent: bool = False) -> Executed:
    """Run a string of Python in the engine's namespace, a statement after the other, as at a prompt.

    Where the last statement is an expression, the result shows its value; ``silent=True``, or a semicolon at its end,
    says that it is not to be shown. The value, unless it is None or the call silent, is bound to ``_`` too, except where
    the user has bound that name to something: that is left alone until it is deleted.

    The code may be indented as a whole. ``await`` is allowed outside of functions: the code then runs in one event
    loop, from its first statement to its last. What it imports from ``__future__`` holds for later calls as well.
    In tracebacks it has ``filename``, or, as long as that is the default, a name with its number: ``<execute-1>``.

    Nothing runs where any of the code is not valid (SyntaxError). Other exceptions are those of the code; what the
    statements before did remains. An object whose ``repr`` raises is shown all the same, without its ``repr``.

    An engine that hosts an IPython shell runs the code as a cell there: with magics, ``In`` and ``Out``, and so on.
    """
    if not isinstance(code, str):
        raise TypeError(f"execute() takes code as a str, not {type(code).__name__}")
    if shell is not None:
        return shell.execute(code, silent)
    global _executed, _last
    _executed = number = _executed + 1
    if filename == "<execute>":
        filename = f"<execute-{number}>"
    # Where nothing is indented, dedent() would only spoil lines of spaces in strings.
    indented = code[: len(code) - len(code.lstrip())].endswith((" ", "\t"))
    source = textwrap.dedent(code) if indented else code
    _keep_lines(filename, source)
    try:
        steps, shows = _statements(source, filename)
    except SyntaxError as error:
        _advise(error)
        raise
    names = namespace()
    names.setdefault("__name__", "__main__")  # what classes and functions take for their module
    value = _perform(steps, names)
    if silent or not shows or value is None:
        return Executed(code, number)
    if "_" not in names or names["_"] is _last:
        names["_"] = _last = value
    else:
        _last = _NOTHING  # the user's; ours need not be kept any longer
    display, metadata = display_of(value)
    return Executed(code, number, text_of(value), display, metadata=metadata)


def _advise(error: SyntaxError) -> None:
    """Let the error of a line that IPython would take say what it takes to have such lines run."""
    if re.match(r"\s*([\w, ]+=\s*)?([%!]|\?)|.*\?\s*$", error.text or ""):
        error.msg += f" ({OF_IPYTHON})"
        error.args = (error.msg, *error.args[1:])


def run(source: str | bytes, filename: str) -> Executed:
    """Run the content of a file in the engine's namespace, as a script: ``__name__`` is ``"__main__"`` meanwhile.

    ``filename`` is ``__file__`` meanwhile, and its name in tracebacks; the engine need not have such a file. Both
    names are afterwards what they were. What the script defines stays. Its values are not shown: ``text`` of the
    result is None. A script that ends with ``sys.exit()``, or with exit status 0, has ended well; any other
    SystemExit is its error. Bytes are decoded as Python decodes a file.
    """
    global _executed
    _executed = number = _executed + 1
    if isinstance(source, bytes):
        from importlib.util import decode_source

        source = decode_source(source)
    source = source.removeprefix("\ufeff")
    _keep_lines(filename, source)
    step = _compile(source, filename, "exec", 0)
    names = namespace()
    names.setdefault("__name__", "__main__")
    before: dict[str, Any] = {name: names[name] for name in ("__name__", "__file__") if name in names}
    names.update(__name__="__main__", __file__=filename)
    try:
        _perform([step], names)
    except SystemExit as leaving:
        if leaving.code not in (None, 0):
            raise
    finally:
        names.pop("__file__", None)
        names.update(before)
    return Executed(source, number)


def _keep_lines(filename: str, source: str) -> None:
    """Let tracebacks find the source's lines, unless they find the very same in the file itself."""
    import linecache

    # Not by splitlines(), which knows more ends of lines than Python.
    lines = io.StringIO(source.rstrip("\r\n") + "\n", newline=None).readlines()
    if filename in _sources:
        _sources.remove(filename)
    elif linecache.getlines(filename) == lines:
        return
    # No time of change: linecache.checkcache() leaves it alone.
    linecache.cache[filename] = (len(source), None, lines, filename)
    _sources.append(filename)
    while len(_sources) > KEPT:
        linecache.cache.pop(_sources.pop(0), None)


def _compile(source: Any, filename: str, mode: str, flags: int) -> Any:
    import ast

    return compile(source, filename, mode, flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def _statements(source: str, filename: str) -> tuple[list[CodeType], bool]:
    """The code of each statement, and whether the last one is an expression that is to be shown."""
    import __future__

    import ast

    global _future
    features = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})
    flags, steps, expression = _future, [], False
    for node in _compile(source, filename, "exec", flags | ast.PyCF_ONLY_AST).body:
        expression = isinstance(node, ast.Expr)
        # A string alone is an expression, too, and not the docstring of a module.
        tree = ast.Expression(node.value) if isinstance(node, ast.Expr) else ast.Module([node], [])
        step = _compile(tree, filename, "eval" if expression else "exec", flags)
        flags |= step.co_flags & features
        steps.append(step)
    _future = flags
    return steps, expression and not (";" in source and _ends_with_semicolon(source))


def _ends_with_semicolon(source: str) -> bool:
    import tokenize as t

    around = {t.COMMENT, t.NL, t.NEWLINE, t.DEDENT, t.ENDMARKER}
    words = [token.string for token in t.generate_tokens(io.StringIO(source).readline) if token.type not in around]
    return words[-1:] == [";"]


def _perform(steps: list[CodeType], names: dict[str, Any]) -> Any:
    """Run code objects one after the other; gives the value of the last."""
    from inspect import CO_COROUTINE

    value = None
    if not any(step.co_flags & CO_COROUTINE for step in steps):
        for step in steps:
            value = eval(step, names)
        return value

    values: list[Any] = []
    errors: list[BaseException] = []

    async def perform() -> None:
        try:
            for step in steps:
                value = eval(step, names)
                if step.co_flags & CO_COROUTINE:
                    value = await value
            values.append(value)
        except BaseException as error:
            errors.append(error)  # raised outside: no frame of asyncio is to come between ours and the user's

    import asyncio

    asyncio.run(perform())
    if errors:
        raise errors.pop()
    return values.pop()


# Names ------------------------------------------------------------------------------------------------


def push(names: Mapping[str, Any]) -> None:
    """Bind all of these names in the engine's namespace.

    Raises ValueError where some are not names that code could use, and lists them; then none is bound.
    """
    from keyword import iskeyword

    if not isinstance(names, Mapping):
        raise TypeError(f"push() takes a mapping of names to values, not {type(names).__name__}")
    bad = [name for name in names if not isinstance(name, str) or not name.isidentifier() or iskeyword(name)]
    if bad:
        raise ValueError(f"not names of Python, so nothing was pushed: {', '.join(map(repr, bad))}")
    namespace().update(names)


def pull(keys: str | list[str] | tuple[str, ...]) -> Any:
    """The object of a name, or of an expression such as ``"a.b"`` or ``"a[3]"``; of a list or tuple of them, a list.

    Raises NameError for a name that is not there, with names that are like it and how to push it. Whatever else an
    expression raises is its own.
    """
    if isinstance(keys, str):
        return _pull(keys)
    return [_pull(key) for key in _all_str("pull", keys)]


def _pull(key: str) -> Any:
    names = namespace()
    if key in names:
        return names[key]
    code = compile(key.strip(), f"<pull {key.strip()}>", "eval", dont_inherit=True)
    try:
        return eval(code, names)
    except NameError as error:
        frames = error.__traceback__ and error.__traceback__.tb_next
        if frames is None or frames.tb_next is not None or error.name is None:
            raise  # of a function that the expression called
        missing = error.name
    raise _missing(missing) from None


def _missing(name: str) -> NameError:
    from difflib import get_close_matches

    close = get_close_matches(name, keys(), 3)
    hint = f". Is it {' or '.join(map(repr, close))} that is meant?" if close else ""
    return NameError(f"name {name!r} is not defined on this engine: push it with view[{name!r}] = value{hint}")


def delete(keys: str | list[str] | tuple[str, ...]) -> None:
    """Remove a name, or several, from the engine's namespace.

    Raises NameError for one that is not there; then none is removed.
    """
    wanted = [keys] if isinstance(keys, str) else _all_str("delete", keys)
    names = namespace()
    for name in wanted:
        if name not in names:
            raise _missing(name)
    for name in wanted:
        names.pop(name, None)  # it may be listed twice


def keys() -> list[str]:
    """The names that are bound in the engine's namespace, sorted.

    Without those that begin and end with two underscores, the ``_`` of :func:`execute`, and those of a hosted shell.
    """
    names = namespace()
    hidden = {"_"} if names.get("_") is _last else shell.own_names() if shell is not None else set()
    if inherited:
        hidden |= {"_exit_code", *(name for name, value in inherited.items() if names.get(name) is value)}
    return sorted(name for name in list(names) if isinstance(name, str) and not _is_dunder(name) and name not in hidden)


def clear() -> None:
    """Remove what the user has bound: only the names of a fresh namespace remain.

    These are the names that begin and end with two underscores and those that were there when the engine started; a
    name of them that has been bound anew keeps its new value. What was imported from ``__future__`` holds no longer.
    """
    global _last, _future
    names = namespace()
    if shell is not None:
        shell.clear()
    for name in list(names):
        if name not in _at_start and not (isinstance(name, str) and _is_dunder(name)):
            names.pop(name, None)  # what it held may remove others as it goes
    _last, _future = _NOTHING, 0
    if forget is not None:
        forget()


def load(module: str, name: str | None = None, fromlist: Iterable[str | tuple[str, str | None]] = ()) -> None:
    """Import in the engine's namespace, as the statement does.

    ``load("a.b")`` is ``import a.b``; ``load("a.b", "c")`` is ``import a.b as c``; ``load("m", fromlist=["x", ("y",
    "z")])`` is ``from m import x, y as z``; ``load("m", fromlist=["*"])`` is ``from m import *``. Raises ValueError
    for what are not names, and what the import raises.
    """
    import ast

    pairs = [(each, None) if isinstance(each, str) else each for each in fromlist]
    words = [*module.split("."), *(word for pair in pairs for word in pair if word not in ("*", None))]
    if name is not None:
        words.append(name)
    if bad := [word for word in words if not str(word).isidentifier()]:
        raise ValueError(f"cannot be imported, as these are not names of Python: {', '.join(map(repr, bad))}")
    if name is not None and pairs:
        raise ValueError("an import binds either the module or names out of it: give name or fromlist")
    aliases = [ast.alias(*pair) for pair in pairs] or [ast.alias(module, name)]
    statement = ast.ImportFrom(module, aliases, 0) if pairs else ast.Import(aliases)
    tree = ast.fix_missing_locations(ast.Module([statement], []))
    eval(compile(tree, f"<import {module}>", "exec", dont_inherit=True), namespace())


def _is_dunder(name: str) -> bool:
    return len(name) > 4 and name.startswith("__") and name.endswith("__")


def _all_str(verb: str, keys: Any) -> list[str]:
    if not isinstance(keys, (list, tuple)) or not all(isinstance(key, str) for key in keys):
        raise TypeError(f"{verb}() takes a name, or a list or tuple of names, not {keys!r:.100}")
    return list(keys)
