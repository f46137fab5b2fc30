"""The house rules, read from the source: who imports whom, how large things grow, what is public."""

import ast
import importlib
import inspect
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {  # by the name that they are imported by: "parpool.core.state", and "parpool.core" for its __init__.py
    ".".join(
        ("parpool.compat" if top == "compat" else top, *path.relative_to(ROOT / top).with_suffix("").parts)
    ).removesuffix(".__init__"): path
    for top in ("parpool", "compat")
    for path in sorted((ROOT / top).rglob("*.py"))
}
TREES = {name: ast.parse(path.read_bytes()) for name, path in FILES.items()}

COMPAT = [name for name in FILES if name.startswith("parpool.compat")]

every_module = pytest.mark.parametrize("module", FILES)
every_own_module = pytest.mark.parametrize("module", [name for name in FILES if name not in COMPAT])
every_compat_module = pytest.mark.parametrize("module", COMPAT)


# Who may import whom --------------------------------------------------------------------------------

# Of our own modules, below parpool; a package may always import itself. An import inside a function or under
# TYPE_CHECKING counts, too: whoever needs the types knows the layer.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "status": set(),
    "options": {"errors"},
    "core": {"errors", "status"},
    "wire": {"errors"},
    "shm": {"errors", "options"},
    "net": {"errors", "options", "wire"},
    "engine": {"errors", "status", "options", "wire", "net", "shm"},
    "hub": {"errors", "status", "core.effects", "core.state"},
    "host": {"errors", "status", "options", "core", "wire", "net", "hub", "shm"},
    "launch": {"errors", "options"},
    "client": {"errors", "status", "options", "wire", "net", "shm"},
    # `rc.pool()` gives the face that its users know; loaded when it is called.
    "client.client": {"errors", "status", "options", "wire", "net", "shm", "pool"},
    # It makes the tasks that it hands to the host.
    "client.link": {"errors", "status", "options", "wire", "net", "shm", "core.state"},
    "client.embedded": {"errors", "options", "wire", "net", "host", "shm"},
    "client.control": {"errors", "wire", "net", "host"},  # a part of the link
    # It stands for a host that is elsewhere: its tasks wait for the same outcomes, and are timed alike.
    "client.far": {"errors", "status", "options", "wire", "net", "core.state", "core.effects", "core.credit"},
    "client.orders": {"wire", "core.state", "core.effects"},
    # Among several schedulers a client does what no one of them could, by rules that are as pure.
    "client.fan": {"errors", "status", "wire", "net", "core.state", "core.lots"},
    "client.aside": {"core.state"},
    "client.dealing": {"status", "wire", "core.state", "core.shares", "core.lots", "core.moves", "core.parts"},
    # What no scheduler by itself could wait for waits here, by their rules.
    "client.waiting": {"core.state", "core.graph"},
    "client.near": {"net", "options", "wire", "shm", "core.state"},  # a part of it
    "pool": {"errors", "options", "client", "launch"},
    "default": {"errors", "options", "client", "launch", "pool", "net.address"},
    "context": {"pool"},
    "patching": {"pool"},
    "magics": {"errors", "client", "completing", "magic_options", "tracebacks"},
    "magic_options": {"errors", "client"},
    "tracebacks": {"errors"},
    "completing": {"errors", "client"},
    "testing": {"pool", "cluster"},
    "shared": {"shm", "shared_array"},
    "shared_array": {"shm", "wire"},
    "cli_options": {"options", "launch.choose", "net.address"},
    "cli_found": {"errors", "net.address"},
    "cli_tables": set(),
    "executor": {"errors", "options", "client", "pool"},
    "cluster": {"errors", "options", "client", "launch", "net.address", "net.folder", "net.deaths", "net.wake"},
}

# These put the parts together, so they may import all of ours but compat.
ENTRANCES = {"parpool", "parpool.__main__", "parpool.cli"}

# Of other people's modules, at run time: the brain may name the type of the `rng` that it is given.
MUST_NOT_IMPORT = {
    "core": {"time", "random", "logging", "threading", "os", "pickle"},
    "wire": {"threading"},
}
ONLY_NET_IMPORTS = {"zmq"}


@every_own_module
def test_imports_keep_to_the_layers(module: str) -> None:
    ours = {name for name in imports(module) if within(name, "parpool")}
    assert not {name for name in ours if within(name, "parpool.compat")}
    if module in ENTRANCES:
        return
    layer = module.split(".")[1]
    assert layer in MAY_IMPORT, f"{module} has no row in the table of who may import whom"
    allowed = {layer} | MAY_IMPORT.get(module.removeprefix("parpool."), MAY_IMPORT[layer])
    assert not {name for name in ours if not any(within(name, f"parpool.{each}") for each in allowed)}


@every_module
def test_foreign_imports_keep_to_the_layers(module: str) -> None:
    layer = module.split(".")[1] if "." in module else ""
    forbidden = MUST_NOT_IMPORT.get(layer, set()) | (set() if layer == "net" else ONLY_NET_IMPORTS)
    assert not {name for name in imports(module, for_types=False) if name.split(".")[0] in forbidden}


@every_compat_module
def test_compat_uses_public_names_only(module: str) -> None:
    public = {f"parpool.{name}" for name in importlib.import_module("parpool").__all__}
    public |= {"parpool.patching.patch", "parpool.patching.unpatch"}
    ours = {name for name in imports(module, names=True) if within(name, "parpool")}
    assert not {name for name in ours if name not in public | {"parpool"} and not within(name, "parpool.compat")}


@every_compat_module
def test_compat_looks_at_no_private_attribute(module: str) -> None:
    """But for those of its own classes: what an object is asked for is as public as the names that are imported."""
    own = {name for each in COMPAT for node in ast.walk(TREES[each]) for name in bound_by(node)}
    asked = {
        node.attr
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls", "super()")
    }
    asked |= {
        str(ast.literal_eval(node.args[1]))
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and isinstance(node.args[1], ast.Constant)
    }
    assert not {name for name in asked if name.startswith("_") and not name.endswith("_") and name not in own}


def bound_by(node: ast.AST) -> Iterator[str]:
    """The functions, the names, and the attributes of ``self``, that a node makes."""
    if isinstance(node, FUNCTION):
        yield node.name
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
        yield node.attr


def imports(module: str, names: bool = False, for_types: bool = True) -> Iterator[str]:
    """The modules that a module imports, or the names that it takes out of them."""
    for node in nodes(TREES[module], for_types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = absolute(module, node)
            if source == "parpool" and [alias.name for alias in node.names] == ["__version__"]:
                continue  # no code, and one place to say it
            for alias in node.names:
                name = f"{source}.{alias.name}"
                yield name if names or name in FILES else source


def nodes(node: ast.AST, for_types: bool) -> Iterator[ast.AST]:
    """Like `ast.walk`, but may leave out what stands under TYPE_CHECKING."""
    yield node
    for child in ast.iter_child_nodes(node):
        if for_types or not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield from nodes(child, for_types)


def absolute(module: str, node: ast.ImportFrom) -> str:
    """The full name of the module in a `from ... import`."""
    if not node.level:
        return node.module or ""
    package = module.split(".") if FILES[module].stem == "__init__" else module.split(".")[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])


def within(name: str, package: str) -> bool:
    """Whether `name` is the package or something in it."""
    return name == package or name.startswith(f"{package}.")


# How large things grow ------------------------------------------------------------------------------

LINES = 400
METHODS = 20
MORE_METHODS = {  # each with the public API that asks for them
    "parpool.pool.Pool": "the standard library's Pool",
    "parpool.client.result.AsyncResult": "the standard library's and IPython's AsyncResult, and Future",
    "parpool.client.client.Client": "IPython's Client",
    "parpool.client.contract.Link": "the one seam: every verb of the faces",
    "parpool.client.link.BaseLink": "the one seam: every verb of the faces",
    "parpool.client.view.View": "IPython's views",
    "parpool.client.direct.DirectView": "IPython's DirectView",
    "parpool.client.balanced.LoadBalancedView": "IPython's LoadBalancedView",
    "parpool.compat.ipyparallel.clients.Client": "ipyparallel's Client",
    "parpool.compat.ipyparallel.results.AsyncResult": "ipyparallel's AsyncResult, and Future",
    "parpool.compat.ipyparallel.views.View": "ipyparallel's views",
    "parpool.compat.ipython1.kernel.multiengineclient.MultiEngineClient": "IPython1's MultiEngineClient",
}


@every_module
def test_no_file_is_too_long(module: str) -> None:
    assert len(FILES[module].read_bytes().splitlines()) <= LINES


@every_module
def test_no_class_has_too_many_public_methods(module: str) -> None:
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ClassDef) and f"{module}.{node.name}" not in MORE_METHODS:
            # A set: a property and its setter are one, and so are overloads.
            assert len({each.name for each in functions(node) if is_public(each.name)}) <= METHODS, node.name


@every_module
def test_no_module_is_a_drawer(module: str) -> None:
    assert FILES[module].stem not in {"utils", "util"}, "name it after what it does"


# What is public -------------------------------------------------------------------------------------


def test_every_public_name_is_there() -> None:
    parpool = importlib.import_module("parpool")
    assert parpool.__all__
    assert len(parpool.__all__) == len(set(parpool.__all__))
    for name in parpool.__all__:
        assert getattr(parpool, name) is not None
    assert set(parpool.__all__) <= set(dir(parpool)), "for completion at a prompt"


@every_module
def test_everything_public_has_a_docstring(module: str) -> None:
    def missing() -> Iterator[str]:
        if not ast.get_docstring(TREES[module]):
            yield "the module"
        for node in TREES[module].body:
            if isinstance(node, (ast.ClassDef, *FUNCTION)) and is_public(node.name) and not ast.get_docstring(node):
                if "overload" not in map(ast.unparse, node.decorator_list):  # the function itself has it
                    yield node.name

    assert not list(missing())


def test_every_method_of_the_public_classes_has_a_docstring() -> None:
    parpool = importlib.import_module("parpool")
    classes = {name: thing for name in parpool.__all__ if inspect.isclass(thing := getattr(parpool, name))}
    missing = {
        f"{name}.{attribute}"
        for name, cls in classes.items()
        for attribute, member in vars(cls).items()
        if is_public(attribute)
        and isinstance(member, METHOD)
        and not inspect.getdoc(getattr(cls, attribute))  # getdoc: that of the base class will do
    }
    assert not missing


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
METHOD = (types.FunctionType, property, classmethod, staticmethod)


def is_public(name: str) -> bool:
    """Whether a name is for everybody."""
    return not name.startswith("_")


def functions(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions that a class defines."""
    return (each for each in node.body if isinstance(each, FUNCTION))


# What an import costs -------------------------------------------------------------------------------

HEAVY = {"numpy", "cloudpickle", "asyncio", "dill", "tqdm"}


def test_the_import_stays_light(tmp_path: Path) -> None:
    code = "import sys; before = set(sys.modules); import parpool; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & {name.split(".")[0] for name in done.stdout.split()}
