"""What the requests of a test go over; the fixture `way` lets tests run over each."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import attrs

from cdp_orders_async import Settings

Way: TypeAlias = Literal["aiohttp", "httptools"]
WAYS: tuple[Way, ...] = get_args(Way)

chosen: Way = "aiohttp"


def over(settings: Settings) -> Settings:
    """Return *settings* for the way that is chosen."""
    return attrs.evolve(settings, http=chosen)
