"""The page of engines: its programs run, and its tables are true."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from cdp_orders_async import CdpOrders
from cdp_orders_async.emulator import Emulator, running
from cdp_orders_async.engines.delivery import Action, Fault
from tests.cli.support import orders
from tests.engines.brokers import RedisServer
from tests.engines.streaming import dead, holds, publish, settled, until
from tests.engines.test_delivery import JUDGED
from tests.laws.pages import ROOT, blocks, section

PAGE = "cdp_orders_async/engines/README.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
WORKER, HANDLER = [text for language, text in blocks(section("## FastStream", PAGE)) if language == "python"]


async def test_worker_runs(redis: Redis, broker_server: RedisServer, tmp_path: Path) -> None:
    """The worker of the page loads orders, puts poison aside, prints nothing, and ends with 0 on SIGTERM."""
    emulator = Emulator()
    (tmp_path / "worker.py").write_text(WORKER)
    async with running(emulator) as base_url:
        mine = {"CDP_BASE_URL": base_url, "CDP_CLIENT_KEY": "key", "CDP_API_TOKEN": "token"}
        env = {**os.environ, **mine, "REDIS_URL": broker_server.url, "PYTHONPATH": str(ROOT)}
        await publish(redis, *orders(3), b"poison")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "worker.py", cwd=tmp_path, env=env, stdout=PIPE, stderr=PIPE
        )
        try:
            await until(lambda: settled(redis))
            process.send_signal(signal.SIGTERM)
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
    assert (process.returncode, out) == (0, b"")
    assert holds(emulator, *orders(3))
    assert [row["data"] for row in await dead(redis)] == [b"poison"]


async def test_handler_runs() -> None:
    """The handler of the page says what to do."""
    names: dict[str, Any] = {}
    exec(compile(HANDLER, PAGE, "exec"), names)  # noqa: S102 the page is this project's own
    async with running(Emulator()) as url, CdpOrders(base_url=url, client_key="key", api_token="token") as cdp:  # noqa: S106 of an emulator
        assert await names["handle"](cdp, b"{}", redelivered=False) is Action.DEAD_LETTER


def test_table_of_verdicts() -> None:
    """Each verdict has its row, which says what is done at the first delivery."""
    rows = dict(
        re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT.partition("| verdict |")[2].partition("\n\n")[0], re.MULTILINE)
    )
    assert rows == {
        str(outcome.verdict): first + (", not counted" if first is Action.RETRY and not outcome.parts else "")
        for outcome, first, *_ in JUDGED
    }
    assert all(
        fault is Fault.NONE for outcome, first, _, fault in JUDGED if first is Action.RETRY and not outcome.parts
    )
