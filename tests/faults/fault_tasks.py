"""What the engines of these tests run. (They import it: it must need nothing.)"""

import ctypes
import os
import re
import time
from typing import Any


def note(path: str, what: Any) -> None:
    """Append a line, whole or not at all."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, b"%s\n" % str(what).encode())
    finally:
        os.close(fd)


def noted(path: str, number: int, seconds: float = 0.0) -> int:
    """Say that this number runs, and give it."""
    note(path, number)
    if seconds:
        time.sleep(seconds)
    return number


def noted_busily(path: str, number: int, seconds: float) -> int:
    """The same, and be busy for so long."""
    note(path, number)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return number


def noted_array(path: str, number: int, array: Any) -> Any:
    """The same, with something large there and back."""
    note(path, number)
    array[0] = number
    return array


def wait_for(path: str, number: int = 0, seconds: float = 60.0) -> int:
    """Say that this runs, and go on when there is a file of that name with ``.go`` behind it."""
    note(path, number)
    deadline = time.monotonic() + seconds
    while not os.path.exists(path + ".go"):
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.005)
    return number


def my_pid() -> int:
    """The engine's process."""
    return os.getpid()


def hold_the_lock(seconds: int) -> int:
    """Sleep in C with the interpreter's lock in hand."""
    ctypes.PyDLL(None).sleep(seconds)
    return seconds


def compute_with_the_lock(seconds: float) -> int:
    """Be in one C function, which never lets go of the interpreter's lock, for so long at least."""
    began = time.monotonic()
    length = 20
    while True:  # until one of them alone has taken long enough: its time doubles with each more
        start = time.monotonic()
        re.match("(a|a)*b", "a" * length)
        if time.monotonic() - start > seconds or time.monotonic() - began > 10 * seconds:
            return length
        length += 1


def both_noted(everything: str, path: str, number: int) -> int:
    """Note a number in two files, and be busy in between."""
    noted_busily(everything, number, 0.002)
    return noted(path, number)


def appended_and_noted(path: str, number: int) -> int:
    """Note a number, and append it to a list in the engine's process; gives how long that is."""
    noted_busily(path, number, 0.0002)
    _list.append(number)
    return len(_list)


def appended() -> list[int]:
    """The list."""
    return _list


_list: list[int] = []


def add(*numbers: int) -> int:
    """The sum."""
    return sum(numbers)


def divide(one: int, other: int) -> float:
    """The quotient."""
    return one / other


def length_of(data: Any) -> int:
    """How long it is."""
    return len(data)


def large_when_let_go(path: str, number: int) -> Any:
    """The same, and something large comes of it."""
    wait_for(path, number)
    return bytes([number]) * 3_000_000


def large(number: int) -> Any:
    """Something large."""
    return bytes([number]) * 3_000_000


def end_of_engine() -> None:
    """As the kernel ends a process."""
    os.kill(os.getpid(), 9)
