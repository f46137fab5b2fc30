"""A word count: which words do the docstrings of the Python standard library use most?

    python examples/word_count.py
    python examples/word_count.py --engines 2 --top 5 --letters 8
    python examples/word_count.py --path some/folder

Every engine gets a file when it is free, and gives back how often each word stands in its docstrings. Only the counts
travel, and they are added up here as they come.
"""

import argparse
import ast
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from parpool import Pool

WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def count_file(path: Path) -> Counter[str]:
    """How often each word stands in the docstrings of a file. This is what the engines run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old code draws warnings from the parser
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Counter()  # test data that is not meant to be valid
    return count_words(ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, DOCUMENTED))


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word stands in some texts."""
    return Counter(word for text in texts for word in WORD.findall(text.lower()))


def main() -> None:
    """Count, and print the words that are used most."""
    parser = argparse.ArgumentParser(description="Count the words of docstrings, on several engines.")
    parser.add_argument("--engines", type=int, metavar="N", help="how many engines (default: one for each CPU)")
    parser.add_argument("--top", type=int, default=12, metavar="N", help="how many words to show (default: 12)")
    parser.add_argument("--letters", type=int, default=6, metavar="N", help="of so many letters or more (default: 6)")
    parser.add_argument("--path", type=Path, metavar="DIR", help="the files below (default: the standard library's)")
    options = parser.parse_args()

    if options.path is not None:
        files = sorted(options.path.rglob("*.py"))
    else:  # its modules, without its packages, to be done in seconds
        files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    if not files:
        parser.error(f"there are no Python files in {options.path}")

    total: Counter[str] = Counter()
    files_with: Counter[str] = Counter()
    with Pool(options.engines) as pool:
        view = pool.client.load_balanced_view()
        for counts in view.imap(count_file, files, ordered=False):
            total.update(counts)
            files_with.update(counts.keys())

    print(f"{total.total():,} words, {len(total):,} different ones, in the docstrings of {len(files):,} files")
    print()
    print(f"{'word':16}{'times':>8}{'files':>8}")
    long = sorted((word for word in total if len(word) >= options.letters), key=lambda word: (-total[word], word))
    for word in long[: options.top]:
        print(f"{word:16}{total[word]:8,}{files_with[word]:8,}")


if __name__ == "__main__":
    main()
