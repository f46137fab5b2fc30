"""What a figure depends on: the machine and the versions. Never a host's name or a path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path

from contestants import ENTRIES

LIBRARIES = ("pyzmq", "msgspec", "cloudpickle", "numpy")


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cores() -> int:
    """Those this process may use, which containers make fewer than those there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{size / 2**30:.0f} GiB"


def load() -> str:
    try:
        return f"{os.getloadavg()[0]:.1f}"
    except (OSError, AttributeError):
        return "unknown"


def facts() -> dict[str, str]:
    return {
        "processor": f"{processor()}, {cores()} cores, {memory()}",
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "load before the run": load(),
    }


def versions(names: Iterable[str]) -> dict[str, str]:
    """Of the contestants that took part, and of what parpool stands on."""
    found: dict[str, str] = {}
    for name in names:
        entry = ENTRIES[name]
        if entry.distribution and entry.installed():
            found[entry.distribution] = entry.version()
    for library in LIBRARIES:
        try:
            found.setdefault(library, importlib.metadata.version(library))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
