"""``cdp-orders demo``: the emulator and a packaged sample of real orders, end to end."""

from __future__ import annotations

import asyncio
import importlib.resources
import tempfile
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter
from rich.console import Console

from cdp_orders_async import emulator
from cdp_orders_async.cli.display import show_summary
from cdp_orders_async.cli.loading import Report, run
from cdp_orders_async.cli.options import refuse
from cdp_orders_async.client import CdpOrders
from cdp_orders_async.errors import CdpError
from cdp_orders_async.graph import GraphFile
from cdp_orders_async.ingest import Outcome
from cdp_orders_async.settings import Settings

__all__ = ["demo"]

SAMPLE = "orders-50.jsonl.gz"


def demo(*, rate: Annotated[float, Parameter(allow_leading_hyphen=True)] = 400.0) -> int:
    """Load 50 real orders into an emulator of the API on this machine: no account, no network.

    The last lines say where the outcomes, the journal and what the emulator holds were written.

    Example: cdp-orders demo --rate 100

    Parameters
    ----------
    rate
        Requests per second.

    """
    folder = Path(tempfile.mkdtemp(prefix="cdp-orders-demo-"))
    console = Console(stderr=True)
    try:
        settings = Settings(rate=rate)
        report = asyncio.run(_demo(folder, settings, console))
    except CdpError as error:
        return refuse(error)
    show_summary(Console(), report.counts, report.requests, report.seconds)
    Console(soft_wrap=True, highlight=False).print(
        f"Where to look: {folder}/state.json has the orders as the emulator holds them,\n"
        f"{folder}/outcomes.jsonl what came of each, {folder}/journal.sqlite what a second run would skip.\n"
        "To go on: cdp-orders emulator in one shell, cdp-orders load --help in another."
    )
    return report.status


async def _demo(folder: Path, settings: Settings, console: Console) -> Report:
    server = emulator.Emulator()
    sample = importlib.resources.files("cdp_orders_async") / "data" / SAMPLE
    async with emulator.running(server) as base_url:
        console.print(
            f"Loading 50 real orders into an emulator at {base_url}, {settings.rate:g} requests a second",
            soft_wrap=True,
        )
        client = CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=settings)  # noqa: S106 the emulator's
        with importlib.resources.as_file(sample) as path, (folder / "outcomes.jsonl").open("wb") as outcomes:

            def take(outcome: Outcome, _: object) -> None:
                outcomes.write(orjson.dumps(outcome.to_json()) + b"\n")

            report = await run(
                client,
                GraphFile(path),
                folder / "journal.sqlite",
                take,
                console,
                client_key="key",
                look_first=False,
                on_existing="keep",
                settle=1.0,
                drain=5.0,
            )
        state = orjson.dumps(server.state(), option=orjson.OPT_INDENT_2)
        (folder / "state.json").write_bytes(state)
    server.close()
    return report
