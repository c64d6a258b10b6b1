"""Read back what a load made, and compare it part by part with the input."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio.to_thread

from cdp_orders_async.arguments import need
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import InputError, Invalid, Violation, counted
from cdp_orders_async.ingest import SETTLE
from cdp_orders_async.jobs.confidence import most_differing
from cdp_orders_async.jobs.differences_file import written
from cdp_orders_async.jobs.events import Event, Message, OnEvent, ignore
from cdp_orders_async.jobs.given import FileName, check_job, file_given, source_given
from cdp_orders_async.jobs.inputs import options_of
from cdp_orders_async.jobs.recorded import open_outcomes, read_lines
from cdp_orders_async.jobs.verification import opened
from cdp_orders_async.jobs.verifier import Verifier, VerifyReport
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources import GraphFile, GraphFiles

__all__ = ["verify"]


@sealed
async def verify(
    client: CdpOrders | CdpOrdersV2,
    outcomes: FileName,
    source: GraphFiles | GraphFile | FileName | None = None,
    *,
    timezone: str | None = None,
    assign_references: bool = False,
    sample: int | None = None,
    seed: int = 0,
    differences: FileName | None = None,
    settle: float = SETTLE,
    on_event: OnEvent = ignore,
    clock: Callable[[], float] = time.monotonic,
) -> VerifyReport:
    """Read the orders of a file of *outcomes* back over *client*, and compare them with the input; change nothing.

    In version 2.1 an order takes 5 requests, one for each item, and one for each consumer whose items the server does
    not show with it. In version 2, which lists only links, it takes 11 and one for each item, contact and consumer.

    A verification that was stopped goes on with the same call: the file ``OUTCOMES.verified`` remembers the orders that
    are checked, and is removed at the end.

    Parameters: *outcomes*, the file that a load wrote; *source*, the input, by default the files that the outcomes
    name, read with this *timezone* and *assign_references*, as in `GraphFile`, or else with those of the load;
    *sample*, how many orders are drawn at random by the *seed*, by default all; *differences*, a new file for each
    difference, as JSON lines; *settle*, the seconds that the server may lag behind writes: an order that differs before
    they have passed since the start is read again then; *on_event*, which is told what happens, and ends the
    verification if it raises; *clock*, in seconds.

    Returns a `VerifyReport`. Raises `InputError` for files that cannot be read or written, `Invalid` for a *sample*
    below 1, and TypeError for an argument of another type; what ends it later is the `error` of the report.
    """
    check_job(client, on_event, clock)
    need(outcomes, (str, os.PathLike), "outcomes")
    need(sample, (int, type(None)), "sample")
    need(seed, int, "seed")
    if sample is not None and sample < 1:
        raise Invalid((Violation("sample", "must be at least 1"),))
    path, differences = Path(outcomes), file_given(differences, "differences")
    if source is not None:
        source = source_given(source, options_of(path, client.api, timezone, assign_references))
    need(settle, float, "settle")
    stamp = _stamp(client, path, source, (sample, seed, timezone, assign_references, str(differences)))
    began = clock()
    with opened(Path(f"{path}.verified"), stamp) as verification:
        if not verification.is_filled:
            told: list[Event] = []  # the observer is called in the loop alone
            await anyio.to_thread.run_sync(verification.fill, read_lines(path, told.append), sample, seed)
            for event in told:
                on_event(event)
        if source is None:
            source = options_of(path, client.api, timezone, assign_references).files_in(path, verification.files())
        if verification.has_changed(_stamp_of_inputs(source)):
            on_event(Message("The input was changed since the verification was stopped: all is checked again."))
        counts, length = verification.saved()
        if counts:
            orders = counted(counts[0], "order is", "orders are")
            on_event(Message(f"The verification that was stopped goes on: {orders} checked."))
        with (
            open_outcomes(path) as recorded,
            written(differences, length) as output,
        ):
            run = Verifier(client, verification, recorded, output, settle=settle, on_event=on_event, clock=clock)
            run.resume(counts)
            report = await run.over(source)
        report.seconds = clock() - began
        whole = report.error is None and report.stopped_by is None
        verification.done = whole or report.orders == report.unread
        if sample is not None and whole:
            report.population = verification.count()
            report.differing = most_differing(report.population, min(sample, report.population), report.wrong)
    return report


def _stamp(
    client: CdpOrders | CdpOrdersV2, outcomes: Path, source: GraphFiles | GraphFile | None, options: Sequence[object]
) -> bytes:
    """Return what a verification that goes on must have in common with the one that was stopped."""
    try:
        found = outcomes.stat()
    except OSError as error:
        raise InputError(f"the outcomes cannot be read from {outcomes}: {error.strerror}") from error
    names = source.names if isinstance(source, GraphFiles) else (None if source is None else source.name)
    given = (found.st_size, found.st_mtime_ns, sorted(client.identity.items()), names, *options)
    return hashlib.blake2b(repr(given).encode(), digest_size=16).digest()


def _stamp_of_inputs(source: GraphFiles | GraphFile) -> bytes:
    """Return a hash of the sizes and times of the files of *source*, without those that are no files."""
    found: list[tuple[str, int, int]] = []
    for name in source.paths if isinstance(source, GraphFiles) else (source.name,):
        with contextlib.suppress(OSError):
            stat = Path(name).stat()
            found.append((name, stat.st_size, stat.st_mtime_ns))
    return hashlib.blake2b(repr(found).encode(), digest_size=16).digest()
