"""The kinds of regions, the best first, and which of them there is in a folder."""

from __future__ import annotations

import os
import stat

from . import files, named
from .files import FileRegion
from .named import NamedRegion
from .region import MOST_SLOTS, Region, read_header

KINDS: tuple[type[Region], ...] = (FileRegion, NamedRegion)


def possible() -> bool:
    """Can there be any, in one folder or another?"""
    return files.possible or named.possible


def kind_for(folder: str) -> type[Region] | None:
    """What regions in a folder can be; None: there can be none."""
    for kind in KINDS:
        if kind.serves(folder):
            return kind
    return None


def open_region(path: str) -> Region:
    """The region that another process has made. Raises OSError where it cannot be had."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise OSError(f"{path} is no region of this user's")
        magic, size, slots = read_header(fd)
        for kind in KINDS:
            if magic == kind.MAGIC and size > 0 and 0 < slots <= MOST_SLOTS:
                return kind.open(path, fd, size, slots)
        raise OSError(f"{path} is no region")
    except BaseException:
        os.close(fd)
        raise
