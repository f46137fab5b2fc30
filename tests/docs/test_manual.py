"""What the manual says about the code is so: the diagram of states, the table of moves, the tour of the files."""

import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from parpool.core.state import ENDED, MOVES

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")

spec = importlib.util.spec_from_file_location("states", ROOT / "docs" / "_ext" / "states.py")
assert spec and spec.loader
states = importlib.util.module_from_spec(spec)
spec.loader.exec_module(states)

TABLE = {(state, target) for state, targets in MOVES.items() for target in targets}


def drawn(moves):
    """The states and the moves of a drawing."""
    svg = ElementTree.fromstring(states.draw(moves))
    space = "{http://www.w3.org/2000/svg}"
    paths = [(path.get("data-from"), path.get("data-to")) for path in svg.findall(f"{space}path")]
    return [text.text for text in svg.findall(f"{space}text")], paths


def test_the_diagram_shows_the_table():
    names, moves = drawn(MOVES)
    assert names == list(MOVES)
    assert set(moves) == TABLE
    assert len(moves) == len(TABLE)


def test_another_table_gives_another_diagram():
    names, moves = drawn({"a": {"c"}, "b": set(), "c": {"a", "b"}})
    assert names == ["a", "b", "c"]
    assert set(moves) == {("a", "c"), ("c", "a"), ("c", "b")}


def test_no_two_moves_are_drawn_on_each_other():
    svg = ElementTree.fromstring(states.draw(MOVES))
    lines = [path.get("d") for path in svg.iter("{http://www.w3.org/2000/svg}path") if path.get("data-from")]
    assert len(set(lines)) == len(lines)


def test_every_move_is_explained():
    rows = re.findall(r"^\| (\w+) → (\w+) \| \S", TOUR, re.MULTILINE)
    assert len(set(rows)) == len(rows)
    assert set(rows) == TABLE
    assert not MOVES[ENDED]


def test_the_tour_shows_every_file():
    shown = re.findall(r"^\| `([\w/]+\.py)` \|", TOUR, re.MULTILINE)
    there = {path for top in ("parpool", "compat") for path in (ROOT / top).rglob("*.py") if path.name != "__init__.py"}
    assert sorted(shown) == sorted(path.relative_to(ROOT).as_posix() for path in there)


def test_every_system_has_a_table_of_what_differs():
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "migrating").glob("*.md")}
    assert set(pages) == {"concurrent_futures", "ipyparallel", "ipython1", "ipython_kernel", "joblib"}
    for name, text in pages.items():
        tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
        assert tables, name
        for table in tables:
            first, _, *rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in table.splitlines()]
            assert first[-1].strip() == "differs", name
            for row in rows:
                assert len(row) == 3 and (row[0].strip() or row[1].strip()), f"{name}: {row}"
