"""An IPython shell on an engine: what ``execute`` and ``%px`` run there is a cell, with all that a prompt has.

Magics, ``!commands``, ``name?``, ``In`` and ``Out``, pictures. Only an engine that is to host one imports this module,
and only this module and the prompt's need IPython.

The shell runs in the engine's own namespace and thread, and writes through the engine's capture. It opens no database for
its history, makes no folders, and does not read the user's configuration, which may not be there.
"""

# IPython's decorators have no types, and its classes too few.
# mypy: allow-untyped-calls, allow-untyped-decorators, allow-untyped-defs, allow-subclassing-any

from __future__ import annotations

import builtins
import codecs
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from IPython.core.completer import provisionalcompleter, rectify_completions
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.profiledir import ProfileDir
from traitlets import Type, observe
from traitlets.config import Config

from ..wire import failure
from ..wire.messages import DISPLAYED
from . import verbs
from .namespace import Namespace
from .output import Capture
from .represent import plain

_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())
_IPYTHON = "IPython.core.interactiveshell"


def host(namespace: Namespace, capture: Callable[[], Capture | None]) -> Shell:
    """Host a shell in this process from now on: the code of ``execute`` is run by it.

    ``capture`` gives what catches the output of tasks, when there is something to show.
    """
    main = sys.modules["__main__"]
    # Made for what writes in there as a shell is made; nothing is kept there.
    with tempfile.TemporaryDirectory(prefix="parpool-shell-") as folder:
        shell = Shell.instance(
            config=Config(HistoryManager={"enabled": False}),
            ipython_dir=folder,
            profile_dir=NoProfile(location=os.path.join(folder, "profile")),
            user_module=main if vars(main) is namespace.names else None,  # of spawned engines, it is another dict
            user_ns=namespace.names,
        )
    sys.modules["__main__"] = main
    shell.db = {}
    shell.ipython_dir = os.environ.get("IPYTHONDIR") or os.path.expanduser("~/.ipython")
    shell.profile_dir = NoProfile(location=os.path.join(shell.ipython_dir, "profile_default"))
    shell.explain, shell.capture = namespace.explain, capture
    # What matplotlib draws goes home, as by %matplotlib inline, unless somebody has chosen otherwise.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    warnings.filterwarnings("ignore", "To exit: use")  # of SystemExit, which is a cell's error here
    failure.told = shell.told
    verbs.shell = shell
    verbs.remember()
    return shell


class NoProfile(ProfileDir):
    """The name of a folder, which is not made."""

    @observe("location")
    def _location_changed(self, change: Any) -> None:
        pass


class Hook(DisplayHook):
    """What becomes of the value of a last expression."""

    def write_output_prompt(self) -> None:
        """Nothing: who shows it knows its number."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        """Keep it for the one who runs the cell; one before it, where all expressions are shown, goes home at once."""
        shell: Any = self.shell
        if shell.values:
            shell.display_pub.publish(*shell.values.pop())
        shell.values.append((format_dict, md_dict or {}))


class Publisher(DisplayPublisher):
    """What becomes of what is displayed while a cell runs: pictures, tables, and so on."""

    def publish(
        self, data: Any, metadata: Any = None, *args: Any, transient: Any = None, update: bool = False, **rest: Any
    ) -> None:
        """Send it home."""
        kind = "update_display_data" if update else "display_data"
        about = {"metadata": metadata or {}, "transient": transient or {}}
        self._send({"output_type": kind, "data": _bundle(data), **about})

    def clear_output(self, wait: bool = False) -> None:
        """Have what was shown so far taken away."""
        self._send({"output_type": "clear_output", "wait": wait})

    def _send(self, message: dict[str, Any]) -> None:
        shell: Any = self.shell
        capture = shell.capture()
        task = -1 if capture is None else capture.catching()
        if task >= 0:
            capture.keep(task, DISPLAYED, json.dumps(message, default=repr) + "\n", True)
        elif text := message.get("data", {}).get("text/plain"):  # of no view's task
            print(text)


class Shell(InteractiveShell):
    """The shell of an engine."""

    displayhook_class = Type(Hook)
    display_pub_class = Type(Publisher)

    values: list[tuple[dict[str, Any], dict[str, Any]]]  #: of the last expression, by mime type, and its metadata
    explain: Callable[[NameError], None]  #: has a NameError say what to do
    capture: Callable[[], Capture | None]
    _failed: tuple[BaseException, str] | None = None  #: the last error of a cell, and how it is told
    _text = ""  #: how the error of this cell is told

    def __init__(self, **options: Any) -> None:
        self.values = []
        super().__init__(colors="nocolor", **options)
        self.Completer.use_jedi = False  # it would be loaded by each engine, and guesses what is here to look at
        self.set_hook("show_in_pager", _print_page, 0)

    @observe("ipython_dir")
    def _ipython_dir_changed(self, change: Any) -> None:
        """No folder is made."""

    def init_virtualenv(self) -> None:
        """Nothing: an engine has the interpreter that it was started with."""

    def execute(self, code: str, silent: bool) -> verbs.Executed:
        """Run a cell. Raises what it raises."""
        number, self._text = self.execution_count, ""
        self.values.clear()
        result = self.run_cell(code, store_history=not silent, silent=silent)
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            self._failed = error, self._text
            raise error.with_traceback(_of_the_cell(error))
        if not self.values:
            return verbs.Executed(code, number)
        data, about = self.values.pop()
        data = _bundle(data)
        return verbs.Executed(code, number, data.pop("text/plain", None), data, metadata=about)

    def told(self, error: BaseException) -> str | None:
        """How an error of a cell is told; None where it is none."""
        return self._failed[1] or None if self._failed is not None and self._failed[0] is error else None

    def completions(self, line: str) -> tuple[str, list[str]]:
        """The end of a line that is to be completed, and what may stand in its place."""
        with self.builtin_trap, provisionalcompleter():
            matches = list(rectify_completions(line, self.Completer.completions(line, len(line))))
        return (line[matches[0].start :], [match.text for match in matches]) if matches else ("", [])

    def own_names(self) -> set[str]:
        """The names in the namespace that are the shell's."""
        counted = {f"{stem}{number}" for stem in ("_", "_i") for number in range(self.execution_count + 1)}
        return counted | {"_", "__", "___", "_i", "_ii", "_iii", "_exit_code", *self.user_ns_hidden}

    def clear(self) -> None:
        """Let go of the values that were shown."""
        self.user_ns["_oh"].clear()
        for name in [name for name in self.user_ns_hidden if name.startswith("_") and name[1:].isdigit()]:
            del self.user_ns_hidden[name]
        unders = dict.fromkeys(("_", "__", "___"), "")
        vars(self.displayhook).update(unders)
        self.push(unders, interactive=False)  # else they count as the user's
        self.values.clear()

    def ask_exit(self) -> None:
        """Not by what is typed: others may have tasks here."""
        raise UsageError("an engine is not ended from within: shutdown() of the client ends it")

    def enable_gui(self, gui: str | None = None) -> None:
        """Nothing for ``%matplotlib inline``, and no windows."""
        if gui is not None:
            raise UsageError(f"an engine opens no windows by {gui}: %matplotlib inline brings pictures home")

    # -- errors -----------------------------------------------------------------------------------------------

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **options: Any) -> None:
        """Of a cell's error, note how it is told; print any other."""
        error = (exc_tuple or sys.exc_info())[1]
        if isinstance(error, NameError):
            self.explain(error)
        chain: dict[int, BaseException] = {}
        each = error
        while each is not None and id(each) not in chain:
            chain[id(each)] = each
            _end_where_it_was_interrupted(each.__traceback__)
            each = each.__context__
        # Of groups, IPython would print what Python says. That is said anyway where it says nothing.
        if not isinstance(error, _GROUP) or not self._is_new(error):
            super().showtraceback(exc_tuple, *args, **options)

    def show_usage_error(self, exc: Any) -> None:
        """One line, without a traceback."""
        self._tell(exc, f"UsageError: {exc}")

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        self._tell(evalue, self.InteractiveTB.stb2text(stb))

    def _tell(self, error: BaseException, text: str) -> None:
        if self._is_new(error):
            self._text = text.strip("\n") + "\n"
        else:
            print(text)

    def _is_new(self, error: BaseException | None) -> bool:
        """Is it what ends this cell? Not one of a cell before, by %tb, nor one that the cell has caught itself."""
        if error is None or error.__traceback__ is None or (self._failed is not None and self._failed[0] is error):
            return False
        return error.__traceback__.tb_frame.f_globals.get("__name__") == _IPYTHON

    # -- commands ---------------------------------------------------------------------------------------------

    def system_piped(self, cmd: str) -> None:
        """Run a command of the system; what it prints is printed as it comes. It ends with the cell at the latest."""
        if cmd.rstrip().endswith("&"):
            raise OSError("a command on an engine cannot go on in the background")
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        command = subprocess.Popen(
            self.var_expand(cmd, depth=1),
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert command.stdout is not None
        try:
            with command.stdout as pipe:
                while piece := os.read(pipe.fileno(), 1 << 16):
                    print(decoder.decode(piece), end="", flush=True)
            self.user_ns["_exit_code"] = command.wait()
        except BaseException:
            if command.returncode is None:  # it was not waited for, so the number is still its own
                os.killpg(command.pid, signal.SIGKILL)
                command.wait()
            raise
        if command.returncode and getattr(self, "system_raise_on_error", False):  # IPython 9
            raise subprocess.CalledProcessError(command.returncode, cmd)

    system = system_piped


def _end_where_it_was_interrupted(trace: Any) -> None:
    """Leave out the engine's own frames at the end of a traceback: those of the handler of a signal."""
    last = trace
    while trace is not None:
        if not trace.tb_frame.f_globals.get("__name__", "").startswith("parpool.engine."):
            last = trace
        trace = trace.tb_next
    if last is not None:
        last.tb_next = None


def _bundle(data: dict[str, Any]) -> dict[str, Any]:
    """Of representations by mime type, those that any client can open."""
    bundle = {}
    for mime, each in data.items():
        with suppress(TypeError, ValueError):  # of what json does not know
            if (shown := plain(mime, each)) is not None:
                bundle[mime] = shown
    return bundle


def _of_the_cell(error: BaseException) -> Any:
    """The traceback without IPython's own first frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("IPython."):
        trace = trace.tb_next
    return trace


def _print_page(shell: Any, data: Any, start: int = 0, screen_lines: int = 0, **rest: Any) -> None:
    """There is nobody to turn pages."""
    print(data["text/plain"] if isinstance(data, dict) else data)
