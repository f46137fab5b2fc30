"""What runs on another machine for a launcher: ``python -m parpool.launch.keeper``, at the other end of an ssh.

It is asked line by line on its standard input, and answers on its standard output. Everything goes that way, so nothing
secret stands on a command line or in an environment that others may read. It has a folder of its own, for its owner
only, for the files that the processes need and for their logs.

When nobody asks any more, because the launcher is done, or has crashed, or the line is cut, it stays until the processes
have ended, and removes the folder.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import ParpoolError
from ..options import cpu_count
from .launcher import Site, State
from .process import ProcessLauncher

MARK = "parpool-keeper "  #: what is ours in the output: a shell's startup files may print, too
MODE = 0o600
LONGEST = 64 * 1024  #: how much of a log is sent, from its end


class Keeper:
    """Does what it is asked: each public method is an order, and gives its answer."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="parpool-ssh-"))  # of mode 0700
        self._launcher: ProcessLauncher | None = None

    @property
    def launcher(self) -> ProcessLauncher:
        """Who does the work."""
        if self._launcher is None:
            raise ParpoolError("it has not been told where the processes work")
        return self._launcher

    def hello(self) -> Any:
        """Who answers."""
        return {"version": __version__, "python": platform.python_version(), "cpus": cpu_count()}

    def prepare(self, environment: dict[str, str], folder: str | None, files: dict[str, str], label: str) -> Any:
        """The surroundings of the processes; the contents of the files come by the names in command lines."""
        paths = {}
        for number, (name, content) in enumerate(files.items()):
            paths[name] = self._folder / f"file-{number}"
            with open(os.open(paths[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as file:
                file.write(base64.b64decode(content))
        where = Path(folder).expanduser() if folder else Path.home()
        self._launcher = ProcessLauncher(Site(self._folder, environment, where, paths, label))

    def start(self, argv: list[str], n: int, first: int) -> Any:
        """Start them, with names numbered from ``first``; gives the record of all."""
        self.launcher.names.next = first
        names = self.launcher.start(argv, n)
        return {"names": names, **self.launcher.record()}

    def poll(self) -> Any:
        """Of those that have ended how, and the exit code; None for the others."""
        states = self.launcher.poll()
        return {name: [state.words, state.code] if state.ended else None for name, state in states.items()}

    def signal(self, signame: str, names: list[str]) -> Any:
        """Send it, by its name: the numbers differ between systems."""
        self.launcher.signal(getattr(signal, signame), names)

    def stop(self, names: list[str], patience: float) -> Any:
        """End them, and forget them; says how they ended, and the exit codes.

        Those that it has forgotten already are fine: the answer of that time may have come too late.
        """
        known = self.launcher.poll()
        ended = self.launcher.stop([name for name in names if name in known], patience)
        states = {name: ended.get(name, State("ended", "it was stopped before")) for name in names}
        return {name: [state.words, state.code] for name, state in states.items()}

    def log(self, name: str) -> Any:
        """The end of a log, as it is."""
        path = self.launcher.site.log(name)
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LONGEST))
            return base64.b64encode(file.read()).decode()

    def adopt(self, record: dict[str, Any]) -> Any:
        """Take over from a keeper whose line was cut."""
        self.launcher.adopt(record)

    def close(self) -> None:
        """Wait for the processes, and leave nothing behind."""
        try:
            if self._launcher is not None:
                self._launcher.wait()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def main() -> None:
    """Answer until the input ends."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    keeper = Keeper()
    try:
        for line in sys.stdin:
            number, order, arguments = json.loads(line)
            reply: list[Any]
            try:
                reply = [number, True, getattr(keeper, order)(**arguments)]
            except (ParpoolError, OSError, KeyError, ValueError) as error:
                reply = [number, False, str(error.args[0] if isinstance(error, KeyError) else error)]
            print(MARK + json.dumps(reply), flush=True)
    except OSError:  # nobody reads the answers
        pass
    finally:
        sys.stdout = None  # a flush at the end would find nobody, too
        keeper.close()


if __name__ == "__main__":
    main()
