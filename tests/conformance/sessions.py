"""Sessions: what somebody types, run for real as the ``__main__`` of a process of its own.

What is written in a test's module is importable, and so behaves unlike what is typed at a prompt. A session here is the
text of a script. It runs at the top level of ``__main__``, with these names: ``pool`` (of two engines), its client
``rc``, ``e0`` (the view of one engine, which blocks) and ``dview`` (of all, which blocks).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import scripts

LIMIT = 40.0

#: How the session's process and its engines come about: the start method, and whether the session is a file. Engines
#: that are spawned import that file; where there is none, as at a prompt, they begin with an empty ``__main__``.
WAYS = {"fork": ("fork", True), "spawn": ("spawn", True), "prompt": ("spawn", False)}
#: As parameters: what differs between interpreters where a file is spawned, CPython's own tests look into on each.
WAY = [pytest.param(way, marks=pytest.mark.once) if way == "spawn" else way for way in WAYS]

FRAME = """\
import parpool
from sessions import raises
{early}
if __name__ == "__main__":
    with parpool.get_context({method!r}).Pool({engines}{options}) as pool:
        rc = pool.client
        e0, dview = rc[0], rc[:]
        e0.block = dview.block = True
{session}
        print("the end of the session")
"""


def play(
    way: str, folder: Path, session: str, *, early: str = "", engines: int = 2, options: str = ""
) -> scripts.Ended:
    """Run a session; fail where it does. ``early`` is what its script defines before there is a pool."""
    method, is_file = WAYS[way]
    text = FRAME.format(
        early=textwrap.dedent(early),
        method=method,
        engines=engines,
        options=options,
        session=textwrap.indent(textwrap.dedent(session), " " * 8),
    )
    path = folder / "session.py"
    path.write_text(text)
    ended = scripts.run([str(path)] if is_file else ["-c", text], LIMIT, cwd=str(folder))
    if ended.status != 0 or ended.left or "the end of the session" not in ended.out:
        pytest.fail(ended.report(), pytrace=False)
    return ended


@contextmanager
def raises(kind: type[BaseException], match: str = "") -> Iterator[list[Any]]:
    """In a session: as ``pytest.raises``; gives a list that has the exception afterwards."""
    caught: list[Any] = []
    try:
        yield caught
    except kind as error:
        assert re.search(match, str(error)), f"{match!r} is not in: {error}"
        caught.append(error)
    else:
        raise AssertionError(f"{kind.__name__} was not raised")
