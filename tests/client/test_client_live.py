"""Lines of several engines, as they come."""

from __future__ import annotations

import pytest

from parpool.client.live import Lines


def test_a_line_that_is_written_anew_is_tagged_anew(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(lambda engine, stream: f"[{engine}] ")
    for engine, text in (
        (0, "\r 0%"),
        (0, "\r50%"),
        (1, "\r 0%\r"),
        (1, "70%"),
        (0, "\r99%\n"),
        (1, "\r\r99%\r"),
        (1, "\n"),
        (1, "a\r\n\r\nb"),
    ):
        lines.write(engine, 2, text)
    lines.end()
    assert capsys.readouterr().err == (
        "\r[0]  0%\r[0] 50%\n\r[1]  0%\r[1] 70%\n\r[0] 99%\n\r\r[1] 99%\r\n[1] a\r\n[1] \r\n[1] b\n"
    )
