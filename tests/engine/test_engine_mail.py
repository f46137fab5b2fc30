"""What an engine sends, and by which way."""

from __future__ import annotations

from pathlib import Path

import pytest

from parpool.engine.mail import Mail
from parpool.net.lane import Junction, have_lanes
from parpool.net.sockets import Context, have_ipc
from parpool.options import EngineSettings

pytestmark = pytest.mark.skipif(not have_ipc() or not have_lanes(), reason="needs local sockets, and lanes")


def test_its_lane_is_there_before_it_says_that_it_is(tmp_path: Path) -> None:
    """Else its host would not know that it is near."""
    context = Context()
    work = context.router(f"ipc://{tmp_path}/work")
    places = (f"ipc://{tmp_path}/work", f"ipc://{tmp_path}/control")
    settings = EngineSettings("engine-a", *places, lane=str(tmp_path / "lane"))
    mail = Mail(settings)  # where there is no lane yet
    junction = Junction(settings.lane)
    try:
        names = []

        def hello(first: int, last: int) -> bytes:
            for name, lane in junction.accept():
                names.append(name)
                lane.close()
            return b"hello"

        mail.introduce(hello)
        assert names == [b"engine-a"]
        assert work.wait(20) and work.receive() == (b"engine-a", [b"hello"])
    finally:
        junction.close()
        mail.close(b"")
        context.close()
