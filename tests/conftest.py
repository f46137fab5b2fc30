"""Every test cleans up after itself: what it leaves behind fails it.

Before a test, and before each module's own fixtures, note what is there; afterwards look for more. Much ends a
moment after the call that ends it, so whatever is found is given some time to go. A test that must leave something
says what, and why:

    @pytest.mark.leaves_threads("the C library keeps its timer thread")
"""

import gc
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest

SETTLE = 2.0  # seconds until what is still there is a leftover
PROC = Path("/proc") if Path("/proc/self/stat").exists() else None  # elsewhere processes and fds go unchecked

# Engines share the cores with hypothesis: how long one example takes says nothing.
hypothesis.settings.register_profile("parpool", deadline=None)
hypothesis.settings.load_profile("parpool")


# The run -------------------------------------------------------------------------------------------

# In the environment of every program that the tests start, so that one whose parent is gone is still known as ours.
MARK = ("PARPOOL_TESTS", uuid.uuid4().hex)


def pytest_configure(config: pytest.Config) -> None:
    """Mark what we start, and give it folders of its own: other runs of parpool are not our leftovers."""
    os.environ.update([MARK])
    shared = tempfile.gettempdir()
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", shared)  # pytest keeps the last tmp_paths to look into; let it
    os.environ["TMPDIR"] = tempfile.tempdir = folder = tempfile.mkdtemp(prefix="pt-", dir=shared)
    memory = tempfile.mkdtemp(prefix="pt-", dir="/dev/shm") if os.access("/dev/shm", os.W_OK) else folder
    os.environ["PARPOOL_RUNTIME_DIR"] = memory
    os.environ["PARPOOL_DIR"] = os.path.join(folder, "data")  # no test meets the clusters of who runs it
    os.environ.pop("PARPOOL_PROFILE", None)
    # After multiprocessing's own finalizers, the last of which (-100) looks for its files in there.
    for each in {folder, memory}:
        multiprocessing.util.Finalize(None, shutil.rmtree, args=(each, True), exitpriority=-200)


#: Folders and files whose tests are about processes, servers and the network, about rules without any of these, or about
#: the project's own files, and not about what an interpreter does.
ONCE = (
    "benchmarks",
    "cli",
    "client/test_client_arrays.py",
    "client/test_client_fetched.py",
    "client/test_client_guest.py",
    "client/test_client_leaving.py",
    "client/test_client_limits.py",
    "client/test_client_link.py",
    "client/test_client_mounts.py",
    "client/test_client_near.py",
    "client/test_client_notebook_page.py",
    "client/test_client_standalone.py",
    "client/test_client_stream.py",
    "cluster",
    "compat/test_compat_ipyparallel_clusters.py",
    "compat/test_compat_ipyparallel_shells.py",
    "compat/test_compat_joblib.py",
    "compat/test_compat_joblib_arrays.py",
    "compat/test_compat_multiprocessing.py",
    "core",
    "docs",
    "engine/test_engine_threads.py",
    "examples",
    "faults",
    "host",
    "house",
    "hub",
    "launch",
    "magics/test_magics_options.py",
    "magics/test_magics_page.py",
    "net",
    "schedulers",
    "test_notebook.py",
    "test_prompt.py",
    "test_testing.py",
)


def is_run_once(path: Path) -> bool:
    """Is all of this file or folder run on one interpreter only?"""
    here = Path(__file__).parent
    if not path.is_relative_to(here) or path == here:
        return False
    inner = path.relative_to(here)
    return inner.parts[0] in ONCE or inner.as_posix() in ONCE


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even read what is not to be run: that takes each interpreter as long as a hundred tests."""
    if config.getoption("markexpr") == "not once" and is_run_once(collection_path):
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is run on one interpreter only."""
    once = {path for path in {item.path for item in items} if is_run_once(path)}
    for item in items:
        if item.path in once:
            item.add_marker("once")


# The check ------------------------------------------------------------------------------------------


# A shell lets what it starts in the background ignore Ctrl-C, and nohup the end of the terminal; the tests need both.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="module")
def module_leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the last test of a module whose own fixtures leave something behind."""
    yield from watch(request)


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest, module_leaves_nothing: None) -> Iterator[None]:
    """Fail a test that leaves something behind."""
    yield from watch(request)


def watch(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare what is there before and after."""
    watched = [kind for kind in Things._fields if not request.node.get_closest_marker(f"leaves_{kind}")]
    before = look()
    outer.append(before)
    yield
    outer.pop()
    left = more_than(before)
    if any(left[kind] for kind in watched):
        gc.collect()  # here, not after every test: it takes longer than most of them
        deadline = time.monotonic() + SETTLE
        while any(left[kind] for kind in watched) and time.monotonic() < deadline:
            time.sleep(0.01)
            left = more_than(before)
    for earlier in outer:  # what is reported or allowed here is not to be reported again
        for kind in Things._fields:
            getattr(earlier, kind).update(left[kind])
    if found := [name for kind in watched for name in sorted(left[kind].values())]:
        pytest.fail("left behind: " + "; ".join(found), pytrace=False)


class Things(NamedTuple):
    """What can be left behind, each with its name in words."""

    processes: dict[int, str]
    threads: dict[threading.Thread, str]
    files: dict[str, str]
    fds: dict[int, str]


outer: list[Things] = []  # what was there before the tests and modules that are running now


def look() -> Things:
    """What is there now."""
    return Things(all_processes(), all_threads(), parpool_files(), open_fds())


def more_than(before: Things) -> dict[str, dict[Any, str]]:
    """What is there now and was not before."""
    now = look()
    left = {
        kind: {key: name for key, name in getattr(now, kind).items() if key not in getattr(before, kind)}
        for kind in Things._fields
    }
    left["processes"] = {pid: name for pid in left["processes"] if (name := describe_if_ours(pid))}
    # A file that was closed and opened again may have another number.
    if len(now.fds) <= len(before.fds):
        left["fds"] = {}
    return left


# Where things are -----------------------------------------------------------------------------------


def all_processes() -> dict[int, str]:
    """Every process of the machine, yet without a name: only the few that are new after a test need one."""
    return {int(pid): "" for pid in os.listdir(PROC) if pid.isdecimal()} if PROC else {}


def describe_if_ours(pid: int) -> str | None:
    """Name a process that descends from this one, or that was started by one that did."""
    tracker = getattr(multiprocessing.resource_tracker._resource_tracker, "_pid", None)
    server = getattr(multiprocessing.forkserver._forkserver, "_forkserver_pid", None)
    if pid in (tracker, server):  # these two of multiprocessing stay until the interpreter ends
        return None
    try:
        state, ancestor = process_status(pid)
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
        while ancestor not in (0, os.getpid()):
            ancestor = process_status(ancestor)[1]
        if ancestor == 0 and "=".join(MARK).encode() not in Path(f"/proc/{pid}/environ").read_bytes():
            return None
    except OSError:  # it has ended meanwhile, or is another user's
        return None
    return f"process {pid} ({'ended, but not waited for' if state == 'Z' else command[:100]})"


def process_status(pid: int) -> tuple[str, int]:
    """The state and the parent of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[1])


def all_threads() -> dict[threading.Thread, str]:
    """The threads of this process, except the timer that pytest-timeout has for each test."""
    threads = threading.enumerate()
    return {each: f"thread {each.name!r}" for each in threads if not each.name.startswith("pytest_timeout")}


def parpool_files() -> dict[str, str]:
    """What parpool has put where files are shared: sockets, connection files, shared memory."""
    return {
        entry.path: f"file {entry.path}"
        for folder in {tempfile.gettempdir(), os.environ["PARPOOL_RUNTIME_DIR"]}
        for entry in os.scandir(folder)
        if entry.name.startswith("parpool-") and not of_another(entry.path)
    }


def of_another(folder: str) -> bool:
    """Is it the folder of another process that lives? An engine that joins late makes its own late."""
    session = sys.modules.get("parpool.shm.session")
    if session is not None and (folder in session._living or folder in session._guarded):
        return False  # to close its lock file would drop the lock
    try:
        pid = int(Path(folder, "lock").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return False
    return pid != os.getpid()


def open_fds() -> dict[int, str]:
    """The open file descriptors of this process, except those that multiprocessing keeps until it ends."""
    if not PROC:
        return {}
    kept = {
        getattr(multiprocessing.resource_tracker._resource_tracker, "_fd", None),
        getattr(multiprocessing.forkserver._forkserver, "_forkserver_alive_fd", None),
    }
    fds = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own
            continue
        # Value and Array lie in arenas, files named pym-*, that multiprocessing's heap uses again and again. And a pool
        # of ours that goes on keeps the memory that it shares: when it has ended the file is gone.
        lasting = "/pym-" in target or ("/memory-" in target and not target.endswith("(deleted)"))
        if int(name) not in kept and not lasting:
            fds[int(name)] = f"fd {name} on {target}"
    return fds
