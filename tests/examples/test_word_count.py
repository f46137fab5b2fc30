"""The word count."""

from collections import Counter


def test_words_by_hand(example) -> None:
    words = example("word_count").count_words(["Don't panic. DON'T!", "well-known: x2, _a"])
    assert words == Counter({"don't": 2, "panic": 1, "well-known": 1, "x": 1, "a": 1})


def test_only_docstrings_count(example, tmp_path) -> None:
    count = example("word_count").count_file
    path = tmp_path / "some.py"
    path.write_text(
        '"""One two."""\n# three\nx = "four"\ndef f():\n    "two five"\n    "six"\n'
        "class C:\n    async def m(self):\n        'two'\n"
    )
    assert count(path) == Counter({"two": 3, "one": 1, "five": 1})
    path.write_text("def f(:")
    assert count(path) == Counter()


def test_the_counts_of_all_files_are_added_up(run_example, tmp_path) -> None:
    tree = tmp_path / "tree"
    for number in range(20):
        path = tree / f"package{number % 3}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""{"document " * (number + 1)} of it."""\n')
    (tree / "last.py").write_text('"""documents, twice"""')
    lines = run_example("word_count", "--engines", 2, "--path", tree, "--top", 2).splitlines()
    assert lines[0] == "252 words, 5 different ones, in the docstrings of 21 files"
    assert [line.split() for line in lines[3:]] == [["document", "210", "20"], ["documents", "1", "1"]]


def test_a_folder_without_files_is_explained(run_example, tmp_path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there are no Python files in" in run_example("word_count", "--path", empty, status=2)


def test_the_standard_library_has_words(run_example) -> None:
    lines = run_example("word_count", "--engines", 2, "--top", 3).splitlines()
    assert len(lines) == 6
    assert all(int(line.split()[1].replace(",", "")) > 100 for line in lines[3:])
