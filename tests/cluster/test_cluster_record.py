"""What is written down of a cluster, and names for those that have none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parpool.cluster import record
from parpool.errors import ConnectionFileError, ParpoolError
from parpool.launch.process import birth
from parpool.net import address

CONTENT = {"controller": {"argv": ["x"]}, "engines": None}


def test_it_says_who_looks_after_the_cluster(tmp_path: Path) -> None:
    assert record.read(tmp_path) is None
    record.write(tmp_path, CONTENT)
    assert (tmp_path / "cluster.json").stat().st_mode & 0o777 == 0o600
    found = record.read(tmp_path)
    assert found is not None and found["pid"] == os.getpid() and found.items() >= CONTENT.items()
    assert record.keeper(found).startswith(f"process {os.getpid()} on ")
    assert record.keeper({**found, "birth": "long ago"}) == "", "another process has its number now"
    assert record.keeper({**found, "birth": "long ago", "hostname": "elsewhere"}), "that cannot be told from here"


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"pid": 1}', "\xff"])
def test_what_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConnectionFileError, match="cluster.json .*: remove it"):
        record.read(tmp_path)


def gone() -> dict[str, object]:
    """The process of a record that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    about = {"pid": process.pid, "birth": birth(process.pid)}
    process.communicate()
    return about


def test_one_process_takes_over_and_no_other(tmp_path: Path) -> None:
    with pytest.raises(ParpoolError, match="another process has just taken over, or ended,"):
        record.claim(tmp_path)
    record.write(tmp_path, CONTENT)
    with pytest.raises(ParpoolError, match=f"process {os.getpid()} on .* looks after"):
        record.claim(tmp_path)
    record.write(tmp_path, {**CONTENT, **gone()})
    assert record.claim(tmp_path).items() >= CONTENT.items()
    with pytest.raises(ParpoolError, match="another process has just taken over, or ended,"):
        record.claim(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_names_are_made_up_and_swept(folder: Path) -> None:
    names = {record.made_up() for _ in range(50)}
    assert len(names) == 50
    old, running, young, *_ = names
    for name in (old, running, young, "mine"):
        path = address.cluster_folder(None, name)
        address.make_folder(path / "log")
        if name != young:
            os.utime(path, (time.time() - 8 * 86400,) * 2)
    lock = address.ControllerLock(address.cluster_folder(None, running))
    os.utime(address.cluster_folder(None, running), (time.time() - 8 * 86400,) * 2)
    record.sweep("default")
    assert {each.name for each in address.clusters()} == {running, young, "mine"}
    lock.release()


def test_a_controller_that_ends_for_good_leaves_no_state(tmp_path: Path) -> None:
    assert record.over(tmp_path)
    (tmp_path / "controller.json").write_text(json.dumps({}))
    assert not record.over(tmp_path)
