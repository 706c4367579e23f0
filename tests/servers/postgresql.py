"""A real PostgreSQL server of our own: in a temporary folder, on a free port of the loopback, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

USER, PASSWORD, DATABASE = "observer", "sky & stars'", "postgres"


def binaries() -> Path | None:
    """Return the folder with `initdb` and `postgres`: Debian's newest, else what the path has."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3].partition(".")[0]))
    beside = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(beside).resolve().parent if beside else None


def folder_with_server() -> Path:
    """Return the folder of the programs; without them the tests are skipped, or fail where they must run."""
    folder = binaries()
    if folder is None and os.environ.get("CI") == "true":
        pytest.fail("there is no PostgreSQL: `make servers` installs it on Debian")
    if folder is None:
        pytest.skip("there is no PostgreSQL on this machine (Debian: apt-get install postgresql)")
    return folder


class Server:
    """One server; `stop` and `start` as often as one likes, on one port and with the same data."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="eventide-postgresql-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._session: psycopg.Connection[tuple[Any, ...]] | None = None
        # PostgreSQL refuses to run as root.
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            names = {p.pw_name for p in pwd.getpwall()}
            account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._initialise()
        self.start()

    def _initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        command = [self._programs / "initdb", "-D", self.folder / "data", "-U", USER, "-A", "scram-sha-256"]
        command += [f"--pwfile={secret}", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=self.folder, **self._as)

    def start(self) -> None:
        """Start, and wait until connections are taken."""
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._as)
        for _ in range(600):
            try:
                self.connect().close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return
        pytest.fail((self.folder / "log").read_text())

    def stop(self) -> None:
        """Stop at once, as when the power fails: open connections break, recovery runs at the next start."""
        if self._session is not None:
            self._session.close()
        if self._process is not None:
            self._process.send_signal(3)  # SIGQUIT: "immediate shutdown"
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        """Stop, and take the folder away."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def uri(self) -> str:
        """Return the address, without the password."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection of a test's own."""
        return psycopg.connect(self.uri, password=PASSWORD, autocommit=True)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        if self._session is None or self._session.closed:
            self._session = self.connect()
        cursor = self._session.execute(statement.encode())
        return cursor.fetchall() if cursor.description is not None else []
