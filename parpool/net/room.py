"""Room for file descriptors: ZeroMQ ends its process where it gets none for a connection that comes in."""

from __future__ import annotations

import os


def check_room(n: int) -> None:
    """Raise OSError where this process could not open ``n`` more files now."""
    if os.name != "posix":  # sockets are not counted with files there
        return
    fds: list[int] = []
    try:
        fds.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        for _ in range(n - 1):
            fds.append(os.dup(fds[0]))
    except OSError as error:
        needed = f"{error.strerror}: there must be {n} to spare, and there are {len(fds)} (see ulimit -n)"
        raise OSError(error.errno, needed) from None
    finally:
        for fd in fds:
            os.close(fd)
