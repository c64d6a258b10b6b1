"""``cdp-orders plan``: what a load would send, and what is wrong or doubtful in its input."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from json import dumps
from pathlib import Path
from typing import Annotated, Self

import attrs
from cyclopts import Parameter
from rich.live import Live
from rich.text import Text

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import PROGRESS_EVERY, SEPARATOR, Screen, about, rounded
from cdp_orders_async.cli.options import Connection, Flag, InputName, refuse
from cdp_orders_async.errors import CdpError, counted
from cdp_orders_async.kinds import V2, V2_1
from cdp_orders_async.settings import Settings
from cdp_orders_async.sources import TableSource

__all__ = ["plan"]


FEW = 20  # groups of each sort that are told; the JSON has more


def plan(  # noqa: D417 the options of a connection say themselves what they are
    *files: InputName,
    connection: Connection | None = None,
    timezone: str | None = None,
    assign_references: Flag = False,
    sql: str | None = None,
    check_server: Flag = False,
    sample: Annotated[int, Parameter(allow_leading_hyphen=True)] = 100,
    rejects: Path | None = None,
    json: Flag = False,
) -> int:
    """Read all orders of FILES, send nothing, and say what a load would send and what is wrong or doubtful.

    The requests are exactly those of a load with a new journal, of whose orders nothing is on the server, if no
    request fails. With --rate, the least time that they take is told too. A load over the Batch API (load --engine
    batch) is estimated as well: the plan names the orders that it cannot take, and recommends one of the two engines.
    No credentials are needed, except with --check-server. Exit status: 0 each order can be loaded, 1 some line breaks
    rules, or is in conflict with an earlier one, 2 bad usage, input or server, 129, 130 or 143 stopped.

    Example: cdp-orders plan 2023.jsonl.gz 2024/ --rate 20 --rejects bad.jsonl

    Parameters
    ----------
    files
        Files of orders, globs, folders, or - for standard input: JSON lines, plain, gzip or zstd; Parquet and CSV
        files; a SQL file.
    timezone
        The zone of times that do not say theirs, for instance Europe/Dublin; without it their orders are refused.
    assign_references
        Give each item without a referenceId one made from its place: ORDER#1, ORDER#2 and so on.
    sql
        A SQL file that selects whole orders from the tables among FILE: Parquet and CSV files. Each is a table, named
        by the beginning of its name, and all of them are the table input. It needs the extra tables.
    check_server
        Look which orders of a sample are on the server already, in part or whole. Nothing is written there.
    sample
        How many orders --check-server looks for, drawn by chance.
    rejects
        Where to keep the bad lines as they stand, to be mended, and loaded with the journal of the other
        lines. REJECTS.reasons.jsonl says what is wrong with each. Those of an earlier run are put aside first, as
        REJECTS.1, REJECTS.2 and so on.
    json
        Print one JSON object at the end in place of the text.

    """
    console = Screen.of_messages()
    connection = connection or Connection()
    try:
        rate = connection.rate if isinstance(connection.rate, float) else None
        attrs.evolve(Settings(), rate=rate)  # raises for one that cannot be
        jobs.check_outputs(files, {"rejects": rejects})
        api = V2 if connection.api == "v2" else V2_1
        source = TableSource(files, api, timezone=timezone, assign_references=assign_references, sql=sql)
        with _Display(console) as display:
            job = partial(jobs.plan, source, rate=rate, rejects=rejects, sample=sample, on_event=display)
            report = asyncio.run(_over(connection, console, job) if check_server else job())
    except CdpError as error:
        return refuse(error)
    if report.stopped_by is not None:
        console.say(f"Stopped after {counted(report.orders, 'order')}: the plan is not made, and nothing was sent.")
    elif json:
        Screen().say(dumps(report.to_json()))  # in ASCII, which each output can show
    else:
        out = Screen()
        for line in _lines(report, source.name):
            out.say(line)
    return report.status


async def _over(connection: Connection, console: Screen, job: Callable[..., Awaitable[jobs.Plan]]) -> jobs.Plan:
    async with connection.client(console) as client:
        return await job(client=client)


class _Display:
    """Tells a person how far the reading is: in place on a terminal, else by a line now and then."""

    def __init__(self, console: Screen) -> None:
        self._console = console
        self._next_line = PROGRESS_EVERY
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: jobs.Event) -> None:
        """Tell of an *event*."""
        if isinstance(event, jobs.Message):
            self._console.say(event.text)
        elif isinstance(event, jobs.Reading) and self._live is not None:
            self._live.start()
            self._live.update(Text(_words(event), no_wrap=True, overflow="ellipsis"), refresh=True)
        elif isinstance(event, jobs.Reading) and event.seconds >= self._next_line:
            self._next_line = event.seconds + PROGRESS_EVERY
            self._console.say(_words(event))


def _words(reading: jobs.Reading) -> str:
    words = [f"{counted(reading.orders, 'order')} read", f"{reading.invalid:,} invalid"]
    return SEPARATOR.join([*words, f"{reading.fraction:.0%}"] if reading.fraction is not None else words)


def _lines(plan: jobs.Plan, name: str) -> Iterator[str]:
    """Yield what a person is told of a plan, line by line."""
    yield f"{counted(plan.orders, 'order')} in {name}, {plan.invalid:,} of them invalid"
    yield from _some(plan.faults)
    if plan.warnings:
        yield "Doubtful, though it can be loaded:"
        yield from _some(plan.warnings)
    if plan.same_reference:
        yield (
            f"Orders that the server takes for an earlier one, within two days, so that nothing of them is sent:"
            f" {counted(plan.copies, 'copy', 'copies')}, {plan.conflicts:,} in conflict"
        )
        yield from _some(_clash(clash) for clash in plan.same_reference)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in plan.requests.most_common() if count)
    yield f"Requests of a load with a new journal: {plan.requests.total():,}{kinds and f' ({kinds})'}"
    if plan.upserts:
        upserts = counted(plan.upserts, "order in mode upsert is", "orders in mode upsert are")
        yield (
            f"{upserts} looked for first, each once, and those that are begun in the settling time up to three times"
        )
    if plan.seconds is not None and plan.engines.engine is not None:
        yield f"Least time at {plan.rate:g} requests/s: {rounded(plan.seconds)}"
    yield from _engines(plan.engines)
    if plan.server is not None:
        server = plan.server
        sample = counted(server.sample, "order that was", "orders that were")
        yield f"Of {sample} looked for, the server has {server.whole:,} whole and {server.part:,} in part"
    yield f"Hash: {plan.hash} (cdp-orders load --plan {plan.hash} takes no other input)"


def _engines(choice: jobs.Choice) -> Iterator[str]:
    """Yield the estimates of both engines, the orders that the Batch API cannot take, and the recommended engine."""
    if choice.engine is None:
        yield f"{choice.reason}."
        return
    batch = choice.batch
    yield f"Engine rest: {about(choice.rest_seconds)} at {choice.rate:g} requests/s"
    yield (
        f"Engine batch: {counted(batch.orders, 'order')} in {counted(batch.files, 'file')}, {batch.megabytes:,.1f} MB,"
        f" {about(batch.seconds)}; it cannot take {counted(batch.refused, 'order')}"
    )
    yield from _some(batch.rules)
    yield f"Recommended: --engine {choice.engine}: {choice.reason}"


def _some(groups: Iterable[object]) -> Iterator[str]:
    told = list(islice(groups, FEW + 1))
    yield from (f"  {group}" for group in told[:FEW])
    if len(told) > FEW:
        yield "  and more: --json names them"


def _clash(clash: jobs.Clash) -> str:
    orders = [f"{verdict} {file}:{number}" for file, number, _, verdict in clash.orders[:FEW]]
    more = ", and more" if len(clash.orders) > FEW else ""
    return f"{clash.reference_id}: {', '.join(orders)}{more}"
