"""Redis servers that the tests start for themselves, each on a free port."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, cast

import redis.asyncio
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as NotConnectedError
from redis.retry import Retry

from tests.databases import free_port, missing

__all__ = ["RedisServer"]

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 30.0


class RedisServer:
    """A Redis server that keeps nothing on disk; *options* are those of its command."""

    def __init__(self, folder: Path, *options: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            missing("Redis", "redis-server")
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}"
        self._command = [program, "--port", str(self.port), "--bind", HOST, "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "no", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("Redis did not start")
            time.sleep(0.01)  # Redis tells nobody when it is ready

    def stop(self) -> None:
        """End the server; all that it held is lost."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(START_SECONDS)
            self._process = None

    def client(self) -> redis.asyncio.Redis:
        """Return a client of the server."""
        return redis.asyncio.Redis(host=HOST, port=self.port)

    @asynccontextmanager
    async def emptied(self) -> AsyncGenerator[redis.asyncio.Redis]:
        """Delete everything on the server, and give a client of it."""
        async with self.client() as client:
            untyped = cast("Any", client)  # redis has no types of keyword arguments
            await untyped.flushall()
            yield client

    def _answers(self) -> bool:
        try:
            with Redis(port=self.port, retry=Retry(NoBackoff(), 0), socket_timeout=START_SECONDS) as client:
                untyped = cast("Any", client)  # redis has no types of keyword arguments
                return bool(untyped.ping())
        except AuthenticationError:
            return True
        except NotConnectedError:
            return False


@contextmanager
def redis_server(folder: Path, *options: str) -> Generator[RedisServer]:
    """Run a server while the context lasts."""
    server = RedisServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
