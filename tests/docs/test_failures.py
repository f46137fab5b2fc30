"""The tests that the pages of the manual name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`((?:tests|examples|benchmarks)/[\w/]+\.py)(?:::(\w+))?`")
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if NAMED.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    for file, name in NAMED.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / file).is_file(), f"{page.name} names {file}"
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, f"{page.name} names {file}::{name}"


def test_every_promise_is_shown() -> None:
    text = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
    promises = re.split(r"^## (?=\d\. )", text, flags=re.MULTILINE)[1:]
    assert [promise.partition(".")[0] for promise in promises] == [str(number) for number in range(1, 9)]
    assert all(NAMED.search(promise) for promise in promises)
