"""How the tests lie in their folders."""

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_no_two_test_files_have_the_same_name() -> None:
    # Test modules are imported by their bare names, so that engines of every start method can import them too.
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name != "conftest.py")
    assert not {name for name, count in names.items() if count > 1}


def test_no_folder_of_tests_is_a_package() -> None:
    # With an __init__.py, pytest would put the checkout on the path, and the tests would not see what is installed.
    assert not list(TESTS.rglob("__init__.py"))
