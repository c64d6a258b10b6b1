"""Numbers, durations and verdicts in words."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cdp_orders_async.ingest import Verdict

__all__ = ["PURPOSES", "VERDICTS", "duration", "figure", "megabytes", "number", "options_in", "rate", "share", "when"]

VERDICTS = {
    Verdict.LOADED: "on the server as the input says; this run created it",
    Verdict.ALREADY: "on the server before, as the input says",
    Verdict.UPDATED: "on the server as the input says; this run changed it",
    Verdict.KEPT: "on the server with other values, which were kept",
    Verdict.PARTIAL: "some parts are on the server, some are not",
    Verdict.FAILED: "no part was created",
    Verdict.UNKNOWN: "some part may be on the server or not",
    Verdict.CONFLICT: "a person must decide",
    Verdict.INVALID: "breaks a rule; nothing was sent",
    Verdict.BUSY: "another process was loading it",
    Verdict.NOT_TRIED: "the load ended before it",
}
"""The verdicts in words."""
PURPOSES = {
    "connection": "waiting until fewer calls were in flight",
    "rate": "waiting for the rate limit",
    "lane": "waiting for interactive calls, which go first",
    "backoff": "waiting to send again",
    "settle": "waiting until lists of the server show what was written",
    "held": "the load was held",
    "connect": "getting a connection",
    "server": "waiting for the server's answer",
    "body": "reading the answer",
    "decode": "decoding the answer on this machine",
    "journal": "waiting for the journal's disk",
}
"""The purposes of time, names of `Timings`, in words."""
SECONDS, MINUTES, HOURS = 1.0, 60.0, 3600.0
NOTHING = "\N{EN DASH}"
OPTION = re.compile(r"(--[a-z][a-z-]*)")
LARGE = 100
"""From here on a number needs no digits after its point."""


def number(value: float | None) -> str:
    """Return a number with three digits or more."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value == int(value) or value >= LARGE else f"{value:.3g}"


def figure(value: float | None) -> str:
    """Return a number of a column, always with three digits or more, so that the points of the numbers are aligned."""
    return number(value) if value is None or not value or value >= LARGE else f"{value:#.3g}"


def when(text: str) -> str:
    """Return a time of a record in words; any other text as it is."""
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC).isoformat(" ", "seconds").replace("+00:00", " UTC") if time.tzinfo else text
    except (ValueError, OverflowError):
        return text


def options_in(text: str) -> list[tuple[str, bool]]:
    """Return the pieces of a sentence, and whether each is an option of a command, which no line may break."""
    return [(piece, piece.startswith("--")) for piece in OPTION.split(text) if piece]


def duration(seconds: float | None) -> str:
    """Return *seconds* in units that a person reads easily."""
    if seconds is None:
        return NOTHING
    if seconds == 0:
        return "0 s"
    if seconds < SECONDS:
        return f"{number(1000 * seconds)} ms"
    if seconds < MINUTES:
        return f"{number(seconds)} s"
    whole = round(seconds)
    if seconds < HOURS:
        return f"{whole // 60} min {whole % 60} s".removesuffix(" 0 s")
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min".removesuffix(" 0 min")


def share(part: float, whole: float) -> str:
    """Return a share in percent; 0 % and 100 % are said only where they are exact."""
    if not whole or not part:
        return "0 %"
    return "100 %" if part == whole else f"{min(99.9, max(0.1, 100 * part / whole)):.1f} %"


def rate(asked: float | str | None) -> str:
    """Return the rate that was asked for, in words."""
    if asked == "auto":
        return "as many requests a second as the server bears (auto)"
    if asked == "none":
        return "no limit"
    return "not known" if asked is None or isinstance(asked, str) else f"{asked:,.4g} requests a second at most"


def megabytes(size: int | None) -> str:
    """Return a number of bytes in words."""
    if size is None:
        return "size not known"
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
