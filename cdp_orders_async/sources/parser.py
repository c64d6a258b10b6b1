"""Make an order of the JSON text of one line."""

from __future__ import annotations

from collections.abc import Container
from datetime import tzinfo
from typing import Any

import orjson
from msgspec import Struct

from cdp_orders_async.errors import Violation
from cdp_orders_async.graph import Findings, InputLine, key_in, not_utf_8, read_graph, read_json
from cdp_orders_async.kinds import Api
from cdp_orders_async.redact import Opaque
from cdp_orders_async.sources.formats import bare

__all__ = ["LONGEST_LINE", "LineParser"]

LONGEST_LINE = 16 * 2**20  # bytes; an order of 100 items with full extensions has about 0.5 MB


class LineParser(Struct):
    """Parses the lines of one file, or messages with one order each."""

    file: str
    api: Api
    zone: tzinfo | None
    assign_references: bool
    only: Container[int] | None

    @property
    def options(self) -> dict[str, object]:
        """How the lines are read, as JSON data: ``api``, ``timezone`` and ``assign_references``."""
        return {
            "api": f"v{self.api.version}",
            "timezone": None if self.zone is None else str(self.zone),
            "assign_references": self.assign_references,
        }

    def line(self, number: int, raw: bytes) -> InputLine | None:
        """Parse one line; return None for a line that is empty or not wanted."""
        if self.only is not None and number not in self.only:
            return None
        if len(raw) > LONGEST_LINE:  # before anything else, since the part that was cut off may not have been empty
            return self.refused(number, raw, Violation("$", f"must be at most {LONGEST_LINE:,} bytes long"))
        text = bare(raw)  # files that were put one after the other have the mark of each
        if not text:
            return None
        lost = Findings()
        try:
            value = self.value(text, lost)
        except orjson.JSONDecodeError as error:
            rule = not_utf_8(raw) or f"must be JSON: {error.msg} at column {error.colno}"
            return self.refused(number, raw, Violation("$", rule))
        if value is None and lost.count:
            return self.refused(number, raw, *lost.told)
        read = read_graph(value, self.api, self.zone, assign_references=self.assign_references, lost=lost)
        stood = Opaque(raw) if read.violations else None
        return InputLine(self.file, number, read.graph, tuple(read.violations), read.key, stood)

    def value(self, text: bytes, lost: Findings) -> Any:  # noqa: ANN401 JSON can be anything
        """Return the JSON data in *text*, and add its losses to *lost*."""
        return read_json(text, lost)

    def refused(self, number: int, raw: bytes, *violations: Violation) -> InputLine:
        """Return a line without an order; its key is as much of it as can be read."""
        return InputLine(self.file, number, None, violations, key_in(bare(raw), self.zone), Opaque(raw))
