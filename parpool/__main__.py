"""``python -m parpool script.py args…``: run a script, or a module, with parpool's Pool in place of multiprocessing's.

``python -m parpool start`` and the like are commands of the command line (`parpool.cli`). The script finds ``__main__``,
``sys.argv`` and ``sys.path`` as plain Python gives them, and ends with the same status.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import pkgutil
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any

#: The commands of `parpool.cli`: their names stand here, too, so that a script is run without it.
COMMANDS = ("run", "start", "stop", "status", "list", "controller", "hub", "engine")


def main(argv: list[str] | None = None, prog: str = "python -m parpool") -> None:
    """Parse the options, patch, and become the script."""
    parser = argparse.ArgumentParser(
        prog=prog,
        usage="%(prog)s [options] (script.py | -m module) [args ...]",
        description="Run a script with parpool's Pool in the place of multiprocessing's.",
        epilog=f"Commands, each with its own --help: {', '.join(COMMANDS)}.",
    )
    parser.add_argument("-m", dest="module", action="store_true", help="what follows is a module, as for python -m")
    parser.add_argument("--retries", type=int, help="runs that a task may have again when its engine dies (default: 0)")
    parser.add_argument("--task-timeout", type=float, metavar="SECONDS", help="how long a call may run (default: any)")
    parser.add_argument("--progress", action="store_true", help="show a bar for each map")
    parser.add_argument("--serializer", choices=("cloudpickle", "dill"), help="for functions that go by value")
    parser.add_argument("--version", action="store_true", help="print the version and end")
    parser.add_argument("script", nargs="?", help="path of the script, or name of the module")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args(argv)
    if options.version:
        from . import __version__

        print(f"parpool {__version__}")
        return
    if not options.script:
        parser.error("no script was given")
    defaults: dict[str, Any] = {
        name: value
        for name in ("retries", "task_timeout", "progress", "serializer")
        if (value := getattr(options, name)) not in (None, False)
    }
    try:
        module, code = (_load_module if options.module else _load_script)(options.script)
    except (OSError, ImportError) as error:
        parser.exit(2, f"{parser.prog}: can't run {options.script!r}: {error}\n")
    from .patching import patch

    patch(**defaults)
    sys.argv[:] = [str(module.__file__) if options.module else options.script, *options.args]
    _become(module, code)


def _load_script(path: str) -> tuple[ModuleType, CodeType]:
    """The script as the module ``__main__``; of a folder or zip file, the ``__main__`` in it."""
    finder = pkgutil.get_importer(path)
    if finder is not None and (os.path.isdir(path) or os.path.isfile(path)):
        sys.path[0] = path
        return _load_spec(finder.find_spec("__main__"), f"there is no __main__ in {path}")
    absolute = os.path.abspath(path)
    with io.open_code(absolute) as file:
        code = pkgutil.read_code(file)
        loader: Any = SourcelessFileLoader("__main__", absolute)
        if code is None:  # not compiled
            file.seek(0)
            code = compile(file.read(), absolute, "exec", dont_inherit=True)
            loader = SourceFileLoader("__main__", absolute)
    module = ModuleType("__main__")
    module.__file__ = absolute
    module.__loader__ = loader
    vars(module)["__cached__"] = None
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    return module, code


def _load_module(name: str) -> tuple[ModuleType, CodeType]:
    """The module, or the ``__main__`` of the package, as the module ``__main__``."""
    sys.path[0] = os.getcwd()
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name += ".__main__"
        spec = importlib.util.find_spec(name)
    return _load_spec(spec, f"no module named {name}")


def _load_spec(spec: ModuleSpec | None, otherwise: str) -> tuple[ModuleType, CodeType]:
    if spec is None or spec.loader is None:
        raise ImportError(otherwise)
    loader: Any = spec.loader
    code = loader.get_code(spec.name)
    if code is None:
        raise ImportError(f"no code object available for {spec.name}")
    module = importlib.util.module_from_spec(spec)
    module.__name__ = "__main__"
    return module, code


def _become(module: ModuleType, code: CodeType) -> None:
    # multiprocessing, pickle and the engines look for ``__main__`` in sys.modules. Our own is kept: a module that is
    # dropped loses its globals, and this function is one of them.
    _kept.append(sys.modules["__main__"])
    sys.modules["__main__"] = module
    if "__mp_main__" in sys.modules:  # multiprocessing's name for it, under which spawned engines know their classes
        sys.modules["__mp_main__"] = module
    try:
        exec(code, module.__dict__)
    except SystemExit:
        raise
    except BaseException:
        hook = sys.excepthook

        def without_us(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
            while tb is not None and tb.tb_frame.f_code is not code:
                tb = tb.tb_next
            hook(kind, error.with_traceback(tb), tb)

        sys.excepthook = without_us
        raise


_kept: list[ModuleType] = []

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:  # a script of that name is ./start, or start.py
        from .cli import main as command

        command(prog="python -m parpool")
    else:
        main()
