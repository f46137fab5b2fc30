"""What a client remembers is bounded."""

from __future__ import annotations

import pytest

from parpool import Pool
from parpool.client import records


def say(text: str) -> None:
    print(text)


def test_what_nobody_reads_of_what_was_printed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "KEPT_BYTES", 100_000)
    with Pool(1) as pool:
        rc = pool.client
        for _ in range(30):
            rc[0].apply_async(say, "x" * 20_000).wait()
        kept = [result for id in rc._records if (result := rc._records.get(id)) is not None]
        assert kept and sum(len(result.stdout) for result in kept) <= 120_000
        monkeypatch.setattr(records, "KEPT", 8)
        for _ in range(100):
            rc[0].apply_async(say, "x").wait()
        assert len(rc.history) <= 17
    pool.join()
