"""The sessions of the documents of old, typed at a real IPython prompt: see prompt.py for how they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import scripts

pytest.importorskip("IPython")
pytest.importorskip("numpy")

HERE = Path(__file__).parent
SESSIONS = sorted(path.name for path in HERE.glob("session_*.txt"))
LIMIT = 50.0

pytestmark = [pytest.mark.once, pytest.mark.timeout(LIMIT + 20)]


def play(session: Path, folder: Path, engines: int = 4) -> scripts.Ended:
    arguments = [str(HERE / "prompt.py"), str(session), str(engines)]
    environment = {"PARPOOL_DIR": str(folder / "clusters"), "IPYTHONDIR": str(folder / "ipython")}
    return scripts.run(arguments, LIMIT, env=environment, cwd=str(folder))


@pytest.mark.parametrize("name", SESSIONS)
def test_the_session_goes_as_it_stands_there(name: str, tmp_path: Path) -> None:
    ended = play(HERE / name, tmp_path)
    if ended.status != 0 or ended.left or "the end of the session" not in ended.out:
        pytest.fail(ended.report(), pytrace=False)


def test_a_session_that_goes_otherwise_is_seen(tmp_path: Path) -> None:
    session = tmp_path / "session.txt"
    session.write_text("In [1]: 1 + 1\nOut[1]: 2\n\nIn [2]: 1 + 2\nOut[2]: 4\n\nIn [3]: print('more')\n")
    ended = play(session, tmp_path, engines=0)
    assert ended.status == 1 and "2 outputs are not" in ended.out and "In [1]" not in ended.out, ended.report()


def test_every_seed_with_a_session_is_there() -> None:
    assert len(SESSIONS) == 5
