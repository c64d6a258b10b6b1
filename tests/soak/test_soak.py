"""Nothing is left behind: after a short soak, after ten thousand cancelled calls, and in another process."""

from __future__ import annotations

import asyncio
import copy
import pickle
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from cdp_orders_async import CdpError, CdpOrders, Settings, emulator
from cdp_orders_async.session import Session
from tests.cli.support import PATIENCE, cdp_orders
from tests.servers import Cut, Reply, serving
from tests.session.calling import METHODS, TOKEN, ask, calling, deaf_port
from tests.soak.soaking import Soak, holding, slots_of, soaking

ROOT = Path(__file__).parents[2]
WAYS = 10_000
FORK = """
import asyncio, os, sys
from cdp_orders_async import CdpOrders

cdp, unused = (CdpOrders(base_url=sys.argv[1], client_key="key", api_token="token") for _ in range(2))
loop = asyncio.new_event_loop()

async def use(client):
    return [order async for order in client.orders.list(reference_id="R")]

def told(run, client):
    try:
        return run(use(client))
    except RuntimeError as error:
        return error

print("before:", loop.run_until_complete(use(cdp)))
sys.stdout.flush()
if (child := os.fork()) == 0:
    print("same loop:", told(loop.run_until_complete, cdp))
    print("own loop:", told(asyncio.run, cdp))
    print("unused:", told(asyncio.run, unused))
    asyncio.run(cdp.aclose())
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
print("after:", loop.run_until_complete(use(cdp)))
loop.run_until_complete(cdp.aclose())
loop.close()
"""


async def test_short_soak(tmp_path: Path) -> None:
    """Two clients, loaded and called at once under faults and cancelled at any moment, leave nothing behind."""
    rows: list[tuple[object, ...]] = []
    awaited = ("call done", "cancelled", "order loaded")
    soak = await soaking(Soak(lambda *row: rows.append(row), 0.5, awaited), 6, 2, 0.05, tmp_path)
    assert soak.wrong == []
    assert len(rows) == len(soak.memory) > 2
    assert min(soak.ends[end] for end in awaited) > 0


async def test_a_soak_that_leaves_something_says_so(tmp_path: Path) -> None:
    """What is held after a client was closed is told, and so is a memory that grows."""
    soak, base = Soak(print, 1), holding()
    left = asyncio.create_task(asyncio.sleep(60))
    with (tmp_path / "left").open("w"):
        soak.check("closed", holding(), base)
    left.cancel()
    assert [wrong.partition(": ")[2].split()[0] for wrong in soak.wrong] == ["tasks", "files"]
    soak.memory = [(0, 900), (0, 900), *((seconds, 100 + seconds / 30) for seconds in range(100, 301, 10))]
    assert soak.slope == pytest.approx(2)
    soak.blocks = [(1000, 0), (3000, 100), (5000, 4000)]
    soak.judge()
    assert soak.wrong[2:] == ["the memory grows by 2.00 MiB a minute", "1000 blocks are left of 1,000 requests"]


async def test_ten_thousand_cancelled_calls() -> None:
    """Calls that are cancelled while they wait for a slot or a turn, connect or read leave no slot and no task."""
    dice = random.Random(11)  # noqa: S311 (it chooses moments)
    steps = (Reply(), Reply(503), Cut("done", "stall"), Cut("in the body", "stall"), Cut("head read"), Cut("accepted"))
    met: Counter[str] = Counter()
    tasks = len(asyncio.all_tasks())
    with deaf_port() as deaf:
        async with serving(*dice.choices(steps, k=20_000)) as server:
            for url, rate in ((server.url, 100), (server.url, None), (deaf, 2000), (server.url, 1000)):
                settings = Settings(trust_env=False, connections=20, rate=rate)
                async with calling(url, settings) as session:
                    for _ in range(5):
                        await cancelled(session, dice, met)
                        assert_idle(session)
    assert met["calls"] == WAYS
    assert min(met[where] for where in ("slot", "turn", "in flight")) > WAYS / 100, met
    async with asyncio.timeout(PATIENCE):
        while len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110 the last ones end in later turns of the loop
            await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == tasks


async def cancelled(session: Session, dice: random.Random, met: Counter[str]) -> None:
    """Begin calls, and cancel them one by one at random moments; count where some of them were."""

    async def call() -> None:
        try:
            await session.send(ask(dice.choice(METHODS)))
        except CdpError:
            return

    calls = [asyncio.create_task(call()) for _ in range(WAYS // 20)]
    met["calls"] += len(calls)
    while running := [call for call in calls if not call.done()]:
        for one in dice.sample(running, min(len(running), dice.randrange(1, 8))):
            one.cancel()
        met["turn"] += session.limiter.waiting > 0
        met["in flight"] += session.stats.in_flight > 0
        met["slot"] += "waiting=0)," not in repr(session)
        for _ in range(dice.randrange(8)):
            await asyncio.sleep(0)


def assert_idle(session: Session) -> None:
    """Assert that nobody holds a slot or waits."""
    size = slots_of(session)
    assert f": 0 in flight, ConnectionSlots({size}, free={size}, waiting=0)" in repr(session)
    assert session.limiter.waiting == 0


async def test_forked_child(tmp_path: Path) -> None:
    """A client that was used before a fork refuses to work in the child, where one that was not works."""
    async with emulator.running() as base_url:
        command = (sys.executable, "-W", "error", "-c", FORK)
        ran = await cdp_orders(base_url, cwd=tmp_path, command=command, env={"PYTHONPATH": str(ROOT)})
    refusal = "the client belongs to another process; make one client for each process"
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "before: []",
        f"same loop: {refusal}",
        f"own loop: {refusal}",
        "unused: []",
        "after: []",
    ]


def test_what_is_pickled_holds_no_token() -> None:
    """Neither a client nor its session can be pickled or copied; settings can, and hold no credentials."""
    settings = Settings(rate=5)
    cdp = CdpOrders(base_url="https://api.test", client_key="key", api_token=TOKEN, settings=settings)
    for what in (cdp, cdp.session, cdp.orders, {"cdp": cdp}):
        for way in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError) as caught:
                way(what)
            assert str(caught.value) == "a session cannot be pickled; pickle its Settings and make a new one"
    stored = pickle.dumps(settings)
    assert TOKEN.encode() not in stored
    assert pickle.loads(stored) == settings  # noqa: S301 made here
