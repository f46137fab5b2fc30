"""From what ``--db`` says to a store."""

from __future__ import annotations

from ..errors import ParpoolError
from .memory import MemoryStore
from .records import Store

KNOWN = '"memory", "sqlite:///PATH" or "postgresql://USER@HOST/DATABASE"'


def open_store(url: str) -> Store:
    """The store that a URL names. Raises ParpoolError where it names none, or it cannot be opened."""
    scheme = url.partition(":")[0]
    if url == "memory":
        return MemoryStore()
    kind = {"postgres": "postgresql"}.get(scheme.partition("+")[0], scheme.partition("+")[0])
    if kind not in ("sqlite", "postgresql"):
        raise ParpoolError(f"there is no hub with a database {_without_secrets(url)!r}: it may be {KNOWN}")
    try:
        import sqlalchemy  # noqa: F401 (here, as most controllers do without)

        if kind == "postgresql":
            import psycopg  # noqa: F401
    except ImportError as error:
        extra = "postgresql" if kind == "postgresql" else "db"
        raise ParpoolError(
            f"a hub with {kind} needs a package that is not installed ({error}): pip install 'parpool[{extra}]'"
        ) from None
    from .sql import SqlStore

    return SqlStore(url)


def _without_secrets(url: str) -> str:
    """A URL that nobody could parse, without what stands before its host or behind it: passwords may be in there."""
    scheme, separator, rest = url.partition("://")
    rest = rest.rpartition("@")[2].partition("?")[0]
    return f"{scheme}://...@{rest}" if separator and "@" in url else f"{scheme}{separator}{rest}"
