"""The tables of the hub, and the database that they lie in: SQLite or PostgreSQL.

========== ====================================================================================================
tasks      a row for each task: the first half as it was submitted, the second (NULL until then) as it ended
outcomes   a row for each item of a map, and for each outcome that the scheduler decided on, which has a detail
bodies     by task: its arguments (part -1), the result of each item (part 0, 1, ...), and what it printed
doors      clients, or rather: whose tasks have a number with the same upper bits
functions  name and blob by key
engines    all that ever joined
meta       single numbers: the version of these tables, the last serial, bytes of bodies, ...
========== ====================================================================================================

The id of a task here is one number of 63 bits, so that every table lies in the order of its tasks and is found by one
step: the key of its door above the lower :data:`COUNTER` bits of the number that it has everywhere. (That number alone
will not do. A controller begins to count anew, and its database may be older than it.)

*Serials* number what happens: submissions, ends, and pieces of text, in one row.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from ..errors import ParpoolError

VERSION = 1
COUNTER = 40  #: lower bits of a task's number: which of its client's tasks it is
MASK = (1 << COUNTER) - 1

REQUEST = -1  #: the part of a body that is the arguments; below it lie texts, see :func:`text_part`

# An integer key of SQLite is the row itself, if it is called so.
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_PREFIX = "parpool_"  # a database may be shared with others

metadata = sa.MetaData()


def _table(name: str, *columns: Any, **options: Any) -> sa.Table:
    return sa.Table(_PREFIX + name, metadata, *columns, **options)


tasks = _table(
    "tasks",
    sa.Column("id", _BIG, primary_key=True, autoincrement=False),
    sa.Column("place", _BIG),
    sa.Column("name", sa.Text),
    sa.Column("function", sa.LargeBinary),
    sa.Column("terms", sa.LargeBinary),  # msgpack of what is not as with most tasks
    sa.Column("submitted", sa.Double),
    sa.Column("size_in", _BIG),
    # how it ended
    sa.Column("ended", _BIG, index=True),  # serial
    sa.Column("status", sa.SmallInteger),
    sa.Column("engine", sa.Integer),  # key in engines
    sa.Column("started", sa.Double),
    sa.Column("completed", sa.Double),
    sa.Column("received", sa.Double),
    sa.Column("size_out", _BIG),
)
SUBMITTED = [column.name for column in tasks.columns][:7]
ENDED = ["id", *[column.name for column in tasks.columns][7:]]

outcomes = _table(
    "outcomes",
    sa.Column("task", _BIG, primary_key=True, autoincrement=False),
    sa.Column("item", _BIG, primary_key=True, autoincrement=False),
    sa.Column("status", sa.SmallInteger),
    sa.Column("engine", sa.Integer),
    sa.Column("started", sa.Double),
    sa.Column("completed", sa.Double),
    sa.Column("received", sa.Double),
    sa.Column("size", _BIG),
    sa.Column("detail", sa.Text),
    sqlite_with_rowid=False,
)
bodies = _table(
    "bodies",
    sa.Column("task", _BIG, primary_key=True, autoincrement=False),
    sa.Column("part", _BIG, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary),
    sqlite_with_rowid=False,
)
doors = _table(
    "doors",
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("upper", _BIG, nullable=False),
    sa.UniqueConstraint("client", "upper"),
)
functions = _table(
    "functions",
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("blob", sa.LargeBinary),
    sa.Column("place", _BIG),
)
engines = _table(
    "engines",
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("id", sa.BigInteger, nullable=False),
    sa.Column("uid", sa.Text, nullable=False),
    sa.Column("facts", sa.LargeBinary),
    sa.Column("joined", sa.Double),
    sa.Column("gone", sa.Double),
    sa.UniqueConstraint("uid", "id"),
)
meta = _table(
    "meta",
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", _BIG, nullable=False),
)
#: The numbers in ``meta`` beside the version: the last serial; bytes in bodies, and in blobs of functions; and the
#: serial up to which the bodies of what has ended are gone.
NUMBERS = ("serial", "bytes", "blobs", "swept")


def text_part(serial: int, stream: int) -> int:
    """The part of a body that is a piece of what a task has printed."""
    return -2 * serial - stream + 1


def stream_of(part: int) -> int:
    """The stream that a piece of text was written to."""
    return 1 if part % 2 == 0 else 2


# -- the database -------------------------------------------------------------------------------------------------


class Database:
    """Gives connections to the tables, which it makes where they are not there yet.

    Raises ParpoolError where the URL is of no use. ``patience``: seconds that one waits for another who writes.
    """

    def __init__(self, url: str, patience: float) -> None:
        self.url = _read(url)
        self.kind = self.url.get_backend_name()
        self.path = Path(str(self.url.database)) if self.kind == "sqlite" else None
        self._patience = patience
        # No pool: each thread has one connection. Parameters are what users compute, and have no place in a log.
        self._engine = sa.create_engine(
            self.url, poolclass=sa.NullPool, hide_parameters=True, connect_args=self._arguments()
        )
        if self.path is not None:
            sa.event.listen(self._engine, "connect", self._prepare)
        sa.event.listen(self._engine, "begin", self._begin)

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        return self.url.set(query={}).render_as_string(hide_password=True)  # in the query, too, a password may stand

    def connect(self, reading: bool = False) -> Connection:
        """A new connection; those that read must not write. Raises whatever is wrong: see :meth:`words`."""
        if self.path is not None and not reading:
            _create(self.path)
        connection = self._engine.connect().execution_options(reading=reading)
        try:
            if reading:
                if self.path is None:  # all of one answer is of one moment, as it is with SQLite anyway
                    return connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                connection.exec_driver_sql("PRAGMA query_only = ON")
                connection.rollback()
            else:
                with connection.begin():
                    self._create_tables(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def replaced(self, connection: Connection) -> bool:
        """Is the file of this connection no longer the one that has its name?"""
        if self.path is None:
            return False
        try:
            now = os.stat(self.path)
        except OSError:
            return True
        return connection.info.get("file") != (now.st_dev, now.st_ino)

    @staticmethod
    def words(error: BaseException) -> str:
        """What is wrong, in one line and without what was to be written."""
        if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
            error = error.orig
        if isinstance(error, (ParpoolError, OSError)):
            return str(error)
        return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}"

    def _arguments(self) -> dict[str, Any]:
        if self.path is not None:
            return {"timeout": self._patience, "check_same_thread": False}
        # A server that is gone without a word must not keep us for the hours that TCP allows.
        arguments = {
            "connect_timeout": 10,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
            "application_name": "parpool",
        }
        return {
            **{name: value for name, value in arguments.items() if name not in self.url.query},
            # A statement for each number of rows, with types that differ from one to the next: not worth preparing.
            "prepare_threshold": None,
        }

    def _prepare(self, dbapi: sqlite3.Connection, record: Any) -> None:
        """A new connection to SQLite."""
        dbapi.isolation_level = None  # we say BEGIN, see below
        for pragma in (
            "journal_mode = WAL",  # readers and the writer do not wait for each other
            "synchronous = NORMAL",  # in that mode, a power cut takes the last moments and no more
            "cache_size = -16384",
            "journal_size_limit = 67108864",
        ):
            dbapi.execute(f"PRAGMA {pragma}").close()
        assert self.path is not None
        found = os.stat(self.path)
        record.info["file"] = found.st_dev, found.st_ino

    def _begin(self, connection: Connection) -> None:
        if self.path is not None:
            # At once for writing: a transaction that begins by reading cannot wait for its turn to write.
            reading = connection.get_execution_options().get("reading", False)
            connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    def _create_tables(self, connection: Connection) -> None:
        if self.path is None:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7074117)")  # of two that begin at once
        if not sa.inspect(connection).has_table(meta.name):
            metadata.create_all(connection)
            values = [{"name": "version", "value": VERSION}, *({"name": name, "value": 0} for name in NUMBERS)]
            connection.execute(sa.insert(meta), values)
        found = connection.scalar(sa.select(meta.c.value).where(meta.c.name == "version"))
        if found != VERSION:
            raise ParpoolError(
                f"its tables are of version {found}, and this parpool has version {VERSION}: "
                "give another database, or move this one away"
            )


def is_of_the_database(error: BaseException) -> bool:
    """Is something wrong with the database, and not with what was to be written?"""
    if not isinstance(error, sa.exc.DBAPIError):
        return isinstance(error, (ParpoolError, OSError))
    if isinstance(error, (sa.exc.DataError, sa.exc.IntegrityError)):
        return False
    if isinstance(error, (sa.exc.InterfaceError, sa.exc.ProgrammingError)):
        # A value that the driver has no use for. psycopg: what the server says has a code.
        if isinstance(error.orig, sqlite3.Error):
            return "binding" not in str(error.orig)
        return error.connection_invalidated or getattr(error.orig, "sqlstate", None) is not None
    return True


def _read(url: str) -> URL:
    try:
        parsed = sa.make_url("postgresql" + url[8:] if url.startswith("postgres:") else url)
    except sa.exc.ArgumentError:
        raise ParpoolError("the URL of the database cannot be read: it is like sqlite:///PATH") from None
    driver = parsed.drivername.partition("+")[2]
    if parsed.get_backend_name() == "sqlite":
        if driver not in ("", "pysqlite"):
            raise ParpoolError(f"the hub has no use for the driver {driver!r}: give sqlite:///PATH")
        if parsed.database in (None, "", ":memory:") or str(parsed.database).startswith("file:"):
            raise ParpoolError('a database of SQLite needs the path of its file: sqlite:///PATH. (Or give "memory".)')
        return parsed
    if driver not in ("", "psycopg"):
        raise ParpoolError(f"the hub uses psycopg, not {driver!r}: give postgresql://...")
    return parsed.set(drivername="postgresql+psycopg")


def _create(path: Path) -> None:
    """Make the file before SQLite does, which would leave it to all to be read. (Its log has the same mode.)"""
    if not path.parent.is_dir():
        raise ParpoolError(f"there is no folder {path.parent}")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
