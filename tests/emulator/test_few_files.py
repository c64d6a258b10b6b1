"""The emulator where a process may have few files open, as on macOS, where it is 256."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.cli_support import PATIENCE, ended, started

CODE = """
import resource, sys
from cdp_orders_async.__main__ import main
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv.pop(1)),) * 2)
sys.exit(main())
"""
ASK = b"GET /v2.1/orders/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""What is answered without credentials: with 401."""


@pytest.mark.parametrize("files", [64, 256])
async def test_what_is_too_many_is_ended(tmp_path: Path, files: int) -> None:
    """Of more connections than it may have, those that it took are served, and the others end; it complains of none."""
    command = (sys.executable, "-c", CODE, str(files))
    async with started("emulator", "--port", "0", cwd=tmp_path, command=command) as process, AsyncExitStack() as stack:
        assert process.stdout is not None
        told = (await process.stdout.readline()).decode()
        port = int(told.partition(" (")[0].rpartition(":")[2])

        async def first_line() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(ASK)
            try:
                return await reader.readline()
            except ConnectionResetError:
                return b""

        async with asyncio.timeout(PATIENCE):
            lines = await asyncio.gather(*(first_line() for _ in range(files)))
        served = [line for line in lines if line]
        assert {line.split()[1] for line in served} == {b"401"}
        assert 0 < len(served) < files
        process.terminate()
        assert (await ended(process)).err == ""
