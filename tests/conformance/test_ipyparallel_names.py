"""Every public name of ipyparallel is in ``parpool.compat.ipyparallel``, or docs/migrating/ipyparallel.md tells what instead.

Only where ipyparallel is installed: `tox -e ipyparallel`.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import parpool.compat.ipyparallel as ipp
import pytest
from rows import warm_pool

PAGE = Path(__file__).parents[2] / "docs" / "migrating" / "ipyparallel.md"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ipyparallel") is None, reason="ipyparallel is not installed: tox -e ipyparallel"
)

#: Run where nothing of ours is: the names of the package, of its modules that scripts import, and of its classes.
THEIRS = """
import importlib, json, types, ipyparallel
from traitlets.config import LoggingConfigurable

found = {"": [name for name in vars(ipyparallel) if not isinstance(getattr(ipyparallel, name), types.ModuleType)]}
for module in ("client.asyncresult", "client.client", "client.remotefunction", "client.view", "error", "joblib"):
    there = importlib.import_module("ipyparallel." + module)
    found[module] = getattr(there, "__all__", None) or [
        name for name in vars(there) if getattr(getattr(there, name), "__module__", "") == there.__name__
    ]
known = set(dir(LoggingConfigurable))
classes = "Client DirectView BroadcastView LoadBalancedView AsyncResult AsyncMapResult Cluster CompositeError Dependency"
for name in classes.split():
    found["." + name] = sorted(set(dir(getattr(ipyparallel, name))) - known)
print(json.dumps({where: [name for name in names if name[0] != "_"] for where, names in found.items()}))
"""


@pytest.fixture(scope="module")
def theirs() -> dict[str, list[str]]:
    command = [sys.executable, "-W", "ignore", "-c", THEIRS]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, list[str]] = json.loads(told.stdout)
    return found


@pytest.fixture(scope="module")
def ours() -> Iterator[dict[str, Any]]:
    """What stands for each."""
    with warm_pool(1) as pool:
        rc = ipp.Client(pool.client)
        yield {
            "": ipp,
            ".Client": rc,
            ".DirectView": rc[:],
            ".BroadcastView": rc.broadcast_view(),
            ".LoadBalancedView": rc.load_balanced_view(),
            ".AsyncResult": rc[0].apply_async(abs, -1),
            ".AsyncMapResult": rc[:].map_async(abs, [-1]),
            ".Cluster": ipp.Cluster(n=1),
            ".CompositeError": ipp.CompositeError("one", [("E", "", "", {})]),
            ".Dependency": ipp.Dependency([]),
        }


def test_every_name_is_there_or_on_the_page(theirs: dict[str, list[str]], ours: dict[str, Any]) -> None:
    explained = set(re.findall(r"\w+", PAGE.read_text(encoding="utf-8")))
    missing = {}
    for where, names in theirs.items():
        there = ours[where] if where in ours else importlib.import_module(f"parpool.compat.ipyparallel.{where}")
        missing[where] = {name for name in names if not hasattr(there, name)}
        assert len(names) > len(missing[where]), where
    assert {where: found for where, names in missing.items() if (found := names - explained)} == {}
