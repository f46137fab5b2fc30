"""A test whose server is not there says so, and where the servers are required, it fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "launch"))

import servers  # noqa: E402  # it lies beside the tests of launchers


@pytest.mark.parametrize(
    ("required", "outcome"), [("required", pytest.fail.Exception), ("", pytest.skip.Exception)], ids=["yes", "no"]
)
def test_a_server_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, required: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setitem(servers.PACKAGES, "parpool-no-such-program", "its-package")
    monkeypatch.setenv("PARPOOL_SERVERS", required)
    servers.need()
    with pytest.raises(outcome, match=r"its-package.*servers\.py install"):
        servers.need("parpool-no-such-program")
