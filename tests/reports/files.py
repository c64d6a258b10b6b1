"""Files of outcomes that nobody loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from cdp_orders_async.errors import Violation
from cdp_orders_async.ingest import Outcome, PartVerdict, Verdict
from cdp_orders_async.ingest.outcomes import Failure, Leftover, PartOutcome
from cdp_orders_async.timings import Timings
from tests.cli.support import Json, write

RUN = "20261129T123605Z-61616161"
REF = UUID(int=7)
SERVER = "https://api-engage-eu.sitecorecloud.io"


def outcome(number: int, verdict: Verdict = Verdict.LOADED, **more: object) -> Json:
    """Return a line of a file of outcomes."""
    parts = (PartOutcome("order", PartVerdict.CREATED, REF),) if verdict is Verdict.LOADED else ()
    values: Json = {"parts": parts, "seconds": number / 1000, "times": Timings(server=1.0, rate=0.5), **more}
    made = Outcome(file="orders.jsonl", number=number, key=f"B-{number}@2024-01-01", verdict=verdict, **values)
    return {**made.to_json(), "run": RUN}


def failed(number: int, kind: str, status: int | None = None, message: str = "it failed") -> Json:
    """Return the line of an order of which a part failed in this way."""
    failure = Failure(kind, message, status, attempts=1, request_id=f"id-{number}")
    parts = (
        PartOutcome("order", PartVerdict.CREATED, REF),
        PartOutcome(f"items/{number}", PartVerdict.FAILED, failure=failure),
        PartOutcome("consumers/0", PartVerdict.BLOCKED),
    )
    return outcome(number, Verdict.PARTIAL, parts=parts)


def kept(number: int, field: str) -> Json:
    """Return the line of an order whose part was kept with another value."""
    return outcome(number, Verdict.KEPT, parts=(PartOutcome("items/0", PartVerdict.KEPT, REF, (field,)),))


def stray(number: int, count: int) -> Json:
    """Return the line of an order that has more items on the server."""
    return outcome(number, leftovers=tuple(Leftover("items", UUID(int=n)) for n in range(count)))


def record(counts: Json, **more: object) -> Json:
    """Return the record of a run."""
    values: Json = {
        "run": RUN,
        "started": "2026-11-29T12:36:05Z",
        "ended": "2026-11-29T12:37:05Z",
        "files": [{"name": "orders.jsonl", "bytes": 1234}],
        "hash": "5d2b",
        "options": {"api": "v2.1", "base_url": SERVER, "journal": "/srv/it's here.sqlite", "on_existing": "keep"},
        "counts": counts,
        "parts_created": 3,
        "requests": 30,
        "seconds": 60.0,
        "stopped_by": None,
        "error": None,
        "limits": [],
        "folder": "/srv/loads",
        "identity": {"base URL": SERVER, "tenant": "5f5e"},
        "rate": "auto",
        "course": {"moments": [[30.0, 10, 20, 1, 2, 50.0, 0.1, 0.4, 0.0], [30.0, 5, 10, 0, 0, None, None, None, 4.0]]},
    }
    return {**values, **more}


def written(path: Path, lines: Iterable[Json], run: Json | None = None) -> Path:
    """Write a file of outcomes, and the record of a *run* beside it; return the file."""
    write(path, lines)
    if run is not None:
        write(path.with_name(f"{path.name}.run.json"), [run])
    return path


ALL: list[Json] = [
    *(outcome(n) for n in range(1, 31)),
    *(failed(n, "BadRequest", 400, "POST /v2.1/orders/x/orderItems: 400 Bad Request") for n in range(31, 41)),
    failed(41, "OutcomeUnknown"),
    outcome(42, Verdict.NOT_TRIED),
    outcome(43, Verdict.INVALID, violations=(Violation("$.orderItems[3].price", "is required"),)),
    outcome(44, Verdict.INVALID, violations=(Violation("$.orderItems[9].price", "is required"),)),
    outcome(45, Verdict.BUSY),
    kept(46, "unit_price"),
    stray(47, 8),
    outcome(48, Verdict.CONFLICT, parts=(PartOutcome("order", PartVerdict.CONFLICT, reason="it has 2 at 3"),)),
]
COUNTS = {"loaded": 31, "partial": 11, "not_tried": 1, "invalid": 2, "busy": 1, "kept": 1, "conflict": 1}
