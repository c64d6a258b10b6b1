"""Load again only the orders of a file of outcomes that are not as wanted."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import NoneType
from typing import TypeAlias, Unpack

from cdp_orders_async.arguments import need
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import InputError, Invalid, Violation
from cdp_orders_async.ingest import Verdict
from cdp_orders_async.ingest.outcomes import NOTHING_MADE
from cdp_orders_async.jobs.events import Event, Message, ignore
from cdp_orders_async.jobs.given import FileName, GivenJournal, check_job, file_given, journal_given
from cdp_orders_async.jobs.inputs import options_of
from cdp_orders_async.jobs.journal import check_exists
from cdp_orders_async.jobs.limits import check_limits
from cdp_orders_async.jobs.load import LoadOptions, load
from cdp_orders_async.jobs.recorded import read
from cdp_orders_async.jobs.report import Report
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources import GraphFiles

__all__ = ["RETRIED", "retry"]

RETRIED = ("failed", "unknown", "conflict", "partial", "kept")
"""The verdicts of the orders that are loaded again by default."""

Wanted: TypeAlias = dict[str | None, dict[int, int | None]]
"""The hashes of the keys of orders by the numbers of their lines, by their files; None: an order without a key.

Of many orders the texts of the keys would take most of the memory.
"""


@sealed
async def retry(
    client: CdpOrders | CdpOrdersV2,
    outcomes: FileName,
    source: GraphFiles | FileName | None = None,
    *,
    journal: GivenJournal,
    only: Iterable[str] = RETRIED,
    outcomes_to: FileName | None = None,
    timezone: str | None = None,
    assign_references: bool = False,
    **options: Unpack[LoadOptions],
) -> Report:
    """Load the orders again that have one of the verdicts *only* in a file of *outcomes*, and no others.

    Each is taken from its line in the input. If the line no longer holds an order with the same key, because the input
    was edited, the order is taken from the lines that have the key. An earlier line with the same key is loaded too:
    it is the order, so the later one stays a ``conflict`` for as long as both are there and differ. Since the *journal*
    knows what is loaded, a second retry does nothing.

    Parameters: *outcomes*, the file that a load wrote; *source*, the input, by default the files that the outcomes
    name, read with this *timezone* and *assign_references*, as in `GraphFile`, or else with those of the load;
    *journal*, the file of the journal of that load; *only*, verdicts; *outcomes_to*, the file for the outcomes of the
    retry; and the *options* of `load`, except for *plan*.

    Returns the report of the load; it is empty if no order has such a verdict. Raises `InputError` for files that
    cannot be read or written, for an order that the input no longer has, and for a *journal* that does not exist,
    unless *look_first* is set or the outcomes tell that nothing of the orders is on the server; TypeError for an
    argument of another type; `Invalid` for an unknown verdict; and what `load` raises.
    """
    check_job(client, options.get("on_event", ignore), options.get("clock", time.monotonic))
    need(outcomes, (str, os.PathLike), "outcomes")
    path, verdicts, on_event = Path(outcomes), _verdicts(only), options.get("on_event", ignore)
    if not isinstance(source, (str, os.PathLike)):
        need(source, (GraphFiles, NoneType), "source", "the path of a file, GraphFiles or None")
    journal, outcomes_to = journal_given(journal), file_given(outcomes_to, "outcomes_to")
    check_limits(options.get("max_errors"), options.get("give_up"))
    wanted: Wanted = {}
    is_cut = has_made = False

    def hear(event: Event) -> None:
        nonlocal is_cut
        is_cut = True  # read tells of nothing else
        on_event(event)

    for recorded in read(path, hear):
        has_made |= recorded.verdict not in NOTHING_MADE or any(part.ref is not None for part in recorded.parts)
        lines_of_file = wanted.setdefault(recorded.file, {})
        if recorded.verdict in verdicts:
            lines_of_file[recorded.number] = None if recorded.key is None else hash(recorded.key)
        else:  # a later outcome of the same line counts
            lines_of_file.pop(recorded.number, None)
    if not any(wanted.values()):
        if is_cut or not wanted:
            lacks = "lacks its end" if wanted else "holds no whole outcome"
            raise InputError(
                f"{path} {lacks}, so it does not tell which orders are left: nothing was loaded; load the input again"
                " with its journal, which knows them"
            )
        on_event(Message(f"No order in {path} is {_one_of(verdicts)}: nothing was loaded."))
        return Report()
    if has_made and not options.get("look_first"):
        await check_exists(
            journal,
            client.identity,
            "name the journal of the load, or add look_first=True, which looks for each order; nothing was loaded",
        )
    if not isinstance(source, GraphFiles):
        read_as = options_of(path, client.api, timezone, assign_references)
        named = dict.fromkeys(wanted)
        source = read_as.files_in(path, named) if source is None else read_as.files([os.fspath(source)])
    lines = source.with_only(await _found(source, wanted, path))
    return await load(client, lines, journal=journal, outcomes=outcomes_to, **options)


def _verdicts(names: Iterable[str]) -> frozenset[Verdict]:
    """Return the verdicts with these *names*; raise `Invalid` for an unknown one."""
    if isinstance(names, str):
        raise TypeError("only must be several verdicts: put the one into a list")
    need(names, Iterable, "only", "several verdicts")
    found = list(names)
    if not found or not set(found) <= set(map(str, Verdict)):
        raise Invalid((Violation("only", f"must be one or several of {', '.join(Verdict)}"),))
    return frozenset(map(Verdict, found))


def _one_of(verdicts: frozenset[Verdict]) -> str:
    *names, last = (str(verdict) for verdict in Verdict if verdict in verdicts)
    return f"{', '.join(names)} or {last}" if names else last


async def _found(source: GraphFiles, wanted: Wanted, outcomes: Path) -> dict[str, set[int]]:
    """Return the numbers of the lines that hold the *wanted* orders, by file; raise `InputError` for a lost order.

    With them come the lines above that have one of their keys. The first line with a key is the order: without it, a
    load would take a line that contradicts it for an edit of it.
    """
    if "-" in source.names:
        raise InputError("standard input can be read only once: put the orders into a file")
    lines: dict[str, set[int]] = {name: set() for name in source.names}
    looked_at = {file: dict(numbers) for file, numbers in wanted.items() if file is not None and file in lines}
    _add_earlier(looked_at, source.names, outcomes)
    async for line in source.with_only({file: numbers.keys() for file, numbers in looked_at.items()}):
        if looked_at[line.file][line.number] in {None, hash(line.key)}:
            lines[line.file].add(line.number)
    lost = [
        (file, number, key)
        for file, numbers in itertools.chain(wanted.items(), looked_at.items())
        for number, key in numbers.items()
        if file not in lines or number not in lines[file]
    ]
    if lost:
        keys, found = {key for _, _, key in lost}, set[int | None]()
        async for line in source:
            if line.key is not None and hash(line.key) in keys:
                lines[line.file].add(line.number)
                found.add(hash(line.key))
        for file, number, key in lost:
            if number in wanted.get(file, ()) and (key is None or key not in found):
                raise InputError(
                    f"{file}:{number} no longer holds {_order(outcomes, file, number)}, and no other line of"
                    f" {source.name} does: name the input as it was loaded; nothing was loaded"
                )
    return {name: numbers for name, numbers in lines.items() if numbers}


def _add_earlier(wanted: dict[str, dict[int, int | None]], names: Sequence[str], outcomes: Path) -> None:
    """Add to the *wanted* lines those above them that have one of their keys in the *outcomes*, and break no rule."""
    places = {name: place for place, name in enumerate(names)}
    last: dict[int, tuple[int, int]] = {}
    for file, numbers in wanted.items():
        for number, key in numbers.items():
            if key is not None:
                last[key] = max(last.get(key, (0, 0)), (places[file], number))
    for recorded in read(outcomes):
        if recorded.file in places and recorded.key is not None and recorded.verdict is not Verdict.INVALID:
            key = hash(recorded.key)
            if (places[recorded.file], recorded.number) < last.get(key, (0, 0)):
                wanted.setdefault(recorded.file, {}).setdefault(recorded.number, key)


def _order(outcomes: Path, file: str | None, number: int) -> str:
    """Return in words the order that the *outcomes* name at this line."""
    keys = [recorded.key for recorded in read(outcomes) if (recorded.file, recorded.number) == (file, number)]
    return f"the order {keys[-1]}" if keys and keys[-1] is not None else "its order"
