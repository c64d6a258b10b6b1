"""No extra: the client works, and what needs an extra names it in one sentence, with the command of pip."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import json
import sys
import tempfile
from collections.abc import Generator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import aiohttp

from cdp_orders_async import (
    CdpOrders,
    GraphFile,
    InputError,
    Invalid,
    JournalError,
    NewOrder,
    NotSent,
    Outcome,
    PostgresJournal,
    PostgresLimiter,
    Settings,
    TableSource,
    emulator,
    ingest,
    jobs,
)
from cdp_orders_async.__main__ import main as command
from cdp_orders_async.reports import write_html

ZSTD = bytes.fromhex("28b52ffd")
NEW = NewOrder(reference_id="A-1", ordered_at=datetime(2024, 1, 1, tzinfo=UTC), price=Decimal(50), currency_code="EUR")
LINE = '{"referenceId": "A-2", "orderedAt": "2024-01-01T00:00:00Z", "price": 50, "currencyCode": "EUR"}\n'


@contextlib.contextmanager
def told(error: type[Exception], extra: str, start: str) -> Generator[None, None, None]:
    """Expect an *error* of one sentence, which begins with *start* and ends with the command for *extra*."""
    try:
        yield
    except error as caught:
        sentence = str(caught)
    else:
        sentence = f"no {error.__name__}"
    is_told(sentence, extra, start)


def is_told(sentence: str, extra: str, start: str) -> None:
    """Check the *sentence* that names *extra*."""
    assert sentence.startswith(start), sentence
    assert sentence.endswith(f": pip install 'cdp-orders-async[{extra}]'"), sentence
    assert "\n" not in sentence


async def loaded(base_url: str, orders: Path) -> Outcome:
    """Create an order, load a file of one order, ask for a page of the emulator, and return the outcome of the load."""
    async with CdpOrders(base_url=base_url, client_key="key", api_token="token") as cdp:  # noqa: S106 no secret
        assert (await cdp.orders.create(NEW)).reference_id == "A-1"
        async with ingest(cdp, GraphFile(orders)) as load:
            (outcome,) = [outcome async for outcome in load]
        assert outcome.verdict == "loaded"
    async with aiohttp.ClientSession() as session, session.get(f"{base_url}/__pages/guests") as response:
        page = await response.text()
        assert response.status == 503
    is_told(page.partition("<code>")[2].partition("</code>")[0].join((": ", "")), "emulator", "")
    return outcome


async def each_extra(base_url: str, orders: Path, outcome: Outcome) -> None:
    """Ask for all that needs an extra."""
    with told(Invalid, "httptools", "http: needs an extra"):
        CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=Settings(http="httptools"))  # noqa: S106 no secret
    orders.with_suffix(".csv").write_bytes(b"referenceId\nA-3\n")
    with told(InputError, "tables", f"{orders.with_suffix('.csv')} is a table, which needs an extra"):
        TableSource([orders.with_suffix(".csv")])
    with told(InputError, "tables", f"{orders.with_suffix('.parquet')} is a table, which needs an extra"):
        jobs.write_invented(1, 0, "parquet", orders.with_suffix(".parquet"))
    with told(JournalError, "postgres", "a journal in Postgres needs"):
        await PostgresJournal.open("postgresql://u@127.0.0.1:1/d", identity={})
    with told(NotSent, "postgres", "a PostgresLimiter needs"):
        await PostgresLimiter.open("postgresql://u@127.0.0.1:1/d", name="n", rate=1)
    with told(ImportError, "faststream", "FastStream is an extra"):
        importlib.import_module("cdp_orders_async.engines.faststream")
    with told(ImportError, "ray", "Ray is an extra"):
        importlib.import_module("cdp_orders_async.engines.ray")
    with told(ImportError, "otel", "OtelObserver needs an extra"):
        importlib.import_module("cdp_orders_async.telemetry.otel")
    packed = orders.with_suffix(".zst")
    packed.write_bytes(ZSTD)
    if sys.version_info < (3, 14):
        with told(InputError, "cli", f"{packed} cannot be read: it is packed by zstd, which needs an extra"):
            [line async for line in GraphFile(packed)]
    outcomes = orders.with_suffix(".outcomes")
    outcomes.write_text(json.dumps(outcome.to_json()) + "\n", encoding="utf-8")
    data = await jobs.report_data([outcomes])
    with told(InputError, "cli", "the report needs an extra"):
        write_html(data, orders.with_suffix(".html"))
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert command() == 2
    is_told(said.getvalue().removesuffix("\n"), "cli", "cdp-orders: the command line needs an extra")


async def main() -> None:
    """Use the package as it is without an extra."""
    with tempfile.TemporaryDirectory() as folder:
        orders = Path(folder) / "orders.jsonl"
        orders.write_text(LINE, encoding="utf-8")
        async with emulator.running() as base_url:
            await each_extra(base_url, orders, await loaded(base_url, orders))


asyncio.run(main())
