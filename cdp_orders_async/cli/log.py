"""The log of ``--verbose``: a line for each record, with time, status, line and request id."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from cdp_orders_async.cli.display import Display, JsonDisplay

__all__ = ["log_to"]

FIELDS = {
    "cdp_status": "status",
    "cdp_seconds": "seconds",
    "cdp_line": "line",
    "cdp_order": "order",
    "cdp_request_id": "request_id",
}
"""The fields of a record, and their names in a line. The text of a record has the line and the order."""
SHOWN = ("status", "seconds", "request_id")


def log_to(display: Display) -> None:
    """Log each request and each order on *display*."""
    logger = logging.getLogger("cdp_orders_async")
    logger.addHandler(_Handler(display))
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


class _Handler(logging.Handler):
    def __init__(self, display: Display) -> None:
        super().__init__()
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        """Write one *record*."""
        values = {name: vars(record)[field] for field, name in FIELDS.items() if vars(record).get(field) is not None}
        if "seconds" in values:
            values["seconds"] = round(values["seconds"], 3)
        if isinstance(self._display, JsonDisplay):
            self._display.write("log", {"text": record.getMessage(), **values})
            return
        time = datetime.fromtimestamp(record.created, UTC).astimezone()
        fields = [f"{name} {values[name]}" for name in SHOWN if name in values]
        self._display.say(f"{time:%H:%M:%S.%f}"[:-3] + f" {'; '.join([record.getMessage(), *fields])}")
