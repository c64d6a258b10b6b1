"""The log: the first observer, which writes only where DEBUG is on for ``cdp_orders_async``."""

from __future__ import annotations

import logging
from functools import partial

from cdp_orders_async.telemetry.events import (
    AttemptEnded,
    Event,
    OrderEnded,
    PartAdopted,
    PauseBegan,
    PauseEnded,
    RateChanged,
)

__all__ = ["is_on", "log", "logger"]

logger = logging.getLogger("cdp_orders_async")
is_on = partial(logger.isEnabledFor, logging.DEBUG)
"""Tells whether anything is written; each call of a client asks."""


def log(event: Event, /) -> None:
    """Write one record of *event*, with its values as fields ``cdp_…``; most events of a call are in its attempts."""
    if not is_on():
        return
    match event:
        case AttemptEnded():
            _log_attempt(event)
        case RateChanged(cut=True):
            rate = "no limit" if event.per_second is None else f"{event.per_second:.4g} calls a second"
            calls = f" ({event.of})" if event.of else ""
            logger.debug("rate%s: cut for %s to %s, %d in flight", calls, event.cut_for, rate, event.slots)
        case PauseBegan():
            logger.debug("pause: for %.1f s, %s", event.seconds, _shown(event.cause))
        case PauseEnded():
            logger.debug("pause: ended after %.1f s", event.seconds)
        case PartAdopted():
            text = "%s: %s was found on the server, and is not created again"
            logger.debug(text, _shown(event.order), event.part, extra=_order(event))
        case OrderEnded():
            extra = {**_order(event), "cdp_seconds": event.seconds}
            logger.debug("%s: %s", _shown(event.order or _line(event.file, event.line)), event.verdict, extra=extra)
        case _:
            pass


def _log_attempt(event: AttemptEnded) -> None:
    call = event.call
    order = None if call.order is None else _shown(call.order)
    line = None if call.line is None else _line(call.file, call.line)
    logger.debug(
        "%s %s, attempt %d: %s%s",
        call.method,
        _shown(call.path),
        event.number,
        event.delivery if event.error is None else f"{event.error}, {event.delivery}",
        "" if order is None else f" (order {order}, {line})",
        extra={
            "cdp_operation": call.operation,
            "cdp_method": call.method,
            "cdp_path": call.path,
            "cdp_request_id": event.request_id,
            "cdp_attempt": event.number,
            "cdp_status": event.status,
            "cdp_seconds": event.seconds,
            "cdp_delivery": event.delivery,
            "cdp_order": order,
            "cdp_line": line,
        },
    )


def _order(event: PartAdopted | OrderEnded) -> dict[str, object]:
    order = None if event.order is None else _shown(event.order)
    return {"cdp_order": order, "cdp_line": _line(event.file, event.line)}


def _line(file: str | None, line: int) -> str:
    """Return where an order is in the input."""
    return f"line {line}" if file is None else _shown(f"{file}:{line}")


def _shown(text: str) -> str:
    """Return *text* on one line: an input may try to forge a line of the log."""
    return text if text.isprintable() else repr(text)
