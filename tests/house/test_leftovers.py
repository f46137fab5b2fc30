"""The check in conftest.py that tests leave nothing behind does find what they leave, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
PYPROJECT = CONFTEST.parents[1] / "pyproject.toml"

TESTS = """
import multiprocessing as mp, os, signal, subprocess, sys, tempfile, threading, time
import pytest

kept = []

def keep(thing):
    kept.append(thing)
    return thing

def test_process():
    keep(subprocess.Popen(["sleep", "9"]))

def test_process_not_waited_for():
    os.kill(keep(subprocess.Popen(["sleep", "9"])).pid, signal.SIGKILL)

def test_orphan():
    subprocess.run(["sh", "-c", "sleep 9 &"], check=True)

def test_thread():
    threading.Thread(target=time.sleep, args=(9,), name="sleeper", daemon=True).start()

def test_file():
    os.mkdir(os.path.join(tempfile.gettempdir(), "parpool-x"))

def test_fd():
    keep(os.pipe())

@pytest.fixture(scope="module")
def of_module():
    keep(os.open("/", os.O_RDONLY))

def test_clean():
    pass

@pytest.mark.leaves_fds("because")
@pytest.mark.leaves_threads("because")
def test_exempt():
    keep(os.pipe())
    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()

def test_clean_settles():
    threading.Thread(target=time.sleep, args=(0.2,)).start()

@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_clean_multiprocessing(method):
    context = mp.get_context(method)
    keep(context.Value("i"))
    context.Lock()
    with context.Pool(1) as pool:
        assert pool.apply(abs, (-1,)) == 1
    pool.join()

def test_clean_of_clusters_of_the_user():
    from parpool.net import address
    assert str(address.root()).startswith(tempfile.gettempdir()) and address.default_profile() == "default"

def test_clean_other_peoples_files():
    tempfile.mkdtemp(prefix="other-")

@pytest.fixture(scope="module")
def session():
    from parpool.shm.session import Session
    made = Session()
    yield made
    made.close()

def test_clean_session(session):
    pass

def test_clean_session_still_has_its_lock(session):
    subprocess.run([sys.executable, "-c", "from parpool.shm import session; session.sweep()"], check=True)
    assert os.path.exists(session.folder)

def test_clean_but_last_of_module(of_module):
    pass
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="processes and fds are looked up in /proc")
def test_each_kind_of_leftover_is_found(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text().replace("SETTLE = 2.0", "SETTLE = 0.5"))
    shutil.copy(PYPROJECT, tmp_path)
    (tmp_path / "test_them.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_them.py"]
    environment = {**os.environ, "PARPOOL_DIR": "/of/the/user", "PARPOOL_PROFILE": "theirs"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)

    errors = re.findall(r"ERROR at teardown of (\w+) _+\n(.*)", done.stdout)
    found = {name: re.sub(r"(/\S*)/|\d+", "", message) for name, message in errors}
    assert found == {
        "test_process": "left behind: process  (sleep )",
        "test_process_not_waited_for": "left behind: process  (ended, but not waited for)",
        "test_orphan": "left behind: process  (sleep )",
        "test_thread": "left behind: thread 'sleeper'",
        "test_file": "left behind: file parpool-x",
        "test_fd": "left behind: fd  on pipe:[]; fd  on pipe:[]",
        "test_clean_but_last_of_module": "left behind: fd  on /",
    }, done.stdout
    assert " failed" not in done.stdout
