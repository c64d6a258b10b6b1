"""The commands that serve the emulator's pages: for other machines with a token, and after the demo."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.cli.support import TOKEN, cdp_orders, started

EVERYWHERE = "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize("token", [(), ("--api-token", "")])
async def test_other_machines_need_a_token_of_their_own(tmp_path: Path, token: tuple[str, ...]) -> None:
    """With the token that everybody knows, the emulator does not listen for other machines."""
    ran = await cdp_orders("emulator", "--host", EVERYWHERE, "--port", "0", *token, cwd=tmp_path)
    assert ran.refused("other machines reach --host 0.0.0.0", "--api-token")


async def test_the_printed_address_opens_the_pages(tmp_path: Path) -> None:
    """The address of the pages has the token that other machines need."""
    options = ("--host", EVERYWHERE, "--port", "0", "--api-token", TOKEN)
    async with started("emulator", *options, cwd=tmp_path) as process:
        assert process.stdout is not None
        base = (await process.stdout.readline()).decode().split()[4]
        told = (await process.stdout.readline()).decode()
        assert re.fullmatch(rf"Its pages: {base}/__pages\?token=[\w-]{{40,}}\n", told)
        jar = aiohttp.CookieJar(unsafe=True)  # of an address
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            async with session.get(f"{base}/__pages") as response:
                assert response.status == 401
            async with session.get(told.split()[2]) as response:
                assert (response.status, response.url.path) == (200, "/__pages/guests")


async def demo(tmp_path: Path, *options: str) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    """Start the demo on a terminal of its own, and return what the terminal shows."""
    ours, theirs = pty.openpty()
    command = (sys.executable, "-m", "cdp_orders_async", "demo", "--rate", "5000", *options)
    env = {**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(*command, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    screen = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(screen)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(ours, "rb", 0))
    return process, screen


async def test_the_demo_serves_its_pages_on_a_terminal(tmp_path: Path) -> None:
    """After the load the demo names pages that open, until Ctrl-C, which is its success."""
    process, screen = await demo(tmp_path)
    try:
        shown = (await asyncio.wait_for(screen.readuntil(b"/__pages/ledger"), 60)).decode()
        urls = re.findall(r"http://[\d.:]+/__pages[\w/-]*", shown)
        assert [len(url.split("/")) for url in urls] == [4, 7, 5]
        async with aiohttp.ClientSession() as session:
            for url in urls:
                async with session.get(url) as response:
                    text = await response.text()
                    assert response.status == 200
                    assert "orders-50" not in text
                    if "/guests/" in url:
                        assert "with this guest as the contact" in text
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_demo_can_end_on_a_terminal(tmp_path: Path) -> None:
    """With --no-serve it ends after the load."""
    process, screen = await demo(tmp_path, "--no-serve")
    try:
        assert b"To go on: " in await asyncio.wait_for(screen.readuntil(b"in another."), 60)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
