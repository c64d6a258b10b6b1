"""A worker of FastStream that loads the orders of a Redis stream."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any

from cdp_orders_async.arguments import need
from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.engines.delivery import DEADLINE, DRAIN, MOST, check_delivery, deliver, warm_up
from cdp_orders_async.errors import Invalid, Violation
from cdp_orders_async.graph import Timezone, zone_of
from cdp_orders_async.ingest import SETTLE, OnExisting, Priority
from cdp_orders_async.journal import Journal
from cdp_orders_async.redact import sealed

try:
    from faststream.redis import RedisBroker

    from cdp_orders_async.engines.streams import BrokerError, Consumer
    from cdp_orders_async.engines.subscriber import add_subscriber
except ModuleNotFoundError as error:
    raise ImportError("FastStream is an extra: pip install 'cdp-orders-async[faststream]'") from error

__all__ = ["BrokerError", "subscribe"]

MARGIN = 30.0
"""The seconds from the end of the longest handler to the time from which its message is taken over, by default."""
RETRY_AFTER = 30.0
"""The default time, in seconds, after which a message is tried again."""
WORKERS = 8
"""The default number of messages under way at once in one process."""


@sealed
def subscribe(
    broker: RedisBroker,
    client: Resources | ResourcesV2,
    *,
    stream: str,
    group: str = "cdp-orders",
    consumer: str | None = None,
    dead_letters: str | None = None,
    journal: Journal | None = None,
    look_first: bool | None = None,
    on_existing: OnExisting = "keep",
    settle: float = SETTLE,
    workers: int = WORKERS,
    deadline: float = DEADLINE,
    drain: float = DRAIN,
    claim_after: float | None = None,
    retry_after: float = RETRY_AFTER,
    most: int = MOST,
    delete: bool = True,
    priority: Priority = "interactive",
    timezone: Timezone = None,
) -> None:
    """Let a broker of FastStream load each order of a Redis stream, from its start until its stop.

    Each message is loaded by `deliver`, and then acknowledged, tried again, or moved to the stream of dead letters. Any
    number of processes can subscribe to one *group*. Call it before the broker starts.

    Parameters: *broker*, of Redis 6.2 or newer. *stream*, its stream; an entry has the order in its field ``data``, or
    is published by FastStream. *group*, the consumer group, which is made if it does not exist, and gets the entries
    that came before it too. *consumer*, the beginning of the consumer's name, by default the name of the host; the rest
    is different in each process. *dead_letters*, the stream of dead letters, by default ``<stream>.dead``: each has all
    fields of the entry, and the fields ``cdp_reason``, ``cdp_verdict``, ``cdp_key``, ``cdp_outcome``, ``cdp_stream``,
    ``cdp_entry`` and ``cdp_deliveries``. *workers*, the most messages under way at once; the rest stays on the server.
    *deadline*, seconds for one message. *drain*, seconds that its calls in flight get to finish when the broker stops
    before its end. *claim_after*, seconds without an end after which another worker takes a message over; by default 30
    more than *deadline* and *drain*. *retry_after*, seconds until a message is tried again, at most *claim_after*.
    *most*, the number of deliveries after which a message is a dead letter. *delete*, whether a message is deleted once
    it is acknowledged; not while another group reads the stream. *client*, *journal*, *look_first*, *on_existing*,
    *settle*, *priority* and *timezone* are those of `deliver`.

    A stop of the broker ends the reading, waits for the messages under way for the broker's ``graceful_timeout``, then
    stops them, and hands all that is not done to other workers at once. FastStream's access log of this subscription
    goes to the logger ``cdp_orders_async.engines.faststream``, at level DEBUG.

    Raises `TypeError` for an argument of another type, `Invalid` for an option with an impossible value, `JournalError`
    for a journal of another tenant. The start of the broker raises `BrokerError` if it has no such streams.

        subscribe(broker, cdp, stream="orders", journal=journal)
        await FastStream(broker).run()
    """
    need(broker, RedisBroker, "broker")
    for name, value in (("stream", stream), ("group", group), ("consumer", consumer), ("dead_letters", dead_letters)):
        need(value, (str,) if name in {"stream", "group"} else (str, type(None)), name)
    need(workers, int, "workers")
    need(claim_after, (float, type(None)), "claim_after", "seconds, a number, or None")
    need(retry_after, float, "retry_after", "seconds, a number")
    need(delete, bool, "delete", "True or False")
    options: Mapping[str, Any] = {
        "look_first": look_first,
        "on_existing": on_existing,
        "settle": settle,
        "deadline": deadline,
        "drain": drain,
        "most": most,
        "priority": priority,
    }
    check_delivery(client, journal, **options)
    zone = zone_of(timezone)
    after = deadline + drain + MARGIN if claim_after is None else claim_after
    violations = [
        Violation(name, rule)
        for name, rule, holds in (
            ("stream", "must not be empty", stream),
            ("group", "must not be empty", group),
            ("dead_letters", "must be another stream than the orders", dead_letters not in {"", stream}),
            ("workers", "must be above 0", workers > 0),
            (
                "claim_after",
                "must be above deadline + drain, or a message is loaded twice at once",
                after > deadline + drain,
            ),
            ("claim_after", "must be a finite number", after < float("inf")),
            ("retry_after", "must be from 0 to claim_after", 0 <= retry_after <= after),
        )
        if not holds
    ]
    if violations:
        raise Invalid(tuple(violations))
    if journal is not None:
        journal.check(client.identity)
    member = Consumer(
        stream,
        group,
        f"{consumer or socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
        dead_letters=dead_letters or f"{stream}.dead",
        claim_after=after,
        delete=delete,
    )
    do = partial(deliver, client, journal=journal, timezone=zone, **options)
    ready = partial(warm_up, client)
    add_subscriber(broker, member, do, ready, workers=workers, retry_after=retry_after, most=most)
