"""Tell from the times of a resource whether the server had it before a load began: pure functions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from cdp_orders_async.wire import in_utc, read_moment

__all__ = ["Dated", "by_server_clock", "is_older"]

CLOSE = timedelta(seconds=2)
"""Two times that are so close may be in any order: clocks differ, and servers cut off times after the seconds."""


class Dated(Protocol):
    """A resource, or the answer to its create: the times are moments, text of any form, or absent."""

    @property
    def created_at(self) -> object:
        """The time of its creation."""

    @property
    def modified_at(self) -> object:
        """The time of its last change."""


def by_server_clock(moment: datetime, skew: float) -> datetime:
    """Return a *moment* of this machine by the clock of the server, which is *skew* seconds ahead."""
    ahead = timedelta(seconds=skew)
    return moment if abs(ahead) <= CLOSE else moment + ahead


def is_older(resource: Dated, start: datetime) -> bool:
    """Tell whether *resource* was created before *start*; close to it, only if it was modified since.

    A server that takes a create for an update answers with the resource that it has.
    """
    created = _moment(resource.created_at)
    if created is None or created >= start:
        return False
    if start - created > CLOSE:
        return True
    modified = _moment(resource.modified_at)
    return modified is not None and modified > created


def _moment(time: object) -> datetime | None:
    if isinstance(time, str):
        try:
            time = read_moment(time)
        except ValueError:
            return None
    return in_utc(time) if isinstance(time, datetime) else None
