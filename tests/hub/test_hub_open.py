import subprocess
import sys

import pytest

from parpool.errors import ParpoolError
from parpool.hub.open import open_store


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mongodb://user:secret@host/db", r"'mongodb://\.\.\.@host/db': it may be \"memory\", \"sqlite:///PATH\" or"),
        ("mongodb://host/db?password=secret", r"'mongodb://host/db': it may be"),
        ("", "it may be"),
        ("tasks.db", "it may be"),
        ("sqlite://", "needs the path of its file"),
        ("sqlite:///:memory:", "needs the path of its file"),
        ("sqlite:///file:x?mode=memory", "needs the path of its file"),
        ("sqlite+aiosqlite:///x", "driver 'aiosqlite'"),
        ("sqlite:/x", "cannot be read"),
        ("postgresql+asyncpg://host/x", "psycopg, not 'asyncpg'"),
        ("sqlite:////no/such/folder/x.db", "/no/such/folder/x.db cannot be opened: there is no folder /no/such/folder"),
    ],
)
def test_urls_of_no_use(url: str, words: str) -> None:
    with pytest.raises(ParpoolError, match=words) as raised:
        open_store(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("module", "url", "extra"),
    [
        ("sqlalchemy", "sqlite:///x", "db"),
        ("sqlalchemy", "postgresql://host/x", "postgresql"),
        ("psycopg", "postgresql://host/x", "postgresql"),
    ],
)
def test_without_its_packages(module: str, url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ParpoolError, match=rf"{module}.*pip install 'parpool\[{extra}\]'"):
        open_store(url)


def test_a_store_in_memory_imports_no_database() -> None:
    code = """if True:
        import sys
        from parpool.hub.open import open_store
        open_store("memory").close()
        assert not {"sqlalchemy", "sqlite3", "psycopg", "pickle5"} & set(sys.modules), sys.modules.keys()
    """
    subprocess.run([sys.executable, "-c", code], check=True)
