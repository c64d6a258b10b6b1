"""Database servers that the tests start for themselves, each on a free port and in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NoReturn

import pytest

__all__ = [
    "REQUIRED",
    "PostgresServer",
    "free_port",
    "missing",
    "postgres",
    "postgres_server",
    "running_server",
    "stop_running_server",
]

REQUIRED: Final = "CDP_ORDERS_TESTS_REQUIRE"
"""With this variable set to 1, a test whose program is missing fails; without it, the test is skipped."""
HOST: Final = "127.0.0.1"
USER: Final = "tester"
START_SECONDS: Final = 60.0
TAKEN: Final = "Address already in use"
FAST: Final = {"fsync": "off", "full_page_writes": "off"}
"""Settings for tests that survive no loss of power."""


def missing(program: str, package: str) -> NoReturn:
    """Skip the test, or fail it where all programs are required, because *program* is not installed."""
    sentence = f"{program} is not installed: apt-get install {package}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@cache
def _programs() -> Path | None:
    """Return the folder of the newest Postgres that is installed, None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    program = shutil.which("initdb")
    return None if program is None else Path(program).resolve().parent


@cache
def _user() -> str | None:
    """Return the user of the server: Postgres refuses to run as root. None stands for the user of the tests."""
    if os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415 only POSIX has it

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class PostgresServer:
    """A Postgres server on a free port. The user `tester` may do everything, without a password.

    *settings* are those of `postgresql.conf`. A server that was stopped or killed may be started again: it has its port
    and its databases still.
    """

    def __init__(self, **settings: str) -> None:
        """Make the files of the server; it is not started yet."""
        programs = _programs()
        if programs is None:
            missing("Postgres", "postgresql")
        self._programs = programs
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._has_run = False
        self.port = free_port()
        # Not in pytest's folder, which only its own user may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="cdp-orders-pg-"))
        self._log = self.folder / "log"
        if (user := _user()) is not None:
            shutil.chown(self.folder, user)
        try:
            self._run("initdb", "-D", f"{self.folder / 'data'}", "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8")
        except BaseException:
            self.remove()
            raise

    def dsn(self, database: str = "postgres", user: str = USER) -> str:
        """Return the address of a *database*."""
        return f"postgresql://{user}@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        """Start the server, and wait until it answers; at the first start on another port if somebody took its own."""
        settings = {**FAST, "listen_addresses": HOST, "port": str(self.port), **self._settings}
        settings["unix_socket_directories"] = ""
        command = [f"{self._programs / 'postgres'}", "-D", f"{self.folder / 'data'}"]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab" if self._has_run else "wb") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                user=_user(),
                extra_groups=_groups(),
            )
        deadline = time.monotonic() + START_SECONDS
        ready = [f"{self._programs / 'pg_isready'}", "-q", "-h", HOST, "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = self._log.read_text(encoding="utf-8", errors="replace")
                self.stop()
                if self._has_run or TAKEN not in log_text:
                    raise RuntimeError(f"Postgres did not start:\n{log_text}")
                self.port = free_port()
                self.start()
                return
            time.sleep(0.02)  # Postgres tells nobody when it is ready
        self._has_run = True

    def stop(self) -> None:
        """Stop the server: it ends all its connections first."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server as a loss of its machine's power does, except that files keep what it wrote."""
        self._end(signal.SIGQUIT)

    def run(self, sql: str, database: str = "postgres") -> str:
        """Run *sql*, and return the printed rows."""
        return self._run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(database), "-c", sql)

    def create_database(self) -> str:
        """Return the name of a new database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.run(f"CREATE DATABASE {name}")
        return name

    def drop_database(self, name: str) -> None:
        """Delete a database, and end its connections."""
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def remove(self) -> None:
        """Stop the server, and delete its files."""
        self.stop()
        shutil.rmtree(self.folder)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None

    def _run(self, program: str, *arguments: str) -> str:
        ended = subprocess.run(
            [f"{self._programs / program}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            user=_user(),
            extra_groups=_groups(),
        )
        if ended.returncode != 0:
            raise RuntimeError(f"{program} failed: {ended.stderr}")
        return ended.stdout


def _groups() -> list[str] | None:
    """Return the groups of a process that runs as another user, which does not keep those of root."""
    return None if _user() is None else []


@cache
def running_server() -> PostgresServer:
    """Return the server of all tests of this process; the first call starts it."""
    server = PostgresServer()
    try:
        server.start()
    except BaseException:
        server.remove()
        raise
    return server


def stop_running_server() -> None:
    """End the server of all tests of this process, if it runs."""
    if running_server.cache_info().currsize:
        running_server().remove()
        running_server.cache_clear()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Give the one Postgres server of all tests of this process."""
    yield running_server()
    stop_running_server()


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """Give the DSN of a fresh database."""
    name = postgres_server.create_database()
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)
