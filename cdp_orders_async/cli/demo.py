"""``cdp-orders demo``: the emulator and a packaged sample of real orders, end to end."""

from __future__ import annotations

import asyncio
import importlib.resources
import tempfile
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter

from cdp_orders_async import emulator, jobs
from cdp_orders_async.cli.display import Display, Screen, show_summary
from cdp_orders_async.cli.options import fitting, refuse
from cdp_orders_async.client import CdpOrders
from cdp_orders_async.errors import CdpError
from cdp_orders_async.settings import Settings
from cdp_orders_async.sources import GraphFiles

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
    console, out = Screen.of_messages(), Screen()
    try:
        settings = fitting(Settings(rate=rate), console, files=2)  # the emulator has the other end of each connection
        folder = Path(tempfile.mkdtemp(prefix="cdp-orders-demo-"))
        with Display(console, folder / "outcomes.jsonl") as display:
            report = asyncio.run(_demo(folder, settings, display))
    except CdpError as error:
        return refuse(error)
    show_summary(out, report)
    if report.reason is not None:
        refuse(report.reason)
    out.say("Where to look:")
    out.say(f"  {folder}/state.json has the orders as the emulator holds them,")
    out.say(f"  {folder}/outcomes.jsonl what came of each,")
    out.say(f"  {folder}/journal.sqlite what a second run would skip.")
    out.say("To go on: cdp-orders emulator in one shell, cdp-orders load --help in another.")
    return report.status


async def _demo(folder: Path, settings: Settings, display: Display) -> jobs.Report:
    server = emulator.Emulator()
    sample = importlib.resources.files("cdp_orders_async") / "data" / SAMPLE
    async with emulator.running(server) as base_url:
        what = f"Loading 50 real orders into an emulator at {base_url}, {settings.rate:g} requests a second"
        display(jobs.Message(what))
        client = CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=settings)  # noqa: S106 the emulator's
        with importlib.resources.as_file(sample) as path:
            async with client:
                report = await jobs.load(
                    client,
                    GraphFiles([path]),
                    journal=folder / "journal.sqlite",
                    outcomes=folder / "outcomes.jsonl",
                    on_event=display,
                )
        state = orjson.dumps(server.state(), option=orjson.OPT_INDENT_2)
        (folder / "state.json").write_bytes(state)
    server.close()
    return report
