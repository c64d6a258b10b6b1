"""``cdp-orders undo``: take back what the loads with one journal created."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import Display, Screen
from cdp_orders_async.cli.options import Connection, Flag, confirmed, refuse
from cdp_orders_async.cli.running import journal_place, repeated, show
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import CdpError, counted

__all__ = ["undo"]


def undo(  # noqa: D417 the options of a connection say themselves what they are
    *,
    journal: str,
    connection: Connection | None = None,
    outcomes: Path | None = None,
    before: Path | None = None,
    yes: Flag = False,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Delete what the loads with a journal created, and nothing that they only found on the server.

    The newest orders go first, and of each order its extensions, its people, its items and then the order. A part
    that was changed since it was created stays, and so does what it needs; an order stays if it has a part that no
    load with this journal created. The same command again tries what failed. Afterwards the same load loads again
    what was deleted. Exit status: 0 all is deleted, 1 some part stays, 2 bad usage, input or server, 129, 130 or 143
    stopped.

    Example: cdp-orders undo --journal orders.sqlite --region eu --outcomes undone.jsonl

    Parameters
    ----------
    journal
        The journal of the loads: a file, by default FILE.journal.sqlite beside the FILE that was loaded; or
        postgresql://USER@HOST/DATABASE.
    outcomes
        Where to write the outcome of each order and of each part, as JSON lines. Those of an earlier undo are put
        aside first, as OUTCOMES.1, OUTCOMES.2 and so on.
    before
        The file in which load --keep-before kept the values that it changed. What it says of parts that stay is
        listed: undo writes no value back.
    yes
        Do not ask first.
    force
        Delete also what was changed since, and orders with whatever others put under them; nothing is read first.
    json
        Print one JSON object at the end: deleted, kept, failed.

    """
    console = Screen.of_messages()
    connection, client = connection or Connection(), None
    try:
        place = journal_place(journal, console)
        client = connection.client(console)
        return asyncio.run(_undo(client, console, place, outcomes, before, yes=yes, force=force, json=json))
    except CdpError as refused:
        return refuse(refused, unsent=client is None or not client.session.stats.requests)


async def _undo(
    client: CdpOrders | CdpOrdersV2,
    console: Screen,
    journal: jobs.JournalPlace,
    outcomes: Path | None,
    before: Path | None,
    *,
    yes: bool,
    force: bool,
    json: bool,
) -> int:
    async with client:
        with Display(console, outcomes) as display:
            found = await jobs.undoable(client, journal)
            question = (
                f"Delete {counted(found.parts, 'part')} of {counted(found.orders, 'order')} at {client.base_url}?"
            )
            if found.parts and not yes and not confirmed(console, question):
                return 2
            job = partial(jobs.undo, client, journal, force=force, outcomes=outcomes, before=before)
            report = await job(on_event=display)
    status = show(report, lambda screen, report: screen.say(_summary(report, found)), json=json)
    if report.status and (advice := _advice(report)):
        console.say(advice)
    return status


def _summary(report: jobs.UndoReport, found: jobs.Undoable) -> str:
    if not found.parts:
        return "The journal knows nothing that its loads created: nothing was deleted."
    return f"{counted(report.deleted, 'part')} deleted, {report.kept:,} kept, {report.failed:,} failed"


def _advice(report: jobs.UndoReport) -> str:
    """Say what to do about what is not deleted."""
    if report.failed or report.error is not None or report.stopped_by is not None:
        return f"What is deleted is recorded. To go on: {repeated()}"
    return "What stays has its reason. To delete it all the same, add --force." if report.kept else ""
