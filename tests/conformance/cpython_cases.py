"""Finds CPython's own tests of pools and executors in the running interpreter, and runs them against those of choice.

Nothing of CPython is copied or even imported here: the installed source is parsed for the names of the tests, and
`cpython_runner.py` and `cpython_executor_runner.py` run them in processes of their own.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import scripts

METHODS = ("fork", "spawn", "forkserver")
MAIN = "test._test_multiprocessing"
COMMANDS = "test.test_multiprocessing_main_handling"
EXECUTORS = "test.test_concurrent_futures"  #: a package from Python 3.12 on


@dataclass(frozen=True)
class Group:
    """The tests that share one process: those of one class, under one start method."""

    method: str
    module: str
    name: str
    kind: str
    tests: tuple[str, ...]

    @property
    def runner(self) -> str:
        name = "cpython_executor_runner.py" if self.module.startswith(EXECUTORS) else "cpython_runner.py"
        return str(Path(__file__).with_name(name))

    @property
    def id(self) -> str:
        return f"{self.method}-{self.kind}-{self.name}" if self.kind else f"{self.method}-{self.name}"


@dataclass(frozen=True)
class Outcome:
    result: str
    """passed, failed or skipped"""
    detail: str = ""


@dataclass
class Run:
    """What became of a group."""

    outcomes: dict[str, Outcome]
    dangling: list[str]


def discover() -> list[Group]:
    """Every test in the installed suites that makes a Pool, for each start method. Raises ImportError with the reason."""
    groups = []
    for method in METHODS:
        for name, kinds, tests in _pool_classes(_parse(MAIN)):
            groups += [Group(method, MAIN, name, kind, tests) for kind in kinds]
        for name, start_method, tests in _command_classes(_parse(COMMANDS)):
            if start_method == method:
                groups.append(Group(method, COMMANDS, name, "", tests))
    return groups


def discover_executors() -> list[Group]:
    """Every test of the installed suite that has an executor of processes. Raises ImportError with the reason."""
    tree = _parse(EXECUTORS)
    modules = {EXECUTORS: tree}
    spec = importlib.util.find_spec(EXECUTORS)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("*.py")):
            modules[f"{EXECUTORS}.{path.stem}"] = ast.parse(path.read_text(encoding="utf-8"))
    classes = {node.name: node for tree in modules.values() for node in tree.body if isinstance(node, ast.ClassDef)}
    groups = []
    for module, tree in modules.items():
        for mixin in _executor_mixins(tree):
            family = [classes[mixin], *(classes[b.id] for b in classes[mixin].bases if getattr(b, "id", "") in classes)]
            tests = tuple(sorted({f.name for member in family for f in _functions(member)}))
            for method in METHODS:
                name = f"ProcessPool{method.capitalize()}{mixin.removesuffix('Test').removesuffix('Mixin')}Test"
                groups.append(Group(method, module, name.replace("TestsTest", "Test"), "", tests))
    return groups


def _executor_mixins(tree: ast.Module) -> Iterator[str]:
    """The classes of which the test file makes one for each kind of executor."""
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            if ast.unparse(node.value.func) == "create_executor_tests":
                yield next(arg.id for arg in node.value.args if isinstance(arg, ast.Name))


def run(group: Group, pool: str = "parpool:Pool", limit: float = 40.0) -> Run:
    """Run a group. A test that hangs or kills its process fails; the tests after it get a new process, twice."""
    result = Run({}, [])
    todo = group.tests
    for _ in range(3):
        _run_once(replace(group, tests=todo), pool, limit, result)
        todo = tuple(name for name in group.tests if name not in result.outcomes)
        if not todo:
            break
    for name in todo:
        result.outcomes[name] = Outcome("failed", "not reached: earlier tests ended the process three times")
    return result


def _run_once(group: Group, pool: str, limit: float, result: Run) -> None:
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        path = Path(folder, "outcomes")
        path.touch()
        ended = scripts.run(
            [group.runner, group.method, str(path), *group.tests],
            limit * 2 + 10 * len(group.tests),
            env={
                "CONFORMANCE_POOL": pool,
                "CONFORMANCE_CLASS": f"{group.module}:{group.name}:{group.kind}",
                "CONFORMANCE_LIMIT": str(limit),
            },
            cwd=folder,
        )
        records = [json.loads(line) for line in path.read_text().splitlines()]
    started, done = "", False
    for record in records:
        name, outcome, detail = record["test"], record["outcome"], record.get("detail", "")
        if outcome == "started":
            started = name
        elif outcome == "done":
            result.dangling += detail
            done = True
        elif name is None:
            _class_failed(group, Outcome(outcome, detail), result)
        else:
            result.outcomes[name] = Outcome(outcome, detail)
    result.dangling += ended.left
    if done:
        return
    if started and started not in result.outcomes:
        result.outcomes[started] = Outcome("failed", f"hung, or ended the process: {ended.report()}")
    elif all(name in result.outcomes for name in group.tests):
        result.dangling.append(f"tearing down the class hung, or ended the process: {ended.report()}")
    elif not started:
        _class_failed(group, Outcome("failed", f"the tests did not start: {ended.report()}"), result)


def _class_failed(group: Group, outcome: Outcome, result: Run) -> None:
    if all(name in result.outcomes for name in group.tests):
        result.dangling.append(outcome.detail)
    for name in group.tests:
        result.outcomes.setdefault(name, outcome)


def _parse(module: str) -> ast.Module:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise ImportError(f"this interpreter has no {module}")
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _pool_classes(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """(class, kinds, tests): all tests of classes about Pools, and whatever else mentions one.

    In the order of unittest, by name: some tests end a pool that those before them share.
    """
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or not node.bases:
            continue
        whole = "TestPool" in node.name
        tests = tuple(sorted(f.name for f in _functions(node) if whole or _mentions_pool(f)))
        if tests:
            yield node.name, _kinds(node), tests


def _kinds(node: ast.ClassDef) -> tuple[str, ...]:
    if not any(isinstance(base, ast.Name) and base.id == "BaseTestCase" for base in node.bases):
        return ("",)
    kinds = _constant(node, "ALLOWED_TYPES") or ("processes", "manager", "threads")
    return tuple(kind for kind in kinds if kind != "threads")


def _mentions_pool(function: ast.FunctionDef) -> bool:
    return "pool" in ast.unparse(function).lower()


def _command_classes(tree: ast.Module) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(class, start method, tests) of the tests that run scripts which use a Pool."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in classes.values():
        method = _constant(node, "start_method")
        if method:
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            family = [node, *(classes[name] for name in bases if name in classes)]
            yield node.name, method, tuple(f.name for member in family for f in _functions(member))


def _functions(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name.startswith("test")]


def _constant(node: ast.ClassDef, name: str):
    for item in node.body:
        if isinstance(item, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in item.targets):
            return ast.literal_eval(item.value)
    return None
