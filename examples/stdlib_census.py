"""A census of the Python standard library: how much code is in each of its packages?

Every module is read, tokenized and parsed, many at a time, by an ordinary `multiprocessing.Pool`:

    python examples/stdlib_census.py                 on the standard library's Pool
    python -m parpool examples/stdlib_census.py      the same script, unchanged, on parpool's engines

Both print the same table. A row is a top-level package (or a module that stands alone), and counts

    modules      files that an import statement could name
    lines        lines of text, blank ones and comments included
    tokens       names, numbers, strings and operators: neither comments nor line ends and indents
    functions    def and async def, methods and nested ones too
    classes      class statements
    complexity   McCabe's number, summed: one for each module and each function, and one more for each
                 decision: if, elif, for, while, except, case, conditional expression, each `for` and
                 each `if` of a comprehension, each `and` and each `or`
    unparsable   modules that are not valid Python, as some test data means to be; of these only the
                 lines are counted
"""

import argparse
import ast
import io
import platform
import sys
import sysconfig
import time
import tokenize
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from multiprocessing import Pool
from pathlib import Path

COLUMNS = ("modules", "lines", "tokens", "functions", "classes", "complexity", "unparsable")

NOT_COUNTED = {
    tokenize.ENCODING,
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


# What is counted ------------------------------------------------------------------------------------


def count_module(module: tuple[Path, str]) -> tuple[str, Counter[str]]:
    """Count what is in one module, for its package. This is what the pool's workers run."""
    path, package = module
    return package, count_source(path.read_bytes())


def count_source(source: bytes) -> Counter[str]:
    """Count what is in the source text of one module."""
    counts = Counter(modules=1, lines=len(source.splitlines()))
    try:
        tree = ast.parse(source)
        tokens = count_tokens(source)
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError):
        # ValueError: an undecodable byte, or a zero. The last two: nested too deep for the parser.
        counts["unparsable"] = 1
        return counts
    nodes = list(ast.walk(tree))
    counts["tokens"] = tokens
    counts["functions"] = sum(isinstance(node, FUNCTIONS) for node in nodes)
    counts["classes"] = sum(isinstance(node, ast.ClassDef) for node in nodes)
    counts["complexity"] = 1 + counts["functions"] + sum(map(decisions, nodes))
    return counts


def count_tokens(source: bytes) -> int:
    """How many tokens a module has, leaving out its layout and its comments."""
    tokens = tokenize.tokenize(io.BytesIO(source).readline)
    return sum(token.type not in NOT_COUNTED for token in tokens)


def decisions(node: ast.AST) -> int:
    """How many times the program may go one way or another at this node, its children apart."""
    if isinstance(node, BRANCHES):
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return 0


# Where the modules are ------------------------------------------------------------------------------


def find_modules(root: Path, tests: bool = True) -> dict[Path, str]:
    """Every module below `root`, and the top-level package it belongs to.

    What cannot be imported by its name is not a module. That leaves out site-packages, too: the hyphen.
    """
    modules = {}
    for path in sorted(root.rglob("*.py")):
        names = path.relative_to(root).with_suffix("").parts
        if all(map(str.isidentifier, names)) and path.is_file() and (tests or not is_test(names)):
            modules[path] = names[0]
    return modules


def is_test(names: tuple[str, ...]) -> bool:
    """Whether a module belongs to a test suite, by the names of the folders that it lies in."""
    return any(name in ("test", "tests") or name.endswith("_test") for name in names[:-1])


# The table ------------------------------------------------------------------------------------------


def make_table(census: dict[str, Counter[str]], top: int) -> str:
    """The census as text: the packages with the most lines first, the total at the end."""
    packages = sorted(census, key=lambda name: (-census[name]["lines"], name))
    shown, others = (packages[:top], packages[top:]) if top else (packages, [])

    rows = [(name, census[name]) for name in shown]
    if others:
        rows.append((f"({len(others)} others)", total(census[name] for name in others)))
    rows.append(("total", total(census.values())))

    cells: list[tuple[str, ...]] = [("package", *COLUMNS)]
    cells += [(name, *(f"{counts[column]:,}" for column in COLUMNS)) for name, counts in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]) for first, *rest in cells]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def total(counts: Iterable[Counter[str]]) -> Counter[str]:
    """The sum of many counts."""
    result: Counter[str] = Counter()
    for each in counts:
        result.update(each)
    return result


# The command ----------------------------------------------------------------------------------------


def main() -> None:
    """Count, in as many processes as asked for, and print the table."""
    options = parse_arguments()
    started = time.perf_counter()
    modules = find_modules(options.path, options.tests)
    if not modules:
        sys.exit(f"there are no Python modules in {options.path}")

    census: dict[str, Counter[str]] = defaultdict(Counter)
    # Old code draws warnings from the parser, about escapes in strings for example. They are not our subject.
    with Pool(options.processes, initializer=warnings.simplefilter, initargs=("ignore",)) as pool:
        for package, counts in pool.imap_unordered(count_module, modules.items()):
            census[package].update(counts)

    print(f"Python {platform.python_version()}: {len(modules):,} modules in {len(census):,} packages")
    print()
    print(make_table(census, options.top))
    print(f"counted in {time.perf_counter() - started:.1f} s", file=sys.stderr)


def parse_arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description="Count the code in the Python standard library.")
    parser.add_argument(
        "--processes",
        type=number(at_least=1),
        metavar="N",
        help="how many processes count (default: one for each CPU)",
    )
    parser.add_argument(
        "--top",
        type=number(at_least=0),
        default=30,
        metavar="N",
        help="show the N largest packages one by one (default: 30; 0 for all)",
    )
    parser.add_argument(
        "--path",
        type=folder,
        default=sysconfig.get_path("stdlib"),
        metavar="DIR",
        help="count the modules in this folder (default: the standard library)",
    )
    parser.add_argument(
        "--no-tests",
        dest="tests",
        action="store_false",
        help="leave out the test suites",
    )
    return parser.parse_args()


def number(at_least: int) -> Callable[[str], int]:
    """A type for argparse: a whole number that is not too small."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < at_least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {at_least}")
        return int(text)

    return convert


def folder(text: str) -> Path:
    """A type for argparse: a folder that is there."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a folder" if path.exists() else f"there is no folder {text!r}"
        )
    return path


if __name__ == "__main__":
    main()
