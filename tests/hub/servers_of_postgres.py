"""A PostgreSQL server for tests: Debian's, in a temporary folder, on a unix socket and nowhere else."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

import servers

USER = "postgres"
GUARDED = "guarded"  #: a user who has to say a password
PASSWORD = "word-that-nobody-sees"


class Postgres:
    """A server. It refuses to run as root, and then does as the user that its package has made."""

    def __init__(self) -> None:
        # Where that user can come to it: the folder for temporary files of the tests is ours alone.
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        try:
            self._run("initdb", "-D", "data", "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8", "--locale=C")
            rules = self.folder / "data" / "pg_hba.conf"  # the first that fits counts
            rules.write_text(f"local all {GUARDED} scram-sha-256\n{rules.read_text()}")
            self.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def _run(self, program: str, *arguments: str) -> None:
        path = servers.find(program)
        assert path is not None
        # Not in the environment of the tests: the server outlives the single test, and is no leftover of it.
        done = subprocess.run(
            [path, *arguments],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **self._as,
        )
        assert done.returncode == 0, done.stdout.decode()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c autovacuum=off"
        self._run("pg_ctl", "-D", "data", "-w", "-s", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, with whoever is connected."""
        self._run("pg_ctl", "-D", "data", "-w", "-s", "-m", "immediate", "stop")

    def url(self) -> str:
        """The URL of a schema of its own, which is as good as a database and made at once."""
        import psycopg

        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(host=str(self.folder), user=USER, dbname=USER) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"postgresql://{USER}@/{USER}?host={self.folder}&options=-csearch_path%3D{name}"

    def guarded_url(self) -> str:
        """As :meth:`url`, for one who has to say a password: see :meth:`password_file`."""
        import psycopg

        url = self.url()
        with psycopg.connect(host=str(self.folder), user=USER, dbname=USER) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [GUARDED]).fetchone():
                connection.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'".encode())
            schema = url.rpartition("%3D")[2]
            connection.execute(f"ALTER SCHEMA {schema} OWNER TO {GUARDED}".encode())
        return url.replace(f"//{USER}@", f"//{GUARDED}@")

    def password_file(self, path: Path) -> Path:
        """Written there: as ~/.pgpass."""
        path.touch(mode=0o600)
        path.write_text(f"*:*:*:{GUARDED}:{PASSWORD}\n")
        return path

    def close(self) -> None:
        """Stop it, and remove its folder."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder)
