"""``cdp-orders journal``: look into the journal of a load, and forget an order of it."""

from __future__ import annotations

import asyncio
from json import dumps

from cyclopts import App

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import Screen
from cdp_orders_async.cli.options import Flag, confirmed, refuse
from cdp_orders_async.errors import CdpError, counted

__all__ = ["journal"]

journal = App(
    name="journal",
    help="Look into the journal of a load, and forget an order of it. Example: cdp-orders journal show --journal J",
    help_format="markdown",
)


@journal.command
def show(*, journal: str, json: Flag = False) -> int:
    """Show what a journal belongs to, and how much it knows.

    Example: cdp-orders journal show --journal orders.jsonl.journal.sqlite

    Parameters
    ----------
    journal
        The file of the journal, or postgresql://USER@HOST/DATABASE.
    json
        Print one JSON object in place of the lines.

    """
    try:
        report = asyncio.run(jobs.journal_report(jobs.journal_place(journal)))
    except CdpError as error:
        return refuse(error)
    out = Screen()
    if json:
        out.say(dumps(report.to_json()))
        return 0
    for name, value in report.identity.items():
        out.say(f"{name}: {value}")
    out.say(
        f"{counted(report.orders, 'order')}: {report.complete:,} complete, {report.incomplete:,} incomplete,"
        f" {report.under_way:,} under way"
    )
    out.say(
        f"{counted(report.parts, 'part')} on the server, {report.created:,} of them created with this journal;"
        f" {report.in_doubt:,} in doubt"
    )
    if report.empty:
        orders = counted(report.empty, "further order has", "further orders have")
        out.say(f"{orders} nothing on the server: undone, forgotten, or never made")
    out.say(f"{counted(report.runs, 'load')}, {report.size:,} bytes")
    return 0


@journal.command
def export(*, journal: str) -> int:
    """Print each order of a journal as a JSON line: key, complete, and refs by part.

    A part whose ref is null may be on the server, which the next load finds out.

    Example: cdp-orders journal export --journal orders.jsonl.journal.sqlite > refs.jsonl

    Parameters
    ----------
    journal
        The file of the journal, or postgresql://USER@HOST/DATABASE.

    """

    async def print_all() -> None:
        out = Screen()
        async for order in jobs.journal_orders(place):
            out.say(dumps(order))

    try:
        place = jobs.journal_place(journal)
        asyncio.run(print_all())
    except CdpError as error:
        return refuse(error)
    return 0


@journal.command
def forget(key: str, /, *, journal: str, yes: Flag = False) -> int:
    """Drop all that a journal knows of the order KEY; the server is not asked, and keeps the order.

    Afterwards no undo deletes the order, and the next load with this journal needs --look-first, or it creates
    its parts once more.

    Example: cdp-orders journal forget B94TXY-1@2024-01-01T16:17:16+00:00 --journal orders.jsonl.journal.sqlite

    Parameters
    ----------
    key
        The key of the order, as journal export and the outcomes of a load show it.
    journal
        The file of the journal, or postgresql://USER@HOST/DATABASE.
    yes
        Do not ask first.

    """
    console = Screen.of_messages()
    try:
        if not yes and not confirmed(console, f"Forget the order {key}?"):
            return 2
        parts = asyncio.run(jobs.forget_order(jobs.journal_place(journal), key))
    except CdpError as error:
        return refuse(error)
    Screen().say(f"The journal has forgotten the order with {counted(parts, 'part')}; the server keeps it.")
    console.say("The next load with this journal needs --look-first, or it creates its parts once more.")
    return 0
