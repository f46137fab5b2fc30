"""The main job: an ordinary Pool script, the same table under plain Python and under parpool."""

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "stdlib_census.py"

spec = importlib.util.spec_from_file_location("stdlib_census", SCRIPT)
assert spec and spec.loader
census = importlib.util.module_from_spec(spec)
spec.loader.exec_module(census)


# Counting -------------------------------------------------------------------------------------------

COUNTED_BY_HAND = [
    pytest.param(b"", dict(lines=0, tokens=0, complexity=1), id="empty"),
    pytest.param(b"x = 1\n", dict(lines=1, tokens=3, complexity=1), id="statement"),
    pytest.param(b"x = 1", dict(lines=1, tokens=3, complexity=1), id="no line end"),
    pytest.param(b"# only\r\n\r\n# words\r\n", dict(lines=3, tokens=0, complexity=1), id="comments"),
    pytest.param(
        # class C : def m ( self ) : pass, then async def f ( ) : pass
        b"class C:\n    def m(self):\n        pass\n\nasync def f():\n    pass\n",
        dict(lines=6, tokens=17, functions=2, classes=1, complexity=3),
        id="definitions",
    ),
    pytest.param(
        b"if a:\n    b\nelif c:\n    d\nelse:\n    e\n",
        dict(lines=6, tokens=11, complexity=3),
        id="if, elif, else",
    ),
    pytest.param(
        b"for a in b:\n    while c: pass\nelse:\n    d\n",
        dict(lines=4, tokens=12, complexity=3),
        id="loops",
    ),
    pytest.param(
        b"try: a\nexcept B: c\nexcept D: e\nfinally: f\n",
        dict(lines=4, tokens=14, complexity=3),
        id="except",
    ),
    pytest.param(b"a and b and c or d\n", dict(lines=1, tokens=7, complexity=4), id="and, or"),
    pytest.param(b"a if b else c\n", dict(lines=1, tokens=5, complexity=2), id="conditional"),
    pytest.param(
        b"[a for a in b if c if d for e in f]\n",
        dict(lines=1, tokens=15, complexity=5),
        id="comprehension",
    ),
    pytest.param(
        b"match a:\n    case 1: b\n    case _: c\n",
        dict(lines=3, tokens=11, complexity=3),
        id="match",
    ),
]


@pytest.mark.parametrize(("source", "expected"), COUNTED_BY_HAND)
def test_counts_are_those_made_by_hand(source: bytes, expected: dict[str, int]) -> None:
    counts = census.count_source(source)
    assert {name: count for name, count in counts.items() if count} == {"modules": 1} | {
        name: count for name, count in expected.items() if count
    }


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(b"def f(:\n", id="syntax"),
        pytest.param(b"x = '\xff'\n", id="encoding"),
        pytest.param(b"# coding: no-such-coding\n", id="unknown encoding"),
        pytest.param(b"x = 1\0\n", id="zero byte"),
        pytest.param(b"x = " + b"(" * 5000 + b")" * 5000 + b"\n", id="nested too deep"),
    ],
)
def test_of_bad_source_only_the_lines_are_counted(source: bytes) -> None:
    assert census.count_source(source) == Counter(modules=1, lines=1, unparsable=1)


def test_a_module_is_what_an_import_can_name(tmp_path: Path) -> None:
    for name in (
        "alone.py",
        "package/__init__.py",
        "package/inner/deep.py",
        "package/test/test_it.py",
        "package/data.txt",
        "site-packages/foreign.py",
        "package/not-a-module.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "broken.py").symlink_to("nowhere")

    def found(**options: bool) -> dict[str, str]:
        modules = census.find_modules(tmp_path, **options)
        return {path.relative_to(tmp_path).as_posix(): package for path, package in modules.items()}

    without = {"alone.py": "alone", "package/__init__.py": "package", "package/inner/deep.py": "package"}
    assert found(tests=False) == without
    assert found() == without | {"package/test/test_it.py": "package"}


# The table ------------------------------------------------------------------------------------------


def test_the_table_is_sorted_and_sums_up() -> None:
    counts = {
        "small": Counter(modules=1, lines=10),
        "large": Counter(modules=2, lines=1000, tokens=5),
        "b": Counter(modules=1, lines=10),
    }
    rows = [line.split() for line in census.make_table(counts, top=0).splitlines()]
    assert [row[:4] for row in rows if not row[0].startswith("-")] == [
        ["package", "modules", "lines", "tokens"],
        ["large", "2", "1,000", "5"],
        ["b", "1", "10", "0"],
        ["small", "1", "10", "0"],
        ["total", "4", "1,020", "5"],
    ]
    lines = census.make_table(counts, top=1).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[3].split()[:4] == ["(2", "others)", "2", "20"]
    assert lines[-1].split()[:4] == ["total", "4", "1,020", "5"]


# The script -----------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Forty modules in five packages, one of them not valid Python and one that draws a warning."""
    root = tmp_path / "tree"
    for number in range(40):
        path = root / f"package{number % 5}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("def f(x):\n    return x if x else f(x)\n" * (number + 1))
    (root / "bad.py").write_text("def f(:\n")
    (root / "warns.py").write_text("x = '\\d'\n")
    return root


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """Run Python with these arguments, in a folder from which no checkout of parpool is imported."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, timeout=50)


@pytest.mark.parametrize("options", [[], ["--top", 2, "--processes", 3]], ids=["default", "options"])
def test_python_and_parpool_print_the_same_table(tree: Path, tmp_path: Path, options: list[object]) -> None:
    plain = run(SCRIPT, "--path", tree, *options, cwd=tmp_path)
    ours = run("-m", "parpool", SCRIPT, "--path", tree, *options, cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr.decode()
    assert ours.returncode == 0, ours.stderr.decode()
    assert ours.stdout == plain.stdout
    assert b"42 modules in 7 packages" in plain.stdout
    for done in (plain, ours):  # only the time, and no warning
        assert done.stderr.startswith(b"counted in ")
        assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--path", "missing"], b"there is no folder 'missing'"),
        (["--path", SCRIPT], b"is not a folder"),
        (["--path", "."], b"there are no Python modules in ."),
        (["--processes", "0"], b"'0' is not a whole number of at least 1"),
        (["--top", "few"], b"'few' is not a whole number of at least 0"),
    ],
)
def test_bad_options_are_explained(tmp_path: Path, options: list[object], message: bytes) -> None:
    done = run(SCRIPT, *options, cwd=tmp_path)
    assert done.returncode != 0
    assert message in done.stderr
    assert b"Traceback" not in done.stderr
