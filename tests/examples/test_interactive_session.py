"""The session at a prompt."""

import pytest


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the prompt answered to each statement."""
    import subprocess
    import sys
    from pathlib import Path

    script = Path(__file__).parents[2] / "examples" / "interactive_session.py"
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path_factory.mktemp("session"), capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = {}
    for piece in done.stdout.split("\n\n"):
        lines = [line for line in piece.splitlines() if not line.startswith(">>> #")]
        typed = [line for line in lines if line.startswith((">>> ", "... "))]
        found["\n".join(line[4:] for line in typed)] = "\n".join(lines[len(typed) :])
    return found


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("rc", "<Client: engines [0, 1]>"),
        ("view = rc[:]", ""),
        ('view["a"] = 10', ""),
        ('view.pull(["a", "b"])', "[[10, 2.5], [10, 2.5]]"),
        ("view.apply(add, 5)", "[15, 15]"),
        ("rc[0].apply_sync(add, 100)", "115"),
        ('px("x")', "Out[0:1]: [0, 1, 2, 3, 4]\nOut[1:1]: [5, 6, 7, 8, 9]"),
        ('px("y = [n**2 for n in x]; print(sum(y))")', "[stdout:0] 30\n[stdout:1] 255"),
        ('view.gather("y")', "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]"),
        (
            "px(\"import os, sys; print('hello', file=sys.stderr); len(names)\")",
            "[stderr:0] hello\nOut[0:3]: 2\n[stderr:1] hello\nOut[1:3]: 2",
        ),
        ("[answer.text for answer in result.get()]", "['23.0', '3.0']"),
        (
            'view.execute("z = 1 / x[0]")',
            "parpool.errors.CompositeError: one or more exceptions from call to method: execute\n"
            "[0:execute]: ZeroDivisionError: division by zero",
        ),
        ('"z" in rc[0], "z" in rc[-1]', "(False, True)"),
        ("balanced.map_sync(lambda n: n**2, range(5))", "[0, 1, 4, 9, 16]"),
        ('"a" in view', "False"),
    ],
)
def test_the_prompt_answers(answers, typed, answer) -> None:
    assert answers[typed] == answer


def test_an_error_says_what_to_do(answers) -> None:
    answer = answers['rc[0].pull("nmes", block=True)']
    assert "push it with view['nmes'] = value. Is it 'names' that is meant?" in answer


def test_a_function_is_typed_over_several_lines(answers) -> None:
    assert answers["def add(increment):\n    global a\n    a += increment\n    return a"] == ""
