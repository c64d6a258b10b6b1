"""``cdp-orders demo``: the emulator and a packaged sample of real orders, end to end."""

from __future__ import annotations

import asyncio
import importlib.resources
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter

from cdp_orders_async import emulator, jobs
from cdp_orders_async.cli.display import Display, Screen, show_summary
from cdp_orders_async.cli.emulator import pages_of
from cdp_orders_async.cli.options import Flag, fitting, refuse
from cdp_orders_async.cli.report import make_report
from cdp_orders_async.client import CdpOrders
from cdp_orders_async.emulator.pages import PAGES
from cdp_orders_async.errors import CdpError
from cdp_orders_async.settings import Settings
from cdp_orders_async.sources import GraphFiles

__all__ = ["demo"]

SAMPLE = "orders-50.jsonl.gz"


def demo(*, rate: Annotated[float, Parameter(allow_leading_hyphen=True)] = 400.0, no_serve: Flag = False) -> int:
    """Load 50 real orders into an emulator of the API on this machine: no account, no network.

    The last lines say where the report, the outcomes, the journal and the emulator's state were written. On a terminal,
    the emulator then serves its pages for a browser until Ctrl-C.

    Example: cdp-orders demo --rate 100

    Parameters
    ----------
    rate
        Requests per second.
    no_serve
        End after the load, on a terminal too.

    """
    console = Screen.of_messages()
    try:
        settings = fitting(Settings(rate=rate), console, files=2)  # the emulator has the other end of each connection
        folder = Path(tempfile.mkdtemp(prefix="cdp-orders-demo-"))
        return asyncio.run(_demo(folder, settings, console, serves=not no_serve and _on_terminal()))
    except CdpError as error:
        return refuse(error)


def _on_terminal() -> bool:
    """Tell whether a person is at a terminal, to look at the pages and to press Ctrl-C."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


async def _demo(folder: Path, settings: Settings, console: Screen, *, serves: bool) -> int:
    server = emulator.Emulator()
    async with emulator.running(server) as base_url:
        with Display(console, folder / "outcomes.jsonl") as display:
            report = await _load(base_url, folder, settings, display)
            report_status = await make_report(report, folder / "outcomes.jsonl", folder / "report.html", display)
        (folder / "state.json").write_bytes(orjson.dumps(server.state(), option=orjson.OPT_INDENT_2))
        out = Screen()
        show_summary(out, report)
        if report.reason is not None:
            refuse(report.reason)
        out.say("Where to look:")
        if not report_status:
            out.say(f"  {folder}/report.html is the report of the load, for a browser,")
        out.say(f"  {folder}/state.json has the orders as the emulator holds them,")
        out.say(f"  {folder}/outcomes.jsonl what came of each,")
        out.say(f"  {folder}/journal.sqlite what a second run would skip.")
        out.say("To go on: cdp-orders emulator in one shell, cdp-orders load --help in another.")
        if serves and not report.status:
            await _show(server, base_url, out)
    server.close()
    return report.status or report_status


async def _load(base_url: str, folder: Path, settings: Settings, display: Display) -> jobs.Report:
    sample = importlib.resources.files("cdp_orders_async") / "data" / SAMPLE
    what = f"Loading 50 real orders into an emulator at {base_url}, {settings.rate:g} requests a second"
    display(jobs.Message(what))
    client = CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=settings)  # noqa: S106 the emulator's
    with importlib.resources.as_file(sample) as path:
        async with client:
            return await jobs.load(
                client,
                GraphFiles([path]),
                journal=folder / "journal.sqlite",
                outcomes=folder / "outcomes.jsonl",
                on_event=display,
            )


async def _show(server: emulator.Emulator, base_url: str, out: Screen) -> None:
    """Serve the pages until a signal, and say which of them to open."""
    stop = asyncio.Event()
    async with jobs.on_stop(lambda _: stop.set()):
        out.say(f"The emulator still serves (Ctrl-C stops it). {pages_of(base_url)}")
        first = next(iter(server.store.all("orders")))
        out.say(f"  The guest of the first order: {base_url}{PAGES}/guests/{server.store.guest_of(first)}/orders")
        out.say(f"  The ledger of all changes: {base_url}{PAGES}/ledger")
        await stop.wait()
