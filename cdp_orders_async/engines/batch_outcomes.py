"""The outcomes of the orders of a batch file, and what the journal keeps of them."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import re
import zlib
from collections.abc import Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import orjson
from msgspec import Struct

from cdp_orders_async.engines.batch_api import NO_MESSAGE, LogRow
from cdp_orders_async.errors import Delivery, Violation
from cdp_orders_async.ingest import Failure, Outcome, PartOutcome, PartVerdict, Verdict
from cdp_orders_async.journal import GraphRecord, SqliteJournal
from cdp_orders_async.journal.batches import BatchOrder
from cdp_orders_async.redact import NO_SECRETS
from cdp_orders_async.wire import MAYBE_DONE_BEFORE, masked_message, sent_words

__all__ = ["Decision", "concluded", "decide", "entries", "order_outcome", "outcome_of"]

NOBODY = UUID(int=0)
INVALID_RECORD = 400
SERVER_FAILED = 500
FIELD = re.compile(r"(?P<field>[A-Za-z][\w.\[\]]*): +(?P<rule>.+)", re.DOTALL)
"""The form of the API's complaints about a field: ``firstName: may not be null.``"""
BY_REST = "load it with the REST engine, which asks the server"


class Decision(Struct, frozen=True):
    """An order that is not sent, and why."""

    verdict: Verdict
    reason: str | None = None


def decide(record: GraphRecord | None, digest: bytes, *, here: bytes, marker: bytes) -> Decision | None:
    """Return why an order with this *record* in the journal and this *digest* is not sent; None if it is new.

    *here* identifies this load, and *marker* the folder of its batch files: an order that a load with this folder began
    is in one of its files, or was never sent.
    """
    if record is None or (record.ended and not record.complete and not record.parts):
        return None
    if record.complete:
        if record.digest == digest:
            return Decision(Verdict.ALREADY)
        if record.run.startswith(here):
            return Decision(Verdict.CONFLICT, f"line {record.number} is the same order, with other content")
        return Decision(Verdict.CONFLICT, f"it was loaded with other content: {BY_REST}")
    if not record.ended and not record.parts and record.run.endswith(marker):
        return None
    return Decision(Verdict.UNKNOWN, f"an earlier load left it open: {BY_REST}")


def order_outcome(file: str | None, number: int, key: str | None, decision: Decision) -> Outcome:
    """Return the outcome of an order that was not sent."""
    verdicts = {Verdict.ALREADY: PartVerdict.FOUND, Verdict.UNKNOWN: PartVerdict.UNKNOWN}
    part = PartOutcome("order", verdicts.get(decision.verdict, PartVerdict.CONFLICT), reason=decision.reason)
    parts = () if decision.verdict in {Verdict.NOT_TRIED, Verdict.INVALID} else (part,)
    return Outcome(file=file, number=number, key=key, verdict=decision.verdict, parts=parts)


def outcome_of(
    order: BatchOrder, names: tuple[str, ...], row: LogRow | None, unknown: str | None, seconds: float
) -> Outcome:
    """Return the outcome of an *order* whose batch has a result; *names* are those of its parts.

    Parameters: *row*, that of the error log about it; *unknown*, why it is unknown, if it is and has no row.
    """
    verdict, parts, violations = Verdict.LOADED, tuple[PartOutcome, ...](), tuple[Violation, ...]()
    if row is not None:
        verdict, violations = _verdict_of(row)
        failure = Failure("Refused", row.message, row.code, str(Delivery.REFUSED), 1)
        if verdict is Verdict.UNKNOWN:
            failure = Failure("ServerError", row.message, row.code, str(Delivery.UNKNOWN), 1)
            parts = (PartOutcome("order", PartVerdict.UNKNOWN, failure=failure),)
        elif verdict is Verdict.FAILED:
            parts = (PartOutcome("order", PartVerdict.FAILED, failure=failure),)
    elif unknown is not None:
        verdict, parts = Verdict.UNKNOWN, (PartOutcome("order", PartVerdict.UNKNOWN, reason=unknown),)
    else:
        parts = tuple(PartOutcome(name, PartVerdict.CREATED) for name in names)
    return Outcome(
        file=order.file,
        number=order.number,
        key=order.key,
        verdict=verdict,
        parts=parts,
        violations=violations,
        seconds=seconds,
    )


def _verdict_of(row: LogRow) -> tuple[Verdict, tuple[Violation, ...]]:
    if row.code >= SERVER_FAILED or row.code in MAYBE_DONE_BEFORE:
        return Verdict.UNKNOWN, ()
    if row.code != INVALID_RECORD:
        return Verdict.FAILED, ()
    found = FIELD.fullmatch(row.message)
    violation = Violation(f"$.{found['field']}", found["rule"]) if found else Violation("$", row.message)
    return Verdict.INVALID, (violation,)


async def concluded(records: SqliteJournal, outcomes: list[Outcome]) -> None:
    """Write down the *outcomes* of orders that *records* has claimed, so that a later load goes on from them."""
    ends: list[Awaitable[None]] = []
    for outcome in outcomes:
        key = outcome.key or ""
        if outcome.verdict is Verdict.LOADED:
            records.record(key, "order", b"", None)  # it is there, and nobody told its reference
            ends.append(records.end(key, complete=True))
        elif outcome.verdict is Verdict.UNKNOWN:
            records.record(key, "order", b"", None)
            records.release(key)
        else:
            ends.append(records.end(key, complete=False))
    await asyncio.gather(*ends, records.owner(NOBODY))  # the latter waits until all is on disk


def entries(path: Path, failures: Mapping[int, LogRow]) -> Iterator[tuple[tuple[str, ...], LogRow | None]]:
    """Yield the names of the parts of each record of a batch file, and its row of the *failures*.

    The row has no word that was sent about a person. Where the file cannot be read, only the part of the order is
    named, and the row has no message.
    """
    done = 0
    try:
        with gzip.open(path) as lines:
            for line in lines:
                value = orjson.loads(line)["value"]
                row = failures.get(done)
                if row is not None:
                    message = masked_message(row.message, NO_SECRETS, sent=sent_words(_personal(value)))
                    row = msgspec.structs.replace(row, message=message)
                done += 1
                yield tuple(_names(value)), row
    except (OSError, EOFError, zlib.error, orjson.JSONDecodeError):
        pass
    for n in itertools.count(done):
        row = failures.get(n)
        yield ("order",), row and msgspec.structs.replace(row, message=NO_MESSAGE)


def _personal(value: Mapping[str, Any]) -> list[object]:
    """Return what may be about people in a record, as in the bodies of requests."""
    items = value.get("orderItems", ())
    extensions = (item.get("extensions") for item in items)
    return [*(value.get(key) for key in ("contact", "consumers", "extensions")), *extensions]


def _names(value: Mapping[str, Any]) -> Iterator[str]:
    items = value.get("orderItems", ())
    yield "order"
    yield from (f"items/{n}" for n in range(len(items)))
    if "contact" in value:
        yield "contact"
    if "extensions" in value:
        yield "ext"
    yield from (f"items/{n}/ext" for n, item in enumerate(items) if "extensions" in item)
    yield from (f"consumers/{n}" for n in range(len(value.get("consumers", ()))))
