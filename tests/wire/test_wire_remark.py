"""Remarks as lines of text: whatever is said, it arrives, or nothing breaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parpool.wire.remark import SIZE, Logged, Warned, printable, remarks, sound, to_text

texts = st.text(st.characters(exclude_categories=())).map(sound)
numbers = st.integers(-(2**63), 2**63 - 1)
plain = st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | texts
logged = st.builds(
    Logged,
    name=texts,
    level=numbers,
    level_name=texts,
    message=texts,
    exception=st.none() | texts,
    extra=st.dictionaries(texts, plain),
)
warned = st.builds(Warned, text=texts, categories=st.lists(texts), path=texts, line=numbers)


@given(said=st.lists(logged | warned))
def test_they_come_as_they_were_one_a_line(said: list[Logged | Warned]) -> None:
    lines = [to_text(each) for each in said]
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines)
    assert list(remarks("".join(lines))) == said


@given(text=st.text() | st.lists(warned.map(to_text)).map("".join).map(lambda line: line[1:]))
def test_what_is_none_is_left_out(text: str) -> None:
    list(remarks(text))
    printable(text)


def test_one_that_was_cut_takes_no_other_along() -> None:
    line = to_text(Warned("x", []))
    assert list(remarks(line + line[:5] + "\n[9,1]\n\n" + line)) == [Warned("x", [])] * 2


def test_as_they_would_stand_on_stderr() -> None:
    record = Logged("a.b", 30, "WARNING", "hello", exception="Traceback\nValueError", stack="Stack")
    assert printable(to_text(record)) == "WARNING:a.b:hello\nTraceback\nValueError\nStack\n"
    warning = Warned("old", ["m:Sub.Old", "builtins:Warning"], "/x/f.py", 3)
    assert (
        printable(to_text(warning) + to_text(Warned("x", [], "y", 1))) == "/x/f.py:3: Sub.Old: old\ny:1: Warning: x\n"
    )


@pytest.mark.parametrize("text", ["", "plain", "é\n", "x" * SIZE])
def test_sound_text_stays(text: str) -> None:
    assert sound(text) == text


def test_other_text_is_made_sound() -> None:
    assert sound("a\ud800") == "a\\ud800"
    assert sound("x" * (SIZE + 7)) == "x" * SIZE + "... (7 more characters)"
