"""Load again only the orders of a file of outcomes that are not as wanted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Unpack

from cdp_orders_async.arguments import need
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import InputError, Invalid, Violation
from cdp_orders_async.ingest import Verdict
from cdp_orders_async.jobs.events import Message, ignore
from cdp_orders_async.jobs.inputs import options_of
from cdp_orders_async.jobs.journal import JournalPlace, check_exists
from cdp_orders_async.jobs.limits import check_limits
from cdp_orders_async.jobs.load import LoadOptions, load
from cdp_orders_async.jobs.recorded import read
from cdp_orders_async.jobs.report import Report
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources import GraphFiles

__all__ = ["RETRIED", "retry"]

RETRIED = ("failed", "unknown", "conflict", "partial", "kept")
"""The verdicts of the orders that are loaded again by default."""

Place = tuple[str | None, int]
"""The name of a file, and the number of a line in it."""


@sealed
async def retry(
    client: CdpOrders | CdpOrdersV2,
    outcomes: str | os.PathLike[str],
    source: GraphFiles | None = None,
    *,
    journal: JournalPlace,
    only: Iterable[str] = RETRIED,
    outcomes_to: Path | None = None,
    timezone: str | None = None,
    assign_references: bool = False,
    **options: Unpack[LoadOptions],
) -> Report:
    """Load the orders again that have one of the verdicts *only* in a file of *outcomes*, and no others.

    Each is taken from its line in the input. If the line no longer holds an order with the same key, because the input
    was edited, the order is taken from the first line that has the key. Since the *journal* knows what is loaded, a
    second retry does nothing.

    Parameters: *outcomes*, the file that a load wrote; *source*, the input, by default the files that the outcomes
    name, read with this *timezone* and *assign_references*, as in `GraphFile`, or else with those of the load;
    *journal*, the file of the journal of that load; *only*, verdicts; *outcomes_to*, the file for the outcomes of the
    retry; and the *options* of `load`, except for *plan*.

    Returns the report of the load; it is empty if no order has such a verdict. Raises `InputError` for files that
    cannot be read or written, for an order that the input no longer has, and for a *journal* that does not exist,
    unless *look_first* is set; `Invalid` for an unknown verdict; and what `load` raises.
    """
    need(outcomes, (str, os.PathLike), "outcomes")
    path, verdicts, on_event = Path(outcomes), _verdicts(only), options.get("on_event", ignore)
    check_limits(options.get("max_errors"), options.get("give_up"))
    wanted: dict[Place, str | None] = {}
    files: dict[str | None, None] = {}
    for recorded in read(path, on_event):
        files[recorded.file] = None
        if recorded.verdict in verdicts:
            wanted[recorded.file, recorded.number] = recorded.key
        else:  # a later outcome of the same line counts
            wanted.pop((recorded.file, recorded.number), None)
    if not wanted:
        on_event(Message(f"No order in {path} is {_one_of(verdicts)}: nothing was loaded."))
        return Report()
    if not options.get("look_first"):
        await check_exists(
            journal,
            client.identity,
            "name the journal of the load, or add look_first=True, which looks for each order; nothing was loaded",
        )
    if source is None:
        source = options_of(path, client.api, timezone, assign_references).files_in(path, files)
    lines = source.with_only(await _found(source, wanted))
    return await load(client, lines, journal=journal, outcomes=outcomes_to, **options)


def _verdicts(names: Iterable[str]) -> frozenset[Verdict]:
    """Return the verdicts with these *names*; raise `Invalid` for an unknown one."""
    if isinstance(names, str):
        raise TypeError("only must be several verdicts: put the one into a list")
    found = list(names)
    if not found or not set(found) <= set(map(str, Verdict)):
        raise Invalid((Violation("only", f"must be one or several of {', '.join(Verdict)}"),))
    return frozenset(map(Verdict, found))


def _one_of(verdicts: frozenset[Verdict]) -> str:
    *names, last = (str(verdict) for verdict in Verdict if verdict in verdicts)
    return f"{', '.join(names)} or {last}" if names else last


async def _found(source: GraphFiles, wanted: Mapping[Place, str | None]) -> dict[str, set[int]]:
    """Return the numbers of the lines that hold the *wanted* orders, by file; raise `InputError` for a lost order."""
    if "-" in source.names:
        raise InputError("standard input can be read only once: put the orders into a file")
    lines: dict[str, set[int]] = {name: set() for name in source.names}
    named: dict[str, set[int]] = {}
    for file, number in wanted:
        if file in lines:
            named.setdefault(str(file), set()).add(number)
    lost = dict(wanted)
    async for line in source.with_only(named):
        if wanted[line.file, line.number] in {None, line.key}:
            lines[line.file].add(line.number)
            del lost[line.file, line.number]
    if lost:
        keys = set(lost.values()) - {None}
        async for line in source:
            if line.key in keys:
                lines[line.file].add(line.number)
                keys.discard(line.key)
        lost = {place: key for place, key in lost.items() if key is None or key in keys}
    for (file, number), key in lost.items():
        order = "its order" if key is None else f"the order {key}"
        raise InputError(
            f"{file}:{number} no longer holds {order}, and no other line of {source.name} does: name the input as it"
            " was loaded; nothing was loaded"
        )
    return {name: numbers for name, numbers in lines.items() if numbers}
